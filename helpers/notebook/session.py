"""A study as the cells of a notebook go through it: audit, estimate, run and watch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from gazegaussian.errors import ConfigError, UserError
from gazegaussian.stages import load_stages
from gazegaussian.utils.counts import counted
from helpers.notebook.display import run_script, say
from helpers.notebook.drive import revive_drive
from helpers.notebook.monitor import run_and_watch
from helpers.search.trial_names import SMOKE
from helpers.storage.location import has_store
from helpers.study.factory import default_spec
from helpers.study.progress import progress
from helpers.study.resume import comparable_study
from helpers.study.spec import StudySpec
from helpers.study.stop import StopKind
from helpers.utils.paths import run_file, study_file_of

HOUR = 3600
SIZES = ("quick", "demo", "full")


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What the parameters cell says; every method calls the command line.

    Attributes:
        stage: `meshhead` or `gazegaussian`.
        name: Of the study.
        sizes: Of the files in `configs/`.
        trials: Finished ones in total; None: as the study file says.
        gpu_hours: At most in one run; None: no limit.
        epochs: Per trial; None: as configured.
        data: Folder of HDF5 subjects; None: embedded synthetic heads.
        out: Where studies land.
        workers: Trials side by side; None: on a CPU one per core, on CUDA one at a time.
        meshhead: Checkpoint that stage two starts from; None: the best trial of the MeshHead study of these sizes.
        smoke: On fewer images.
        stage_module: File or module that registers a stage of your own; its code is run.
    """

    stage: str
    name: str
    sizes: str
    trials: int | None
    gpu_hours: float | None
    epochs: int | None
    data: Path | str | None
    out: Path
    workers: int | None = None
    meshhead: Path | str | None = None
    smoke: bool = False
    stage_module: str | None = None

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.out / self.name

    @property
    def is_comparable(self) -> bool:
        """Whether trials of the study that is there, if any, can be compared with new ones."""
        try:
            comparable_study(self._request())
        except UserError:
            return False
        return True

    def audit(self) -> None:
        """Prove that every searched parameter reaches training and none changes the metric.

        Raises:
            ConfigError: The study was created differently: its trials could not be compared with new ones.
        """
        comparable_study(self._request())  # before minutes are spent
        run_script("audit", *self._settings)

    def estimate(self) -> None:
        """Measure one epoch and print what the study will need; a study with all its trials needs nothing."""
        finished = progress(self.folder).finished if has_store(self.folder) else 0
        wanted = self._request().study.trials
        if finished >= wanted:
            verb = "is" if wanted == 1 else "are"
            say(
                f"Study {self.name} has {counted(finished, 'finished trial')}, {wanted} {verb} asked for: nothing to estimate."
            )
            return
        run_script("estimate", *self._settings, *self._number)

    def export(self, epochs: int | None = None) -> None:
        """Put the best trial into one folder; with `epochs`, its parameters are trained that long first.

        Of a study that was stopped by hand nothing is exported: it is meant to be resumed.
        """
        state = progress(self.folder)
        by_hand = state.stop_kind in (StopKind.REQUEST, StopKind.INTERRUPTED)
        if by_hand and state.finished < (state.wanted or 0):
            say(
                f"Not exported: study {self.name} was stopped with {state.finished} of {state.wanted} finished trials. Run the "
                "cell that runs it again, or ask for fewer trials."
            )
            return
        run_script("export", self.folder, "--epochs", epochs, "--stage-module", self.stage_module)

    async def run(self) -> None:
        """Run or resume the study, and watch it in the cell."""
        limit = [] if self.gpu_hours is None else ["--timeout", self.gpu_hours * HOUR]
        pool = [] if self.workers is None else ["--workers", self.workers]
        args = ["study", *self._settings, *self._number, *limit, *pool]
        await run_and_watch(self.folder, [str(arg) for arg in args])

    def _request(self) -> StudySpec:
        """The study as `study` would run it."""
        config, study = self._files
        return default_spec(
            self.stage,
            config=config,
            study=study,
            n_trials=self.trials,
            epochs=self.epochs,
            study_name=self.name,
            out=self.out,
            data=None if self.data is None else Path(self.data),
            meshhead=None if self.meshhead is None else Path(self.meshhead),
        )

    @property
    def _files(self) -> tuple[Path | None, Path]:
        """Run configuration and study file; a stage of your own may do without the first."""
        config = run_file(self.stage, SMOKE if self.smoke else self.sizes)
        return None if self.stage_module and not config.is_file() else config, study_file_of(self.stage, self.sizes)

    @property
    def _number(self) -> list[object]:
        return [] if self.trials is None else ["--n-trials", self.trials]

    @property
    def _settings(self) -> list[object]:
        config, study = self._files
        given = {"--epochs": self.epochs, "--data": self.data, "--study-name": self.name, "--out": self.out}
        given["--meshhead"] = self.meshhead
        given["--stage-module"] = self.stage_module
        files: list[object] = [] if config is None else ["--config", config]
        args: list[object] = [self.stage, *files, "--study", study]
        return args + [word for flag, value in given.items() if value is not None for word in (flag, value)]


