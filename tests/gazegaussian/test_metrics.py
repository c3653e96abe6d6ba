"""Metrics by hand, and the validation metric that no searched weight can bend."""

import math
from dataclasses import replace

import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage, jiggle

from gazegaussian.config import GazeGaussianLoss
from gazegaussian.metrics import VALIDATION_WEIGHTS, summarise, validation_loss, validation_parts


class Readings:
    """A judge that reads the mean colour: red is pitch, green is yaw (rad)."""

    def perceptual(self, a, b):
        return (a - b).abs().amax((1, 2, 3))

    def gaze(self, image, landmarks_2d):
        return image.mean((2, 3))[:, :2]

    def head_pose(self, image):
        return image.mean((2, 3))[:, 1:]


def flat(red, green, blue, rows):
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand_as(rows.image).clone()


def yaw_turned_deg(pitch, yaw):
    """Angle between two directions of the same pitch whose yaws differ."""
    return math.degrees(math.acos(math.cos(pitch) ** 2 * math.cos(yaw) + math.sin(pitch) ** 2))


@pytest.fixture
def rows():
    """Two images whose head fills them, so that every value can be worked out."""
    given = batch(2)
    image = flat(0.1, 0.2, 0.3, given)
    gaze = torch.tensor([[0.1, 0.2], [0.1, 0.7]])
    return replace(
        given, image=image, head_mask=torch.ones_like(given.head_mask), parameters=replace(given.parameters, gaze=gaze)
    )


def test_values_by_hand(rows):
    render = flat(0.1, 0.2, 0.3, rows)
    render[0, 0] += 0.3  # pitch is read 0.3 rad off
    render[1, 2] += 0.5  # of the head the yaw
    parts = validation_parts(render, rows, Readings())
    torch.testing.assert_close(parts["l1"], torch.tensor([0.1, 0.5 / 3]))
    torch.testing.assert_close(parts["psnr"], -10 * torch.tensor([0.09 / 3, 0.25 / 3]).log10())
    torch.testing.assert_close(parts["perceptual"], torch.tensor([0.3, 0.5]))
    off_pitch = math.degrees(0.3)
    off_head = yaw_turned_deg(0.2, 0.5)
    off_gaze = yaw_turned_deg(0.1, 0.5)
    torch.testing.assert_close(parts["gaze_error_deg"], torch.tensor([off_pitch, 0.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(parts["head_pose_error_deg"], torch.tensor([0.0, off_head]), atol=1e-3, rtol=0)
    torch.testing.assert_close(parts["gaze_label_error_deg"], torch.tensor([off_pitch, off_gaze]), atol=1e-3, rtol=0)
    # Flat images: SSIM of a channel is its luminance term alone.
    luminance = [(2 * a * b + 1e-4) / (a * a + b * b + 1e-4) for a, b in ((0.1, 0.4), (0.3, 0.8))]
    expected = torch.tensor([(value + 2) / 3 for value in luminance])
    torch.testing.assert_close(parts["ssim"], expected, atol=1e-3, rtol=0)


def test_the_ruler_is_its_published_sum():
    assert VALIDATION_WEIGHTS == {"l1": 1.0, "ssim": 0.1, "perceptual": 0.1, "gaze": 0.1}
    names = ("l1", "ssim", "perceptual", "gaze_error_deg")
    parts = {name: torch.tensor([value]) for name, value in zip(names, (0.2, 0.7, 0.5, 18.0), strict=True)}
    expected = 0.2 + 0.1 * 0.3 + 0.1 * 0.5 + 0.1 * math.pi / 10
    assert validation_loss(parts).item() == pytest.approx(expected)


def test_a_perfect_render_measures_zero(rows):
    rows = replace(rows, image=torch.rand(rows.image.shape, generator=torch.Generator().manual_seed(0)))
    parts = validation_parts(rows.image, rows, Readings())
    assert validation_loss(parts).abs().max() < 1e-5
    assert (parts["ssim"] > 0.9999).all()
    assert (parts["psnr"] > 60).all()


def test_outside_the_head_only_white_is_compared(rows):
    mask = torch.zeros_like(rows.head_mask)
    mask[..., 16:48, 16:48] = 1
    target = rows.image * mask + 1 - mask
    rows = replace(rows, head_mask=mask, image=target)
    littered = torch.where(mask.expand_as(target) == 1, target, torch.zeros_like(target))
    parts = validation_parts(littered, rows, Readings())
    assert parts["l1"].max() == 0
    assert parts["perceptual"].min() == 1  # the judge sees the whole render


def test_values_belong_to_images_not_to_batches(rows):
    render = torch.rand(rows.image.shape, generator=torch.Generator().manual_seed(0))
    together = validation_parts(render, rows, Readings())
    for i in range(2):
        alone = validation_parts(render[i : i + 1], rows.rows([i]), Readings())
        for name, values in together.items():
            torch.testing.assert_close(alone[name][0], values[i], msg=name)


def test_means_count_images_not_batches():
    means = summarise([{"l1": torch.tensor([1.0, 2.0, 3.0])}, {"l1": torch.tensor([10.0])}])
    assert means == {"l1": 4.0}
    assert summarise([]) == {}


def test_renders_outside_the_range_are_measured_clamped(rows):
    wild = rows.image * 20 - 3
    clamped, raw = (validation_parts(x, rows, Readings()) for x in (wild.clamp(0, 1), wild))
    for name, values in clamped.items():
        torch.testing.assert_close(raw[name], values)


# The validation metric and the searched weights.


def test_no_loss_weight_changes_the_ruler():
    base = None
    for name in [None, *GazeGaussianLoss.model_fields]:
        switch = name is not None and isinstance(GazeGaussianLoss.model_fields[name].default, bool)
        weights = {} if name is None else {name: False if switch else 7}
        stage = gaze_stage(gaze_run(**weights))
        jiggle(stage.model, 0.03)
        with torch.no_grad():
            measured = stage.validate()
        base = base or measured
        assert measured == base, name


def test_offsets_of_training_images_do_not_enter_the_ruler():
    measured = []
    for offset in (0.0, 0.5):
        stage = gaze_stage()
        with torch.no_grad():
            for parameter in stage.offsets.parameters():
                parameter.fill_(offset)
            measured.append(stage.validate())
    assert measured[0] == measured[1]
