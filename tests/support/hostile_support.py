"""A box for what reads hostile files: little memory, little time, a process of its own.

GAZEGAUSSIAN_FUZZ=N tries N mutations of every good file instead of the few that CI has time for.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

from gazegaussian.errors import UserError

FORK = multiprocessing.get_context("fork")
MUTATIONS = int(os.environ.get("GAZEGAUSSIAN_FUZZ", "10"))
# of CPU, and beyond what the process has already
SECONDS = 5
MEMORY = 1 << 30
FINE = "fine"
REFUSED = "rejected"


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def outcome(read: Callable[[Path], object], path: Path) -> str:
    """Read a file in the box: `fine`, `rejected: ...` in one line, or what should never happen."""
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_boxed, args=(there, read, path))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(300) else "no answer for minutes"
    except EOFError:
        process.join()
        return f"the process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _boxed(answer, read: Callable[[Path], object], path: Path) -> None:
    torch.set_num_threads(1)
    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + SECONDS, int(used) + SECONDS))
    try:
        read(path)
        answer.send(FINE)
    except UserError as error:
        text = str(error)
        answer.send(
            f"{REFUSED}: {text}" if len(text) < 20_000 and text.isprintable() else f"not one line: {text!r}"[:3000]
        )
    except BaseException:
        answer.send(traceback.format_exc())


def assert_refused(read: Callable[[Path], object], path: Path, *parts: str) -> None:
    """The file costs one clear line that holds `parts`."""
    answer = outcome(read, path)
    assert answer.startswith(REFUSED), answer
    for part in parts:
        assert part in answer


def assert_harmless(read: Callable[[Path], object], path: Path) -> None:
    """The file is read or rejected."""
    answer = outcome(read, path)
    assert answer.startswith((FINE, REFUSED)), answer


def mutations(good: bytes, seed: int = 0, count: int = MUTATIONS) -> Iterator[bytes]:
    """Truncate, overwrite, cut out, repeat; the same ones every time."""
    chance = random.Random(seed)
    for _ in range(count):
        bad = bytearray(good)
        kind = chance.randrange(5)
        place = chance.randrange(len(good))
        length = chance.choice([1, 4, 64, 1024])
        if kind == 0:
            del bad[place:]
        elif kind == 1:
            bad[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            del bad[place : place + length]
        elif kind == 3:
            bad[place:place] = bad[place : place + length]
        else:  # headers come first, and decide the most
            for _ in range(8):
                bad[chance.randrange(min(len(bad), 4096))] = chance.choice([0, 1, 0x7F, 0xFF])
        yield bytes(bad)
