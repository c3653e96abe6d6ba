"""A trained GazeGaussian as a function of gaze, head pose, expression and camera: frame after frame.

On CUDA frames are computed in half precision (bf16 where the GPU has it, else fp16), unless the training was in fp32. Against
those in full precision they have a PSNR of 40 dB or more, which a test holds them to.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.data.synthetic.generator import GAZE_PITCH, GAZE_YAW
from gazegaussian.metrics import Judge
from gazegaussian.models.face_stream import CodedFace, FacePoints
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.nn.casts import castable
from gazegaussian.rendering.binning import ListRoom
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.gaze_gaussian_stage import rebuild_gaze_gaussian
from gazegaussian.training.step import autocast, resolve_device, resolve_precision
from gazegaussian.types import Batch, Cameras, Gaussians, HeadParameters


def frame_precision(trained: str, device: torch.device) -> torch.dtype:
    """Pick the type that frames are computed in.

    Args:
        trained: The training's precision; `fp32` stays so, any other means the device's half precision.
        device: CUDA has one; the CPU renders in fp32.
    """
    return resolve_precision("fp32" if trained == "fp32" or device.type != "cuda" else "auto", device)


class FrameRenderer:
    """Renders frames of one model, the host waiting once in each: for the picture.

    What frames share is computed once: what the weights alone decide; what expression and identity give the face, as long as
    they stay; the whole face, as long as the eyes alone move. The first frame of a batch size waits for the length of the
    tile lists, too; the next ones have half as much room again, and are rendered twice where that is too little.

    Args:
        model: On its device. For half precision the weights of its layers are cast to it, so it is for rendering only.
        dtype: Of autocast.
    """

    def __init__(self, model: GazeGaussian, dtype: torch.dtype) -> None:
        self.model = model
        self.device = model.background.device
        self.dtype = dtype
        if dtype != torch.float32:
            _cast_layers(model, dtype)
        self._room = ListRoom()
        self._still: FacePoints | None = None
        self._coded: tuple[HeadParameters, CodedFace] | None = None
        self._face: tuple[HeadParameters, Gaussians] | None = None

    @torch.no_grad()
    def render(self, parameters: HeadParameters, cameras: Cameras) -> Tensor:
        """Render one frame of every row.

        Args:
            parameters: Of B samples, on the CPU, where they are compared with those of the last frame.
            cameras: One per sample.

        Returns:
            Images in [0, 1], on the CPU. [B, 3, H, W]
        """
        with autocast(self.device, self.dtype):
            face = self._face_of(_one_if_same(parameters))
            there = parameters.to(self.device)
            views = cameras.to(self.device)
            while True:
                image = self.model.frame(face, there, views, self._room)
                picture, needed = _to_host(image.float().clamp(0, 1), self._room.needed)
                if needed is None or self._room.fits(needed):
                    return picture

    def _face_of(self, head: HeadParameters) -> Gaussians:
        """Splats of the face: those of the last frame where only the gaze is another."""
        if self._face is None or not _same(self._face[0], head, ("shape_code", "pose", "scale")):
            there = head.to(self.device)
            if self._still is None:
                self._still = self.model.face.still()
            if self._coded is None or not _same(self._coded[0], head, ("shape_code",)):
                self._coded = head, self.model.face.with_code(self._still, there.shape_code)
            coded = self._coded[1]
            written = {name: getattr(coded, name).clone() for name in ("colors", "deltas", "offset")}
            self._face = head, self.model.face.posed(replace(coded, **written), there)[0]
        return self._face[1]


def _cast_layers(model: GazeGaussian, dtype: torch.dtype) -> None:
    """Cast layers once, as autocast would in every frame."""
    for name, values in castable(model).items():
        layer, _, weight = name.rpartition(".")
        setattr(model.get_submodule(layer), weight, nn.Parameter(values.detach().to(dtype), requires_grad=False))


def _same(one: HeadParameters, other: HeadParameters, names: tuple[str, ...]) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def _one_if_same(parameters: HeadParameters) -> HeadParameters:
    """One row, where all rows are of one head that looks into different directions."""
    one = parameters.rows(slice(0, 1))
    return one if _same(one.expanded(len(parameters.gaze)), parameters, ("shape_code", "pose", "scale")) else parameters


def _to_host(image: Tensor, needed: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Copy a picture, and a number, to the CPU: from CUDA into pinned memory, with one wait for both."""
    if image.device.type != "cuda":
        return image, needed
    copies = [_queued(value) for value in (image, needed) if value is not None]
    torch.cuda.current_stream(image.device).synchronize()
    return copies[0], copies[1] if needed is not None else None


def _queued(value: Tensor) -> Tensor:
    """Pinned memory that a value is on its way to."""
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)


class Redirector:
    """Renders a trained GazeGaussian with commanded gaze.

    Args:
        model: Its layers are cast to half precision, where that is what frames are computed in.
        image_size: Pixels.
        device: Where to render.
        trained_gaze: See below.
        trained_precision: `fp32` keeps frames in full precision on CUDA, too.

    Attributes:
        trained_gaze: Largest pitch and yaw (rad) that training saw; None when that is not known without its data.
    """

    def __init__(
        self,
        model: GazeGaussian,
        image_size: int,
        device: torch.device,
        trained_gaze: tuple[float, float] | None = None,
        trained_precision: str = "auto",
    ) -> None:
        self.model = model.to(device)
        self.image_size = image_size
        self.device = device
        self.trained_gaze = trained_gaze
        self.dtype = frame_precision(trained_precision, device)

    @functools.cached_property
    def _frames(self) -> FrameRenderer:
        return FrameRenderer(self.model, self.dtype)

    def image(self, batch: Batch, gaze: Tensor | None = None, pose: Tensor | None = None) -> Tensor:
        """Render the people of a batch.

        Args:
            batch: Labels and cameras of the images, on the CPU; a batch of one is repeated for every gaze.
            gaze: Commanded pitch and yaw (rad), head frame; None keeps the labels. [B, 2]
            pose: Commanded head to world; None keeps the labels. [B, 6]

        Returns:
            Images in [0, 1], on the CPU. [B, 3, H, W]
        """
        rows = batch.parameters.gaze.shape[0]
        count = max(rows, *(0 if given is None else given.shape[0] for given in (gaze, pose)))
        parameters = batch.parameters
        cameras = batch.cameras
        if rows == 1 and count > 1:
            parameters = parameters.expanded(count)
            cameras = cameras.expanded(count)
        if gaze is not None:
            parameters = replace(parameters, gaze=gaze)
        if pose is not None:
            parameters = replace(parameters, pose=pose)
        return self._frames.render(parameters, cameras)


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
        precision = content["config"].get("training", {}).get("precision", "auto")
        synthetic = root is None or (Path(root) / SETTINGS_FILE).is_file()
    return Redirector(model, model.image_size, where, (GAZE_PITCH, GAZE_YAW) if synthetic else None, precision)
