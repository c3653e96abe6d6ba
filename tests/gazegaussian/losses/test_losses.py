"""The GazeGaussian loss: SSIM, image terms, orthogonality, start epoch, weights."""

from dataclasses import replace

import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage
from torchmetrics.functional.image import structural_similarity_index_measure

from gazegaussian.config import GazeGaussianLoss
from gazegaussian.losses.image import (
    eye_region_loss,
    gaze_gaussian_losses,
    image_terms,
    layer_pairs,
    mean_abs_cosine,
    on_white,
    ssim,
)
from gazegaussian.models.frozen import load_frozen

LAYERS = ("head", "face", "eyes")
IMAGE_TERMS = {f"{layer}{kind}" for layer in LAYERS for kind in ("", "_image")}


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# SSIM.


def test_ssim_equals_torchmetrics_away_from_the_border():
    """torchmetrics reflects at the border and leaves it out of the mean; ours pads with zeros, as published."""
    a = noise(2, 3, 40, 48)
    b = (a + 0.2 * noise(2, 3, 40, 48, seed=1)).clamp(0, 1)
    blank = torch.nn.functional.pad
    ours = ssim(blank(a, [5] * 4), blank(b, [5] * 4))  # a black frame: zero padding is the image itself
    _, full = structural_similarity_index_measure(
        blank(a, [10] * 4), blank(b, [10] * 4), data_range=1.0, return_full_image=True
    )
    inner = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    torch.testing.assert_close(ours, inner, atol=1e-5, rtol=0)


def test_ssim_of_equal_images_is_one_and_symmetric():
    a = noise(2, 3, 20, 20)
    b = noise(2, 3, 20, 20, seed=1)
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    assert (ssim(a, b) < 0.5).all()


def test_gradient_of_ssim_against_finite_differences():
    a = noise(1, 1, 13, 12).double().requires_grad_()
    b = noise(1, 1, 13, 12, seed=1).double()
    assert torch.autograd.gradcheck(lambda x: ssim(x, b), (a,), fast_mode=True)


# Image terms.


def test_a_term_is_l1_and_ssim_by_hand():
    a = noise(2, 3, 16, 16)
    b = noise(2, 3, 16, 16, seed=1)
    terms = image_terms({"head": (a, b), "eyes": (a, b), "eyes_image": (b, b)}, eye_weight=3.0, ssim_weight=0.5)
    expected = (a - b).abs().mean() + 0.5 * (1 - ssim(a, b).mean())
    assert terms["head"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["eyes"].item() == pytest.approx(3 * expected.item(), rel=1e-5)
    assert terms["eyes_image"].item() == pytest.approx(0.0, abs=1e-6)


def test_layers_meet_their_own_part_of_the_target():
    rows = batch(2)
    images = {name: noise(2, 3, 64, 64, seed=i) for i, name in enumerate(LAYERS)}
    features = {name: noise(2, 32, 16, 16, seed=i) for i, name in enumerate(LAYERS)}
    pairs = layer_pairs(features, images, rows)
    eyes = rows.eye_mask * rows.head_mask
    assert 0 < eyes.sum() < rows.head_mask.sum()
    masks = {"head": rows.head_mask, "face": rows.head_mask - eyes, "eyes": eyes}
    for name, mask in masks.items():
        colors, target = pairs[name]
        assert torch.equal(target, on_white(rows.image, mask))
        outside = (mask == 0).expand(-1, 3, -1, -1)
        assert (target[outside] == 1).all()
        assert (colors[outside] == 1).all()  # the map is judged inside the mask only
        assert pairs[f"{name}_image"][0] is images[name]  # the render learns the white outside, too
        assert pairs[f"{name}_image"][1] is target


def test_flat_feature_maps_keep_their_colour_when_upsampled():
    rows = batch(1)
    features = {name: torch.full((1, 32, 16, 16), 0.25) for name in LAYERS}
    colors = layer_pairs(features, dict.fromkeys(LAYERS, rows.image), rows)["head"][0]
    inside = rows.head_mask.expand(-1, 3, -1, -1) == 1
    torch.testing.assert_close(colors[inside], torch.full_like(colors[inside], 0.25))


# Orthogonality.


def test_orthogonality_by_hand_and_with_gradients_into_both_branches():
    a = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [3.0, 3.0]]], requires_grad=True)
    b = torch.tensor([[[0.0, 2.0], [-2.0, 0.0], [1.0, 1.0]]], requires_grad=True)
    shared = torch.tensor([True, True, False])
    loss = mean_abs_cosine(a, b, shared)
    assert loss.item() == pytest.approx((0 + 0.5**0.5) / 2)
    loss.backward()
    for branch in (a, b):
        assert torch.isfinite(branch.grad).all()
        assert branch.grad[0, 1].abs().max() > 0
        assert branch.grad[0, 2].abs().max() == 0  # a point of one branch alone does not count
    assert mean_abs_cosine(a, b, torch.zeros(3, dtype=torch.bool)) == 0


def test_orthogonality_reaches_the_branches_of_both_streams():
    stage = gaze_stage(gaze_run(orthogonality_loss_importance=1.0))
    stage.losses(batch(2), 0)["orthogonality"].backward()
    model = stage.model
    meeting = (model.face.shape_color, model.face.pose_color, model.eyes.shape_color, model.eyes.eye_color)
    for branch in meeting:
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in branch.parameters())
    assert all(p.grad is None for p in model.renderer.parameters())


