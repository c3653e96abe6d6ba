"""Takes in checkpoints of the released code: names are translated, shapes decide the widths, nothing is lost in silence.

The result is a checkpoint of ours of the variant `released`. What it cannot use is listed with the reason; what is missing
or of another shape than it must be is an error that names it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gazegaussian.config import (
    GazeGaussianModel,
    GazeGaussianRun,
    MeshHeadModel,
    MeshHeadRun,
    with_parameters,
)
from gazegaussian.errors import CheckpointError
from gazegaussian.models.branches import hidden_widths
from gazegaussian.models.neural_renderers import UPSAMPLING_LEVELS
from gazegaussian.models.variants import build_mesh_head, gaze_gaussian_class
from gazegaussian.published.checkpoint_layout import (
    EYES,
    FACE,
    MESH_HEAD,
    NEVER_EVALUATED,
    OF_THE_TRAINING,
    RENDERER,
    Part,
)
from gazegaussian.training.checkpoint_files import require_checkpoint
from gazegaussian.training.checkpoints import contents_of, load_checkpoint, read_weights, save_checkpoint

logger = logging.getLogger(__name__)

State = dict[str, Tensor]
UNKNOWN = "not known to this program"
_BLUR = (1.0, 2.0, 1.0)


@dataclass(frozen=True)
class Imported:
    """A published checkpoint in our terms."""

    stage: str
    config: MeshHeadRun | GazeGaussianRun
    architecture: dict[str, Any]
    model: State  # state of the model
    unused: dict[str, str]  # entries of the published checkpoint that found no use, and why

    @property
    def by_reason(self) -> dict[str, list[str]]:
        """The unused entries, grouped."""
        groups: dict[str, list[str]] = {}
        for name, why in self.unused.items():
            groups.setdefault(why, []).append(name)
        return groups


def import_published(path: Path, out: Path | None = None) -> tuple[Path, Imported]:
    """Write a checkpoint of ours from a published one, and log what of it found no use.

    Args:
        path: Published MeshHead or GazeGaussian checkpoint.
        out: Folder to write `best.pt` to; default `optuna_results/imported_STAGE`.

    Returns:
        The file written, and what is in it.

    Raises:
        CheckpointError: It is no readable published checkpoint or lacks something, or the folder holds another checkpoint.
    """
    imported = read_published(path)
    target = (Path("optuna_results") / f"imported_{imported.stage}" if out is None else out) / "best.pt"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if target.exists() and load_checkpoint(target).get("imported", {}).get("sha256") != digest:
        raise CheckpointError(f"{target} is another checkpoint already. Give another --out, or delete it.")
    prefix = "model." if imported.stage == "gazegaussian" else ""
    content = {
        "stage": imported.stage,
        "variant": "released",
        "config": imported.config.model_dump(mode="json"),
        "architecture": imported.architecture,
        "model": {prefix + name: value for name, value in imported.model.items()},
        "imported": {"sha256": digest, "unused": imported.unused},
    }
    save_checkpoint(target, content)
    for why, names in imported.by_reason.items():
        logger.info("not used, %s: %s", why, ", ".join(names))
    return target, imported


def read_published(path: Path) -> Imported:
    """Read and translate a published checkpoint (see `import_published`)."""
    require_checkpoint(path, hint="Name the file of a published MeshHead or GazeGaussian.")
    content = read_weights(path)
    if isinstance(content, dict) and "schema_version" in content:
        raise CheckpointError(f"{path} is a checkpoint of this program already: use it as it is.")
    for key, translate in (("gazegaussian", gaze_gaussian_from), ("meshhead", mesh_head_from)):
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            try:
                with contents_of(path):
                    return translate(content)
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from error.__cause__
    entries = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise CheckpointError(
        f"{path} is no published checkpoint: expected an entry 'meshhead' or 'gazegaussian' that holds weights, found "
        f"{entries[:200] or 'nothing'}."
    )


def mesh_head_from(content: Mapping[str, Any]) -> Imported:
    """Translate the content of a published MeshHead checkpoint `{meshhead: state, ...}`.

    Raises:
        CheckpointError: Something is missing, of another shape, or not finite.
    """
    state = _tensors(content["meshhead"])
    translated = _translate(state, [MESH_HEAD])
    config = _mesh_config(translated, len(translated.state["landmarks_3d_neutral"]))
    tets = translated.state["tets"]
    points = translated.state["tet_verts"]
    if tets.numel() and not 0 <= tets.min() <= tets.max() < len(points):
        raise CheckpointError(f"tets names points up to {tets.max()}, and tet_verts has {len(points)} of them.")
    model = _checked(build_mesh_head(config), translated)
    unused = {**translated.unused, **_rest(content, "meshhead")}
    run = MeshHeadRun(model=config)
    return Imported("meshhead", run, {"mesh_model": config.model_dump(mode="json")}, model, unused)


def gaze_gaussian_from(content: Mapping[str, Any]) -> Imported:
    """Translate the content of a published GazeGaussian checkpoint `{gazegaussian: state, ...}`.

    Raises:
        CheckpointError: Something is missing, of another shape, or not finite.
    """
    state = _tensors(content["gazegaussian"])
    translated = _translate(state, [FACE, EYES, RENDERER])
    ours = translated.state
    mesh_config = _mesh_config(translated, len(ours["face.landmarks"]) + len(ours["eyes.landmarks"]))
    config = GazeGaussianModel(variant="released", renderer="conv")
    sizes = {"face_points": len(ours["face.means"]), "eye_points": len(ours["eyes.means"])}
    sizes["image_size"] = _map_side(state) << UPSAMPLING_LEVELS
    model = gaze_gaussian_class(config)(config, mesh_config, **sizes)
    model_state = _checked(model, translated)
    _check_blur(state)
    run = with_parameters(GazeGaussianRun(model=config), {"image_size": sizes["image_size"]}, "the checkpoint")
    unused = {**translated.unused, **_rest(content, "gazegaussian")}
    architecture = {**sizes, "mesh_model": mesh_config.model_dump(mode="json"), "images": 0}
    return Imported("gazegaussian", run, architecture, model_state, unused)


@dataclass(frozen=True)
class _Translated:
    state: State  # by our names
    theirs: dict[str, str]  # our name -> published name
    widths: dict[str, list[int]]  # hidden widths by network
    outputs: dict[str, int]  # of each network
    unused: dict[str, str]


def _tensors(state: Mapping[str, Any]) -> State:
    bad = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if bad:
        raise CheckpointError(f"expected tensors, found something else in {', '.join(bad)}.")
    infinite = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if infinite:
        raise CheckpointError(f"values are not finite in {', '.join(infinite)}: the training had diverged.")
    return dict(state)


def _translate(state: State, parts: list[Part]) -> _Translated:
    """Give every entry our name; everything missing is named at once."""
    wanted = {theirs: (ours, part) for part in parts for ours, theirs in part.entries()}
    missing = [theirs for theirs in wanted if theirs not in state]
    if missing:
        raise CheckpointError(f"expected entries are missing: {', '.join(missing)}.")
    result = _Translated({}, {}, {}, {}, {})
    for theirs, value in state.items():
        if theirs in wanted:
            ours = wanted[theirs][0]
            pointwise = value.dim() == 3 and ".layers." in ours  # a 1x1 convolution is a linear layer
            result.state[ours] = value[..., 0] if pointwise and value.shape[-1] == 1 else value
            result.theirs[ours] = theirs
        else:
            result.unused[theirs] = _why_unused(theirs)
    for part in parts:
        for network, prefix, layers in part.networks():
            outputs = [result.state[f"{prefix}.layers.{i}.weight"].shape[0] for i in range(layers)]
            if result.widths.setdefault(network, outputs[:-1]) != outputs[:-1]:
                raise CheckpointError(
                    f"{network} has hidden widths {outputs[:-1]} in one stream and {result.widths[network]} in the other; "
                    "expected the same."
                )
            result.outputs[network] = outputs[-1]
    return result


def _mesh_config(translated: _Translated, landmarks: int) -> MeshHeadModel:
    """Read the widths off the shapes; networks that do not follow the usual pattern are named one by one."""
    usual = {
        "shape_mlp_width": translated.widths["shape_deform"][0],
        "pose_mlp_width": translated.widths["pose_deform"][0],
        "eye_mlp_width": translated.widths["eye_rotation"][0],
        "landmarks": landmarks,
        "variant": "released",
        "eye_motion": "offset" if translated.outputs["eye_rotation"] == 3 else "rotate",
    }
    if "geometry" in translated.widths:
        usual["geometry_width"] = translated.widths["geometry"][0]
    plain = hidden_widths(MeshHeadModel.model_validate(usual))
    special = {name: widths for name, widths in translated.widths.items() if plain[name] != widths}
    return MeshHeadModel.model_validate({**usual, "mlp_widths": special})


def _checked(model: nn.Module, translated: _Translated) -> State:
    """Load into the model, and return its state; shapes that do not fit are named with the published names."""
    wanted = model.state_dict()
    free = ("tet_verts", "tets")
    wrong = [
        f"{translated.theirs[name]} is {tuple(translated.state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in translated.state and name not in free and translated.state[name].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(f"sizes that this program has no place for: {'; '.join(wrong)}.")
    model.load_state_dict(translated.state)
    return model.state_dict()


def _map_side(state: State) -> int:
    background = state.get("neural_render.bg_featmap")
    if background is None or background.dim() != 4 or background.shape[-1] != background.shape[-2]:
        raise CheckpointError(
            "expected a square neural_render.bg_featmap [1, 32, h, h], whose side tells the size of the feature map."
        )
    return background.shape[-1]


def _check_blur(state: State) -> None:
    for name, value in state.items():
        if name.startswith("neural_render.") and name.endswith(".f") and value.tolist() != list(_BLUR):
            raise CheckpointError(
                f"{name} is {value.tolist()}, expected {list(_BLUR)}: another blur than the released."
            )


def _why_unused(name: str) -> str:
    return next((why for part, why in NEVER_EVALUATED.items() if part in name), UNKNOWN)


def _rest(content: Mapping[str, Any], used: str) -> dict[str, str]:
    """What stands beside the state, and why it finds no use."""
    return {str(name): OF_THE_TRAINING.get(str(name), UNKNOWN) for name in content if name != used}
