"""The studies of glyphs: coloured 3s to 2s of all fonts, families never seen, one loop, network and budget."""

from __future__ import annotations

from bench.transport.maps import Trained, exact_lines, real_samples, true_maps
from bench.transport.studies import Row, Study
from bench.transport.verdict import Better, questions

_PRESET = "glyphs_3_to_2"
_OURS = "pairs of whole sets"
_COLUMNS = {
    "read_as_wanted": 3,
    "hue_error_mean": 1,
    "colour_error": 3,
    "style_mean": 3,
    "style_median": 3,
    "coverage": 3,
    "like_real_ratio": 2,
    "ink": 2,
    "frechet": 1,
    "real_frechet": 1,
}
_ASK: dict[str, Better] = {
    "read_as_wanted": "high",
    "hue_error_mean": "low",
    "style_mean": "low",
    "style_median": "low",
    "coverage": "high",
    "frechet": "low",
}
_FLOW = Trained([("{} evaluations", {"steps": steps}) for steps in (1, 5, 20)])
_WHOLE: dict[str, object] = {
    "method.pairs.kind": "whole_set",
    "method.pairs.rows": 4000,
    "method.pairs.refresh": 125,
}


def _batch(rows: int) -> dict[str, object]:
    return {"method.pairs.kind": "optimal_transport", "method.pairs.rows": rows}


#: The field itself: learned between coupled charges, and by the settings of the presets of images.
_FIELD = {
    "method.name": "field_matching",
    "method.points.strategy": "coupled",
    "method.points.nearest": "0.005 s",
    "method.points.charges": 4096,
    "method.sample.map": "forward",
    "method.sample.margin": 0.25,  # exact lines bend above L / 2
    "method.sample.landing": 0.1,
}
_FLUX = {**_FIELD, "method.points.strategy": "flux"}
_FORWARD = Trained([("{} evaluations", {"map": "forward", "steps": steps}) for steps in (2, 4, 10)])

#: Generation by every method; field matching takes one evaluation more than steps, to land.
_PATHS = Trained([("{} evaluations", {"steps": steps}) for steps in (5, 10, 20)])
_DESCENT = Trained([("{} evaluations", {"map": "forward", "steps": steps - 1}) for steps in (5, 10, 20)])
_GENERATION_COLUMNS = {
    "frechet": 1,
    "real_frechet": 1,
    "recognised": 3,
    "class_gap": 3,
    "like_real_ratio": 2,
    "saturation": 2,
    "hue_gap": 3,
    "coverage": 3,
}
_GENERATION_ASK: dict[str, Better] = {"frechet": "low", "recognised": "high", "coverage": "high"}

#: 32 x 32 pixels, with as many places in the network as at 16 x 16.
_LARGER: dict[str, object] = {"plus.size": 32, "minus.size": 32, "net.patch": 4}
_GENERATED_32: dict[str, object] = {"plus.shape": [3, 32, 32], "minus.size": 32, "net.patch": 4}

#: What a perfect map would get, with the reader of each seed.
_TRUTH = Row("the same fonts' 2s", _PRESET, true_maps)
_TRUTH_32 = Row("the same fonts' 2s", _PRESET, true_maps, _LARGER)


def _generation(name: str, measure: Trained, method: dict[str, object], *, once: bool = False) -> Row:
    return Row(name, "glyphs_generation", measure, method, once)


GLYPHS: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "glyphs",
            "Coloured 3s to 2s of unseen font families, 16 x 16, D = 768; OT-CFM pairs batches of 128 or 512 rows",
            (
                Row(_OURS, _PRESET, _FLOW),
                Row("OT-CFM, 512", _PRESET, _FLOW, _batch(512)),
                Row("OT-CFM, 128", _PRESET, _FLOW, _batch(128)),
                _TRUTH,
            ),
            _COLUMNS,
            (
                *questions((_OURS, 1), ("OT-CFM, 512", 1), **_ASK),
                *questions((_OURS, 1), ("OT-CFM, 128", 1), **_ASK),
            ),
            images=True,
        ),
        Study(
            "glyphs_32",
            "Coloured 3s to 2s of unseen font families, 32 x 32, D = 3072; the network of 16 x 16 on patches of 4",
            (
                Row(_OURS, _PRESET, _FLOW, _LARGER),
                Row("OT-CFM, 128", _PRESET, _FLOW, {**_LARGER, **_batch(128)}),
                _TRUTH_32,
            ),
            _COLUMNS,
            questions((_OURS, 1), ("OT-CFM, 128", 1), **_ASK),
            images=True,
        ),
        Study(
            "glyphs_field",
            "The field itself on coloured 3s to 2s of unseen font families, 16 x 16, D = 768: where it is learned",
            (
                Row("between coupled charges", _PRESET, _FORWARD, _FIELD),
                Row("flux points", _PRESET, _FORWARD, _FLUX, once=True),
                Row("exact field", _PRESET, exact_lines, _FIELD),
                _TRUTH,
            ),
            _COLUMNS,
            (
                *questions(("between coupled charges", 1), ("exact field", 1), **_ASK),
                *questions(("between coupled charges", 1), ("flux points", 1), **_ASK),
            ),
            images=True,
        ),
        Study(
            "glyphs_generation",
            "Noise to coloured digits of all fonts, ten classes, 16 x 16, D = 768: one loop, network and budget",
            (
                _generation("field matching", _DESCENT, {}),
                _generation("flow matching", _PATHS, {"method.name": "flow_matching"}, once=True),
                _generation("OT-CFM, 128", _PATHS, {"method.name": "flow_matching", **_batch(128)}),
                _generation(_OURS, _PATHS, {"method.name": "flow_matching", **_WHOLE}),
                Row("other held-out digits", "glyphs_generation", real_samples),
            ),
            _GENERATION_COLUMNS,
            tuple(
                q
                for ours in ("field matching", _OURS)
                for other in ("flow matching", "OT-CFM, 128")
                for k in range(3)
                for q in questions((ours, k), (other, k), **_GENERATION_ASK)
            ),
            images=True,
        ),
        Study(
            "glyphs_generation_32",
            "Noise to coloured digits of all fonts, 32 x 32, D = 3072; the network of 16 x 16 on patches of 4",
            (
                _generation("field matching", _DESCENT, _GENERATED_32),
                _generation(
                    "OT-CFM, 128", _PATHS, {"method.name": "flow_matching", **_GENERATED_32, **_batch(128)}
                ),
                _generation(_OURS, _PATHS, {"method.name": "flow_matching", **_GENERATED_32, **_WHOLE}),
                Row("other held-out digits", "glyphs_generation", real_samples, _GENERATED_32),
            ),
            _GENERATION_COLUMNS,
            tuple(
                q
                for other in ("OT-CFM, 128", "field matching")
                for k in range(3)
                for q in questions((_OURS, k), (other, k), **_GENERATION_ASK)
            ),
            images=True,
        ),
    )
}
