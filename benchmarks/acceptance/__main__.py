"""Declare the CUDA path good, or say what is not: phases with limits, rows as they come, one JSON. At most 25 minutes.

    python -m benchmarks.acceptance [--out acceptance] [--only NAME ...] [--stand-in]

Every phase has a process and a limit of its own; a later one runs whatever an earlier one did. `--stand-in` runs them on the
stand-in device of the tests (`tests/support/cuda_stand_in`): small sizes, no times, and the JSON says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from helpers.utils.paths import ROOT

RESULT = "RESULT "  # begins a line of a phase's output that holds JSON
STAND_IN_SLOWER = 8  # limits are for a GPU
_LOOK = 0.5  # seconds between two looks at the memory
_TAIL = 3000  # characters of the output of a failed phase that are kept
CUDA_TESTS = (
    "tests/integration/test_cuda_steps.py",
    "tests/integration/test_rendering_cuda.py",
    "tests/gazegaussian/training/test_device_step.py",
)


@dataclass(frozen=True)
class Phase:
    """A command and how long it may take."""

    name: str
    seconds: int
    arguments: Sequence[str]  # of Python
    times: bool = False  # what it measures is time: nothing to learn on the stand-in
    without_gpu: bool = False  # CUDA is hidden from it


@dataclass
class Outcome:
    """What came of a phase."""

    name: str
    verdict: str  # passed, failed, out of time, skipped
    seconds: float = 0.0
    limit: int = 0
    parent_gb: float = 0.0  # resident, of the phase's process
    child_gb: float = 0.0  # of the largest of its children
    gpu_gb: float | None = None  # used on the device, by whomever
    found: list[dict[str, Any]] = field(default_factory=list)
    tail: str = ""


def phases(out: Path, stand_in: bool) -> list[Phase]:
    """All phases, what is most telling first."""

    def check(name: str) -> list[str]:
        return ["-m", "benchmarks.acceptance.checks", name, str(out), *(["--small"] if stand_in else [])]

    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    bench = "benchmarks.rendering"
    return [
        Phase("machine", 60, check("machine")),
        Phase("cuda tests", 240, [*pytest, "-m", "cuda", *CUDA_TESTS]),
        Phase("cpu tests", 60, [*pytest, "-m", "not cuda", *CUDA_TESTS[2:]], without_gpu=True),
        Phase("parity", 90, check("parity")),
        Phase("studies", 300, check("studies")),
        Phase("kill and resume", 90, check("kill")),
        Phase("another precision", 90, check("precision")),
        Phase("out of memory", 60, check("memory")),
        Phase("evaluate", 60, check("evaluate")),
        Phase("TF32", 30, check("tf32")),
        Phase("rasterizers", 100, ["-m", f"{bench}.rasterizers", "--device", "cuda", "--repeats", "10"], times=True),
        Phase("steps", 200, ["-m", f"{bench}.training_steps", "--device", "cuda", "--sizes", "full", "--batches", "1", "4"], True),
    ]  # fmt: skip


class _Watch:
    """Looks at the memory of a process, its children and the device."""

    def __init__(self, pid: int) -> None:
        self.parent = 0
        self.child = 0
        self.gpu: int | None = None
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_LOOK):
            try:
                process = psutil.Process(self._pid)
                self.parent = max(self.parent, process.memory_info().rss)
                for child in process.children(recursive=True):
                    self.child = max(self.child, child.memory_info().rss)
            except psutil.Error:  # it ended meanwhile
                continue
            used = _gpu_bytes()
            if used is not None:
                self.gpu = max(self.gpu or 0, used)


def _gpu_bytes() -> int | None:
    """Used on all devices, by nvidia-smi; None where that is not there."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
        return sum(int(line) for line in done.stdout.split()) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def run(phase: Phase, environment: dict[str, str]) -> Outcome:
    """Run a phase in a process group of its own."""
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    if phase.without_gpu:
        environment |= {"CUDA_VISIBLE_DEVICES": ""}
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *phase.arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watch = _Watch(process.pid)
    try:
        text, _ = process.communicate(timeout=phase.seconds)
        verdict = "failed" if process.returncode else "passed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        verdict = "out of time"
    watch.stop()
    results = [json.loads(line.removeprefix(RESULT)) for line in text.splitlines() if line.startswith(RESULT)]
    return Outcome(
        phase.name,
        verdict,
        round(time.monotonic() - started, 1),
        phase.seconds,
        round(watch.parent / 1e9, 2),
        round(watch.child / 1e9, 2),
        None if watch.gpu is None else round(watch.gpu / 1e9, 2),
        results,
        text[-_TAIL:]
        if verdict != "passed" or phase.times
        else text.strip().splitlines()[-1][:200]
        if text.strip()
        else "",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run all phases; the exit code is the number of those that did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("acceptance"))
    parser.add_argument("--only", nargs="+", help="names of phases")
    parser.add_argument("--stand-in", action="store_true")
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if args.stand_in:
        sys.path.insert(0, str(ROOT / "tests" / "support"))
        from cuda_stand_in import stand_in_environment

        environment = stand_in_environment()
    outcomes = []
    for phase in phases(out, args.stand_in):
        if args.only and phase.name not in args.only:
            continue
        if args.stand_in and phase.times:
            outcome = Outcome(phase.name, "skipped", tail="times of the stand-in mean nothing")
        else:
            outcome = run(
                replace(phase, seconds=phase.seconds * (STAND_IN_SLOWER if args.stand_in else 1)), environment
            )
        outcomes.append(outcome)
        _print_row(outcome, args.stand_in)
        content = {"device": "stand-in, no GPU" if args.stand_in else "GPU", "phases": [asdict(o) for o in outcomes]}
        (out / "acceptance.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    bad = [o.name for o in outcomes if o.verdict not in ("passed", "skipped")]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} phases good; {out / 'acceptance.json'}", flush=True)
    return len(bad)


def _print_row(outcome: Outcome, stand_in: bool) -> None:
    took = "" if stand_in else f"{outcome.seconds:5.0f} s of {outcome.limit}"
    gpu = "" if outcome.gpu_gb is None else f", GPU {outcome.gpu_gb:.1f} GB"
    memory = f"parent {outcome.parent_gb:.1f} GB, child {outcome.child_gb:.1f} GB{gpu}"
    print(f"{outcome.name:18} {outcome.verdict:12} {took} {memory}", flush=True)
    for row in outcome.found:
        print("    " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if outcome.verdict not in ("passed", "skipped"):
        print("\n".join(f"    | {line}" for line in outcome.tail.splitlines()[-12:]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
