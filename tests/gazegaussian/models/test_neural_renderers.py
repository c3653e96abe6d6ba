"""Neural renderers: identity at the start, all searched sizes (the published one: test_published_models.py)."""

import itertools

import pytest
import torch
from synthetic_support import jiggle

from gazegaussian.config import GazeGaussianModel
from gazegaussian.models.neural_renderers import ConvRenderer, DiTRenderer, blur, build_renderer
from gazegaussian.nn.dit import DiTRefiner
from gazegaussian.types import HeadParameters

DEPTHS = (4, 6, 8, 12)
HEADS = (4, 8, 16)
PATCHES = (4, 8, 16)
SIDE = 32


def parameters(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    code, pose, gaze = (torch.randn(batch, n, generator=generator) * 0.3 for n in (144, 6, 2))
    return HeadParameters(code, pose, torch.ones(batch, 1), gaze)


def features(batch=2, side=SIDE, seed=0):
    return torch.rand(batch, 32, side, side, generator=torch.Generator().manual_seed(seed))


def dit(depth=2, heads=4, patch=8, side=SIDE) -> DiTRenderer:
    torch.manual_seed(0)
    config = GazeGaussianModel(dit_depth=depth, dit_num_heads=heads, dit_patch_size=patch, dit_head_dim=4)
    renderer = build_renderer(config, side)
    assert isinstance(renderer, DiTRenderer)
    return renderer


def test_dit_starts_as_its_convolutional_path():
    renderer = dit()
    assert torch.equal(
        renderer.refiner(features(), torch.randn(2, renderer.refiner.condition[0].in_features)), features()
    )
    assert torch.equal(renderer(features(), parameters()), renderer.path(features(), parameters()))


SIZES = [*itertools.product((4,), HEADS, PATCHES), *((depth, 4, 16) for depth in DEPTHS[1:])]


@pytest.mark.parametrize(("depth", "heads", "patch"), SIZES)
def test_all_searched_sizes_build_run_and_learn(depth, heads, patch):
    renderer = dit(depth, heads, patch)
    jiggle(renderer.refiner, 0.02)
    image = renderer(features(1), parameters(1))
    assert image.shape == (1, 3, 4 * SIDE, 4 * SIDE)
    assert ((image > 0) & (image < 1)).all()
    assert len(renderer.refiner.blocks) == depth
    assert renderer.refiner.blocks[0].qkv.in_features == 4 * heads
    assert renderer.refiner.positions.shape[1] == (SIDE // patch) ** 2
    image.mean().backward()
    silent = [name for name, p in renderer.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_patches_keep_their_places():
    """With blocks that pass tokens through, every patch is mapped on its own and lands where it came from."""
    refiner = DiTRefiner(channels=3, side=8, patch=4, depth=1, heads=4, head_dim=16, condition_dim=5)
    with torch.no_grad():
        torch.nn.init.normal_(refiner.unembed.weight)
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = torch.zeros(1, 5)
    changed = x.clone()
    changed[..., 4:, :4] += torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    moved = refiner(changed, condition) - refiner(x, condition)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[4:, :4] = False
    assert moved[..., outside].abs().max() == 0
    assert moved[..., ~outside].abs().min() > 0


def test_attention_carries_information_between_patches():
    renderer = dit(depth=1, patch=8)
    jiggle(renderer.refiner, 0.2)
    changed = features()
    changed[:, :, :8, :8] = 0
    condition = torch.zeros(2, renderer.refiner.condition[0].in_features)
    moved = renderer.refiner(changed, condition) - renderer.refiner(features(), condition)
    assert moved[:, :, 24:, 24:].abs().max() > 1e-4


@pytest.mark.parametrize("field", [0, 1, 2])
def test_shape_code_pose_and_gaze_all_condition_the_dit(field):
    renderer = dit()
    jiggle(renderer, 0.1)
    one = parameters(1)
    two = parameters(1, seed=1)
    name = ("shape_code", "pose", "gaze")[field]
    fields = {n: getattr(two if n == name else one, n) for n in ("shape_code", "pose", "scale", "gaze")}
    with torch.no_grad():
        assert not torch.allclose(
            renderer(features(1), HeadParameters(**fields)), renderer(features(1), one), atol=1e-4
        )


@pytest.mark.parametrize("kind", ["dit", "conv"])
def test_samples_of_a_batch_do_not_see_each_other(kind):
    torch.manual_seed(0)
    renderer = build_renderer(GazeGaussianModel(renderer=kind, dit_depth=2, dit_num_heads=4, dit_head_dim=4), 16)
    jiggle(renderer, 0.1)
    x = features(2, 16)
    p = parameters(2)
    with torch.no_grad():
        both = renderer(x, p)
        for i in range(2):
            torch.testing.assert_close(renderer(x[i : i + 1], p.rows([i]))[0], both[i], atol=1e-5, rtol=1e-5)


def test_renderers_start_by_showing_the_first_three_channels():
    for renderer in (ConvRenderer(attention=True), ConvRenderer(attention=False)):
        dark, bright = (torch.full((1, 32, 8, 8), 0.5) for _ in range(2))
        dark[:, :3] = 0.1
        bright[:, :3] = 0.9
        assert renderer(bright, parameters(1)).mean() - renderer(dark, parameters(1)).mean() > 0.5


def test_blur_keeps_constants_and_spreads_a_point_binomially():
    torch.testing.assert_close(blur(torch.full((1, 2, 5, 6), 0.7)), torch.full((1, 2, 5, 6), 0.7))
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 1
    row = torch.tensor([0.0, 1, 2, 1, 0]) / 4
    torch.testing.assert_close(blur(point)[0, 0], row[:, None] * row)
