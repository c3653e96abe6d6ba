"""A study as the cells of a notebook go through it: audit, estimate, run and watch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from helpers.live_store import has_store
from helpers.monitor import run_and_watch
from helpers.notebook import run_script

HOUR = 3600


@dataclass(frozen=True)
class StudyPlan:
    """What the parameters cell says; every method calls the command line.

    Attributes:
        stage: `meshhead` or `gazegaussian`.
        name: Of the study.
        sizes: Of the files in `configs/`.
        trials: Finished ones in total.
        gpu_hours: At most in one run; None: no limit.
        epochs: Per trial; None: as configured.
        data: Folder of HDF5 subjects; None: embedded synthetic heads.
        out: Where studies land.
        workers: Processes that work on the study, one per GPU.
    """

    stage: str
    name: str
    sizes: str
    trials: int
    gpu_hours: float | None
    epochs: int | None
    data: Path | str | None
    out: Path
    workers: int = 1

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.out / self.name

    def audit(self) -> None:
        """Prove that every searched parameter reaches training and none bends the metric."""
        run_script("audit", *self._settings)

    def estimate(self) -> None:
        """Measure one epoch and print what the study will need."""
        run_script("estimate", *self._settings, "--n-trials", self.trials)

    def export(self, epochs: int | None = None) -> None:
        """Put the winner into one folder; with `epochs`, its parameters are trained that long first."""
        run_script("export", self.folder, "--epochs", epochs)

    async def run(self) -> None:
        """Run the study, or go on with it, and watch it in the cell."""
        limit = [] if self.gpu_hours is None else ["--timeout", self.gpu_hours * HOUR]
        crew = [] if self.workers == 1 else ["--workers", self.workers]
        words = ["study", *self._settings, "--n-trials", self.trials, *limit, *crew]
        await run_and_watch(self.folder, [str(word) for word in words])

    @property
    def _settings(self) -> list[object]:
        configs = f"configs/{self.stage}_{self.sizes}"
        given = {"--epochs": self.epochs, "--data": self.data, "--study-name": self.name, "--out": self.out}
        words: list[object] = [self.stage, "--config", f"{configs}.yaml", "--study", f"{configs}_study.yaml"]
        return words + [word for flag, value in given.items() if value is not None for word in (flag, value)]


def plan_study(
    stage: str,
    sizes: str = "quick",
    smoke: bool = False,
    trials: int = 8,
    gpu_hours: float | None = None,
    epochs: int | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    resume: bool = True,
    study_name: str | None = None,
    workers: int = 1,
) -> StudyPlan:
    """Turn the parameters of a notebook into a plan (see `StudyPlan`).

    Args:
        stage: `meshhead` or `gazegaussian`.
        sizes: `quick`, `demo` or `published`.
        smoke: Two trials of one epoch at quick sizes, in a study of their own, whatever `study_name` says.
        trials: Finished ones in total.
        gpu_hours: At most in one run.
        epochs: Per trial.
        data: Folder of HDF5 subjects.
        out: Where studies land.
        resume: Go on with the newest study of this name; False begins another one beside it, with a number.
        study_name: Another name is another study, which other sizes, epochs and data need; None: the stage and the sizes.
        workers: Processes that work on the study, one per GPU.
    """
    if smoke:
        sizes, trials, epochs = "quick", 2, 1
    first = f"{stage}_smoke" if smoke else study_name or f"{stage}_{sizes}"
    names = [first]
    for number in count(2):
        if not has_store(Path(out) / names[-1]):
            break
        names.append(f"{first}_{number}")
    # The last name is free.
    name = names[-2] if resume and len(names) > 1 else names[-1]
    return StudyPlan(stage, name, sizes, trials, gpu_hours, epochs, data, Path(out), workers)
