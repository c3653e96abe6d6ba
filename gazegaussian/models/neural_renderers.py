"""Neural renderers: a 32-channel feature map becomes an image two or four times as large.

`conv` is the published renderer (1x1 convolutions, pixel shuffle, blur, attention on the shape code). `dit` refines the
map with DiT blocks and then takes the same upsampling path; at initialisation both paths are equal.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianModel
from gazegaussian.dimensions import FEATURE_CHANNELS, SHAPE_CODE_DIM
from gazegaussian.nn.dit import DiTRefiner
from gazegaussian.nn.encoding import encoded_dim, positional_encoding
from gazegaussian.types import HeadParameters
from gazegaussian.utils.constants import constant

UPSAMPLING_LEVELS = 2  # published: the image is four times as large as the map
NEGATIVE_SLOPE = 0.2
COLOR_MARGIN = 0.01  # colours nearer to black or white count as this far away: their logit would be infinite
CONDITION_DIM = SHAPE_CODE_DIM + encoded_dim(6) + encoded_dim(2)


def head_condition(parameters: HeadParameters) -> Tensor:
    """What the DiT is told: shape code, encoded head pose and gaze. [B, CONDITION_DIM]."""
    return torch.cat(
        [parameters.shape_code, positional_encoding(parameters.pose), positional_encoding(parameters.gaze)], dim=-1
    )


def blur(x: Tensor) -> Tensor:
    """Binomial 3x3 filter [1, 2, 1] x [1, 2, 1] / 16, reflected border. [B, C, H, W]."""
    taps = constant((0.25, 0.5, 0.25), x)
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3).contiguous()
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return nn.functional.conv2d(padded, kernel, groups=x.shape[1])


class PixelLayer(nn.Conv2d):
    """A 1x1 convolution as the matrix product that it is: with one thread torch's own takes longer with channels last.

    Args:
        channels: In.
        outputs: Channels out.
        activated: Leaky ReLU after it.
    """

    def __init__(self, channels: int, outputs: int, activated: bool = False) -> None:
        super().__init__(channels, outputs, 1)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K, H, W] with channels last; reads a map with channels last without a copy."""
        pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        out = nn.functional.linear(pixels, self.weight.flatten(1), self.bias)
        if self.activated:  # in place, so before it is seen as a map: the gradient of a view would be copied
            out = nn.functional.leaky_relu(out, NEGATIVE_SLOPE, inplace=True)
        return out.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)


class UpsampleBlock(nn.Module):
    """Twice the size by pixel shuffle, with the input repeated as shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = PixelLayer(channels, 2 * channels, activated=True)
        self.shuffle = PixelLayer(2 * channels, 4 * channels, activated=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        # Copies of the input: were it broadcast, its gradient would be a sum over values that lie apart.
        out = self.shuffle(self.expand(x)) + torch.cat([x] * 4, dim=1)
        return blur(nn.functional.pixel_shuffle(out, 2))


class ShapeAttention(nn.Module):
    """Cross-attention with the shape code as the query and the map's pixels as keys and values.

    The weighted mean of the values is added to every pixel (published). Shared by all levels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.keys = nn.Linear(channels, SHAPE_CODE_DIM, bias=False)
        self.values = nn.Linear(channels, channels)

    def forward(self, x: Tensor, shape_code: Tensor) -> Tensor:
        """[B, C, H, W], [B, 144] -> [B, C, H, W]."""
        pixels = x.flatten(2).transpose(1, 2)  # [B, P, C]
        # (K p + b) . c = p . (K^T c) + b . c; the constant drops out of the softmax, so there is no bias to learn.
        score = torch.einsum("bpc,bc->bp", pixels, shape_code @ self.keys.weight) / SHAPE_CODE_DIM**0.5
        mean = torch.einsum("bp,bpc->bc", score.softmax(dim=1), pixels)  # the values are linear in the pixels
        return x + self.values(mean)[:, :, None, None]


