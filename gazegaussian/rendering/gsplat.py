"""The optional backend gsplat (https://github.com/nerfstudio-project/gsplat), CUDA only.

Fixed in its kernels: alpha clamp (0.999 up to version 1.5, 0.99 from 1.6 on), cut-off 1/255, stop at 1e-4. So it agrees with
the others at that ``max_alpha``, and otherwise only where no splat is nearly opaque.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging

import torch
from torch import Tensor

from gazegaussian.errors import UserError
from gazegaussian.rendering.projection import DILATION, NEAR
from gazegaussian.types import Cameras, Gaussians

_log = logging.getLogger(__name__)


def gsplat_clamp(version: str | None = None) -> float:
    """Largest alpha of one splat in a version of gsplat, by default the installed one."""
    major, minor = (version or importlib.metadata.version("gsplat")).split(".")[:2]
    return 0.99 if (int(major), int(minor)) >= (1, 6) else 0.999


def require_gsplat(device: torch.device) -> None:
    """Reject where gsplat cannot work, and say what its first use will cost.

    Raises:
        UserError: gsplat is not installed, or `device` is not CUDA.
    """
    if importlib.util.find_spec("gsplat") is None:
        raise UserError('The splat backend "gsplat" is not installed. Run `pip install gsplat`, or choose "warp".')
    if device.type != "cuda":
        raise UserError(f'The splat backend "gsplat" needs a CUDA device; got {device}. Choose "warp".')
    _announce()


@functools.cache
def _announce() -> None:
    """Say, once, before minutes pass without a word."""
    _log.info(
        "gsplat %s: where it was installed without kernels, it compiles them at its first use, which takes minutes and needs "
        "nvcc and ninja; they are kept for later runs",
        importlib.metadata.version("gsplat"),
    )


def render_gsplat(
    gaussians: Gaussians, cameras: Cameras, background: Tensor, max_alpha: float
) -> tuple[Tensor, Tensor]:
    """Splat with gsplat. Arguments as in `render_splats`.

    Returns:
        Features [B, H, W, C] and alpha [B, H, W].

    Raises:
        UserError: gsplat is not installed, or the tensors are not on a CUDA device.
    """
    require_gsplat(gaussians.means.device)
    from gsplat import rasterization

    if max_alpha != gsplat_clamp():
        _log.debug("gsplat clamps alpha at %s, not %s", gsplat_clamp(), max_alpha)
    batch = gaussians.features.shape[0]
    channels = gaussians.features.shape[-1]
    view = torch.eye(4, device=background.device).repeat(batch, 1, 1)
    view[:, :3, :3] = cameras.rotation
    view[:, :3, 3] = cameras.translation
    # Scenes are a batch dimension, each with one camera.
    image, alpha, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.quats,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.features[:, None],
        viewmats=view[:, None],
        Ks=cameras.intrinsics[:, None],
        width=cameras.width,
        height=cameras.height,
        near_plane=NEAR,
        eps2d=DILATION,
        packed=False,
        backgrounds=background.expand(batch, 1, channels),
    )
    return image[:, 0], alpha[:, 0, ..., 0]
