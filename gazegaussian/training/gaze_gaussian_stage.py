"""Stage two: GazeGaussian with its data, losses, frozen networks and validation metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gazegaussian.config import GazeGaussianModel, GazeGaussianRun, MeshHeadModel, OptimConfig
from gazegaussian.data import HeadDataset, make_loader, redirection_pairs
from gazegaussian.dimensions import EXPRESSION_DIM
from gazegaussian.geometry.rotations import full_precision
from gazegaussian.losses.image import eyes_in_head, gaze_gaussian_losses, mean_abs_cosine
from gazegaussian.metrics import summarise, validation_loss, validation_parts
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.models.image_offsets import ImageOffsets
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.models.variants import gaze_gaussian_class
from gazegaussian.nn.casts import cast_together
from gazegaussian.training.checkpoints import contents_of, load_checkpoint, rebuild
from gazegaussian.training.initial_weights import warm_start_gaze_gaussian
from gazegaussian.training.step import resolve_device
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import labelled_rows, spread
from gazegaussian.utils.interrupts import raise_if_interrupted

VALIDATION_BATCH = 4
PAIR_SEED = 7  # which redirection pairs are measured never depends on a run
DEFAULT_PAIRS = 200
PREVIEW_ROWS = (
    "source: gives the identity",
    "target: gives gaze, head pose and expression",
    "rendered",
    "before the neural renderer: feature channels 1-3 as colours",
)


class GazeGaussianStage:
    """Implements `gazegaussian.training.stage.Stage` for GazeGaussian."""

    name = "gazegaussian"

    def __init__(
        self, config: GazeGaussianRun, mesh_head: MeshHead | None, train: HeadDataset, validation: HeadDataset
    ) -> None:
        self.config = config
        self.variant: str = config.model.variant
        if config.init_from is not None:
            self.model = warm_start_gaze_gaussian(config)
        else:
            assert mesh_head is not None
            self.model = gaze_gaussian_class(config.model).from_mesh_head(
                mesh_head, config.model, config.data.image_size
            )
        self.model.splat_backend = config.training.splat_backend
        self.offsets = ImageOffsets(len(train))
        self.module = nn.ModuleDict({"model": self.model, "offsets": self.offsets})
        self.guide = load_frozen("guide")
        self.judge = load_frozen("judge")
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
        pairs = self.hold_out(validation, config.data.max_val_images)
        shown = [source for source, _ in pairs[: min(VALIDATION_BATCH, config.training.preview_images)]]
        self.sources = validation.batch(shown).image if shown else None  # of the preview, [B, 3, H, W]
        self.device = torch.device("cpu")

    def hold_out(self, people: HeadDataset, images: int | None) -> list[tuple[int, int]]:
        """Measure these people from now on.

        Args:
            people: Held out.
            images: So many redirection pairs, spread over the people; None takes 200.

        Returns:
            The pairs, rows of source and target.
        """
        pairs = validation_pairs(people, images or DEFAULT_PAIRS)
        self.validation = [
            redirection_batch(people, pairs[i : i + VALIDATION_BATCH]) for i in range(0, len(pairs), VALIDATION_BATCH)
        ]
        return pairs

    def architecture(self) -> dict[str, Any]:
        """Sizes that come from the MeshHead and from the data."""
        return {
            "mesh_model": self.model.mesh_config.model_dump(mode="json"),
            "image_size": self.config.data.image_size,
            "face_points": self.model.face.means.shape[0],
            "eye_points": self.model.eyes.means.shape[0],
            "images": self.offsets.identity.shape[0],
        }

    def parameter_groups(self, optim: OptimConfig) -> list[dict[str, Any]]:
        """Groups of the model, and the per-image offsets at lr."""
        offsets = {"name": "offsets", "params": list(self.offsets.parameters()), "lr": optim.lr * optim.offset_lr_mult}
        return [*self.model.parameter_groups(optim), offsets]

    def prepare(self) -> None:
        """Nothing: the MeshHead was the warm start."""

    def batches(self, epoch: int) -> Iterable[Batch]:
        """Training batches in the order of (seed, epoch)."""
        self.loader.set_epoch(epoch)
        return self.loader

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Weighted terms; the per-image offsets exist here only."""
        offsets = self.offsets.of(batch.index)
        parameters, cameras = offsets.apply_to(batch.parameters, batch.cameras)
        weights = self.config.loss
        how = {"layer_images": weights.layer_images}
        rendering = functional_call(self.model, cast_together(self.model), (parameters, cameras), how)
        eyes = batch.eye_mask if self.variant == "released" else eyes_in_head(batch)
        with full_precision(batch.image):  # variances of SSIM and small angles do not survive bf16
            terms = gaze_gaussian_losses(
                rendering.layer_features(), rendering.layer_images(), batch, weights, epoch, self.guide, eyes
            )
        cosines = [mean_abs_cosine(s.branch_a, s.branch_b, s.shared) for s in rendering.streams()]
        terms["orthogonality"] = weights.orthogonality_loss_importance * torch.stack(cosines).sum()
        terms["identity_offset"] = weights.identity_offset_importance * offsets.identity.square().mean()
        terms["expression_offset"] = weights.expression_offset_importance * offsets.expression.square().mean()
        moved = offsets.rotation.square().mean() + offsets.translation.square().mean()
        terms["camera_offset"] = weights.camera_offset_importance * moved
        return terms

    def validate(self) -> dict[str, float]:
        """Measure the validation metric: redirection pairs of held-out people, read by the judge."""
        collected = []
        for cpu_batch in self.validation:
            raise_if_interrupted()
            batch = cpu_batch.to(self.device)
            image = self.model(batch.parameters, batch.cameras, layers=False).image.float()
            with full_precision(image):  # the validation metric is the same at every precision
                parts = validation_parts(image, batch, self.judge)
            collected.append({**parts, "val_loss": validation_loss(parts)})
        return summarise(collected)

    def metric_names(self) -> frozenset[str]:
        """Names of what `validate` measures, found on two images: a wrong one is to be named before the first epoch."""
        whole = self.validation
        self.validation = [whole[0].rows(slice(0, 2))]
        try:
            return frozenset(self.validate())
        finally:
            self.validation = whole

    def preview(self) -> Tensor | None:
        """Pairs of the validation metric, a column each: what gives the codes, what was to come out, what came, and its splats."""
        if self.sources is None:
            return None
        batch = self.validation[0].rows(slice(0, len(self.sources))).to(self.device)
        with torch.no_grad():
            rendering = self.model(batch.parameters, batch.cameras, layers=False)
        colors = nn.functional.interpolate(rendering.features[:, :3], size=batch.image.shape[-2:], mode="nearest")
        rows = (self.sources.to(self.device), batch.image, rendering.image, colors)
        return labelled_rows(dict(zip(PREVIEW_ROWS, rows, strict=True)))

    def to(self, device: torch.device) -> None:
        """Move the model and the frozen networks."""
        self.device = device
        self.module.to(device)
        self.guide.to(device)
        self.judge.to(device)


