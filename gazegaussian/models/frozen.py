"""The two frozen networks: the guide (losses) and the judge (metrics).

Both read gaze from the eyes and head pose from the whole face, and their face features give a perceptual distance
(unit-normalised channels, squared difference, mean over layers: Zhang et al. 2018, eq. 1, without learned weights; it is
not LPIPS and is never called so). They differ in architecture and were trained on different synthetic people, so that a
model which learns to please the guide is not judged by the guide. `python -m gazegaussian.reference_networks.train` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.errors import CheckpointError, first_line
from gazegaussian.models.eye_crop import CROP_HEIGHT, CROP_WIDTH, STEADY_LANDMARKS, crop_eyes, layout

WEIGHTS = Path(__file__).parent / "weights"
PERCEPTUAL_FLOOR = 0.1  # squared norm below which features count as absent: directions of almost nothing are noise
FACE_SIZE = 128  # head pose is read at this size; perceptual features at the image's own


class PlainBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU (the guide)."""

    folds = (("conv", "norm"),)

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        return nn.functional.relu(self.norm(self.conv(x)), inplace=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, SiLU (the judge; He et al. 2016)."""

    folds = (("conv1", "norm1"), ("conv2", "norm2"))

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        hidden = nn.functional.silu(self.norm1(self.conv1(x)))
        return nn.functional.silu(self.norm2(self.conv2(hidden)) + self.shortcut(x))


class Tower(nn.Module):
    """A stack of blocks whose outputs after each halving are kept."""

    def __init__(self, block: type[nn.Module], inputs: int, plan: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        widths = [inputs, *(width for width, _ in plan)]
        self.blocks = nn.ModuleList(block(a, b, stride) for a, (b, stride) in zip(widths[:-1], plan, strict=True))
        self.out_channels = widths[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one map per block."""
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


class FrozenNetwork(nn.Module):
    """Gaze, head pose and perceptual distance.

    Args:
        name: `guide` or `judge`; decides the architecture.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.metadata: dict[str, str] = {}
        plain = name == "guide"
        self.negative_slope = 0.1 if plain else 0.0  # part of the architecture: weights fit one slope only
        block: type[nn.Module] = PlainBlock if plain else ResidualBlock
        eye_plan = (
            [(24, 1), (32, 2), (48, 1), (64, 2), (64, 1), (96, 2)] if plain else [(24, 1), (40, 2), (64, 2), (80, 2)]
        )
        face_plan = [(16, 2), (32, 2), (32, 1), (64, 2), (96, 2)] if plain else [(16, 2), (24, 2), (48, 2), (80, 2)]
        self.eyes = Tower(block, 6, eye_plan)
        self.face = Tower(block, 3, face_plan)
        eye_features = self.eyes.out_channels * (CROP_HEIGHT // 8) * (CROP_WIDTH // 8)
        self.eye_hidden = nn.Linear(eye_features + 2 * len(STEADY_LANDMARKS), 128)
        self.gaze_head = nn.Linear(128, 2)
        face_features = self.face.out_channels * 4 * 4
        self.face_hidden = nn.Linear(face_features, 128)
        self.pose_head = nn.Linear(128, 2)
        self.code_head = nn.Linear(128, SHAPE_CODE_DIM)  # auxiliary target: makes the features know people
        self.dropout = nn.Dropout(0.2)

    @property
    def description(self) -> str:
        """One line for reports."""
        kind = "plain" if self.name == "guide" else "residual"
        return f"{self.name} ({kind} convolutions, synthetic people of seed {self.metadata.get('seed', '?')})"

    def gaze_from_crops(self, crops: Tensor, steady: Tensor) -> Tensor:
        """Read gaze from eye crops [B, 6, 40, 64] in [0, 1] and steady landmarks [B, 30, 2]. Radians. [B, 2]."""
        maps = self.eyes(crops * 2 - 1)[-1].flatten(1)
        hidden = self.eye_hidden(self.dropout(torch.cat([maps, steady.flatten(1)], dim=-1)))
        hidden = nn.functional.leaky_relu(hidden, self.negative_slope)
        return self.gaze_head(hidden)

    def gaze(self, image: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Read the gaze.

        Args:
            image: In [0, 1]. [B, 3, H, W]
            landmarks_2d: Pixels of that image; of them only jaw, nose and eye corners are looked at. [B, 68, 2]

        Returns:
            Pitch and yaw in the head frame, radians. [B, 2]
        """
        steady = layout(landmarks_2d)
        return self.gaze_from_crops(crop_eyes(image, landmarks_2d, steady=steady), steady.positions)

    def face_readings(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Head pose [B, 2] (rad) and shape code [B, 144] of faces [B, 3, 128, 128] in [0, 1]."""
        pooled = nn.functional.adaptive_avg_pool2d(self.face(face * 2 - 1)[-1], 4).flatten(1)
        hidden = nn.functional.leaky_relu(self.face_hidden(self.dropout(pooled)), self.negative_slope)
        return self.pose_head(hidden), self.code_head(hidden)

    def head_pose(self, image: Tensor) -> Tensor:
        """Read pitch and yaw of the head in the camera, radians, from an image of any size. [B, 3, H, W] -> [B, 2]."""
        return self.face_readings(nn.functional.interpolate(image, size=FACE_SIZE, mode="area"))[0]

    def perceptual(self, a: Tensor, b: Tensor) -> Tensor:
        """Perceptual distance of images in [0, 1], differentiable in both.

        Args:
            a: K images for each of `b`: those that are B rows apart. [K B, 3, H, W]
            b: Looked at once, and without gradients unless it has some. [B, 3, H, W]

        Returns:
            Distance of each of `a` from its `b`. [K B]
        """
        layers = []
        for first, second in zip(self._units(a), self._units(b), strict=True):
            apart = first.unflatten(0, (-1, len(b))) - second  # [K, B, C, h, w]
            layers.append(apart.square().sum(2).mean((2, 3)).flatten())
        return torch.stack(layers).mean(0)

    def _units(self, image: Tensor) -> list[Tensor]:
        """Face features of unit length (or less, where they are faint). [B, 3, H, W] -> layers of [B, C, h, w]."""
        maps = self.face(image * 2 - 1)
        return [x * (x.square().sum(1, keepdim=True) + PERCEPTUAL_FLOOR).rsqrt() for x in maps]

    @torch.no_grad()
    def fold(self) -> None:
        """Put the (frozen) batch normalisations into the convolutions before them."""
        for module in self.modules():
            for conv, norm in getattr(module, "folds", ()):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())


def load_frozen(name: str, device: torch.device | str = "cpu") -> FrozenNetwork:
    """Load the guide or the judge: evaluation mode, no gradients into its weights.

    Args:
        name: `guide` or `judge`.
        device: Where to.

    Raises:
        CheckpointError: The weights file is missing or damaged.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"No weights at {path}. Make them with `python -m gazegaussian.reference_networks.train {name}`."
        )
    network = FrozenNetwork(name)
    try:
        with safe_open(path, framework="pt") as content:
            state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no mapping
            network.metadata = dict(content.metadata() or {})
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged ({first_line(error)}). Restore it from git or train it again."
        ) from error
    network.eval()
    network.fold()
    return network.to(device).requires_grad_(False)
