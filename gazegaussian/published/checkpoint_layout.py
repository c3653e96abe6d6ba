"""Names in a checkpoint of the released code, and ours for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gazegaussian.config import MeshHeadModel
from gazegaussian.models.branches import hidden_widths
from gazegaussian.models.neural_renderers import UPSAMPLING_LEVELS

_LAYERS = {name: len(widths) + 1 for name, widths in hidden_widths(MeshHeadModel()).items()}
_KINDS = ("weight", "bias")


@dataclass(frozen=True)
class Part:
    """One part of a published state.

    Attributes:
        theirs: Prefix of the published names.
        ours: Prefix of ours.
        mlps: Published name of a network -> (its name in `hidden_widths`, ours).
        plain: Published name -> ours.
    """

    theirs: str
    ours: str
    mlps: dict[str, tuple[str, str]]
    plain: dict[str, str]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield (our name, published name) of every entry."""
        for theirs, ours in self.plain.items():
            yield self.ours + ours, self.theirs + theirs
        for theirs, (network, ours) in self.mlps.items():
            for i in range(_LAYERS[network]):
                for kind in _KINDS:
                    yield f"{self.ours}{ours}.layers.{i}.{kind}", f"{self.theirs}{theirs}.conv{i}.{kind}"

    def networks(self) -> Iterator[tuple[str, str, int]]:
        """Yield (name in `hidden_widths`, our prefix, number of layers) of every network."""
        for network, ours in self.mlps.values():
            yield network, self.ours + ours, _LAYERS[network]


def _mlps(prefix: str, *networks: str) -> dict[str, tuple[str, str]]:
    theirs = {"geometry": "geo", "eye_rotation": "eye_deform"}
    return {f"{theirs.get(name, name)}_mlp": (name, prefix + name) for name in networks}


_BRANCHES = ("shape_color", "pose_color", "eye_color", "shape_deform", "pose_deform", "eye_rotation")
_POINTS = {
    "xyz": "means",
    "feature": "features",
    "scales": "log_scales",
    "rotation": "quats",
    "opacity": "opacity_logits",
    "landmarks_3d_neutral": "landmarks",
}

MESH_HEAD = Part(
    "",
    "",
    _mlps("", "geometry") | _mlps("branches.", *_BRANCHES),
    {name: name for name in ("landmarks_3d_neutral", "tet_verts", "tets")},
)
_FACE_NETWORKS = ("shape_color", "pose_color", "shape_deform", "pose_deform", "shape_attributes", "pose_attributes")
FACE = Part("fg_CD_predictor_face.", "face.", _mlps("", *_FACE_NETWORKS), _POINTS)
_EYE_NETWORKS = ("shape_color", "eye_color", "shape_deform", "eye_rotation", "eye_attributes")
EYES = Part("fg_CD_predictor_eyes.", "eyes.", _mlps("", *_EYE_NETWORKS), _POINTS)


def renderer_names(levels: int = UPSAMPLING_LEVELS, attention: bool = True) -> dict[str, str]:
    """Published names of the convolutional renderer's entries -> ours."""
    modules = {f"feat_2_rgb_list.{i}": f"to_rgb.{i}" for i in range(levels + 1)}
    for i in range(levels):
        modules[f"feat_upsample_list.{i}.layer_1"] = f"upsample.{i}.expand"
        modules[f"feat_upsample_list.{i}.layer_2"] = f"upsample.{i}.shuffle"
        modules[f"feat_layers.{i}"] = f"refine.{i}"
    names = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in modules.items() for kind in _KINDS}
    if attention:
        names["k_proj.weight"] = "attention.keys.weight"
        names |= {f"v_proj.{kind}": f"attention.values.{kind}" for kind in _KINDS}
    return names


RENDERER = Part("neural_render.", "renderer.", {}, renderer_names())

# Parts of names in a state -> why such an entry finds no use.
_SILENT = "the released model never evaluates it"
NEVER_EVALUATED = {
    ".appea_": _SILENT,
    "fg_CD_predictor_eyes.pose_": _SILENT,
    "fg_CD_predictor_eyes.shape_attributes": _SILENT,
    "fg_CD_predictor_eyes.eye_offset": _SILENT,
    "neural_render.bg_featmap": "the released model never reads more of it than its size",
    "neural_render.k_proj.bias": "a constant that the softmax over pixels removes",
    ".blur_layer.f": "the constant blur, built in here",
    ".rgb_upsample.1.f": "the constant blur, built in here",
}
_OF_IMAGES = "belongs to the single images of its training; any other image has none"
# Entries beside the state -> why they find no use.
OF_THE_TRAINING = {
    "optimizer": "state of an optimizer whose groups are others",
    **dict.fromkeys(("iden_offset", "expr_offset", "delta_EulurAngles", "delta_Tvecs"), _OF_IMAGES),
}