def validation_pairs(dataset: HeadDataset, count: int) -> list[tuple[int, int]]:
    """Choose `count` redirection pairs, spread over the subjects; the same in every run."""
    per_subject = -(-count // len(dataset.keys))
    pairs = redirection_pairs(dataset, per_subject, PAIR_SEED)
    return [pairs[row] for row in spread(len(pairs), count)]


def redirection_batch(dataset: HeadDataset, pairs: list[tuple[int, int]]) -> Batch:
    """Build redirection targets: the source gives the identity code, the target everything else.

    Args:
        dataset: Held-out people.
        pairs: Rows (source, target) of the same subject.

    Returns:
        The targets' images and labels with the sources' identity codes.
    """
    source = dataset.batch([pair[0] for pair in pairs])
    target = dataset.batch([pair[1] for pair in pairs])
    expression = target.parameters.shape_code[:, :EXPRESSION_DIM]
    identity = source.parameters.shape_code[:, EXPRESSION_DIM:]
    parameters = replace(target.parameters, shape_code=torch.cat([expression, identity], dim=-1))
    return replace(target, parameters=parameters)


def load_gaze_gaussian(path: Path) -> GazeGaussian:
    """Rebuild a trained GazeGaussian from its checkpoint alone.

    Raises:
        CheckpointError: Missing or damaged file, another schema version, another stage.
    """
    content = load_checkpoint(path, "gazegaussian")
    with contents_of(path):
        return rebuild_gaze_gaussian(content)


def rebuild_gaze_gaussian(content: Mapping[str, Any]) -> GazeGaussian:
    """Rebuild a trained GazeGaussian from the content of its checkpoint."""
    sizes = content["architecture"]
    config = GazeGaussianModel.model_validate(content["config"]["model"])
    mesh = MeshHeadModel.model_validate(sizes["mesh_model"])
    points = sizes["face_points"], sizes["eye_points"]
    prefix = "model."
    state = {name[len(prefix) :]: value for name, value in content["model"].items() if name.startswith(prefix)}
    return rebuild(lambda: gaze_gaussian_class(config)(config, mesh, sizes["image_size"], *points), state)
