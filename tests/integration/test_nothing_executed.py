"""What is read is data: pickles in a store, pictures, checkpoints of unsafe versions of torch, code beside a notebook."""

import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from hostile_support import Payload
from optuna.samplers import _cmaes
from PIL import Image, UnidentifiedImageError

from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.checkpoints import require_safe_torch
from helpers.reporting.report_images import _embedded
from helpers.results.pictures import captioned_row
from helpers.search.registry import load_optimizer
from helpers.search.samplers_and_pruners import make_sampler
from helpers.search.study_config import Component
from helpers.utils import runtime as colab

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"


class Call:
    """Unpickled, it calls a function with arguments."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "hostile",
    [Call(exec, "1"), Call(getattr, "", "join"), Call(os.system, "true"), Call(np.load, "x"), Call(np.fromfile, "x")],
)
def test_a_stored_optimizer_that_names_anything_else_is_refused(hostile, nested):
    content = pickle.dumps({"a": [np.zeros(3), hostile]} if nested else hostile)
    with pytest.raises(ConfigError, match="which no optimizer does: it was not written by this program"):
        load_optimizer(content)


def test_a_stored_optimizer_runs_nothing(tmp_path):
    with pytest.raises(ConfigError):
        load_optimizer(pickle.dumps(Payload(tmp_path / "executed")))
    assert not (tmp_path / "executed").exists()
    for damaged in (b"", b"\x80", pickle.dumps(np.zeros(9))[:-9], b"(" * 10**6):
        with pytest.raises(ConfigError, match="is damaged"):
            load_optimizer(damaged)


def test_what_optimizers_are_made_of_is_read():
    state = {"mean": np.arange(6.0).reshape(2, 3), "sigma": np.float64(1.5), "n": 3, "empty": None}
    loaded = load_optimizer(pickle.dumps(state))
    assert np.array_equal(loaded["mean"], state["mean"])
    assert loaded["sigma"] == 1.5


def test_every_cma_es_sampler_reads_its_state_so(monkeypatch):
    """Wherever it is nested: what it would unpickle by is replaced where it stands."""
    monkeypatch.setattr(_cmaes, "pickle", pickle)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: SimpleNamespace())
    monkeypatch.setattr(optuna.samplers, "CmaEsSampler", optuna.samplers.RandomSampler)
    make_sampler(Component(name="cmaes"), 0)
    assert _cmaes.pickle.loads is load_optimizer
    trial = SimpleNamespace(system_attrs={"cma:optimizer:0": pickle.dumps(Call(exec, "1")).hex()})
    sampler = SimpleNamespace(
        _attr_key_optimizer="cma:optimizer", _concat_optimizer_attrs=lambda attrs: attrs["cma:optimizer:0"]
    )
    with pytest.raises(ConfigError, match=r"names builtins\.exec"):
        _cmaes.CmaEsSampler._restore_optimizer(sampler, [trial])


def test_a_real_optimizer_comes_back_the_same():
    import cmaes

    optimizer = cmaes.CMA(mean=np.zeros(3), sigma=1.3, seed=1)
    optimizer.tell([(optimizer.ask(), float(i)) for i in range(optimizer.population_size)])
    again = load_optimizer(pickle.dumps(optimizer))
    assert again.generation == 1
    assert np.array_equal(again._mean, optimizer._mean)


def test_pictures_are_png_whatever_they_are_called(tmp_path):
    path = tmp_path / "epoch_0001.png"
    for content in (EPS, b"GIF89a" + bytes(100), b"\x00\x00\x01\x00" + bytes(100)):
        path.write_bytes(content)
        for read in (lambda: captioned_row([(path, "x")], 20), lambda: _embedded(path)):
            with pytest.raises(UnidentifiedImageError):
                read()
    Image.new("RGB", (8, 8)).save(path)
    assert _embedded(path).startswith("data:image/jpeg")


@pytest.mark.parametrize(
    ("version", "safe"), [("2.5.1", False), ("2.9.1+cu128", False), ("2.10.0", True), ("3.0.0a1", True), ("?", False)]
)
def test_a_torch_that_reads_unsafely_reads_no_checkpoint(tmp_path, version, safe):
    if safe:
        require_safe_torch(tmp_path, version)
    else:
        with pytest.raises(CheckpointError, match=r"Install torch 2\.10 or newer"):
            require_safe_torch(tmp_path, version)


def test_a_folder_called_google_is_no_colab(tmp_path, monkeypatch):
    (tmp_path / "google" / "colab").mkdir(parents=True)
    (tmp_path / "google" / "colab" / "__init__.py").touch()
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    assert not colab.is_colab_runtime()
    assert not colab.runtime_name().startswith("Colab")


def set_up_cell(repo_root):
    notebook = json.loads((repo_root / "notebooks" / "00_quickstart.ipynb").read_text())
    return "".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"])


def fake_repository(place):
    """Files that a set-up cell may take for the repository; running them leaves a mark beside them."""
    (place / "helpers" / "utils").mkdir(parents=True, exist_ok=True)
    (place / "train_gazegaussian_optuna.py").touch()
    (place / "helpers" / "utils" / "runtime.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef set_up(drive=False): return 'x'\n"
    )
    return place / "helpers" / "utils" / "ran"


@pytest.mark.parametrize(("where", "runs"), [(".", True), ("..", True), ("../..", False), ("../../..", False)])
def test_notebooks_run_helpers_of_their_folder_and_its_parent_only(tmp_path, repo_root, where, runs):
    here = tmp_path / "shared" / "alice" / "notebooks"
    here.mkdir(parents=True)
    ran = fake_repository((here / where).resolve())
    environment = {name: value for name, value in os.environ.items() if name != "GAZEGAUSSIAN_REPOSITORY"}
    args = [sys.executable, "-c", set_up_cell(repo_root)]
    done = subprocess.run(args, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ran.exists() is runs
    assert runs or "No repository of yours here" in done.stderr


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("theirs", [".", "helpers/utils/runtime.py"])
def test_notebooks_run_no_helpers_of_other_users(tmp_path, repo_root, theirs):
    here = tmp_path / "alice"
    here.mkdir()
    place = here / "gazegaussian-studies"
    ran = fake_repository(place)
    os.chown(place / theirs, 12345, 12345)
    environment = {name: value for name, value in os.environ.items() if name != "GAZEGAUSSIAN_REPOSITORY"}
    args = [sys.executable, "-c", set_up_cell(repo_root)]
    done = subprocess.run(args, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert not ran.exists()
    assert "No repository of yours here" in done.stderr
