"""Diffusion-transformer blocks on a feature map (Peebles and Xie 2023, adaLN-Zero), used here as a residual refiner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gazegaussian.nn.mlp import to_autocast

MLP_RATIO = 2


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive layer norm: x (1 + scale) + shift. [B, T, D], [B, D], [B, D]."""
    return x * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    """Attention and MLP, each behind a gate that starts at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(approximate="tanh"), nn.Linear(MLP_RATIO * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        last = self.modulation[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        """Refine tokens [B, T, D] under a condition [B, D] after the SiLU of its modulation, which all blocks share."""
        # In the tokens' type at once: under autocast each part's gradient would be cast on its own.
        modulation = self.modulation[1](activated).to(x.dtype)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        x = x + gate1[:, None] * self._attend(modulate(self.norm1(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(self.norm2(x), shift2, scale2))

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, T, d]
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.projection(attended.transpose(1, 2).reshape(batch, tokens, width))


class DiTRefiner(nn.Module):
    """Patchify a square map, run DiT blocks, add the result to the map; the identity at initialisation.

    Args:
        channels: Of the map.
        side: Height and width of the map; a multiple of `patch`.
        patch: Patch size in map pixels.
        depth: Number of blocks.
        heads: Attention heads; the token width is heads * head_dim.
        head_dim: Channels per head.
        condition_dim: Length of the condition vector.
    """

    def __init__(
        self, channels: int, side: int, patch: int, depth: int, heads: int, head_dim: int, condition_dim: int
    ) -> None:
        super().__init__()
        width = heads * head_dim
        self.patch = patch
        self.grid = side // patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.positions = nn.Parameter(torch.randn(1, self.grid * self.grid, width) * 0.02)
        self.condition = nn.Sequential(nn.Linear(condition_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.unembed = nn.Linear(width, channels * patch * patch)
        nn.init.zeros_(self.unembed.weight)
        nn.init.zeros_(self.unembed.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Refine a map. [B, C, H, W], [B, condition_dim] -> [B, C, H, W]."""
        batch, channels = features.shape[:2]
        g = self.grid
        p = self.patch
        x = features.reshape(batch, channels, g, p, g, p).permute(0, 2, 4, 1, 3, 5)  # [B, g, g, C, p, p]
        x = self.embed(x.reshape(batch, g * g, channels * p * p)) + self.positions  # [B, T, D]
        # The SiLU that begins every modulation.
        activated = to_autocast(nn.functional.silu(self.condition(condition)))
        for block in self.blocks:
            x = block(x, activated)
        shift, scale = self.modulation[1](activated).chunk(2, dim=-1)
        x = self.unembed(modulate(self.norm(x), shift, scale))  # [B, T, C p p]
        x = x.reshape(batch, g, g, channels, p, p).permute(0, 3, 1, 4, 2, 5)  # [B, C, g, p, g, p]
        return features + x.reshape(batch, channels, g * p, g * p)
