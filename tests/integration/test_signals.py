"""Ctrl-C and SIGTERM are answered, whenever they come."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from repository import ROOT
from study_support import run_study, spec
from trainer_support import LineStage, trainer

from gazegaussian.training.trainer import Trainer
from gazegaussian.utils.interrupts import interrupted, interruptible, raise_if_interrupted, uninterrupted
from helpers import load_study

SIGNALS = 200
SEED = 0


class Swallows:
    """A destructor, in which Python prints and drops whatever is raised."""

    def __del__(self):
        spin(0.002)


@ctypes.CFUNCTYPE(None)
def callback():
    """Called from C, where Python can raise nothing either."""
    spin(0.002)


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class LossyStage(LineStage):
    """Spends most of its time where exceptions get lost."""

    def losses(self, batch, epoch):
        Swallows()
        callback()
        return super().losses(batch, epoch)

    def validate(self):
        Swallows()
        return super().validate()


class Killer:
    """Sends one signal to this process after some time, from a thread."""

    def __init__(self, number, seconds):
        self.thread = threading.Thread(target=self._send, args=(number, seconds))

    def _send(self, number, seconds):
        time.sleep(seconds)
        os.kill(os.getpid(), number)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *details):
        self.thread.join()


@pytest.fixture
def lost(monkeypatch):
    """Exceptions that Python has dropped."""
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: dropped.append(unraisable.exc_type))
    return dropped


def test_of_200_signals_at_random_moments_of_trainings_none_is_lost(tmp_path, lost):
    rng = random.Random(SEED)
    for count in range(SIGNALS):
        one = trainer(tmp_path / "run", LossyStage(), epochs=1000, preview_images=0)
        number = rng.choice([signal.SIGINT, signal.SIGTERM])
        with pytest.raises(KeyboardInterrupt), interruptible(), Killer(number, rng.uniform(0.0, 0.06)):  # noqa: PT012
            one.fit()
            pytest.fail(f"signal {count} ({number.name}) was lost")
        assert not interrupted()
    # The harness delivers where exceptions are dropped, else it would show nothing.
    assert KeyboardInterrupt in lost


def test_signals_that_destructors_drop_stop_a_study_whose_trial_is_queued_again(tmp_path, lost):
    rng = random.Random(SEED)

    def train(config, run_dir, hooks, resume):
        one = Trainer(LossyStage(), config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
        with Killer(rng.choice([signal.SIGINT, signal.SIGTERM]), rng.uniform(0.0, 0.05)):
            return one.fit(resume=run_dir / "last.pt" if resume else None)

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            run_study(spec(tmp_path, train, trials=100, epochs=1000))
    study = spec(tmp_path, train, trials=100, epochs=1000)
    states = [trial.state.name for trial in load_study(study.folder).trials]
    assert states == [*["FAIL"] * 5, "WAITING"]


def test_a_signal_that_became_another_error_is_still_an_interrupt(tmp_path):
    def train(config, run_dir, hooks, resume):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("from C++") from None

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, train))
    assert [trial.state.name for trial in load_study(tmp_path / "toy").trials] == ["FAIL", "WAITING"]


def test_a_signal_that_is_dropped_last_of_all_ends_the_block():
    with pytest.raises(KeyboardInterrupt), interruptible(), suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    raise_if_interrupted()  # forgotten


def test_a_transaction_ends_before_a_signal_is_raised():
    done = []
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            done.append("transaction")
        done.append("what comes after it")
    assert done == ["transaction"]


def test_a_second_signal_does_not_wait_for_a_transaction():
    done = []
    with pytest.raises(KeyboardInterrupt), interruptible(), uninterrupted():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        done.append("first half")
        signal.raise_signal(signal.SIGINT)
        done.append("second half")
    assert done == ["first half"]


def test_what_others_do_with_ctrl_c_is_left_alone():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1]


PROGRAM = """
import atexit, os, signal, sys, time
sys.argv = ["train_gazegaussian_optuna.py", "audit", "meshhead"]
import runpy
moment = {moment!r}
send = lambda: os.kill(os.getpid(), signal.{name})
if moment == "import":
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "typer":
                sys.meta_path.remove(self)
                send()
    sys.meta_path.insert(0, Finder())
import helpers
if moment == "command":
    def default_spec(*args, **options):
        send()
    helpers.default_spec = default_spec
if moment == "swallowed":
    class Dropped:
        def __del__(self):
            send()
    def default_spec(*args, **options):
        Dropped()
        sys.exit(0)
    helpers.default_spec = default_spec
if moment == "atexit":
    sys.argv[1:] = ["--help"]
    real = atexit.register
    def register(function, *args, **options):
        result = real(function, *args, **options)
        if getattr(function, "__name__", "") == "_leave":
            real(send)
        return result
    atexit.register = register
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.parametrize("moment", ["import", "command", "swallowed", "atexit"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_script_answers_at_every_stage_with_a_word_and_130(moment, number):
    text = PROGRAM.format(moment=moment, name=number.name, script=str(ROOT / "train_gazegaussian_optuna.py"))
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "Interrupted. Run the same command again to resume."
    assert "Traceback" not in done.stderr or moment in ("swallowed", "atexit")
