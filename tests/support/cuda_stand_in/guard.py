"""Compile `guard.cpp`, once per installation of torch and version of the source; the library stays in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")


class NoCompiler(Exception):
    """The guard cannot be compiled here; the text says why."""


def guard_library() -> Path:
    """Return the compiled guard, compiled now where it is not there. Torch is found, not imported.

    Raises:
        NoCompiler: There is no C++ compiler, or it fails.
    """
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch = Path(spec.origin).parent
    installation = f"{importlib.metadata.version('torch')} {torch}"  # whose libraries the guard finds by their path
    key = hashlib.sha256(SOURCE.read_bytes() + installation.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache / "gazegaussian" / "cuda_stand_in" / f"guard-{key}.so"
    if library.is_file():
        return library
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        raise NoCompiler("no C++ compiler (g++, clang++ or $CXX) for the stand-in CUDA device")
    library.parent.mkdir(parents=True, exist_ok=True)
    include = torch / "include"
    libraries = torch / "lib"
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, "-O1", "-shared", "-fPIC", "-std=c++20", str(SOURCE), "-o", str(made)]
        command += [f"-I{include}", f"-I{include / 'torch/csrc/api/include'}", f"-L{libraries}"]
        command += ["-lc10", "-ltorch_cpu", f"-Wl,-rpath,{libraries}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(f"{compiler} cannot compile {SOURCE.name}: {done.stderr.strip()[:500]}")
        made.replace(library)
    return library
