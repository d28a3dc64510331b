"""Images in, images out: a pipeline of diffusers that follows a learned field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .. import checks
from ..data.tools import as_tensor
from ..errors import EfmError, InputError, RunError
from ..extras import extra
from ..runs.run import Run
from .model import FieldModel
from .scheduler import FieldMatchingScheduler

with extra("images"):
    from diffusers import DiffusionPipeline, ImagePipelineOutput
    from diffusers.image_processor import VaeImageProcessor
    from diffusers.utils.torch_utils import randn_tensor
    from PIL import Image

_OUTPUTS = ("pil", "np", "pt", "latent")
_EXPECTED = "images of PIL, numpy or torch, one or many of the same size"


class FieldMatchingPipeline(DiffusionPipeline):
    """Carries images of one set to another, or noise to images, along a learned field.

    Args:
        model: a :class:`FieldModel`, or any model of diffusers that gives what the scheduler's ``prediction_type`` says
            for ``model(sample, timestep)``, such as a UNet2DModel.
        scheduler: how it is followed.
        vae: an AutoencoderKL where the field lies among its latents; else None.
    """

    model_cpu_offload_seq = "model->vae"
    _optional_components = ["vae"]  # noqa: RUF012  diffusers reads a list
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    def __init__(self, model: Any, scheduler: FieldMatchingScheduler, vae: Any = None) -> None:
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler, vae=vae)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_resize=False)

    @classmethod
    def from_run(cls, run: Run, **changes: Any) -> FieldMatchingPipeline:
        """The pipeline of a run.

        Args:
            run: a trained run of images.
            changes: arguments of :class:`FieldMatchingScheduler` that replace the run's, such as solver="multistep".

        Raises:
            InputError: its data are no images, or its method follows no velocity.
        """
        vae = None if run.autoencoder is None else copy.deepcopy(run.autoencoder.model)
        return cls(FieldModel.from_run(run), FieldMatchingScheduler.from_run(run, **changes), vae)

    @classmethod
    def from_pretrained(cls, folder_or_repo: str | Path, **options: Any) -> FieldMatchingPipeline:
        """As for every pipeline, but from safetensors alone and without code of a repository.

        Raises:
            InputError: an option that would run code.
            RunError: not such a folder or repository, or a damaged one.
        """
        for option in ("trust_remote_code", "custom_pipeline"):
            if options.get(option):
                raise InputError(
                    f"{option}: expected none, for no code is run from a repository, got {options[option]!r}"
                )
        if (found := next(Path(folder_or_repo).glob("**/*.py"), None)) is not None:
            raise RunError(
                f"{folder_or_repo} holds code, {found.name}, which is not run; remove it to open the rest"
            )
        try:
            return super().from_pretrained(folder_or_repo, **{**options, "use_safetensors": True})
        except EfmError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            text = " ".join(str(problem).split())[:300]
            raise RunError(f"{folder_or_repo} holds no pipeline that can be opened: {text}") from None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """Shape of what the scheduler carries, (C, H, W): of the images, or of their latents."""
        if hasattr(self.model, "shape"):
            return self.model.shape
        config, size = self.model.config, self.model.config["sample_size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return config["in_channels"], height, width

    @torch.no_grad()
    def __call__(
        self,
        image: Any = None,
        num_inference_steps: int | None = None,
        batch_size: int = 1,
        generator: Generator | list[Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] | list[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Follow the field from ``image``, or from noise.

        Args:
            image: PIL images, arrays [N, H, W, C] or tensors [N, C, H, W], one or many; numbers in [0, 1], or bytes.
                None for noise, where the model starts from it.
            num_inference_steps: steps; None for those of the scheduler.
            batch_size: number of samples from noise.
            generator: of the noise, and of the latents that the vae draws; one for all, or one for each sample, which
                then does not depend on the others. None for torch's global state, as everywhere in diffusers.
            output_type: "pil", "np" [N, H, W, C], "pt" [N, C, H, W] in [0, 1], or "latent": the scheduler's own
                samples, in data units.
            return_dict: an ``ImagePipelineOutput``, else a tuple.
            callback_on_step_end: called as ``callback(pipe, step, timestep, {"latents": ...})`` after every evaluation;
                may return other latents.
            callback_on_step_end_tensor_inputs: names that it gets, out of "latents".

        Raises:
            InputError: an argument does not fit; the text names it.
        """
        checks.choice("output_type", output_type, _OUTPUTS)
        for name in callback_on_step_end_tensor_inputs:
            checks.choice("callback_on_step_end_tensor_inputs", name, self._callback_tensor_inputs)
        device = self._execution_device
        if image is None:
            latents = self._noise(checks.count("batch_size", batch_size), generator)
        else:
            latents = self._encoded(self._images(image).to(device), generator)
        latents = latents.to(device, torch.float32)
        self.scheduler.set_timesteps(num_inference_steps)
        with self.progress_bar(total=len(self.scheduler.timesteps)) as bar:
            for k, t in enumerate(self.scheduler.timesteps):
                latents = self._carried(latents, t)
                if callback_on_step_end is not None:
                    told = callback_on_step_end(self, k, t, {"latents": latents}) or {}
                    latents = told.get("latents", latents)
                bar.update()
        images = self._decoded(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _carried(self, latents: Tensor, t: Tensor) -> Tensor:
        """``latents`` after one evaluation; a model of this package takes float32 whatever its weights are."""
        seen = self.scheduler.scale_model_input(latents, t)
        if not isinstance(self.model, FieldModel):
            seen, time = seen.to(self.model.dtype), t.to(seen.device, torch.float32)
        else:
            time = t
        output = self.model(seen, time).sample
        return self.scheduler.step(output, t, latents).prev_sample

    def _noise(self, n: int, generator: Generator | list[Generator] | None) -> Tensor:
        each = self._one_each(n, generator)
        if hasattr(self.model, "start"):
            parts = [self.model.start(1, one) for one in each] if each else [self.model.start(n, generator)]
            return torch.cat(parts)
        shape = (n, *self.sample_shape)
        noise = randn_tensor(shape, generator=each or generator, device=self._execution_device)
        return noise * self.scheduler.init_noise_sigma

    @staticmethod
    def _one_each(n: int, generator: Generator | list[Generator] | None) -> list[Generator] | None:
        """The generators where every sample has its own; None where all share one."""
        if not isinstance(generator, list | tuple):
            return None
        if len(generator) != n:
            raise InputError(f"generator: expected one, or one for each of {n} samples, got {len(generator)}")
        return list(generator)

    def _images(self, image: Any) -> Tensor:
        """Images of any kind as [N, C, H, W] in [-1, 1]."""
        rows = image if isinstance(image, list | tuple) else [image]
        if not rows:
            raise InputError(f"image: expected {_EXPECTED}, got none")
        found = torch.cat([self._rows(one) for one in rows])
        channels, height, width = self.sample_shape
        if self.vae is not None:
            scale = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
            channels, height, width = self.vae.config["in_channels"], height * scale, width * scale
        if tuple(found.shape[1:]) != (channels, height, width):
            got = " x ".join(map(str, found.shape[1:]))
            raise InputError(
                f"image: expected {channels} x {height} x {width} (channels, height, width), got {got}"
            )
        return self.image_processor.normalize(found)

    def _rows(self, one: Any) -> Tensor:
        """One image, or an array of them, as [n, C, H, W] in [0, 1]."""
        if isinstance(one, Image.Image):
            grey = (self.vae.config["in_channels"] if self.vae is not None else self.sample_shape[0]) == 1
            one = np.asarray(one.convert("L" if grey else "RGB"))
            one = one[:, :, None] if grey else one
        if not isinstance(one, np.ndarray | Tensor):
            raise InputError(f"image: expected {_EXPECTED}, got {checks.describe(one)}")
        rows = as_tensor("image", one)
        if rows.ndim == 3:
            rows = rows[None]
        if rows.ndim != 4:
            raise InputError(f"image: expected {_EXPECTED}, got {checks.describe(one)}")
        if isinstance(one, np.ndarray):
            rows = rows.permute(0, 3, 1, 2)
        rows = rows.float() / 255 if rows.dtype == torch.uint8 else checks.finite("image", rows.float())
        if rows.numel() and not (rows.min() >= 0 and rows.max() <= 1):
            raise InputError(
                f"image: expected numbers in [0, 1] or bytes, got {rows.min():g} to {rows.max():g}"
            )
        return rows

    def _encoded(self, images: Tensor, generator: Generator | list[Generator] | None) -> Tensor:
        """The latents of ``images``, as the field knows them; the images themselves without a vae."""
        if self.vae is None:
            return images
        each = self._one_each(len(images), generator)
        posterior = self.vae.encode(images.to(self.vae.dtype)).latent_dist
        noise = randn_tensor(posterior.mean.shape, generator=each or generator, device=images.device)
        latents = posterior.mean.float() + posterior.std.float() * noise
        config = self.vae.config
        return (latents - (config.get("shift_factor") or 0.0)) * config["scaling_factor"]

    def _decoded(self, latents: Tensor, output_type: str) -> Any:
        if output_type == "latent":
            return latents
        images = latents
        if self.vae is not None:
            config = self.vae.config
            scaled = latents / config["scaling_factor"] + (config.get("shift_factor") or 0.0)
            images = self.vae.decode(scaled.to(self.vae.dtype)).sample.float()
        return self.image_processor.postprocess(images, output_type, do_denormalize=[True] * len(images))
