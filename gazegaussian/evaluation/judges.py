"""Networks that read renders and targets in an evaluation; no loss uses them."""

from __future__ import annotations

from torch import Tensor, nn

from gazegaussian.evaluation.gaze_networks import GazeNetwork
from gazegaussian.models.frozen import FrozenNetwork


class Judges:
    """Implements `gazegaussian.metrics.Judge`.

    Args:
        judge: Our frozen judge: perceptual distance, features for FID, and what `network` does not read.
        network: A user's gaze network of a published layout.

    Attributes:
        reads_labels: Gaze is read in the labels' frame, the head's; published networks read in the camera's.
    """

    def __init__(self, judge: FrozenNetwork, network: GazeNetwork | None = None) -> None:
        self.judge = judge
        self.network = network
        self.reads_labels = network is None
        self.gaze_by = judge.description if network is None else network.description
        self.head_by = network.description if network is not None and network.reads_head else judge.description

    def perceptual(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance per image. [B]."""
        return self.judge.perceptual(a, b)

    def gaze(self, image: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Pitch and yaw of the gaze, radians. [B, 2]."""
        return (self.network or self.judge).gaze(image, landmarks_2d)

    def head_pose(self, image: Tensor) -> Tensor:
        """Pitch and yaw of the head, radians. [B, 2]."""
        if self.network is not None and self.network.reads_head:
            return self.network.head_pose(image)
        return self.judge.head_pose(image)


class FaceFeatures(nn.Module):
    """The judge's last face features, averaged over the image: what FID compares where there is no Inception."""

    def __init__(self, judge: FrozenNetwork) -> None:
        super().__init__()
        self.face = judge.face
        self.num_features = judge.face.out_channels

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, 80]."""
        return self.face(image * 2 - 1)[-1].mean((2, 3))
