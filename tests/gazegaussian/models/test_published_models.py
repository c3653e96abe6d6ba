"""The variant `released` against the arrays of the released code: mesh head, streams, renderer."""

import pytest
import torch
from fixtures_support import published_arrays
from published_support import (
    close,
    close_up_to_sign,
    gaze_content,
    gaze_gaussian,
    gaze_gaussian_of,
    mesh_head,
    mesh_head_content,
    mesh_head_of,
    parameters,
)
from torch.nn import functional as F

from gazegaussian.config import GazeGaussianModel, MeshHeadModel
from gazegaussian.geometry.tetrahedral_mesh import TetrahedralMesh
from gazegaussian.models.branches import conditioned
from gazegaussian.models.neural_renderers import ConvRenderer
from gazegaussian.models.published.gaze_gaussian import PublishedGazeGaussian
from gazegaussian.models.published.streams import PublishedEyeStream, eye_vertices
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.published.checkpoint_layout import EYES, renderer_names
from gazegaussian.published.import_checkpoint import gaze_gaussian_from, mesh_head_from
from gazegaussian.types import HeadParameters


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# MeshHead.


def test_neutral_mesh():
    io = published_arrays("meshhead_io.npz")
    neutral = mesh_head().neutral_mesh()
    close(neutral.vertices, io["neutral_verts"])
    assert torch.equal(neutral.faces, io["neutral_faces"].long())
    close(neutral.features, io["neutral_verts_feature"])
    close(mesh_head().landmarks_3d_neutral, io["landmarks_3d_neutral"])


def test_posed_mesh_with_rotating_eyes():
    io = published_arrays("meshhead_io.npz")
    output = mesh_head()(parameters(io))
    close(output.neutral_vertices, io["recon_verts0"])
    assert torch.equal(output.faces, io["recon_faces"].long())
    close(output.vertices[0], io["recon_verts"])
    close(output.colors[0], io["recon_verts_color"])


def test_raw_deformations():
    io = published_arrays("meshhead_io.npz")
    model = mesh_head()
    points = io["recon_verts0"]
    given = parameters(io)
    shape = torch.tanh(conditioned(model.branches.shape_deform, positional_encoding(points), given.shape_code))
    close(shape, io["recon_shape_deform"])
    moved = points + 0.3 * model._influence(points).shape * shape
    condition = positional_encoding(given.pose)
    pose = torch.tanh(conditioned(model.branches.pose_deform, positional_encoding(moved), condition))
    close(pose, io["recon_pose_deform"])


def test_signed_distances():
    io = published_arrays("meshhead_io.npz")
    model = mesh_head()
    close(model.query(io["query_pts"])[0], io["query_sdf"][..., 0])
    close(model.query(model.tet_verts)[0], io["tet_sdf"][0, :, 0])


def test_deformed_landmarks():
    io = published_arrays("meshhead_io.npz")
    model = mesh_head()
    deformed = model.deform_landmarks(io["deform_query_pts"], io["deform_shape_code"])
    close(deformed, io["deform_deformed_pts"])


def test_eyes_that_are_moved_point_by_point():
    arrays = published_arrays("meshhead_norotate_b2.npz")
    content = mesh_head_content()
    content["meshhead"].update({name: value for name, value in arrays.items() if name.startswith("eye_deform_mlp")})
    imported = mesh_head_from(content)
    assert imported.config.model.eye_motion == "offset"
    output = mesh_head_of(imported)(parameters(arrays))
    close(output.vertices, arrays["verts"])
    close(output.colors, arrays["verts_color"])


def test_subdivided_tetrahedra():
    arrays = published_arrays("meshhead_subdivide.npz")
    mesh = TetrahedralMesh(arrays["tet_verts"], arrays["tets"]).subdivided()
    close(mesh.points, arrays["sub_tet_verts"])
    assert torch.equal(mesh.tets.long(), arrays["sub_tets"].long())
    assert mesh.points.shape[0] > arrays["tet_verts"].shape[0]


def test_neutral_mesh_on_subdivided_tetrahedra():
    arrays = published_arrays("meshhead_subdivide.npz")
    content = mesh_head_content()
    content["meshhead"].update(tet_verts=arrays["tet_verts"], tets=arrays["tets"])
    model = mesh_head_of(mesh_head_from(content))
    assert model.config.grid_resolution * 2 == arrays["sub_grid_res"].item()
    neutral = model.subdivided_mesh(1)
    close(neutral.vertices, arrays["sub_neutral_verts"])
    assert torch.equal(neutral.faces, arrays["sub_neutral_faces"].long())
    head = arrays["sub_neutral_verts_feature_head8"]
    close(neutral.features[:, : head.shape[1]], head)
    before = model.neutral_mesh().vertices
    assert before.shape != neutral.vertices.shape


# Streams.


def test_vertices_of_the_eyes():
    vertices = published_arrays("meshhead_io.npz")["neutral_verts"]
    landmarks = published_arrays("meshhead_io.npz")["landmarks_3d_neutral"]
    expected = published_arrays("gaussian_io.npz")["neutral_is_eye"]
    assert torch.equal(eye_vertices(vertices, landmarks), expected)
    assert 0 < expected.sum() < len(expected)


