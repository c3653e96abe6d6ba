"""What do other busy programs cost? A command alone, and again beside busy loops that are started for it.

    python -m benchmarks.study.busy_machine [--busy 2] [--repeats 1] [--quick] [--json] [-- COMMAND WORD ...]

Without a command: a tiny study of both stages (seconds of training; mostly start-up). `--quick`: what `make study` does, in a fresh
folder. A command of one's own is run as it stands; `{out}` in its words becomes a fresh folder each time. The built-in ones are
first run once untimed with one trial of one epoch, which makes the heads and compiles the kernels.

Printed for both: wall time, CPU time (as seen once a second, of processes that nobody waits for, too) and the largest memory
of all processes together (PSS: what several processes share is counted once), and the ratio of the wall times. The loops are
sessions of their own, as a browser is: where the kernel groups processes by session, each gets the share of a program. They
end with the benchmark, even when that is killed. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.rendering.timing import machine
from helpers.utils.paths import SCRIPT

OUT = "{out}"
STAGES = ("meshhead", "gazegaussian")
GB = 1e9
LOOK_SECONDS = 1.0
BUSY_LOOP = """
import os, sys
while os.getppid() == int(sys.argv[1]):  # given: who asks only once it runs may ask after the benchmark's death
    for _ in range(10**6):
        pass
"""
TINY_DATA = "data: {image_size: 64, people: 5, frames: 1, max_train_images: 4, max_val_images: 2}\n"
TINY_TRAINING = "training: {epochs: 3, preview_images: 2}\n"
TINY = {
    "meshhead": "model: {grid_resolution: 12, geometry_width: 16, shape_mlp_width: 16, pose_mlp_width: 16, eye_mlp_width: 16}\n",
    "gazegaussian": "model: {face_subdivisions: 0, eye_subdivisions: 1, dit_head_dim: 2, dit_depth: 4}\n",
}
TINY_STUDY = """study_name: tiny_{stage}
trials: 4
search_space:
  optimisation:
    lr: {{type: float, min: 1.0e-4, max: 1.0e-2, log: true}}
"""

Command = list[str]


@dataclass(frozen=True)
class Run:
    """What one run of the commands took."""

    wall_seconds: float
    cpu_seconds: float
    peak_gb: float  # PSS of all processes together; RSS where the system does not tell it


def study_commands(quick: bool, work: Path) -> list[Command]:
    """Studies of both stages, as `make study` runs them or tiny ones, whose files are written to `work`."""
    commands = []
    for stage in STAGES:
        args = [sys.executable, str(SCRIPT), "study", stage, "--out", OUT]
        if not quick:
            config = work / f"{stage}.yaml"
            study = work / f"{stage}_study.yaml"
            config.write_text(f"stage: {stage}\n{TINY_DATA}{TINY[stage]}{TINY_TRAINING}")
            study.write_text(TINY_STUDY.format(stage=stage))
            args += ["--config", str(config), "--study", str(study), "--no-audit"]
        commands.append(args)
    return commands


@contextmanager
def busy(count: int) -> Iterator[list[psutil.Process]]:
    """Keep so many busy loops running while a `with` block lasts."""
    args = [sys.executable, "-c", BUSY_LOOP, str(os.getpid())]
    loops = [subprocess.Popen(args, start_new_session=True) for _ in range(count)]
    try:
        yield [psutil.Process(loop.pid) for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def timed(commands: Sequence[Command], work: Path) -> Run:
    """Run commands one after the other in `work`, with a fresh folder for their results.

    Raises:
        SystemExit: One failed; its output has been shown.
    """
    seen = _Seen()
    with tempfile.TemporaryDirectory(prefix="run_", dir=work) as out:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        for args in commands:
            _run([word.replace(OUT, out) for word in args], work, seen)
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, max(waited, sum(list(seen.cpu.values()))), seen.peak / GB)


def _run(args: Command, work: Path, seen: _Seen) -> None:
    process = None
    ended = threading.Event()
    try:
        process = subprocess.Popen(args, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # A daemon: a signal may come at any line, and nothing shall keep the benchmark from ending.
        threading.Thread(target=seen.watch, args=(psutil.Process(process.pid), ended), daemon=True).start()
        said, _ = process.communicate()
    finally:
        ended.set()
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        sys.stderr.write(said)
        raise SystemExit(f"exit code {process.returncode} of: {' '.join(args)}")


class _Seen:
    """What processes were seen to use; a forked worker's time reaches no process that waits for it."""

    def __init__(self) -> None:
        self.peak = 0.0  # bytes of all together
        self.cpu: dict[tuple[int, float], float] = {}  # seconds, by number and start

    def watch(self, root: psutil.Process, ended: threading.Event) -> None:
        """Look once a second until the root has ended."""
        while not ended.wait(LOOK_SECONDS):
            with suppress(psutil.Error):
                processes = [root, *root.children(recursive=True)]
                self.peak = max(self.peak, sum(self._look(process) for process in processes))

    def _look(self, process: psutil.Process) -> float:
        with suppress(psutil.Error):
            times = process.cpu_times()
            self.cpu[process.pid, process.create_time()] = times.user + times.system
            memory = process.memory_full_info()
            return float(getattr(memory, "pss", memory.rss))
        return 0.0


def compare(commands: Sequence[Command], loops: int, repeats: int, work: Path) -> dict[str, Run]:
    """Run commands alone and beside busy loops in turn; returns the fastest of each, by name."""
    alone = []
    beside = []
    for _ in range(repeats):
        alone.append(timed(commands, work))
        with busy(loops):
            beside.append(timed(commands, work))
    return {
        "alone": min(alone, key=lambda run: run.wall_seconds),
        "beside": min(beside, key=lambda run: run.wall_seconds),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=2, help="loops beside the command")
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of so many counts")
    parser.add_argument("--quick", action="store_true", help="what `make study` does")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("command", nargs="*", help="instead of a study")
    given = parser.parse_args(args)
    with tempfile.TemporaryDirectory(prefix="busy_machine_") as name:
        work = Path(name)
        commands = [given.command] if given.command else study_commands(given.quick, work)
        if not given.command:
            timed([[*command, "--n-trials", "1", "--epochs", "1"] for command in commands], work)
        runs = compare(commands, given.busy, given.repeats, work)
    ratio = runs["beside"].wall_seconds / runs["alone"].wall_seconds
    if given.json:
        content = {"machine": machine("cpu"), "busy": given.busy, "ratio": ratio}
        sys.stdout.write(json.dumps({**content, **{name: asdict(run) for name, run in runs.items()}}) + "\n")
        return
    sys.stdout.write(f"{machine('cpu')}; {os.cpu_count()} cores, {given.busy} busy loops\n")
    for name, run in runs.items():
        sys.stdout.write(
            f"{name:>7}: {run.wall_seconds:.1f} s, {run.cpu_seconds:.1f} s of CPU, {run.peak_gb:.2f} GB at most\n"
        )
    sys.stdout.write(f"  ratio: {ratio:.2f}\n")


if __name__ == "__main__":
    main()