def test_descending_on_orthogonality_makes_branches_orthogonal():
    a = noise(1, 20, 8).requires_grad_()
    b = noise(1, 20, 8, seed=1).requires_grad_()
    optimizer = torch.optim.Adam([a, b], 0.05)
    rows = torch.ones(20, dtype=torch.bool)
    first = mean_abs_cosine(a, b, rows).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = mean_abs_cosine(a, b, rows)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first


# Start epoch and weights.


@pytest.fixture(scope="module")
def stage():
    return gaze_stage(gaze_run(perceptual_start_epoch=3))


@pytest.fixture(scope="module")
def terms(stage):
    """Unweighted layers, rendered once; the loss under any weights."""
    rows = batch(2)
    guide = load_frozen("guide")
    with torch.no_grad():
        rendering = stage.model(rows.parameters, rows.cameras)

    def weighted(epoch=3, **weights):
        config = GazeGaussianLoss(**{"perceptual_start_epoch": 3, "eye_region_importance": 0.3, **weights})
        with torch.no_grad():
            return gaze_gaussian_losses(
                rendering.layer_features(), rendering.layer_images(), rows, config, epoch, guide
            )

    return weighted


def test_perceptual_and_gaze_terms_wait_for_their_epoch(terms):
    for epoch in (0, 2):
        early = terms(epoch)
        assert early["perceptual"] == 0
        assert early["gaze"] == 0
        assert all(early[name] > 0 for name in IMAGE_TERMS)
    for epoch in (3, 9):
        late = terms(epoch)
        assert late["perceptual"] > 0
        assert late["gaze"] > 0


def test_terms_of_every_epoch_have_the_same_names(terms):
    assert terms(0).keys() == terms(3).keys() == IMAGE_TERMS | {"eye_region", "perceptual", "gaze"}


@pytest.mark.parametrize(
    ("weight", "scaled"),
    [
        ("vgg_importance", {"perceptual"}),
        ("gaze_loss_importance", {"gaze"}),
        ("eye_loss_importance", {"eyes", "eyes_image", "eye_region"}),
        ("eye_region_importance", {"eye_region"}),
    ],
)
def test_every_searched_weight_scales_its_own_terms(terms, weight, scaled):
    base = terms(**{weight: 0.5})
    tripled = terms(**{weight: 1.5})
    for name, value in base.items():
        if name in scaled:
            torch.testing.assert_close(tripled[name], 3 * value)
        elif not (weight == "eye_loss_importance" and name == "perceptual"):  # its eye layers are weighted, too
            torch.testing.assert_close(tripled[name], value)


def test_eye_region_is_l1_over_the_eyes_own_area():
    rows = batch(2)
    target = rows.image
    eyes = (rows.eye_mask * rows.head_mask).expand_as(target)
    image = target + 0.25 * eyes + 0.5 * (1 - eyes)
    colors = target - 0.5 * eyes
    torch.testing.assert_close(
        eye_region_loss((colors, target), (image, target), rows), torch.tensor(0.75), atol=1e-5, rtol=0
    )
    none = torch.zeros_like(rows.head_mask)
    closed = replace(rows, left_eye_mask=none, right_eye_mask=none)
    assert eye_region_loss((colors, target), (image, target), closed) == 0


def test_eye_weight_counts_in_the_perceptual_term(terms):
    values = [terms(eye_loss_importance=weight)["perceptual"].item() for weight in (0.0, 1.0, 2.0)]
    assert values[0] < values[1]
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-3)


@pytest.mark.parametrize("name", ["orthogonality", "identity_offset", "expression_offset", "camera_offset"])
def test_weights_of_the_stage_scale_their_terms(name):
    key = {"orthogonality": "orthogonality_loss_importance"}.get(name, f"{name}_importance")

    def term(weight):
        stage = gaze_stage(gaze_run(**{key: weight, "perceptual_start_epoch": 1}))
        with torch.no_grad():
            for parameter in stage.offsets.parameters():
                parameter.fill_(0.01)
            return stage.losses(batch(2), 0)[name]

    value = term(0.5)
    assert value > 0
    torch.testing.assert_close(term(1.5), 3 * value)


def test_gaze_term_vanishes_for_the_target_itself(terms):
    rows = batch(2)
    guide = load_frozen("guide")
    images = dict.fromkeys(LAYERS, rows.image)
    maps = {name: noise(2, 32, 16, 16) for name in LAYERS}
    losses = gaze_gaussian_losses(maps, images, rows, GazeGaussianLoss(perceptual_start_epoch=0), 0, guide)
    assert losses["gaze"].item() == pytest.approx(0.0, abs=1e-6)
    assert terms()["gaze"] > 1e-4


def test_gaze_term_pulls_the_render_towards_the_target():
    rows = batch(1)
    guide = load_frozen("guide")
    image = noise(1, 3, 64, 64).requires_grad_()
    maps = {name: noise(1, 32, 16, 16) for name in LAYERS}
    config = GazeGaussianLoss(perceptual_start_epoch=0)
    gaze_gaussian_losses(maps, dict.fromkeys(LAYERS, image), rows, config, 0, guide)["gaze"].backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0
