"""Models with the weights of the published fixtures, taken in as users take in a published checkpoint."""

from __future__ import annotations

import functools

import torch
from fixtures_support import published_arrays

from gazegaussian.config import MeshHeadModel
from gazegaussian.models.variants import build_mesh_head, gaze_gaussian_class
from gazegaussian.training.published import Imported, gaze_gaussian_from, mesh_head_from
from gazegaussian.types import HeadParameters

CLOSE = {"atol": 1e-4, "rtol": 0.0}


def close(found, expected):
    torch.testing.assert_close(found.detach(), expected.to(found.dtype), **CLOSE)


def close_up_to_sign(found, expected):
    sign = torch.sign((found * expected).sum(-1, keepdim=True))
    close(found * sign, expected)


def mesh_head_content():
    return {"meshhead": dict(published_arrays("meshhead_state.npz")), "optimizer": {"state": {}, "param_groups": []}}


def gaze_content():
    arrays = published_arrays("gazegaussian_ckpt.npz")
    prefix = "gazegaussian/"
    state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return {"gazegaussian": state, **{name: value for name, value in arrays.items() if not name.startswith(prefix)}}


def mesh_head_of(found: Imported):
    model = build_mesh_head(found.config.model)
    model.load_state_dict(found.model)
    return model.eval()


def gaze_gaussian_of(found: Imported):
    config, sizes = found.config.model, found.architecture
    mesh_config = MeshHeadModel.model_validate(sizes["mesh_model"])
    model = gaze_gaussian_class(config)(
        config, mesh_config, sizes["image_size"], sizes["face_points"], sizes["eye_points"]
    )
    model.load_state_dict(found.model)
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
