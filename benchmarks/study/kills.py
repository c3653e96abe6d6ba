"""What do kills cost? Runs a MeshHead study with the real script and kills it (SIGKILL) at random moments.

    python -m benchmarks.study.kills [--kills 50] [--out DIR]

After every kill: is each trial that had finished still there with its value, is every JSON and checkpoint whole, is no
temporary file left behind by the next run? At the end: is the study complete, and which epochs were trained twice? Trainings
are small (64 px, four images), so that kills fall into start-up, training, reports, checkpoints and results alike. Exit code 1
when anything is lost.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState
from tqdm.auto import tqdm

from helpers import load_study
from helpers.results.attributes import RESUME_OF
from helpers.results.trial_states import FINISHED
from helpers.storage.errors import StorageError
from helpers.utils.paths import SCRIPT

EPOCHS = 12
ENDLESS = 10_000  # trials: the kills come first
RUN = f"""stage: meshhead
data: {{image_size: 64, people: 5, frames: 1, max_train_images: 4, max_val_images: 2}}
model: {{grid_resolution: 12, geometry_width: 16, shape_mlp_width: 16, pose_mlp_width: 16, eye_mlp_width: 16}}
training: {{epochs: {EPOCHS}, warm_start_steps: 60, preview_images: 2}}
"""
STUDY = """study_name: kills
trials: 30
pruner: {name: median, kwargs: {n_startup_trials: 3, n_warmup_steps: 3, interval_steps: 1}}
search_space:
  optimisation:
    lr: {type: float, min: 1.0e-5, max: 1.0e-2, log: true}
    batch_size: {type: categorical, choices: [1, 2]}
"""
_EPOCH_LINE = re.compile(r"epoch (\d+)/\d+  train")


def command(work: Path, trials: int) -> list[str]:
    """The command that is killed and repeated."""
    files = ["--config", "run.yaml", "--study", "study.yaml", "--out", "out"]
    args = ["study", "meshhead", *files, "--no-audit", "--workers", "1"]
    return [sys.executable, str(SCRIPT), *args, "--n-trials", str(trials)]


def finished(folder: Path) -> dict[int, tuple[str, float | None]]:
    """State and value of the trials that have ended, by number; none before the study exists."""
    if not (folder / "study.db").is_file():
        return {}
    try:
        study = load_study(folder)
    except StorageError as error:  # killed before the tables were made, or the study in them
        if not re.search(r"no study( in .+)? yet", str(error)):
            raise
        return {}
    return {t.number: (t.state.name, t.value) for t in study.get_trials(states=FINISHED)}


def broken_files(folder: Path) -> list[str]:
    """Files under a study folder that cannot be read whole."""
    bad = []
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".pt" and not path.name.startswith("."):
                torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:
            bad.append(f"{path.relative_to(folder)}: {error}")
    return bad


def epochs_trained_twice(study: optuna.Study, folder: Path) -> int:
    """Epochs that were logged as trained more than once for the same parameters, by the logs of a trial and its retries."""
    first: dict[int, int] = {}
    logged: Counter[tuple[int, int]] = Counter()
    for trial in study.trials:
        before = trial.user_attrs.get(RESUME_OF)
        first[trial.number] = trial.number if before is None else first[before]
        log = folder / f"trial_{trial.number:04d}" / "run.log"
        if log.is_file():
            logged.update((first[trial.number], int(epoch)) for epoch in _EPOCH_LINE.findall(log.read_text()))
    return sum(count - 1 for count in logged.values())


def main() -> int:
    """Kill, look, repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds before the latest kill")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    work = arguments.out or Path(tempfile.mkdtemp(prefix="kills-"))
    work.mkdir(parents=True, exist_ok=True)
    (work / "run.yaml").write_text(RUN)
    (work / "study.yaml").write_text(STUDY)
    folder = work / "out" / "kills"
    moments = random.Random(arguments.seed)
    lost: list[str] = []
    before: dict[int, tuple[str, float | None]] = {}
    kills = in_trial = 0
    with (work / "log.txt").open("a") as log:
        bar = tqdm(total=arguments.kills, disable=None, unit="kill")
        while kills < arguments.kills:
            process = subprocess.Popen(command(work, ENDLESS), cwd=work, stdout=log, stderr=log)
            try:
                process.wait(moments.uniform(1.0, arguments.longest))
                raise SystemExit(f"the study ended by itself, see {work / 'log.txt'}")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            kills += 1
            bar.update()
            now = finished(folder)
            lost += [f"trial {n} was {before[n]}, is {now.get(n)}" for n in before if now.get(n) != before[n]]
            lost += broken_files(folder)
            before = now
            if now:
                in_trial += any(t.state == TrialState.RUNNING for t in load_study(folder).trials)
        bar.close()
        started = time.monotonic()
        target = len(before) + 2
        code = subprocess.run(command(work, target), cwd=work, stdout=log, stderr=log, check=False).returncode
    study = load_study(folder)
    after = finished(folder)
    lost += [f"trial {n} was {before[n]}, is {after.get(n)}" for n in before if after.get(n) != before[n]]
    rest = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
    twice = epochs_trained_twice(study, folder)
    states = Counter(trial.state.name for trial in study.trials)
    print(
        f"kills {kills}, of these in the middle of a trial {in_trial}; last run: exit code {code}, {time.monotonic() - started:.0f} s"
    )
    print(f"finished trials {len(after)} of {target}; states {dict(states)}")
    print(f"finished trials or files lost: {len(lost)}; temporary files left: {len(rest)}")
    print(
        f"epochs trained twice: {twice} in {kills} kills (the epoch that a kill cuts is trained again, and not counted)"
    )
    for line in [*lost, *rest]:
        print(f"  {line}")
    return int(bool(lost or rest or code or len(after) < target or twice > kills))


if __name__ == "__main__":
    sys.exit(main())
