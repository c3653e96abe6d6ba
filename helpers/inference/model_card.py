"""What is known about an exported model: what it is, how good, made of which data, by which code, with which seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from gazegaussian.config import DataConfig, GazeGaussianRun, RunConfig, StageData
from gazegaussian.data.synthetic.generator import GENERATOR_VERSION
from helpers.analysis.confirm_report import load_confirm
from helpers.reporting.findings import headline
from helpers.results.attributes import ENVIRONMENT, SAMPLER_SEED
from helpers.results.lookup import search_of
from helpers.results.ranking import baseline_trial
from helpers.results.run_files import read_curves
from helpers.utils.environment import stored_environment
from helpers.utils.files import digest_of, identify

# What readers compare models by, where it was measured.
_SHOWN = ("gaze_error_deg", "head_pose_error_deg", "ssim", "psnr", "perceptual", "silhouette_iou")


@dataclass(frozen=True)
class Facts:
    """Where a model comes from and how good it is; epochs count from 1."""

    stage: str
    variant: str
    dated: str  # day that the checkpoint's file was written, UTC
    sha256: str  # of the checkpoint
    metric: str
    value: float
    baseline: float | None  # the same metric of the study's baseline
    epoch: int  # that the checkpoint holds
    epochs: int  # trained
    metrics: dict[str, float]  # of that epoch
    study: str | None
    trial: int | None
    parameters: dict[str, Any]  # searched ones
    data: dict[str, Any]
    seeds: dict[str, int]
    environment: dict[str, str]
    gain: tuple[str, ...]  # how much better than the baseline, and how sure; empty without a study
    meshhead: dict[str, Any] | None  # end of the path and sha256 of the checkpoint that stage two started from

    def measured(self) -> dict[str, float]:
        """The metrics that readers compare models by, of that epoch."""
        return {name: self.metrics[name] for name in _SHOWN if name in self.metrics and name != self.metric}

    def origin(self) -> dict[str, Any]:
        """Everything, for `origin.json`."""
        return asdict(self)


def collect_facts(
    content: Mapping[str, Any],
    config: RunConfig,
    run: Path,
    study: optuna.Study | None,
    trial: FrozenTrial | None,
    folder: Path | None = None,
) -> Facts:
    """Gather what is known.

    Args:
        content: Of the checkpoint.
        config: Of its training.
        run: Folder of the training.
        study: That found its parameters; None for a training without a study, whose folder says where it ran.
        trial: That the parameters are from.
        folder: Of the study, where its confirmation lies.
    """
    best, checkpoint = content["best"], run / "best.pt"
    first = None if study is None or len(study.directions) > 1 else baseline_trial(study)
    known = {} if study is None else study.user_attrs
    table = run / "metrics.csv"
    counts = [len(values) for values in read_curves(table).values()] if table.is_file() else []
    row: dict[str, float] = next((row for row in content["history"] if row["epoch"] == best["epoch"]), {})
    seeds = {"training": config.training.seed}
    if study is not None and trial is not None and SAMPLER_SEED in known:
        seeds["sampler"] = search_of(study, trial)[SAMPLER_SEED]
    start = config.meshhead_checkpoint if isinstance(config, GazeGaussianRun) else None
    return Facts(
        stage=content["stage"],
        variant=content["variant"],
        dated=datetime.fromtimestamp(checkpoint.stat().st_mtime, UTC).date().isoformat(),
        sha256=digest_of(checkpoint),
        metric=best["monitor"],
        value=best["metric"],
        baseline=first.value if first else None,
        epoch=best["epoch"] + 1,
        epochs=max(counts, default=len(content["history"])),
        metrics={name: value for name, value in row.items() if name != "epoch" and "seconds" not in name},
        study=study.study_name if study else None,
        trial=trial.number if trial else None,
        parameters=dict(trial.params) if trial else {},
        data=identify_data(config.data),
        seeds=seeds,
        environment=known.get(ENVIRONMENT) or stored_environment(run),
        gain=() if study is None or folder is None else tuple(headline(study, load_confirm(folder))),
        meshhead=None if start is None else {**identify(start), "path": "/".join(start.parts[-3:])},
    )


def identify_data(data: StageData) -> dict[str, Any]:
    """Describe a data set so that it can be recognised: synthetic heads by their settings, files by names and sizes."""
    if not isinstance(data, DataConfig):
        return {"kind": "data of the stage", **data.model_dump(mode="json")}
    if data.root is None:
        kept = ("people", "frames", "cameras", "image_size", "synthetic_seed")
        settings = {name: getattr(data, name) for name in kept}
        return {"kind": "synthetic heads", "generator": GENERATOR_VERSION, **settings}
    files = sorted((path.name, path.stat().st_size) for path in Path(data.root).glob("*.h5"))
    listing = "".join(f"{name} {size}\n" for name, size in files)
    return {
        "kind": "HDF5 subjects",
        "folder": Path(data.root).name,
        "image_size": data.image_size,
        "files": len(files),  # 0: not at hand when this was exported
        "sha256_of_names_and_sizes": hashlib.sha256(listing.encode()).hexdigest() if files else None,
    }