def test_streams_start_from_the_mesh_as_published():
    io = published_arrays("gaussian_io.npz")
    config = GazeGaussianModel(variant="released", renderer="conv", face_subdivisions=0, eye_subdivisions=0)
    model = PublishedGazeGaussian.from_mesh_head(mesh_head(), config, 64)
    for name, stream in (("face", model.face), ("eyes", model.eyes)):
        close(stream.means, io[f"init_{name}_xyz"])
        # Neighbours 0.0008 apart: in their logarithm the rounding of a vertex (1e-7) is 1e-4 already.
        scales = io[f"init_{name}_scales"].exp()
        torch.testing.assert_close(stream.log_scales.detach().exp(), scales, atol=1e-6, rtol=1e-4)
        close(stream.opacity_logits, io[f"init_{name}_opacity"])
        close(stream.quats, io[f"init_{name}_rotation"])
        close(stream.landmarks, io[f"init_{name}_landmarks"])
    features = published_arrays("meshhead_io.npz")["neutral_verts_feature"][io["neutral_is_eye"]]
    close(torch.tanh(model.eyes.features), features)


@pytest.mark.parametrize(("name", "row"), [("face", 0), ("eyes", 0), ("face_b1", 1)])
def test_stream(name, row):
    io = published_arrays("gaussian_io.npz")
    model = gaze_gaussian()
    stream = model.eyes if name == "eyes" else model.face
    assert_splats(stream(parameters(io, "in_", slice(row, row + 1))).gaussians, io, f"{name}_")


def test_scales_rotations_and_opacities_of_the_eyes():
    """Of one stream by itself, so that a part of the fixtures is enough."""
    io = published_arrays("gaussian_io.npz")
    arrays = published_arrays("gazegaussian_ckpt.npz")
    entries = {ours: f"gazegaussian/{theirs}" for ours, theirs in EYES.entries()}
    wanted = {ours: theirs for ours, theirs in entries.items() if ".layers." not in ours or "eye_attributes" in ours}
    state = {ours.removeprefix(EYES.ours): arrays[theirs] for ours, theirs in wanted.items()}
    state = {name: value[..., 0] if value.dim() == 3 else value for name, value in state.items()}
    widths = [len(state[f"eye_attributes.layers.{i}.bias"]) for i in range(2)]
    config = MeshHeadModel(variant="released", mlp_widths={"eye_attributes": widths})
    stream = PublishedEyeStream(config, len(state["means"]))
    assert stream.load_state_dict(state, strict=False).unexpected_keys == []
    splats = stream(parameters(io, "in_", slice(0, 1))).gaussians
    close(splats.scales, io["eyes_scales"])
    close(splats.opacities[..., None], io["eyes_opacity"])
    close_up_to_sign(splats.quats, io["eyes_rotation"])


def test_samples_of_a_batch_do_not_see_each_other():
    io = published_arrays("gaussian_io.npz")
    model = gaze_gaussian()
    for stream in (model.face, model.eyes):
        both = stream(parameters(io, "in_")).gaussians
        for row in range(2):
            one = stream(parameters(io, "in_", slice(row, row + 1))).gaussians
            for field in ("means", "scales", "opacities", "features", "quats"):
                close(getattr(one, field)[0], getattr(both, field)[row])


def test_eye_stream_that_is_moved_point_by_point():
    arrays = published_arrays("gaussian_eyes_norotate.npz")
    content = gaze_content()
    branch = {name: value for name, value in arrays.items() if name.startswith("eye_deform_mlp")}
    content["gazegaussian"].update({f"fg_CD_predictor_eyes.{name}": value for name, value in branch.items()})
    model = gaze_gaussian_of(gaze_gaussian_from(content))
    assert_splats(model.eyes(parameters(arrays, "in_")).gaussians, arrays)


def assert_splats(splats, arrays, prefix=""):
    close(splats.means, arrays[f"{prefix}xyz"])
    close(splats.features, arrays[f"{prefix}color"])
    close(splats.scales, arrays[f"{prefix}scales"])
    close(splats.opacities[..., None], arrays[f"{prefix}opacity"])
    close_up_to_sign(splats.quats, arrays[f"{prefix}rotation"])


# Neural renderer.


def from_code(code):
    batch = len(code)
    return HeadParameters(code, torch.zeros(batch, 6), torch.ones(batch, 1), torch.zeros(batch, 2))


def without_code(batch):
    return from_code(torch.zeros(batch, 144))


def renderer_of(arrays, attention):
    """Our renderer of the sizes and with the weights of a fixture."""
    levels = sum(name.startswith("state/feat_layers.") and name.endswith(".weight") for name in arrays)
    renderer = ConvRenderer(attention, arrays["state/feat_2_rgb_list.0.weight"].shape[1], levels)
    names = renderer_names(levels, attention)
    renderer.load_state_dict({ours: arrays[f"state/{theirs}"] for theirs, ours in names.items()})
    return renderer


def test_renderer_of_the_checkpoint():
    io = published_arrays("neural_renderer_128_512_io.npz")
    renderer = gaze_gaussian().renderer
    close(renderer(io["x"].float(), from_code(io["shape_code"])), io["rgb"])
    attention = renderer.attention
    renderer.attention = None
    try:
        image = renderer(io["x"].float(), from_code(io["shape_code"]))
    finally:
        renderer.attention = attention
    expected = io["rgb_noattn_lowres"]
    close(F.avg_pool2d(image, image.shape[-1] // expected.shape[-1]), expected)


@pytest.mark.parametrize(("attention", "expected"), [(True, "rgb"), (False, "rgb_noattn")])
def test_small_renderer(attention, expected):
    arrays = published_arrays("neural_renderer_32_128.npz")
    image = renderer_of(arrays, attention)(arrays["x"], from_code(arrays["shape_code"]))
    close(image, arrays[expected])


def test_wide_renderer():
    arrays = published_arrays("neural_renderer_wide_16_128.npz")
    close(renderer_of(arrays, False)(arrays["x"], without_code(len(arrays["x"]))), arrays["rgb_noattn"])


def test_attention_acts():
    arrays = published_arrays("neural_renderer_32_128.npz")
    assert (arrays["rgb"] - arrays["rgb_noattn"]).abs().max() > 1e-3
