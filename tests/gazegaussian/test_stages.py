"""A stage of a user's own is known once its module is named, and by nothing else."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from gazegaussian import stages
from gazegaussian.config import MeshHeadRun, StageRun, parse_run
from gazegaussian.errors import ConfigError
from gazegaussian.stages import StageSpec, find_stage, load_stages, register, require_stage, stage_names, stage_spec
from gazegaussian.training.stage import require_parts, to_device

MODULE = """
from pathlib import Path
from typing import Literal
from gazegaussian.config import StageRun
from gazegaussian.stages import StageSpec, register

Path(__file__).with_suffix(".ran").touch()

class Run(StageRun):
    stage: Literal["{name}"] = "{name}"

def build(config):
    raise NotImplementedError

STAGE = register(StageSpec(name="{name}", config=Run, build=build))
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(stages, "_STAGES", dict(stages._STAGES))
    monkeypatch.setattr(stages, "_FOLDERS", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def module(folder, file, name="own"):
    path = folder / file
    path.write_text(MODULE.format(name=name))
    return path


def test_a_file_registers_its_stage_and_its_folder_comes_last(tmp_path):
    path = module(tmp_path, "own_file.py")
    assert load_stages(str(path)) == ["own"]
    assert stage_names() == ["meshhead", "gazegaussian", "own"]
    assert stage_spec("own").source == path
    assert isinstance(parse_run({"stage": "own", "training": {"epochs": 2}}), stage_spec("own").config)
    assert sys.path[-1] == str(tmp_path)
    assert stages.searched_folders() == [str(tmp_path)]
    assert load_stages(str(path)) == ["own"]  # again, the same module


def test_a_module_and_a_spec_in_it_can_be_named(tmp_path, monkeypatch):
    module(tmp_path, "own_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_stages("own_module:STAGE") == ["own"]
    with pytest.raises(ConfigError, match="Expected a StageSpec named 'Run' in own_module"):
        load_stages("own_module:Run")


def test_an_installed_stage_is_imported_when_its_name_is_asked_for(tmp_path, monkeypatch):
    path = module(tmp_path, "own_installed.py")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("own", "own_installed:STAGE", stages.ENTRY_POINTS)
    monkeypatch.setattr(
        stages, "entry_points", lambda group, name: [entry] if (group, name) == (entry.group, "own") else []
    )
    with pytest.raises(ConfigError, match="stage must be one of meshhead, gazegaussian, not 'own'"):
        parse_run({"stage": "own"})  # what a file says imports nothing
    assert not path.with_suffix(".ran").exists()
    assert require_stage("own") == "own"
    assert path.with_suffix(".ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("own_empty.py", "x = 1", "registers no stage"),
        ("own_broken.py", "1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("json.py", MODULE.format(name="own"), "has the name of a module of .*json"),
        ("own-name.py", MODULE.format(name="own"), "a file that Python can import by its name"),
        (
            "own_taken.py",
            MODULE.format(name="meshhead"),
            r"got 'meshhead', which gazegaussian\.config\.MeshHeadRun has",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_in_one_line(tmp_path, file, content, said):
    (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load_stages(str(tmp_path / file))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="Expected the file of a stage, found none at"):
        load_stages(str(tmp_path / "own.py"))
    with pytest.raises(ConfigError, match="own_nowhere cannot be imported"):
        load_stages("own_nowhere")
    assert find_stage("own") is None


def test_a_class_with_another_default_is_refused():
    with pytest.raises(ConfigError, match=r"expected StageRun\.stage to have the default 'own', got ''"):
        register(StageSpec(name="own", config=StageRun, build=print))
    assert stage_spec("meshhead").config is MeshHeadRun


def test_the_registry_needs_neither_torch_nor_optuna(repo_root):
    program = "import sys, gazegaussian.config; print(sorted({'torch', 'optuna', 'helpers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_batch_may_be_nested_and_what_cannot_move_is_named():
    cpu = torch.device("cpu")
    batch = {"x": torch.ones(2), "rest": (torch.zeros(1), [torch.ones(1)])}
    moved = to_device(batch, torch.device("meta"))
    assert [moved["x"].device.type, moved["rest"][0].device.type, moved["rest"][1][0].device.type] == ["meta"] * 3
    assert to_device(batch, cpu)["rest"][1][0].equal(torch.ones(1))
    with pytest.raises(ConfigError, match=r"batches\(\): expected tensors.*got str"):
        to_device((torch.ones(1), "label"), cpu)


def test_a_stage_without_a_part_is_refused_by_name():
    class Half:
        name, variant, module = "half", "plain", None

        def prepare(self): ...

    with pytest.raises(
        ConfigError, match="Half lacks architecture, batches, losses, parameter_groups, preview, to, validate"
    ):
        require_parts(Half(), "half")
