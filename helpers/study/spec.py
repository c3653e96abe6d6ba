"""What a study needs to run: configuration, study file, places, and who does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError
from gazegaussian.fields import check_searched
from helpers.search.space import StudyFile
from helpers.search.trial_names import TrialNamer, make_namer
from helpers.storage.location import snapshots_of

if TYPE_CHECKING:
    from gazegaussian.training.hooks import Hook
    from gazegaussian.training.trainer import TrainResult
    from helpers.study.isolation import Train


def train_run(config: RunConfig, run_dir: Path, hooks: Sequence[Hook] = (), resume: bool = False) -> TrainResult:
    """Train (see `gazegaussian.build.train_run`); torch comes with the first training, not with a spec."""
    from gazegaussian import build

    return build.train_run(config, run_dir, hooks, resume)


def preflight(config: RunConfig) -> None:
    """Check device, data and checkpoint (see `gazegaussian.build.preflight`)."""
    from gazegaussian import build

    build.preflight(config)


@dataclass(frozen=True)
class WorkerPool:
    """Workers for one study.

    Attributes:
        workers: How many; 1 without Ray: the calling process trains one trial at a time. None: with Ray one per GPU of the cluster
            (or share of one), per CPU where it has none; without Ray on a CPU one per core, one thread each, as far as trials,
            budget and memory allow (`helpers.study.workers.plan`), on CUDA the calling process alone.
        ray: None: processes on this machine. Else a Ray cluster's address, `auto`, or `local` for one on this machine.
        gpus_per_trial: Share of a GPU that a worker gets from Ray; None: one, or none where the cluster has none.

    Raises:
        ConfigError: A share of a GPU without Ray.
    """

    workers: int | None = None
    ray: str | None = None
    gpus_per_trial: float | None = None

    def __post_init__(self) -> None:
        if self.gpus_per_trial is not None and self.ray is None:
            raise ConfigError(
                f"--gpus-per-trial {self.gpus_per_trial:g} needs --ray; without it, more --workers than GPUs share them."
            )


@dataclass(frozen=True)
class StudySpec:
    """Everything that a study needs.

    Raises:
        ConfigError: The study searches what no search may use.
    """

    config: RunConfig
    study: StudyFile
    out: Path = Path("optuna_results")
    storage: str | None = field(default=None, repr=False)  # a URL may hold a password
    timeout: float | None = None  # seconds of one call, instead of the budget's
    train: Train = train_run
    check: Callable[[RunConfig], None] = preflight
    isolate: bool | None = False  # every trial in a process of its own; None: where it runs on CUDA
    trial_name: TrialNamer | None = None  # a function instead of the study file's format string
    pool: WorkerPool | None = None  # None: this process does the trials itself, one at a time
    worker: str | None = None  # name of this process in a worker pool, whose supervisor writes the results

    def __post_init__(self) -> None:
        check_searched(self.config, list(self.study.parameters), f"study {self.study.study_name!r}")

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.out / self.study.study_name

    @property
    def namer(self) -> TrialNamer:
        """Names the trials."""
        return make_namer(self.trial_name or self.study.trial_name, self.study.parameters)

    @property
    def one_machine(self) -> bool:
        """Whether only this machine works on the study: its database is a file here, whose copies are in the folder."""
        return not self.storage and snapshots_of(self.folder) is not None

    @property
    def max_deaths(self) -> int | None:
        """Deaths without an epoch that a trial of a worker pool may cost; None without a worker pool, where a person looks on."""
        return None if self.worker is None else self.study.max_failures

    def save_snapshot(self) -> None:
        """Copy a database that lives elsewhere into the study's folder."""
        copies = None if self.storage else snapshots_of(self.folder)
        if copies is not None:
            copies.save()

    def monitored(self) -> RunConfig:
        """The run configuration with the study's epochs and first metric."""
        mode = "min" if self.study.directions[0] == "minimize" else "max"
        changes: dict[str, Any] = {"monitor": self.study.metrics[0], "monitor_mode": mode}
        if self.study.epochs is not None:
            changes["epochs"] = self.study.epochs
        return with_parameters(self.config, changes)
