"""What small sizes add to GazeGaussian: exact colours, finer maps, the linear code basis, focus points, lighter losses."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from synthetic_support import batch, gaze_run, gaze_stage, without_gradient

from gazegaussian.config import GazeGaussianModel
from gazegaussian.losses.image import features_region, features_region_losses, on_white
from gazegaussian.models.neural_renderers import build_renderer
from gazegaussian.models.streams import FOCUS_LANDMARKS, FOCUS_RADIUS
from gazegaussian.types import HeadParameters

QUICK = {
    "feature_downscale": 2,
    "exact_colors": True,
    "code_basis_rank": 6,
    "focus_subdivisions": 1,
    "layer_images": False,
    "eye_region_importance": 1.0,
    "features_region_importance": 0.5,
    "features_coarse_importance": 0.5,
}


def parameters(count):
    return HeadParameters(torch.zeros(count, 144), torch.zeros(count, 6), torch.ones(count, 1), torch.zeros(count, 2))


@pytest.mark.parametrize(("downscale", "renderer"), [(2, "dit"), (4, "dit"), (2, "conv"), (4, "conv")])
def test_a_renderer_with_exact_colors_begins_with_the_splatted_image(downscale, renderer):
    torch.manual_seed(0)
    config = GazeGaussianModel(
        feature_downscale=downscale, exact_colors=True, renderer=renderer, dit_depth=2, dit_num_heads=4, dit_head_dim=4
    )
    colors = torch.tensor([1.0, 0.6, 0.05])[None, :, None, None].expand(2, -1, 16, 16)
    features = torch.cat([colors, torch.zeros(2, 29, 16, 16)], dim=1)
    image = build_renderer(config, 16)(features, parameters(2))
    assert image.shape == (2, 3, 16 * downscale, 16 * downscale)
    assert (image.mean((0, 2, 3)) - colors[0, :, 0, 0]).abs().max() < 0.03
    published = build_renderer(config.model_copy(update={"exact_colors": False}), 16)(features, parameters(2))
    assert published[:, 0].mean() < 0.95, "4 c - 2 shows white as 0.88"


def test_the_code_basis_begins_silent_and_is_linear_in_the_code():
    torch.manual_seed(0)
    model = gaze_stage(gaze_run(code_basis_rank=5)).model
    basis = model.face.code_basis
    code = torch.randn(3, 144)
    assert all(part.abs().max() == 0 for part in basis(code))
    with torch.no_grad():
        basis.response.normal_()
    one = basis(code[:1])
    two = basis(code[1:2])
    both = basis(code[:1] + code[1:2])
    for a, b, c in zip(one, two, both, strict=True):
        torch.testing.assert_close(a + b, c, rtol=1e-4, atol=1e-5)
    assert [part.shape[-1] for part in one] == [3, 3, 1]


def test_identity_reaches_points_behind_the_landmarks_through_the_code_basis():
    """The branches give these points the head pose only."""
    stage = gaze_stage(gaze_run(code_basis_rank=5))
    with torch.no_grad():
        stage.model.face.code_basis.response.normal_()
    people = batch(1).parameters.rows([0, 0])
    code = people.shape_code.clone()
    code[1, 64:] += torch.randn(80, generator=torch.Generator().manual_seed(1))
    output = stage.model.face(replace(people, shape_code=code))
    behind = output.gaussians.means[0, :, 2].argmin()
    assert (output.gaussians.features[0, behind] - output.gaussians.features[1, behind]).abs().max() > 1e-3


def test_focus_points_lie_around_mouth_nose_and_brows():
    plain, fine = (gaze_stage(gaze_run(focus_subdivisions=times)).model for times in (0, 1))
    landmarks = fine.face.landmarks
    kept = [row for row in range(68) if not 36 <= row < 48]
    focus = landmarks[[kept.index(row) for row in FOCUS_LANDMARKS]]
    old = {tuple(point.tolist()) for point in plain.face.means.detach()}
    new = torch.stack([point for point in fine.face.means.detach() if tuple(point.tolist()) not in old])
    assert len(fine.face.means) > len(plain.face.means)
    longest_edge = 2 * 3.5 / 12  # of the grid of these tests, whose cells are large
    assert torch.cdist(new, focus).min(1).values.max() < FOCUS_RADIUS + longest_edge
    assert fine.eyes.means.shape == plain.eyes.means.shape


def test_every_parameter_learns_with_the_options_of_the_quick_sizes():
    assert without_gradient(gaze_stage(gaze_run(**QUICK)), steps=4) == set()


def test_losses_without_renders_of_the_layers_ask_the_renderer_once(monkeypatch):
    stage = gaze_stage(gaze_run(**QUICK))
    rows = []
    forward = type(stage.model.renderer).forward
    monkeypatch.setattr(
        type(stage.model.renderer), "forward", lambda self, x, p: rows.append(len(x)) or forward(self, x, p)
    )
    light = stage.losses(batch(2), 0)
    stage.config = gaze_run(**{**QUICK, "layer_images": True})
    full = stage.losses(batch(2), 0)
    assert rows == [2, 6]
    assert set(full) - set(light) == {"face_image", "eyes_image"}
    assert all(value.isfinite() for value in light.values())


def test_the_features_region_weighs_mouth_nose_and_brows_inside_the_head():
    rows = batch(2)
    weight = features_region(rows)
    assert weight.shape == rows.head_mask.shape
    assert (weight[rows.head_mask == 0] == 0).all()
    size = weight.shape[-1]
    for image, landmarks in zip(weight[:, 0], rows.landmarks_2d, strict=True):
        x, y = landmarks[62].round().long().clamp(0, size - 1).tolist()
        assert image[y, x] > 0.5, "the mouth"
    assert weight[:, :, : size // 8].max() < 0.05, "the hair"


def test_means_over_squares_see_that_a_mouth_is_open_where_its_pixels_lie_beside_it():
    rows = batch(2)
    target = on_white(rows.image, rows.head_mask)
    apart = torch.zeros_like(target)
    apart[..., ::2] = 0.2  # every second column too bright, its neighbour too dark
    apart[..., 1::2] = -0.2
    same = torch.full_like(target, 0.2)
    fine, coarse = features_region_losses(target + apart, rows)
    assert fine.item() == pytest.approx(0.2)
    assert coarse.item() < 1e-6
    fine, coarse = features_region_losses(target + same, rows)
    assert fine.item() == pytest.approx(0.2)
    assert coarse.item() == pytest.approx(0.2)


@pytest.mark.parametrize("option", ["feature_downscale", "exact_colors", "focus_subdivisions", "code_basis_rank"])
def test_the_published_variant_knows_no_option(option):
    with pytest.raises(ValidationError, match=f"{option} needs variant: default"):
        GazeGaussianModel(variant="released", renderer="conv", **{option: QUICK[option]})
