"""Stage one: the MeshHead with its data, losses and validation metric."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazegaussian.config import MeshHeadLoss, MeshHeadModel, MeshHeadRun, OptimConfig
from gazegaussian.data import HeadDataset, make_loader
from gazegaussian.geometry.heads import world_to_head
from gazegaussian.geometry.published import published_landmarks
from gazegaussian.geometry.rotations import full_precision
from gazegaussian.losses.mesh import mesh_head_losses
from gazegaussian.mesh_metrics import mesh_head_parts, roughness
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.mesh_head import MeshHead, MeshHeadOutput
from gazegaussian.models.variants import build_mesh_head
from gazegaussian.rendering import render_mesh
from gazegaussian.training.checkpoints import contents_of, load_checkpoint, rebuild
from gazegaussian.training.initial_weights import warm_start_mesh_head
from gazegaussian.training.step import resolve_device
from gazegaussian.types import Batch, MeshImage
from gazegaussian.utils.image_grid import labelled_rows, spread
from gazegaussian.utils.interrupts import raise_if_interrupted

logger = logging.getLogger(__name__)

VALIDATION_LOSS = MeshHeadLoss()  # the published weights: whatever a study searches, validation is measured with these
VALIDATION_BATCH = 4
PREVIEW_ROWS = ("target", "rendered", "silhouette of the render")
LANDMARK_SAMPLE = 64  # training images whose mean landmarks start the neutral ones


class MeshHeadStage:
    """Implements `gazegaussian.training.stage.Stage` for the MeshHead."""

    name = "meshhead"

    def __init__(self, config: MeshHeadRun, train: HeadDataset, validation: HeadDataset) -> None:
        self.config = config
        self.variant: str = config.model.variant
        sample = train.batch(spread(len(train), LANDMARK_SAMPLE))
        landmarks = world_to_head(sample.landmarks_3d, sample.parameters.pose, sample.parameters.scale).mean(
            0
        )  # [L, 3]
        model = config.model.model_copy(update={"landmarks": landmarks.shape[0]})
        self.module = build_mesh_head(model)
        self.module.initialise_landmarks(landmarks)
        self.warm_started = config.init_from is not None and "geometry" not in warm_start_mesh_head(self.module, config)
        self.loader = make_loader(
            train,
            config.training.batch_size,
            shuffle=True,
            seed=config.training.seed,
            workers=config.data.workers,
            max_images=config.data.max_train_images,
            pin=resolve_device(config.training.device).type == "cuda",
        )
        self.validation: list[Batch] = []
        self.hold_out(validation, config.data.max_val_images)
        self.judge = load_frozen("judge")
        self.device = torch.device("cpu")

    def hold_out(self, people: HeadDataset, images: int | None) -> None:
        """Measure these people from now on.

        Args:
            people: Held out.
            images: So many of theirs, spread evenly; None takes all.
        """
        rows = spread(len(people), images)
        self.validation = [people.batch(rows[i : i + VALIDATION_BATCH]) for i in range(0, len(rows), VALIDATION_BATCH)]

    def architecture(self) -> dict[str, Any]:
        """Sizes found in the data."""
        return {"mesh_model": self.module.config.model_dump(mode="json")}

    def parameter_groups(self, optim: OptimConfig) -> list[dict[str, Any]]:
        """Networks at lr, landmarks at a tenth of it (published)."""
        landmarks = self.module.landmarks_3d_neutral
        networks = [parameter for parameter in self.module.parameters() if parameter is not landmarks]
        return [
            {"name": "networks", "params": networks, "lr": optim.lr},
            {"name": "landmarks", "params": [landmarks], "lr": optim.lr * optim.landmark_lr_mult},
        ]

    def prepare(self) -> None:
        """Fit the SDF to a head-sized ellipsoid, so that marching tetrahedra find a surface from the first step.

        A geometry that comes from a checkpoint has a surface already.
        """
        if self.warm_started:
            return
        residual = self.module.warm_start(self.config.training.warm_start_steps)
        logger.info("warm start: mean |SDF - ellipsoid| %.4f model units", residual)

    def batches(self, epoch: int) -> Iterable[Batch]:
        """Training batches in the order of (seed, epoch)."""
        self.loader.set_epoch(epoch)
        return self.loader

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the published loss."""
        output, image = self._render(batch)
        if self.variant == "released":  # its landmarks, in training; what is validated is right in every variant
            batch = replace(batch, landmarks_3d=published_landmarks(batch.landmarks_3d, batch.cameras))
        return output_losses(output, image, batch, self.config.loss)

    def validate(self) -> dict[str, float]:
        """Measure held-out people: the loss with the published weights and its parts, and what `mesh_metrics` measures."""
        sums: dict[str, float] = {}
        count = 0
        rough: Tensor | None = None  # of the neutral mesh, which is the same for every batch
        for cpu_batch in self.validation:
            raise_if_interrupted()
            batch = cpu_batch.to(self.device)
            output, image = self._render(batch)
            parts = {
                f"val_{name}": value for name, value in output_losses(output, image, batch, VALIDATION_LOSS).items()
            }
            parts["val_loss"] = torch.stack(list(parts.values())).sum()
            rough = roughness(output.neutral_vertices, output.faces) if rough is None else rough
            parts["roughness"] = rough
            with full_precision(batch.image):
                measured = mesh_head_parts(image, batch, self.judge)
            parts.update({name: value.mean() for name, value in measured.items()})
            size = batch.image.shape[0]
            count += size
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item() * size
        return {name: value / count for name, value in sums.items()}

    def metric_names(self) -> frozenset[str]:
        """Names of what `validate` measures, found on two images: a wrong one is to be named before the first epoch."""
        whole = self.validation
        self.validation = [whole[0].rows(slice(0, 2))]
        try:
            return frozenset(self.validate())
        finally:
            self.validation = whole

    def preview(self) -> Tensor | None:
        """Held-out images, a column each, above what was rendered of their codes, and its silhouettes."""
        if self.config.training.preview_images == 0:
            return None
        batch = self.validation[0].to(self.device)
        batch = batch.rows(slice(0, self.config.training.preview_images))
        with torch.no_grad():
            _, image = self._render(batch)
        silhouette = image.silhouette.expand(-1, 3, -1, -1)
        rows = (batch.image, image.attributes[:, :3], silhouette)
        return labelled_rows(dict(zip(PREVIEW_ROWS, rows, strict=True)))

    def to(self, device: torch.device) -> None:
        """Move the model."""
        self.device = device
        self.module.to(device)
        self.judge.to(device)

    def _render(self, batch: Batch) -> tuple[MeshHeadOutput, MeshImage]:
        output = self.module(batch.parameters)
        image = render_mesh(output.vertices, output.faces, output.colors, batch.cameras, 1.0, trusted=True)
        return output, image


def output_losses(output: MeshHeadOutput, image: MeshImage, batch: Batch, weights: MeshHeadLoss) -> dict[str, Tensor]:
    """Weighted loss terms of what a MeshHead gave and what was rendered of it (see `mesh_head_losses`)."""
    return mesh_head_losses(
        output.landmarks,
        output.landmark_sdf,
        output.neutral_vertices,
        output.faces,
        output.displacement,
        image,
        batch,
        weights,
    )


def load_mesh_head(path: Path) -> MeshHead:
    """Rebuild a trained MeshHead from its checkpoint, whatever widths its study found.

    Raises:
        CheckpointError: Missing or damaged file, another schema version, another stage.
    """
    content = load_checkpoint(path, "meshhead")
    with contents_of(path):
        config = MeshHeadModel.model_validate(content["architecture"]["mesh_model"])
        return rebuild(lambda: build_mesh_head(config), content["model"])
