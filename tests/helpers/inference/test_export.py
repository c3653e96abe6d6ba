"""A folder that can be handed on and cited: complete, checked, loading on its own, the same again and again."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import optuna
import pytest
import torch
from export_support import (
    finished_study,  # noqa: F401  fixtures
    make,
)
from foreign_support import snapshot
from synthetic_support import SIZE, gaze_run, gaze_stage, heads, mesh_run, train

from gazegaussian.build import train_run
from gazegaussian.config import load_run
from gazegaussian.errors import ConfigError
from gazegaussian.inference import load_redirector
from gazegaussian.training.checkpoints import load_checkpoint, save_checkpoint
from helpers import export, train_best
from helpers import train as train_verb
from helpers.cli.trainings import export as export_command
from helpers.results.attributes import CONFIG
from helpers.storage.errors import StorageError
from helpers.utils.files import DiskError


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A finished training of stage two."""
    folder = tmp_path_factory.mktemp("training") / "mine"
    run = gaze_run()
    train(gaze_stage(run), run, folder)
    return folder


@pytest.fixture
def study(finished_study, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(finished_study, tmp_path / "small")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_sums(folder):
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert f"`{name}`" in (folder / "README.md").read_text()


def test_an_exported_model_loads_as_its_readme_says_and_renders_the_same(training, tmp_path, monkeypatch):
    out = export(training, tmp_path / "out").folder
    check_sums(out)
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    shutil.move(out, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    names = {}
    exec(code, names)
    gaze = torch.tensor([[0.1, -0.2], [0.0, 0.3]])
    image = names["redirector"].image(heads()[1].batch([0]), gaze)
    assert image.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(image, load_redirector(training / "best.pt").image(heads()[1].batch([0]), gaze))
    shown = re.search(r"`gaze_error_deg` \| ([\d.]+)", (tmp_path / "elsewhere" / "README.md").read_text())
    best = load_checkpoint(training / "best.pt")
    assert float(shown[1]) == pytest.approx(best["history"][best["best"]["epoch"]]["gaze_error_deg"], rel=1e-3)
    assert load_run(tmp_path / "elsewhere" / "config.yaml").model_dump() == gaze_run().model_dump()


def test_exporting_again_gives_the_same_files_and_leaves_no_old_ones(training, study, tmp_path):
    out = tmp_path / "out"
    export(study, out)
    assert (out / "report.html").exists()
    export(training, out)
    before = contents(out)
    assert "report.html" not in before, "of the study that was exported there before"
    exported = export(training, out, archive=True)
    assert contents(out) == before
    with zipfile.ZipFile(exported.archive) as file:
        assert {name: file.read(f"out/{name}") for name in before} == before
    assert file.namelist() == sorted(f"out/{name}" for name in before)
    export(training, out)
    assert not exported.archive.exists(), "of the export before"


def test_the_best_trial_comes_with_report_origin_and_parameters(study):
    out = export(study).folder
    check_sums(out)
    assert out == study / "export"
    assert contents(out)["best.pt"] == (study / "trial_0001" / "best.pt").read_bytes()
    assert (out / "report.html").read_text() == "a report.html"
    origin = json.loads((out / "origin.json").read_text())
    assert (origin["study"], origin["trial"], origin["baseline"]) == ("small", 1, 9.0)
    assert origin["seeds"] == {"training": 0, "sampler": 3}
    assert origin["sha256"] == hashlib.sha256(contents(out)["best.pt"]).hexdigest()
    assert origin["data"]["files"] == len(list(heads()[0].root.glob("*.h5")))  # test people are made when first read
    assert json.loads((out / "parameters.json").read_text())["parameters"] == {"lr": 2e-3}
    readme = (out / "README.md").read_text()
    assert "trial 1, the best of study `small`" in readme
    assert "code 0123456789ab" in readme


def test_a_training_says_which_code_made_it_and_brings_its_mesh_head(training, tmp_path):
    folder = shutil.copytree(training, tmp_path / "run")
    start = tmp_path / "mesh.pt"
    readme = (export(folder, tmp_path / "out").folder / "README.md").read_text()
    assert "code unknown" in readme, "the exporting code is not the one that trained"
    content = torch.load(folder / "best.pt", weights_only=True)
    start_weights = {"stage": "meshhead", "variant": "default", "config": {}, "architecture": {}, "model": {}}
    save_checkpoint(start, start_weights)
    content["config"]["meshhead_checkpoint"] = str(start)
    torch.save(content, folder / "best.pt")
    (folder / "environment.json").write_text('{"code": "0123456789ab"}')
    out = export(folder, tmp_path / "out").folder
    assert "code 0123456789ab" in (out / "README.md").read_text()
    assert "--meshhead meshhead.pt" in (out / "README.md").read_text()
    assert (out / "meshhead.pt").read_bytes() == start.read_bytes()
    assert load_run(out / "config.yaml").meshhead_checkpoint == Path("meshhead.pt")


def test_the_final_training_goes_on_from_the_trial_and_equals_one_from_the_start(study, tmp_path):
    out = export(study, epochs=2).folder
    final = study / "final_2_epochs"
    assert contents(out)["best.pt"] == (final / "best.pt").read_bytes()
    assert len((out / "metrics.csv").read_text().splitlines()) == 3
    assert load_run(out / "config.yaml").training.epochs == 2
    assert "epoch 1/2" not in (final / "run.log").read_text(), "the trial's epoch was trained again"
    written = (final / "last.pt").stat().st_mtime_ns
    assert train_best(study, 2) == final
    assert (final / "last.pt").stat().st_mtime_ns == written, "a finished training is taken as it is"
    run = load_run(out / "config.yaml")
    assert not run.data.root.is_absolute(), "those who read it need not learn whose machine it was"
    data = run.data.model_copy(update={"root": heads()[0].root})
    train_run(run.model_copy(update={"data": data}), tmp_path / "at_once")
    once, went_on = (load_checkpoint(folder / "last.pt")["model"] for folder in (tmp_path / "at_once", final))
    assert all(torch.equal(once[name], went_on[name]) for name in once)


def test_what_cannot_be_exported_is_said(study, training, tmp_path):
    with pytest.raises(ConfigError, match=r"No study at .*gone"):
        export(tmp_path / "gone")
    with pytest.raises(ConfigError, match="Expected --epochs with a study"):
        export(training, tmp_path / "out", epochs=3)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        export(training, tmp_path)
    (study / "trial_0001" / "best.pt").unlink()
    with pytest.raises(ConfigError, match=r"checkpoint of trial 1, the best of .* is gone. Give --epochs"):
        export(study)
    begun = make(tmp_path / "begun")
    optuna.create_study(study_name="begun", storage=f"sqlite:///{begun / 'study.db'}")
    with pytest.raises(ConfigError, match="no complete trial to export"):
        export(begun)


def test_a_final_training_is_no_shorter_than_a_trial(finished_study, tmp_path):
    study = shutil.copytree(finished_study, tmp_path / "long")
    stored = optuna.load_study(study_name="small", storage=f"sqlite:///{study / 'study.db'}")
    longer = json.loads(stored.user_attrs[CONFIG])
    longer["training"]["epochs"] = 5
    stored.set_user_attr(CONFIG, json.dumps(longer))
    with pytest.raises(ConfigError, match="at least the 5 epochs of a trial for the final training, got 2"):
        train_best(study, 2)


def with_start(training, folder, start):
    """A copy of a training whose checkpoint names a file as the MeshHead that it began with."""
    shutil.copytree(training, folder)
    content = torch.load(folder / "best.pt", weights_only=True)
    content["config"]["meshhead_checkpoint"] = str(start)
    torch.save(content, folder / "best.pt")
    return folder


def test_a_file_that_a_checkpoint_names_is_packed_as_a_mesh_head_only_and_named(training, tmp_path, caplog, capsys):
    secret = tmp_path / "id_ed25519"
    secret.write_text("-----BEGIN a stand-in-----")
    exported = export(with_start(training, tmp_path / "theirs", secret), tmp_path / "out", archive=True)
    assert "meshhead.pt" not in contents(exported.folder)
    assert not [name for name, content in contents(exported.folder).items() if b"stand-in" in content]
    assert json.loads((exported.folder / "origin.json").read_text())["meshhead"] is None, "not even its digest"
    assert "is left out" in caplog.text
    assert exported.outside == {}
    mesh = tmp_path / "mesh.pt"
    save_checkpoint(mesh, {"stage": "meshhead", "variant": "v", "config": {}, "architecture": {}, "model": {}})
    exported = export(with_start(training, tmp_path / "ours", mesh), tmp_path / "other")
    assert exported.outside == {"meshhead.pt": mesh}
    export_command(tmp_path / "ours", tmp_path / "other")
    said = f"meshhead.pt is a copy of a file from outside {tmp_path / 'ours'}: {mesh}"
    assert said in capsys.readouterr().out.splitlines()


def test_what_others_have_in_the_folder_or_beside_it_stays(study, training, tmp_path):
    down = make(tmp_path / "Downloads")
    (down / "thesis.pdf").write_bytes(b"my thesis")
    (down / "SHA256SUMS").write_text(f"{hashlib.sha256(b'my thesis').hexdigest()}  thesis.pdf\n")
    with pytest.raises(ConfigError, match="holds something else"):
        export(study, down)
    (tmp_path / "new.zip").write_bytes(b"my own backup")
    with pytest.raises(ConfigError, match=r"new\.zip is not of an earlier export"):
        export(study, tmp_path / "new", archive=True)
    export(study, tmp_path / "new")
    assert (tmp_path / "new.zip").read_bytes() == b"my own backup"
    assert (down / "thesis.pdf").read_bytes() == b"my thesis"
    (tmp_path / "new" / "config.yaml").write_text("changed by hand")
    with pytest.raises(ConfigError, match=r"config\.yaml is not what an earlier export wrote, or was changed since"):
        export(training, tmp_path / "new")
    assert (tmp_path / "new" / "report.html").exists(), "rejected before anything was removed"


def test_a_source_with_links_is_refused_and_a_read_only_study_stays_as_it_is(study, tmp_path):
    (study / "report.html").unlink()
    before = snapshot(study)
    export(study, tmp_path / "out")
    assert snapshot(study) == before, "the report that was missing goes into the export alone"
    (tmp_path / "pgpass").write_text("HUNTER2")
    (study / "report.md").unlink()
    (study / "report.md").symlink_to(tmp_path / "pgpass")
    with pytest.raises(StorageError, match=r"report\.md is a link"):
        export(study, tmp_path / "out")


def test_a_copy_that_lost_bytes_is_found(training, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "copyfile", lambda source, target: target.write_bytes(source.read_bytes()[:-1]))
    with pytest.raises(DiskError, match="is not what was copied from"):
        export(training, tmp_path / "out")


def test_the_command_says_where(training, tmp_path, repo_root):
    args = ["export", training, "--out", tmp_path / "out", "--zip", "--json"]
    done = subprocess.run(
        [sys.executable, repo_root / "train_gazegaussian_optuna.py", *args], capture_output=True, text=True, check=True
    )
    printed = json.loads(done.stdout)
    assert printed["archive"] == str(tmp_path / "out.zip")
    assert (tmp_path / "out" / "best.pt").read_bytes() == (training / "best.pt").read_bytes()


def test_a_training_neither_spoils_a_study_nor_stands_for_it(study):
    with pytest.raises(ConfigError, match=r"is the folder of a study.*give another --out"):
        train_verb(mesh_run(root=str(heads()[0].root)), study)
    shutil.copy(study / "trial_0001" / "best.pt", study / "best.pt")  # left there by an older version
    export(study)
    assert json.loads((study / "export" / "origin.json").read_text())["study"] == "small"
