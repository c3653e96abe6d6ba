"""Gaze networks of the published layouts: ResNet-50 (the paper's judge) and VGG-16 (the paper's guide).

Their weights are the user's (`{model_state: state}` or a plain state). Written here without torchvision, with the same
entries: `gaze_network.*` is a ResNet-50 (He et al. 2016) and `gaze_fc.0` its head with 4 outputs (gaze, head) or 2 (gaze);
`vgg16.*` holds the convolutions of VGG-16 (Simonyan and Zisserman 2015), `FC1` to `FC3` the head. Both read RGB images of
224 px with ImageNet's mean and deviation and give (pitch, yaw) in the camera, radians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gazegaussian.errors import CheckpointError
from gazegaussian.training.checkpoint_files import require_checkpoint
from gazegaussian.training.checkpoints import read_weights

INPUT_SIZE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET50_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride
VGG16_CONVOLUTIONS = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)
EXPANSION = 4  # of a bottleneck's width


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 4 * width, H / stride, W / stride]."""
        hidden = torch.relu(self.bn1(self.conv1(x)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        return torch.relu(self.bn3(self.conv3(hidden)) + self.downsample(x))


class ResNet50(nn.Module):
    """The backbone without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for number, (width, blocks, stride) in enumerate(RESNET50_STAGES, start=1):
            stage = [
                Bottleneck(inputs if i == 0 else EXPANSION * width, width, stride if i == 0 else 1)
                for i in range(blocks)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs = EXPANSION * width
        self.out_features = inputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 2048]."""
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, len(RESNET50_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3))


class GazeNetwork(nn.Module):
    """What both layouts share: normalisation and reading.

    Attributes:
        reads_head: Whether the head's direction is among the outputs.
        description: One line for reports.
    """

    layout = ""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.reads_head = outputs == 4
        self.description = self.layout
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def outputs(self, x: Tensor) -> Tensor:
        """Angles of normalised images [B, 3, 224, 224]. Radians. [B, 4 or 2]."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Angles of images [B, 3, H, W] in [0, 1]. Radians. [B, 4 or 2]."""
        size = (INPUT_SIZE, INPUT_SIZE)
        small = nn.functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        return self.outputs((small - self.mean) / self.std)

    def gaze(self, image: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Read pitch and yaw of the gaze; `landmarks_2d` is not looked at. [B, 2]."""
        return self(image)[:, :2]

    def head_pose(self, image: Tensor) -> Tensor:
        """Read pitch and yaw of the head. [B, 2]."""
        assert self.reads_head
        return self(image)[:, 2:]


class ResNetGaze(GazeNetwork):
    """ResNet-50 with a linear head."""

    layout = "ResNet-50"

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.gaze_network = ResNet50()
        self.gaze_fc = nn.Sequential(nn.Linear(self.gaze_network.out_features, outputs))

    def outputs(self, x: Tensor) -> Tensor:
        """Angles of normalised images."""
        return self.gaze_fc(self.gaze_network(x))


class VggGaze(GazeNetwork):
    """VGG-16's convolutions, their mean over the image, three layers, and tanh times pi / 2."""

    layout = "VGG-16"

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        layers: list[nn.Module] = []
        inputs = 3
        for width in VGG16_CONVOLUTIONS:
            if width is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
        self.vgg16 = nn.Sequential(*layers)
        self.FC1 = nn.Linear(inputs, 64)
        self.FC2 = nn.Linear(64, 64)
        self.FC3 = nn.Linear(64, outputs)

    def outputs(self, x: Tensor) -> Tensor:
        """Angles of normalised images."""
        hidden = nn.functional.leaky_relu(self.FC1(self.vgg16(x).mean((2, 3))), 0.2)
        hidden = nn.functional.leaky_relu(self.FC2(hidden), 0.2)
        return math.pi / 2 * torch.tanh(self.FC3(hidden))


LAYOUTS: dict[str, type[GazeNetwork]] = {"gaze_fc.0.weight": ResNetGaze, "FC3.weight": VggGaze}  # by its last layer
UNUSED = "gaze_network.fc."  # ImageNet's classifier, which the published network carries and never runs


def load_gaze_network(path: Path) -> GazeNetwork:
    """Load a gaze network of a published layout: evaluation mode, no gradients into its weights.

    Args:
        path: Checkpoint; only tensors and plain values are read from it.

    Raises:
        CheckpointError: The file is missing or no such checkpoint, or its entries are not those of the layout.
    """
    state = _read_state(path)
    last = next((name for name in LAYOUTS if name in state), None)
    if last is None or state[last].shape[0] not in (2, 4):
        raise CheckpointError(
            f"{path}: expected a gaze network of the published layouts (ResNet-50 with gaze_fc.0 or VGG-16 with FC1 to FC3, "
            f"2 or 4 outputs), found entries such as {', '.join(list(state)[:3]) or 'none'}; give --gaze-network another file"
        )
    network = LAYOUTS[last](state[last].shape[0])
    _load(network, state, path)
    network.description = f"{network.layout} from {Path(path).name}"
    return network.eval().requires_grad_(False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without `module.` of data-parallel training."""
    require_checkpoint(Path(path), "gaze network", "Give --gaze-network an existing checkpoint.")
    try:
        content = read_weights(Path(path))
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is no readable gaze network (a file of torch.save that holds only weights and plain values is expected); "
            "copy it again or give --gaze-network another file"
        ) from error
    for name in ("model_state", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        return {}
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def _load(network: GazeNetwork, state: dict[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # files of old torch lack them
    missing = sorted(own.keys() - state.keys() - counters)
    strange = sorted(name for name in state.keys() - own.keys() if not name.startswith(UNUSED))
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    for problem, names in (("without", missing), ("with unknown", strange), ("with other shapes of", sorted(shapes))):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{path}: expected the entries of a published {network.layout} gaze network, found it {problem} "
                f"{', '.join(names[:3])}{more}; give --gaze-network another file"
            )
    network.load_state_dict({name: value for name, value in state.items() if name in own}, strict=False)
