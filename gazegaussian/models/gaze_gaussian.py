"""GazeGaussian: two streams of Gaussians, splatted to feature maps and turned into images (stage two)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianModel, MeshHeadModel, OptimConfig
from gazegaussian.dimensions import FEATURE_CHANNELS
from gazegaussian.errors import ConfigError
from gazegaussian.geometry.rotations import full_precision, matrix_to_quat, quat_multiply
from gazegaussian.models.face_stream import FaceStream
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.models.neural_renderers import build_renderer
from gazegaussian.models.streams import (
    COLOR_CHANNELS,
    EyePoints,
    EyeStream,
    StreamOutput,
    StreamPoints,
    split_points,
)
from gazegaussian.rendering import render_splats
from gazegaussian.rendering.binning import ListRoom
from gazegaussian.types import Cameras, Gaussians, HeadParameters


@dataclass(frozen=True)
class GazeLayers:
    """The face alone and the eyes alone, for the losses; images are None where only the maps were asked for."""

    face_image: Tensor | None  # [B, 3, H, W]
    face_features: Tensor  # [B, 32, h, w]
    eyes_image: Tensor | None
    eyes_features: Tensor
    face: StreamOutput
    eyes: StreamOutput


@dataclass(frozen=True)
class GazeRendering:
    """What one forward pass gives; `layers` is None when only the whole head was asked for."""

    image: Tensor  # [B, 3, H, W] in [0, 1]
    features: Tensor  # [B, 32, h, w]; h = H / feature_downscale
    layers: GazeLayers | None = None

    def layer_images(self) -> dict[str, Tensor]:
        """Renders of `head` and, where they were asked for, of `face` and `eyes`."""
        assert self.layers is not None
        if self.layers.face_image is None or self.layers.eyes_image is None:
            return {"head": self.image}
        return {"head": self.image, "face": self.layers.face_image, "eyes": self.layers.eyes_image}

    def layer_features(self) -> dict[str, Tensor]:
        """Feature maps of `head`, `face` and `eyes`."""
        assert self.layers is not None
        return {"head": self.features, "face": self.layers.face_features, "eyes": self.layers.eyes_features}

    def streams(self) -> tuple[StreamOutput, StreamOutput]:
        """Face and eye stream."""
        assert self.layers is not None
        return self.layers.face, self.layers.eyes


class GazeGaussian(nn.Module):
    """The model of stage two.

    Args:
        config: Renderer and its sizes.
        mesh_config: Widths of the MeshHead it starts from.
        image_size: Pixels of the (square) image.
        face_points: Gaussians of the face stream.
        eye_points: Gaussians of the eye stream.
    """

    variant = "default"
    face_class: type[FaceStream] = FaceStream
    eye_class: type[EyePoints] = EyeStream

    def __init__(
        self, config: GazeGaussianModel, mesh_config: MeshHeadModel, image_size: int, face_points: int, eye_points: int
    ) -> None:
        super().__init__()
        assert config.variant == self.variant, "gazegaussian.models.variants picks the class"
        self.config = config
        self.mesh_config = mesh_config
        self.image_size = image_size
        self.face = self.face_class(mesh_config, face_points)
        self.eyes = self.eye_class(mesh_config, eye_points)
        for stream in (self.face, self.eyes):
            stream.add_code_basis(config.code_basis_rank)
        self.renderer = build_renderer(config, image_size // config.feature_downscale)
        self.splat_backend = "auto"  # a training may choose another; a checkpoint does not keep it
        self.background: Tensor
        self.register_buffer("background", self._background(), persistent=False)

    @classmethod
    def from_mesh_head(cls, mesh_head: MeshHead, config: GazeGaussianModel, image_size: int) -> GazeGaussian:
        """Start from a trained MeshHead: its surface, its features, its branches."""
        face, eyes = cls._split(mesh_head, config)
        if min(len(face.means), len(eyes.means)) < 4:
            raise ConfigError(
                f"The MeshHead's surface gives {len(face.means)} face and {len(eyes.means)} eye points; at least 4 of "
                "each are needed. Train the MeshHead longer or raise eye_subdivisions."
            )
        mesh_config = mesh_head.config
        if mesh_head.variant != cls.variant:
            mesh_config = mesh_config.model_copy(update={"variant": cls.variant, "eye_motion": "rotate"})
        model = cls(config, mesh_config, image_size, len(face.means), len(eyes.means))
        model.face.initialise(face, mesh_head)
        model.eyes.initialise(eyes, mesh_head)
        return model

    @classmethod
    def _split(cls, mesh_head: MeshHead, config: GazeGaussianModel) -> tuple[StreamPoints, StreamPoints]:
        """Points of the face and of the eyes."""
        return split_points(mesh_head, config)

    def _background(self) -> Tensor:
        """What is behind the splats: white in the channels that are an image. [32]."""
        return (torch.arange(FEATURE_CHANNELS) < COLOR_CHANNELS).float()

    def _film(self, cameras: Cameras) -> Cameras:
        """The cameras that the splats are seen with."""
        return cameras

    def forward(
        self, parameters: HeadParameters, cameras: Cameras, layers: bool = True, layer_images: bool = True
    ) -> GazeRendering:
        """Render heads.

        Args:
            parameters: Of B samples.
            cameras: One per sample, at the image's size.
            layers: Also splat the face alone and the eyes alone (training); their rows share every kernel launch.
            layer_images: Turn these layers into images, too; else they end as feature maps.

        Returns:
            Images and feature maps.
        """
        cameras = self._film(cameras)
        face = self.face(parameters)
        eyes = self.eyes(parameters)
        splats = _join(face.gaussians, eyes.gaussians)
        if cameras.rotation.requires_grad or cameras.translation.requires_grad:
            splats, cameras = _in_camera_frame(splats, cameras)
        small = self._map_cameras(cameras)
        if not layers:
            features = render_splats(splats, small, self.background, self.splat_backend).features
            return GazeRendering(self.renderer(features, parameters), features)
        opacities = _layer_opacities(splats.opacities, face.gaussians.means.shape[1])
        splats = replace(splats.repeated(3), opacities=opacities)
        features = render_splats(
            splats, small.repeated(3), self.background, self.splat_backend
        ).features  # [3 B, 32, h, w]
        head_map, face_map, eyes_map = features.chunk(3)
        if not layer_images:
            image = self.renderer(head_map, parameters)
            return GazeRendering(image, head_map, GazeLayers(None, face_map, None, eyes_map, face, eyes))
        images = self.renderer(features, parameters.repeated(3))
        image, face_image, eyes_image = images.chunk(3)
        return GazeRendering(image, head_map, GazeLayers(face_image, face_map, eyes_image, eyes_map, face, eyes))

    def frame(self, face: Gaussians, parameters: HeadParameters, cameras: Cameras, room: ListRoom) -> Tensor:
        """Render heads whose face is there already, without gradients (see `gazegaussian.inference`).

        Args:
            face: Splats of the face stream, of B heads or of one that all share.
            parameters: Of B samples.
            cameras: One per sample, at the image's size.
            room: Of this sequence of frames.

        Returns:
            Images in [0, 1]. [B, 3, H, W]
        """
        eyes = self.eyes(parameters).gaussians
        splats = _join(face.expanded(len(eyes.means)), eyes)
        small = self._map_cameras(self._film(cameras))
        features = render_splats(splats, small, self.background, self.splat_backend, room=room).features
        return self.renderer(features, parameters)

    def _map_cameras(self, cameras: Cameras) -> Cameras:
        """The cameras at the size of the feature map."""
        scale = self.config.feature_downscale
        return cameras.resized(cameras.width // scale, cameras.height // scale)

    def parameter_groups(self, optim: OptimConfig) -> list[dict[str, Any]]:
        """Optimizer groups; every parameter once, everything of the eye stream times `eye_lr_mult`."""
        blocks, path = self.renderer.blocks_and_path()
        groups = [{"name": "renderer", "params": path, "lr": optim.lr}]
        if blocks:
            groups.append({"name": "dit", "params": blocks, "lr": optim.lr * optim.dit_lr_mult})
        rates = {
            "means": optim.means_lr_mult,
            "features": optim.features_lr_mult,
            "log_scales": optim.scales_lr_mult,
            "quats": optim.quats_lr_mult,
            "code_basis.project": optim.code_basis_lr_mult,
            "code_basis.response": optim.code_basis_lr_mult,
        }
        for stream_name, stream, mult in (("face", self.face, 1.0), ("eyes", self.eyes, optim.eye_lr_mult)):
            by_rate: dict[float, list[nn.Parameter]] = {}
            for name, parameter in stream.named_parameters():
                by_rate.setdefault(rates.get(name, 1.0), []).append(parameter)
            for rate, parameters in by_rate.items():
                groups.append({"name": f"{stream_name}_x{rate:g}", "params": parameters, "lr": optim.lr * mult * rate})
        return groups


def _join(a: Gaussians, b: Gaussians) -> Gaussians:
    return Gaussians(
        torch.cat([a.means, b.means], 1),
        torch.cat([a.quats, b.quats], 1),
        torch.cat([a.scales, b.scales], 1),
        torch.cat([a.opacities, b.opacities], 1),
        torch.cat([a.features, b.features], 1),
    )


def _in_camera_frame(splats: Gaussians, cameras: Cameras) -> tuple[Gaussians, Cameras]:
    """Move the splats instead of the cameras, which get no gradient from the renderer."""
    rotation = cameras.rotation
    translation = cameras.translation
    with full_precision(splats.means):
        means = splats.means @ rotation.transpose(1, 2) + translation[:, None]
    moved = replace(splats, means=means, quats=quat_multiply(matrix_to_quat(rotation)[:, None], splats.quats))
    still = torch.eye(3, device=rotation.device, dtype=rotation.dtype).expand_as(rotation)
    return moved, replace(cameras, rotation=still, translation=torch.zeros_like(translation))


def _layer_opacities(opacities: Tensor, face_points: int) -> Tensor:
    """Opacities of head, face-only and eyes-only rows; transparent splats are culled. [B, N] -> [3 B, N]."""
    is_face = torch.arange(opacities.shape[1], device=opacities.device) < face_points
    return torch.cat([opacities, opacities * is_face, opacities * ~is_face])