def plan_study(
    stage: str,
    *,
    sizes: str = "quick",
    smoke: bool = False,
    trials: int | None = None,
    gpu_hours: float | None = None,
    epochs: int | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    resume: bool = True,
    study_name: str | None = None,
    workers: int | None = None,
    meshhead: Path | str | None = None,
    stage_module: str | None = None,
) -> StudyPlan:
    """Turn the parameters of a notebook into a plan (see `StudyPlan`).

    Args:
        stage: `meshhead` or `gazegaussian`.
        sizes: `quick`, `demo` or `full`.
        smoke: Two trials of one epoch on a few images of quick sizes, in a study of their own, whatever `study_name` says.
        trials: Finished ones in total; None: as the study file says.
        gpu_hours: At most in one run.
        epochs: Per trial.
        data: Folder of HDF5 subjects.
        out: Where studies land.
        resume: Resume the newest study of this name that was created with these settings (where there is none, the audit
            says what differs from the newest); False creates another one beside it, with a number.
        study_name: Another name is another study, which other sizes, epochs and data need; None: the stage and the sizes.
        workers: Trials side by side; None: on a CPU one per core, on CUDA one at a time.
        meshhead: Checkpoint that stage two starts from.
        stage_module: File, module or module:NAME that registers a stage of your own; its code is run.

    Raises:
        ConfigError: No such sizes.
        StorageError: The folder does not answer.
    """
    if stage_module is not None:
        load_stages(stage_module)
    elif sizes not in SIZES:
        raise ConfigError(f"Expected sizes to be one of {', '.join(SIZES)}, got {sizes!r}.")
    if smoke:
        sizes = "quick"
        trials = 2
        epochs = 1
    revive_drive(Path(out))
    first = f"{stage}_{SMOKE}" if smoke else study_name or f"{stage}_{sizes}"
    names = [first]
    for number in count(2):
        if not has_store(Path(out) / names[-1]):
            break
        names.append(f"{first}_{number}")
    # The last name is free.
    name = names[-2] if resume and len(names) > 1 else names[-1]
    plan = StudyPlan(
        stage=stage,
        name=name,
        sizes=sizes,
        trials=trials,
        gpu_hours=gpu_hours,
        epochs=epochs,
        data=data,
        out=Path(out),
        workers=workers,
        meshhead=meshhead,
        smoke=smoke,
        stage_module=stage_module,
    )
    if smoke and resume and not plan.is_comparable:  # of an earlier version
        return replace(plan, name=names[-1])
    if not resume or len(names) <= 2:
        return plan
    existing = (replace(plan, name=name) for name in reversed(names[:-1]))
    return next((one for one in existing if one.is_comparable), plan)
