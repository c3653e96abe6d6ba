"""Begins a training with the weights of a checkpoint: whole networks where their shapes agree, never part of one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from gazegaussian.config import (
    GazeGaussianModel,
    GazeGaussianRun,
    MeshHeadModel,
    MeshHeadRun,
    RunT,
    with_parameters,
)
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.models.variants import gaze_gaussian_class
from gazegaussian.training.checkpoints import contents_of, load_checkpoint

logger = logging.getLogger(__name__)

# Of `model`: what a training of stage two may choose anew. The others decide the points and what the weights mean.
RENDERER_FIELDS = frozenset({"renderer", "dit_depth", "dit_num_heads", "dit_patch_size", "dit_head_dim"})


def adopt_sizes(config: RunT, path: Path) -> RunT:
    """Return the configuration with variant and sizes of the checkpoint that its training shall begin with.

    The neural renderer of stage two stays the configured one; everything else of `model` is the checkpoint's.

    Args:
        config: Of the training.
        path: Checkpoint of the same stage, or `demo`.

    Raises:
        CheckpointError: It cannot be used.
        ConfigError: A stage of your own: only those of this repository can.
    """
    if not isinstance(config, MeshHeadRun | GazeGaussianRun):
        raise ConfigError(f"Stage {config.stage!r} cannot begin with a checkpoint: leave --init-from (init_from) away.")
    content = load_checkpoint(path, config.stage)
    if isinstance(config, MeshHeadRun):
        with contents_of(path):
            sizes = MeshHeadModel.model_validate(content["architecture"]["mesh_model"]).model_dump(mode="json")
    else:
        with contents_of(path):
            model = GazeGaussianModel.model_validate(content["config"]["model"])
        sizes = {name: value for name, value in model.model_dump(mode="json").items() if name not in RENDERER_FIELDS}
        if model.renderer != config.model.renderer:
            logger.warning(
                "%s has the renderer %s, this training the renderer %s, which starts anew; model.renderer: %s would keep it",
                path, model.renderer, config.model.renderer, model.renderer,
            )  # fmt: skip
    adopted = with_parameters(config, sizes, str(path)).model_copy(update={"init_from": path})
    return cast(RunT, adopted)


def require_initial(config: MeshHeadRun | GazeGaussianRun) -> None:
    """Find out whether the checkpoint that a training shall begin with can be used.

    Raises:
        CheckpointError: It is missing, damaged, of another stage or of another variant.
    """
    _content(config)


def warm_start_mesh_head(module: nn.Module, config: MeshHeadRun) -> set[str]:
    """Load what fits into a MeshHead.

    Args:
        module: The MeshHead with fresh weights.
        config: Names the checkpoint.

    Returns:
        Networks that start anew because their shapes differ.

    Raises:
        CheckpointError: The checkpoint cannot be used, or nothing of it fits.
    """
    return _load_groups(module, _content(config)["model"], config.init_from)


def warm_start_gaze_gaussian(config: GazeGaussianRun) -> GazeGaussian:
    """Build a GazeGaussian with the points and networks of a checkpoint and the configured renderer, and load what fits.

    Raises:
        CheckpointError: The checkpoint cannot be used.
    """
    content = _content(config)
    sizes = content["architecture"]
    with contents_of(cast(Path, config.init_from)):
        mesh_config = MeshHeadModel.model_validate(sizes["mesh_model"])
        model = gaze_gaussian_class(config.model)(
            config.model, mesh_config, config.data.image_size, sizes["face_points"], sizes["eye_points"]
        )
    prefix = "model."
    state = {name[len(prefix) :]: value for name, value in content["model"].items() if name.startswith(prefix)}
    _load_groups(model, state, config.init_from)
    return model


def _content(config: MeshHeadRun | GazeGaussianRun) -> dict[str, Any]:
    assert config.init_from is not None
    content = load_checkpoint(config.init_from, config.stage)
    if content["variant"] != config.model.variant:
        raise CheckpointError(
            f"{config.init_from} is of variant {content['variant']!r} and the configuration of variant "
            f"{config.model.variant!r}, which does other things with the same weights. Set model.variant: "
            f"{content['variant']}."
        )
    return content


def _group(name: str) -> str:
    """Network that an entry of a state belongs to; it is loaded whole or not at all."""
    if name.startswith("tet"):
        return "tetrahedra"
    if name.startswith("renderer."):
        return "renderer"
    return name.split(".layers.")[0]


def _load_groups(module: nn.Module, state: Mapping[str, Tensor], path: Path | None) -> set[str]:
    own = module.state_dict()
    groups: dict[str, set[str]] = {}
    for name in {**own, **state}:
        groups.setdefault(_group(name), set()).add(name)

    def fits(group: str) -> bool:
        names = groups[group]
        known = all(name in own and name in state for name in names)
        return known and (group == "tetrahedra" or all(own[name].shape == state[name].shape for name in names))

    taken = {group for group in groups if fits(group)}
    if not any(_group(name) in taken for name, _ in module.named_parameters()):
        raise CheckpointError(f"No network of {path} has the shape of this training's: nothing to begin with.")
    module.load_state_dict({name: value for name, value in state.items() if _group(name) in taken}, strict=False)
    fresh = {group for group in groups.keys() - taken if any(name in own for name in groups[group])}
    left = {group for group in groups.keys() - taken if any(name in state for name in groups[group])}
    logger.info("starts with the weights of %s: %s", path, ", ".join(sorted(taken)))
    if fresh:
        logger.warning("of another shape than in %s, so they start anew: %s", path, ", ".join(sorted(fresh)))
    if left - fresh:
        logger.warning("in %s and not used here: %s", path, ", ".join(sorted(left - fresh)))
    return fresh