class ConvRenderer(nn.Module):
    """The published upsampling path; with `attention` the published renderer.

    Args:
        attention: Attend to the shape code after every level.
        channels: Of the feature map; halved by every level down to 32.
        levels: How often the size is doubled.
        exact_colors: Begin with the map's first three channels as they are; else with the sigmoid of 4 c - 2, which shows
            white as 0.88 (published).
    """

    def __init__(
        self,
        attention: bool,
        channels: int = FEATURE_CHANNELS,
        levels: int = UPSAMPLING_LEVELS,
        exact_colors: bool = False,
    ) -> None:
        super().__init__()
        self.exact_colors = exact_colors
        widths = [max(channels >> level, FEATURE_CHANNELS) for level in range(levels + 1)]
        self.upsample = nn.ModuleList(UpsampleBlock(width) for width in widths[:-1])
        self.refine = nn.ModuleList(PixelLayer(a, b, activated=True) for a, b in itertools.pairwise(widths))
        self.to_rgb = nn.ModuleList(PixelLayer(width, 3) for width in widths)
        assert not attention or widths[1] == widths[-1], "the attention is shared by all levels"
        self.attention = ShapeAttention(widths[-1]) if attention else None
        self._start_from_colors()

    def _start_from_colors(self) -> None:
        """Begin by showing the first three channels, which are colours; 4 c - 2 is close to their logit."""
        with torch.no_grad():
            for i, layer in enumerate(self.to_rgb):
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                layer.weight *= 0.1
                nn.init.zeros_(layer.bias)
                if i == 0 and not self.exact_colors:
                    layer.weight[:, :3, 0, 0] += 4 * torch.eye(3)
                    layer.bias -= 2

    def blocks_and_path(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the DiT blocks (none here) and of the upsampling path."""
        return [], list(self.parameters())

    def forward(self, features: Tensor, parameters: HeadParameters) -> Tensor:
        """[B, 32, h, w] -> image [B, 3, H, W] in [0, 1]; H = h times 2 to the number of levels."""
        # Pixels are rows here: 1x1 convolutions are matrix products and the blur runs along the channels. On the CPU the
        # path takes two thirds of the time it takes with channels first; tensor cores want the same layout.
        x = features.contiguous(memory_format=torch.channels_last)
        rgb = self.to_rgb[0](x)
        if self.exact_colors:
            rgb = rgb + torch.logit(x[:, :3].clamp(COLOR_MARGIN, 1 - COLOR_MARGIN))
        for upsample, refine, to_rgb in zip(self.upsample, self.refine, self.to_rgb[1:], strict=True):
            x = refine(upsample(x))
            if self.attention is not None:
                x = self.attention(x, parameters.shape_code)
            rgb = blur(nn.functional.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False))
            rgb = rgb + to_rgb(x)
        return torch.sigmoid(rgb)


class DiTRenderer(nn.Module):
    """DiT refinement of the map, then the upsampling path.

    Args:
        config: Depth, heads, head width, patch size.
        side: Side of the feature map.
    """

    def __init__(self, config: GazeGaussianModel, side: int) -> None:
        super().__init__()
        self.refiner = DiTRefiner(
            FEATURE_CHANNELS,
            side,
            config.dit_patch_size,
            config.dit_depth,
            config.dit_num_heads,
            config.dit_head_dim,
            CONDITION_DIM,
        )
        self.path = _upsampling_path(config, attention=False)

    def blocks_and_path(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the DiT blocks and of the upsampling path."""
        return list(self.refiner.parameters()), list(self.path.parameters())

    def forward(self, features: Tensor, parameters: HeadParameters) -> Tensor:
        """[B, 32, h, w] -> image [B, 3, H, W] in [0, 1]."""
        return self.path(self.refiner(features, head_condition(parameters)), parameters)


def build_renderer(config: GazeGaussianModel, side: int) -> DiTRenderer | ConvRenderer:
    """Build the configured renderer for a feature map of `side` pixels."""
    return DiTRenderer(config, side) if config.renderer == "dit" else _upsampling_path(config, attention=True)


def _upsampling_path(config: GazeGaussianModel, attention: bool) -> ConvRenderer:
    """The path from the configured map to the image."""
    levels = config.feature_downscale.bit_length() - 1  # every level doubles the size
    return ConvRenderer(attention, levels=levels, exact_colors=config.exact_colors)
