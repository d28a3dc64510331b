"""A learned field as a model of diffusers: what a scheduler holds over a step, for an image and a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from .. import checks
from ..config import Config
from ..data import make_source
from ..data.source import AbsentSource
from ..errors import InputError, RunError
from ..extras import extra
from ..methods import Problem, make_method
from ..nets import ImageSection
from ..runs.run import Run, geometry_from, untrained

with extra("images"):
    from diffusers import ConfigMixin, ModelMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.utils import BaseOutput

TIMES = 1000.0
"""The time of the minus plate; that of the plus plate is 0, and between them it is in proportion to the height."""
_HALVES = (torch.float16, torch.bfloat16)


@dataclass
class FieldModelOutput(BaseOutput):
    """What the network says of each image.

    Attributes:
        sample: the parts that a scheduler holds over a step, one after the other as channels, [N, K, H, W], data
            units: the velocity, the posterior mean, or the share of flux and both plate means.
    """

    sample: Tensor


class FieldModel(ModelMixin, ConfigMixin):
    """The learned field of a run, for images.

    Args:
        method: the section ``method`` of the run's config, as plain data.
        net: the section ``net``.
        geometry: the lengths that the network was built for.
        plus: the source of the starts where that is noise, which needs no data; else None.

    Raises:
        InputError: settings that do not fit, or data that are no images.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        method: dict[str, Any],
        net: dict[str, Any],
        geometry: dict[str, Any],
        plus: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        here = {"name": "noise"}
        # the rules for what a run folder holds: no module that is named is imported
        settings = Config.of_plain(
            {"name": "model", "plus": here, "minus": here, "method": method, "net": net}
        )
        lengths = geometry_from(dict(geometry), "geometry")
        if len(lengths.shape) != 3:
            raise InputError(f"run: expected one of images (C, H, W), got data of shape {lengths.shape}")
        absent = AbsentSource(lengths.shape, "a pipeline has no data")
        self.method = make_method(settings.method, Problem(lengths, absent, absent, 0))
        self.field = untrained(settings, self.method)
        self.shape = lengths.shape

    @classmethod
    def from_run(cls, run: Run) -> FieldModel:
        """The model of a run, on the run's device, with weights of its own.

        Raises:
            InputError: its data are no images, or its method follows no velocity.
        """
        checks.instance("run", run, Run, "a run, from efm_fast.train(...) or efm_fast.load(folder)")
        plain = run.config.plain()
        plus = plain["plus"] if plain["plus"]["name"] == "gaussian" else None
        net = {**plain["net"]}
        if isinstance(run.config.net, ImageSection):
            net |= {"latent": None, "latent_fingerprint": ""}  # the pipeline has the autoencoder itself
        model = cls(plain["method"], net, dataclasses.asdict(run.geometry), plus)
        model.method.flow(model.field)
        model.field.load_state_dict(run.field.state_dict())
        return model.to(run.device).eval()

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Any:
        """As for every model of diffusers, but from safetensors alone, and strict: all tensors and no other.

        Raises:
            RunError: tensors are missing, unknown or of another shape.
        """
        wanted = options.pop("output_loading_info", False)
        options["use_safetensors"] = True
        model, info = super().from_pretrained(path, output_loading_info=True, **options)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
            if info.get(kind):
                raise RunError(f"{path} does not fit its network: {kind.replace('_', ' ')} {info[kind][:3]}")
        return (model, info) if wanted else model

    def start(self, n: int, generator: Generator | None = None) -> Tensor:
        """``n`` starts where none are given: noise, [n, C, H, W] float32 on the CPU.

        Raises:
            InputError: samples of this model start from images.
        """
        # a generator of one's own, for a source reads no other; its seed is the caller's next number
        seed = int(
            torch.randint(2**62, (), generator=generator, device=generator.device if generator else "cpu")
        )
        mine = Generator().manual_seed(seed)
        if self.method.has_prior:
            return self.method.start(n, mine).unflatten(1, self.shape)
        if self.config["plus"] is None:
            raise InputError("image: this model carries images of one set to another; give it some, got none")
        return make_source(dict(self.config["plus"])).draw(n, mine).unflatten(1, self.shape)

    def forward(
        self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True
    ) -> FieldModelOutput | tuple[Tensor]:
        """What the scheduler holds at images [N, C, H, W], data units, and one time from 0 to 1000.

        Raises:
            InputError: images of another shape, or times that differ.
        """
        checks.tensor("sample", sample, ndim=4)
        if tuple(sample.shape[1:]) != self.shape:
            raise InputError(
                f"sample: expected [N, {', '.join(map(str, self.shape))}], got {checks.describe(sample)}"
            )
        times = torch.as_tensor(timestep, dtype=torch.float64).flatten()
        if len(times) == 0 or (times != times[0]).any():
            raise InputError("timestep: expected one time for all images")
        z = float(times[0]) / TIMES * self.field.L
        with torch.autocast(sample.device.type, dtype=self.dtype, enabled=self.dtype in _HALVES):
            parts = self.method.flow(self.field).held(sample.flatten(1).float(), z)
        out = torch.cat([self._as_channels(part) for part in parts], 1).to(sample.dtype)
        return FieldModelOutput(sample=out) if return_dict else (out,)

    def _as_channels(self, part: Tensor) -> Tensor:
        """A part [N, D] or [N, D + 1] as channels; what an image has but one of becomes a whole channel."""
        _, height, width = self.shape
        channels, rest = divmod(part.shape[1], height * width)
        image, numbers = part.split([part.shape[1] - rest, rest], 1)
        flat = numbers[:, :, None, None].expand(-1, -1, height, width)
        return torch.cat([image.reshape(len(part), channels, height, width), flat], 1)
