"""The paper's protocol: a source image says who, another image of that person says what to do and what to compare with.

The target gives gaze, head pose, expression and camera. The render is compared with it as it is, without a mask: in pixels,
by what judges read from both, and as a set. Intervals are over subjects: images of one person are alike, and it is for other
people that a result should hold.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance

from gazegaussian.data import HeadDataset
from gazegaussian.data.check import describe
from gazegaussian.data.splits import HELD_OUT, SPLIT_FILE, people_of
from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.errors import DataError
from gazegaussian.evaluation.batching import batch_that_fits, in_batches
from gazegaussian.evaluation.extras import NotAvailable, load_inception, load_lpips, load_recogniser
from gazegaussian.evaluation.fitted_pose import with_fitted_poses
from gazegaussian.evaluation.gaze_networks import INPUT_SIZE, load_gaze_network
from gazegaussian.evaluation.judges import FaceFeatures, Judges
from gazegaussian.evaluation.results import DEFAULT_PAIRS, Evaluation, Measured, few_subjects, over_subjects
from gazegaussian.evaluation.speed import device_name, frame_description, frames_per_second
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.metrics import validation_parts
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.training.gaze_gaussian_stage import load_gaze_gaussian, redirection_batch, validation_pairs
from gazegaussian.training.step import resolve_device
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import spread
from gazegaussian.utils.progress import progress

logger = logging.getLogger(__name__)

PICTURED = 6
SSIM_SIZE = 256  # the published measure averages larger images down to about this size first
SOURCE = "source_"  # before the names of what is measured on the source image, as if it were the render
PERCENT = 100  # identity is published in percent
Loaded = TypeVar("Loaded")


def evaluate_checkpoint(
    checkpoint: Path,
    data: Path,
    pairs: int = DEFAULT_PAIRS,
    gaze_network: Path | None = None,
    device: str = "auto",
    split: str = "test",
) -> Evaluation:
    """Measure a GazeGaussian on held-out people.

    Args:
        checkpoint: Ours, or an imported one.
        data: Folder of HDF5 subjects of any published layout.
        pairs: Redirections, spread evenly over the subjects; the same ones for the same number.
        gaze_network: Checkpoint of a published gaze network, which then reads gaze (and head pose) instead of our judge.
        device: `auto`, `cpu` or `cuda`.
        split: Of the data set.

    Raises:
        UserError: Checkpoint, data, gaze network or device cannot be used.
    """
    where = resolve_device(device)
    network = None if gaze_network is None else load_gaze_network(Path(gaze_network)).to(where)
    model = load_gaze_gaussian(Path(checkpoint)).to(where)
    dataset = HeadDataset(data, split, model.image_size, for_training=False)
    chosen = validation_pairs(dataset, pairs)
    if not chosen:
        raise DataError(f"{data}: expected subjects with two usable images or more in split {split!r}, found none")
    remark = few_subjects(len({dataset.location(target)[0] for _, target in chosen}))
    if remark:
        logger.warning(remark)
    session = _Session(model, dataset, Judges(load_frozen("judge", where), network), where)
    session.run(chosen)
    return Evaluation(
        checkpoint=str(checkpoint),
        variant=model.variant,
        data=str(data),
        data_set=describe(dataset.root),
        split=split,
        subjects=len({row["subject"] for row in session.rows}),
        pairs=len(session.rows),
        image_size=model.image_size,
        device=device_name(where),
        metrics=session.metrics(),
        notes=(*session.notes(), *([remark] if remark else []), _who(dataset, split)),
        rows=session.rows,
        pictures=session.pictures,
    )


def _who(dataset: HeadDataset, split: str) -> str:
    """Name the people who were read, and say where the test people come from."""
    names = ", ".join(key.removesuffix(".h5") for key in dataset.keys)
    people = people_of(dataset.root, dataset.prefix)
    why = {
        "test": people.rule,
        "val": "these people chose the best epoch and the best trial",
        HELD_OUT: "validation and test people; the former chose the best epoch and the best trial",
    }
    return f"People of split {split}: {names} ({why.get(split, f'listed in {SPLIT_FILE}')})."


def published_ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM as the published evaluation takes it: of images averaged down to about 256 px (Wang's reference code).

    Args:
        a: In [0, 1]. [B, 3, H, W]
        b: The same.

    Returns:
        [B]
    """
    factor = max(1, round(a.shape[-1] / SSIM_SIZE))
    a, b = (nn.functional.avg_pool2d(image, factor) for image in (a, b))
    similarities = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(similarities, Tensor)
    return similarities


