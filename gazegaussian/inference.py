"""A trained GazeGaussian as a function of gaze, head pose, expression and camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.data.synthetic.generator import GAZE_PITCH, GAZE_YAW
from gazegaussian.metrics import Judge
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.gaze_gaussian_stage import rebuild_gaze_gaussian
from gazegaussian.training.step import resolve_device
from gazegaussian.types import Batch


class Redirector:
    """Renders a trained GazeGaussian with commanded gaze.

    Attributes:
        trained_gaze: Largest pitch and yaw (rad) that training saw; None when that is not known without its data.
    """

    def __init__(
        self,
        model: GazeGaussian,
        image_size: int,
        device: torch.device,
        trained_gaze: tuple[float, float] | None = None,
    ) -> None:
        self.model = model.to(device)
        self.image_size = image_size
        self.device = device
        self.trained_gaze = trained_gaze

    @torch.no_grad()
    def image(self, batch: Batch, gaze: Tensor | None = None, pose: Tensor | None = None) -> Tensor:
        """Render the people of a batch.

        Args:
            batch: Labels and cameras of the images; a batch of one is repeated for every gaze.
            gaze: Commanded pitch and yaw (rad), head frame; None keeps the labels. [B, 2]
            pose: Commanded head to world; None keeps the labels. [B, 6]

        Returns:
            Images in [0, 1]. [B, 3, H, W]
        """
        count = max(batch.image.shape[0], 0 if gaze is None else gaze.shape[0], 0 if pose is None else pose.shape[0])
        if batch.image.shape[0] == 1 and count > 1:
            batch = batch.rows([0] * count)
        batch = batch.to(self.device)
        parameters = batch.parameters
        if gaze is not None:
            parameters = replace(parameters, gaze=gaze.to(self.device))
        if pose is not None:
            parameters = replace(parameters, pose=pose.to(self.device))
        return self.model(parameters, batch.cameras, layers=False).image.float().clamp(0, 1).cpu()


def load_judge(data: Path) -> Judge | None:
    """Load the judge where it can read: for synthetic heads, which it was trained on; None for other data."""
    return load_frozen("judge") if (Path(data) / SETTINGS_FILE).is_file() else None


def load_redirector(checkpoint: Path, device: str = "auto") -> Redirector:
    """Load a GazeGaussian checkpoint for rendering.

    Raises:
        CheckpointError: It cannot be used.
        DeviceError: The device is not there.
    """
    where = resolve_device(device)
    content = load_checkpoint(Path(checkpoint), "gazegaussian")
    with contents_of(checkpoint):
        model = rebuild_gaze_gaussian(content)
        root = content["config"]["data"]["root"]
        synthetic = root is None or (Path(root) / SETTINGS_FILE).is_file()
    return Redirector(model, model.image_size, where, (GAZE_PITCH, GAZE_YAW) if synthetic else None)
