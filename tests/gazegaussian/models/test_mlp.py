"""MLP and positional encoding, alone and against the published networks."""

import math

import pytest
import torch
from fixtures_support import published_arrays

from gazegaussian.nn.encoding import encoded_dim, positional_encoding
from gazegaussian.nn.mlp import MLP


def published_mlp(state, prefix):
    """Build our MLP of the sizes and with the weights of a published one (1x1 convolutions)."""
    layers = []
    while f"{prefix}.conv{len(layers)}.weight" in state:
        layers.append((state[f"{prefix}.conv{len(layers)}.weight"][..., 0], state[f"{prefix}.conv{len(layers)}.bias"]))
    mlp = MLP(layers[0][0].shape[1], [weight.shape[0] for weight, _ in layers[:-1]], layers[-1][0].shape[0])
    with torch.no_grad():
        for layer, (weight, bias) in zip(mlp.layers, layers, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return mlp


def test_encoding_keeps_the_input_and_doubles_frequencies():
    x = torch.tensor([[0.3, -1.1]])
    encoded = positional_encoding(x)
    assert encoded.shape[-1] == encoded_dim(2) == 18
    assert torch.equal(encoded[:, :2], x)
    for k in range(4):
        assert encoded[0, 2 + 4 * k].item() == pytest.approx(math.sin(0.3 * 2**k), abs=1e-6)
        assert encoded[0, 5 + 4 * k].item() == pytest.approx(math.cos(-1.1 * 2**k), abs=1e-6)
    assert positional_encoding(torch.zeros(2, 5, 3), 2).shape == (2, 5, encoded_dim(3, 2))


@pytest.mark.parametrize(("hidden", "skip", "widths"), [([8], 1, [5, 13]), ([8, 9], 2, [5, 8, 14]), ([7] * 5, 3, None)])
def test_input_returns_in_the_middle_after_the_hidden_vector(hidden, skip, widths):
    mlp = MLP(5, hidden, 3)
    assert mlp.skip == skip
    if widths is not None:
        assert [layer.in_features for layer in mlp.layers] == widths
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    h = x
    for i, layer in enumerate(mlp.layers):
        h = layer(torch.cat([h, x], -1) if i == skip else h)
        h = torch.where(h > 0, h, 0.01 * h) if i < len(hidden) else h
    torch.testing.assert_close(mlp(x), h)


@pytest.mark.parametrize("hidden", [[8], [8, 8], [8] * 5])
@pytest.mark.parametrize("shared", [True, False])
def test_a_condition_equals_concatenating_it_to_every_point(hidden, shared):
    torch.manual_seed(0)
    mlp = MLP(5 + 4, hidden, 3)
    points = torch.randn(6, 5) if shared else torch.randn(2, 6, 5)
    condition = torch.randn(2, 4)
    points.requires_grad_()
    whole = torch.cat([points.expand(2, 6, 5), condition[:, None].expand(2, 6, 4)], -1)
    torch.testing.assert_close(mlp(points, condition), mlp(whole))
    inputs = [points, *mlp.parameters()]
    ours = torch.autograd.grad(mlp(points, condition).square().sum(), inputs)
    theirs = torch.autograd.grad(mlp(whole).square().sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_geometry_network_agrees_with_the_published_code():
    data = published_arrays("meshhead_io.npz")
    mlp = published_mlp(published_arrays("meshhead_state.npz"), "geo_mlp")
    output = torch.tanh(mlp(positional_encoding(data["query_pts"])))
    torch.testing.assert_close(output[..., :1], data["query_sdf"], atol=1e-4, rtol=0)


def test_deformation_network_agrees_with_the_published_code():
    data = published_arrays("meshhead_io.npz")
    mlp = published_mlp(published_arrays("meshhead_state.npz"), "shape_deform_mlp")
    output = torch.tanh(mlp(positional_encoding(data["neutral_verts"]), data["shape_code"]))
    torch.testing.assert_close(output, data["recon_shape_deform"], atol=1e-4, rtol=0)


def test_silent_inputs_start_without_influence_and_learn():
    torch.manual_seed(0)
    network = MLP(12, [16, 16], 4, silent=5)
    points = torch.randn(7, 7)
    codes = torch.randn(2, 5)
    torch.testing.assert_close(network(points, codes), network(points, 3 * codes))
    network(points, codes).square().sum().backward()
    for layer in (network.layers[0], network.layers[network.skip]):
        assert layer.weight.grad[:, -5:].abs().max() > 0