def _optional(load: Callable[[], tuple[Loaded, str]]) -> tuple[Loaded | None, str]:
    """What `load` returns, or None and the reason."""
    try:
        return load()
    except NotAvailable as error:
        return None, str(error)


class _Session:
    """One evaluation while it runs."""

    def __init__(self, model: GazeGaussian, dataset: HeadDataset, judges: Judges, device: torch.device) -> None:
        self.model = model
        self.dataset = dataset
        self.judges = judges
        self.device = device
        self.lpips, self.lpips_by = _optional(lambda: load_lpips(device))
        self.inception, self.inception_by = _optional(lambda: load_inception(device))
        self.recogniser, self.recogniser_by = _optional(load_recogniser)
        self.fid = FrechetInceptionDistance(FaceFeatures(judges.judge)).to(device)
        self.rows: list[dict[str, Any]] = []
        self.pictures: list[tuple[Tensor, str]] = []
        self._residuals: list[Tensor] = []
        self._faces: list[Tensor] = []  # descriptions of the targets by the recogniser, per batch
        self._speed = Measured()

    @torch.no_grad()
    def run(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Render and measure all pairs."""
        pictured = {pairs[i] for i in spread(len(pairs), PICTURED)}
        step = batch_that_fits(_points(self.model), self.device)
        rendered = in_batches(pairs, step, self._render)
        for chunk, (batch, residual, render) in progress(rendered, "evaluation", -(-len(pairs) // step)):
            self._residuals += [] if residual is None else [residual]
            source = self.dataset.batch([pair[0] for pair in chunk]).to(self.device)
            if self.recogniser is not None:
                self._faces.append(self.recogniser.embed(batch.image, batch.landmarks_2d))
            values = self._values(render, batch.landmarks_2d, batch)
            unmoved = self._values(source.image, source.landmarks_2d, batch)
            values |= {f"{SOURCE}{name}": column for name, column in unmoved.items()}
            for metric in filter(None, (self.fid, self.inception)):
                metric.update(batch.image, real=True)
                metric.update(render, real=False)
            images = torch.stack([source.image, batch.image, render], 1).cpu()
            for i, (pair, row) in enumerate(zip(chunk, self._rows_of(chunk, values), strict=True)):
                self.rows.append(row)
                if pair in pictured:
                    self.pictures.append((images[i], _caption(row)))
        fps = frames_per_second(self.model, batch, self.device)
        self._speed = Measured(fps, by=frame_description(self.model, self.device))

    def _render(self, chunk: list[tuple[int, int]]) -> tuple[Batch, Tensor | None, Tensor]:
        """Targets of pairs, what fitting their poses left in pixels, and what the model makes of them [B, 3, H, W]."""
        batch, residual = self._posed(redirection_batch(self.dataset, chunk))
        batch = batch.to(self.device)
        render = self.model(batch.parameters, batch.cameras, layers=False).image.float().clamp(0, 1)
        return batch, residual, render

    def metrics(self) -> dict[str, Measured]:
        """All metrics in the order of the table."""
        judges = self.judges
        judge = self.judges.judge.description
        same = "torchmetrics, no mask"
        by = {
            "gaze_error_deg": judges.gaze_by,
            "head_pose_error_deg": judges.head_by,
            "ssim": f"{same}, images above {SSIM_SIZE} px averaged down to it",
            "psnr": same,
            "lpips": self.lpips_by,
            "perceptual": f"{judge}; not LPIPS",
            "identity": self.recogniser_by,
            "gaze_label_error_deg": judges.gaze_by
            if judges.reads_labels
            else "reads gaze in another frame than the labels",
        }
        subjects = [row["subject"] for row in self.rows]
        measured = {}
        for name, text in by.items():
            if name not in self.rows[0]:
                measured[name] = Measured(by=text)
                continue
            mean = over_subjects([row[name] for row in self.rows], subjects, text)
            unmoved = sum(row[SOURCE + name] for row in self.rows) / len(self.rows)
            measured[name] = replace(mean, source=unmoved)
        measured["fid"] = self._distance(self.inception, self.inception_by)
        features = f"features of the {judge}; not Inception"
        measured["fid_judge"] = self._distance(self.fid, features)
        measured["fps"] = self._speed
        order = ("gaze_error_deg", "head_pose_error_deg", "ssim", "psnr", "lpips", "perceptual", "fid", "fid_judge")
        return {name: measured[name] for name in (*order, "identity", "fps", "gaze_label_error_deg")}

    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        notes = []
        if self._residuals:
            median = torch.cat(self._residuals).median().item()
            notes.append(
                "These files hold no head pose and scale: both are fitted to the landmarks in the target image with the model's "
                f"neutral landmarks (median distance {median:.1f} px); errors of that fit count against the model."
            )
        network = self.judges.network
        if network is None and not (self.dataset.root / SETTINGS_FILE).is_file():
            notes.append(
                "Gaze and head pose are read by a judge trained on synthetic heads; for photographs give --gaze-network, a "
                "network of the published layouts."
            )
        if network is not None:
            notes.append(
                f"The gaze network sees the whole image at {INPUT_SIZE} px; the published evaluation normalises the crop once more, "
                "with the original cameras, which the data sets do not hold."
            )
        strangers = self._likeness_of_strangers()
        if strangers is not None:
            notes.append(f"Identity similarity of two different people of this data: {PERCENT * strangers:.1f}%.")
        return tuple(notes)

    def _likeness_of_strangers(self) -> float | None:
        """Mean similarity of target images of different subjects: what an identity that is not kept comes to."""
        _, owner = np.unique([row["subject"] for row in self.rows], return_inverse=True)
        if not self._faces or owner.max() == 0:
            return None
        faces = torch.cat(self._faces)
        subject = torch.from_numpy(owner)
        return (faces @ faces.T)[subject[:, None] != subject].mean().item()

    def _rows_of(self, chunk: Sequence[tuple[int, int]], values: dict[str, Tensor]) -> list[dict[str, Any]]:
        """One row per pair."""
        columns = {name: column.tolist() for name, column in values.items()}
        rows = []
        for i, (source, target) in enumerate(chunk):
            key, target_row = self.dataset.location(target)
            where = {"subject": key, "source_row": self.dataset.location(source)[1], "target_row": target_row}
            rows.append(where | {name: column[i] for name, column in columns.items()})
        return rows

    def _posed(self, batch: Batch) -> tuple[Batch, Tensor | None]:
        """The batch with head poses, fitted where the data set has none; then also the residual in pixels."""
        return (batch, None) if self.dataset.posed else with_fitted_poses(self.model, batch)

    def _values(self, image: Tensor, landmarks_2d: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compare images that have their own landmarks with the targets, image by image. Each [B]."""
        values = validation_parts(image, replace(batch, head_mask=torch.ones_like(batch.head_mask)), self.judges)
        values["ssim"] = published_ssim(image, batch.image)
        if landmarks_2d is not batch.landmarks_2d:
            read = self.judges.gaze(image, landmarks_2d)
            wanted = self.judges.gaze(batch.image, batch.landmarks_2d)
            values["gaze_error_deg"] = angular_error(read, wanted).rad2deg()
            values["gaze_label_error_deg"] = angular_error(read, batch.parameters.gaze).rad2deg()
        if not self.judges.reads_labels:
            del values["gaze_label_error_deg"]
        if self.lpips is not None:
            values["lpips"] = self.lpips(image, batch.image)
        if self.recogniser is not None:
            faces = self.recogniser.embed(image, landmarks_2d)
            values["identity"] = PERCENT * (faces * self._faces[-1]).sum(-1)
        return values

    def _distance(self, metric: FrechetInceptionDistance | None, by: str) -> Measured:
        if metric is None:
            return Measured(by=by)
        if len(self.rows) < 2:
            return Measured(by="needs two pairs or more")
        value = float(metric.compute())
        return Measured(value if math.isfinite(value) else None, by=f"{by}; {len(self.rows)} images a side")


def _caption(row: dict[str, Any]) -> str:
    person = row["subject"].removesuffix(".h5")
    return f"{person}, row {row['source_row']} to {row['target_row']}: gaze {row['gaze_error_deg']:.1f}°, {row['psnr']:.1f} dB"


def _points(model: nn.Module) -> int:
    """Gaussians of a model; 0 for one that draws without."""
    streams = (getattr(model, name, None) for name in ("face", "eyes"))
    return sum(len(stream.means) for stream in streams if stream is not None)
