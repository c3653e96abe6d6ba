"""Models with the weights of the published fixtures, taken in as users take in a published checkpoint."""

from __future__ import annotations

import functools

import torch
from fixtures_support import Compact, published_arrays
from synthetic_support import gaze_run, gaze_stage, jiggle, mesh_run, mesh_stage

from gazegaussian.config import MeshHeadModel
from gazegaussian.models.variants import build_mesh_head, gaze_gaussian_class
from gazegaussian.published.checkpoint_layout import EYES, FACE, MESH_HEAD, RENDERER
from gazegaussian.published.import_checkpoint import Imported, gaze_gaussian_from, mesh_head_from
from gazegaussian.types import HeadParameters

CLOSE = {"atol": 1e-4, "rtol": 0.0}


def close(actual, expected):
    torch.testing.assert_close(actual.detach(), expected.to(actual.dtype), **CLOSE)


def close_up_to_sign(actual, expected):
    sign = torch.sign((actual * expected).sum(-1, keepdim=True))
    close(actual * sign, expected)


def mesh_head_content():
    return {"meshhead": dict(published_arrays("meshhead_state.npz")), "optimizer": {"state": {}, "param_groups": []}}


def gaze_content():
    arrays = published_arrays("gazegaussian_ckpt.npz")
    if isinstance(arrays, Compact):
        arrays.whole()
    prefix = "gazegaussian/"
    state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return {"gazegaussian": state, **{name: value for name, value in arrays.items() if not name.startswith(prefix)}}


def mesh_head_of(imported: Imported):
    model = build_mesh_head(imported.config.model)
    model.load_state_dict(imported.model)
    return model.eval()


def gaze_gaussian_of(imported: Imported):
    config = imported.config.model
    sizes = imported.architecture
    mesh_config = MeshHeadModel.model_validate(sizes["mesh_model"])
    model = gaze_gaussian_class(config)(
        config, mesh_config, sizes["image_size"], sizes["face_points"], sizes["eye_points"]
    )
    model.load_state_dict(imported.model)
    return model.eval()


@functools.cache
def mesh_head():
    return mesh_head_of(mesh_head_from(mesh_head_content()))


@functools.cache
def gaze_gaussian():
    return gaze_gaussian_of(gaze_gaussian_from(gaze_content()))


def parameters(arrays, prefix="", rows=slice(None)):
    """Inputs of a fixture."""
    names = ("shape_code", "pose", "scale", "pitchyaw")
    return HeadParameters(*(arrays[prefix + name][rows] for name in names))


def published_layout(model, parts, unused=()):
    """State of one of our models under the published names; `unused` adds entries that the released code never reads."""
    state = model.state_dict()
    entries = {theirs: state[ours] for part in parts for ours, theirs in part.entries()}
    entries = {
        name: value[..., None] if "_mlp.conv" in name and value.dim() == 2 else value for name, value in entries.items()
    }
    return {**entries, **{name: torch.zeros(2) for name in unused}}


PUBLISHED = {"variant": "released"}
STREAMS = {"variant": "released", "renderer": "conv", "face_subdivisions": 0, "eye_subdivisions": 0}
MAP = torch.zeros(1, 32, 16, 16)


def small_mesh_head(**parameters):
    """A warm-started MeshHead of the variant released with explicit tetrahedra."""
    stage = mesh_stage(mesh_run(**PUBLISHED, **parameters))
    stage.prepare()
    model = stage.module
    jiggle(model.branches, 0.02)
    model.tet_verts = model.grid.points
    model.tets = model.grid.tetrahedra().int()
    return model


def small_gaze_gaussian(mesh_head):
    """A GazeGaussian of the variant released over a MeshHead."""
    model = gaze_stage(gaze_run(**STREAMS), mesh_head).model
    jiggle(model, 0.02)
    return model


def mesh_file(model, path, **more):
    torch.save({"meshhead": published_layout(model, [MESH_HEAD]), "optimizer": {"state": {}}, **more}, path)
    return path


def gaze_file(model, path, change=None):
    state = published_layout(model, [FACE, EYES, RENDERER], ["fg_CD_predictor_eyes.eye_offset"])
    state["neural_render.bg_featmap"] = MAP
    state["neural_render.rgb_upsample.1.f"] = torch.tensor([1.0, 2.0, 1.0])
    if change:
        change(state)
    torch.save({"gazegaussian": state, "iden_offset": torch.zeros(3, 80), "epoch": 7}, path)
    return path
