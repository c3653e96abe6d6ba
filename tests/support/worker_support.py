"""Trainings for several workers: real checkpoints, every epoch noted, and accidents on the way."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

from optuna.trial import TrialState
from study_support import line_train

from gazegaussian.errors import DataError
from gazegaussian.training.hooks import Hook
from helpers.results.attributes import RESUME_OF

COMPLETE, FAIL, PRUNED, RUNNING, WAITING = (
    TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING,
)  # fmt: skip
NONE = {"pruner": {"name": "none"}}
FORK = multiprocessing.get_context("fork")


class Note(Hook):
    """Writes every trained epoch into one file of all processes."""

    def __init__(self, log: Path, trial: str, seconds: float):
        self.log = log
        self.trial = trial
        self.seconds = seconds

    def on_epoch_end(self, trainer, epoch, metrics):
        time.sleep(self.seconds)
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()} {self.trial} {epoch}\n")


class Once(Hook):
    """Does something at the end of an epoch, before the study hears of it, in one process alone."""

    def __init__(self, folder: Path, epoch: int, act):
        self.mark = folder / "acted"
        self.epoch = epoch
        self.act = act

    def on_epoch_end(self, trainer, epoch, metrics):
        if epoch == self.epoch:
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                return
            self.act()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise DataError("file is damaged")


def noted(config, run_dir, hooks, resume, seconds=0.02, act=None, at=3):
    """Train a line, 8 epochs, and note them beside the study's folder."""
    out = run_dir.parent.parent
    extra = [] if act is None else [Once(out, at, act)]
    return line_train(config, run_dir, [Note(out / "epochs.txt", run_dir.name, seconds), *extra, *hooks], resume)


def deadly(config, run_dir, hooks, resume):
    """The second configuration kills every process that trains it."""
    if abs(config.optim.lr - 1e-3) > 1e-9 and not (run_dir.parent.parent / "cured").exists():
        marked = run_dir.parent.parent / "deadly"
        if not marked.exists():
            marked.write_text(str(config.optim.lr))
        if marked.read_text() == str(config.optim.lr):
            die()
    return noted(config, run_dir, hooks, resume, seconds=0)


def epochs(out):
    """Noted (process, trial folder, epoch)."""
    path = out / "epochs.txt"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


def finished(study):
    return study.get_trials(states=(COMPLETE, PRUNED))


def check_nothing_lost_or_doubled(study, wanted):
    """What every fault must leave: as many finished trials as asked for, each interrupted one continued once."""
    trials = study.trials
    assert len(finished(study)) == wanted
    assert RUNNING not in {trial.state for trial in trials}
    continued = Counter(trial.user_attrs[RESUME_OF] for trial in trials if RESUME_OF in trial.user_attrs)
    assert set(continued.values()) <= {1}, "an interrupted trial was queued twice"
    assert all(trials[number].state == FAIL for number in continued)
    assert all(len(trial.intermediate_values) == 8 for trial in study.get_trials(states=(COMPLETE,)))
    baselines = [trial for trial in trials if trial.user_attrs.get("baseline") and trial.number not in continued]
    assert len(baselines) == 1
    fresh = [trial.params["lr"] for trial in trials if RESUME_OF not in trial.user_attrs and trial.params]
    assert len(set(fresh)) == len(fresh), "two workers proposed the same"


def together(*works):
    """Run functions in processes of their own, begun at once."""
    begin = FORK.Event()
    processes = [FORK.Process(target=lambda work=work: begin.wait(30) and work()) for work in works]
    for process in processes:
        process.start()
    begin.set()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]
