"""Processes that make synthetic people side by side.

Each is a plain `python -m gazegaussian.data.synthetic.pool` that reads one JSON line per person and answers with one. It
works in any program (a notebook, a script without a `__main__` guard, a daemonic worker) and ends by itself when the
program that started it is gone, because its input ends then.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from gazegaussian.errors import DataError
from gazegaussian.utils.cores import available_cores

_SECONDS_TO_START = 6.0  # of one core: imports and the head model
_SECONDS_PER_PERSON = 0.15  # without its images
_SECONDS_PER_IMAGE = 0.035  # at 128 px, about in proportion to the pixels above
_MOST_PROCESSES = 16
_SECONDS_TO_END = 20.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def processes_for(people: int, images: int, size: int, wanted: int | None = None) -> int:
    """Choose the number of processes; 0 means to work in the calling one.

    Args:
        people: How many are to be made.
        images: Of each person.
        size: Width of the images in pixels.
        wanted: What the user asked for; None uses the available cores as far as starting a process pays.

    Returns:
        At most one per available core and per person.
    """
    most = min(people, available_cores(), _MOST_PROCESSES)
    if wanted is None:
        seconds = people * (_SECONDS_PER_PERSON + images * _SECONDS_PER_IMAGE * max(1.0, (size / 128) ** 1.5))
        wanted = int(seconds / _SECONDS_TO_START)
    count = min(most, wanted)
    return count if count > 1 else 0


def make_people(out: Path, settings: dict[str, Any], people: Sequence[int], processes: int) -> Iterator[int]:
    """Write the subject files of some people with several processes.

    Args:
        out: The data set's folder.
        settings: Fields of `SyntheticSettings`.
        people: Their numbers.
        processes: How many.

    Yields:
        The numbers, each after its file was written.

    Raises:
        DataError: A person could not be made, or a process was killed.
    """
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    started = [_Process(out, settings) for _ in range(processes)]
    for process in started:
        idle.put(process)

    def make(person: int) -> int:
        process = idle.get()
        try:
            process.make(person)
        finally:
            idle.put(process)
        return person

    try:
        with ThreadPoolExecutor(processes) as threads:
            yield from threads.map(make, people)
    finally:
        for process in started:
            process.close()


class _Process:
    """One process; it makes one person at a time."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        root = str(Path(__file__).resolve().parents[3])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gazegaussian.data.synthetic.pool"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the program alone: it lets its processes finish their person
        )
        self._send({"out": str(Path(out).absolute()), "settings": settings})

    def make(self, person: int) -> None:
        """Make one person and wait for it."""
        self._send(person)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            reason = (
                f"was killed by signal {-code}, perhaps for lack of memory" if code < 0 else f"ended with code {code}"
            )
            raise DataError(
                f"Synthetic heads: a process that made them {reason}; the same command completes the rest, with "
                "--workers 0 in one process"
            )
        error = json.loads(answer)
        if error:
            raise DataError(str(error))

    def close(self) -> None:
        """Let the process finish what it does, and end it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it is gone
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _send(self, content: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone; reading its answer says so
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()


def _serve(write: Callable[[Path, dict[str, Any], int], None]) -> None:
    """Make the people whose numbers come on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    task = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        try:
            write(Path(task["out"]), task["settings"], json.loads(line))
            error = ""
        except (DataError, OSError) as problem:
            error = str(problem)
        answers.write(json.dumps(error) + "\n")
        answers.flush()


def _main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that half a file is removed
    from gazegaussian.data.synthetic.dataset import write_person
    from gazegaussian.data.synthetic.generator import SyntheticSettings

    _serve(lambda out, settings, person: write_person(out, SyntheticSettings(**settings), person))


if __name__ == "__main__":
    _main()
