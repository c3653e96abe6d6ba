"""Mutated inputs of every kind: read or rejected in one line, within seconds, and no byte outside is another afterwards.

CI tries some of each kind; `GAZEGAUSSIAN_FUZZ=223 pytest tests/integration/test_mutated_inputs.py` tries 2,230 in all.
"""

import json
import os
import random
import zipfile
from functools import partial

import pytest
import torch
from fixtures_support import COMPACT
from foreign_support import snapshot
from hostile_support import MUTATIONS, assert_harmless, mutations
from PIL import Image
from study_support import fake_train, run_study, spec

from gazegaussian.config import load_run
from gazegaussian.data.check import check_dataset
from gazegaussian.data.download.archives import unpack
from gazegaussian.models import frozen
from gazegaussian.training.checkpoints import load_checkpoint, save_checkpoint
from helpers import load_study, summary_rows
from helpers.inference.export_marks import is_own_archive, own_files
from helpers.results.best_files import read_best
from helpers.results.mesh_heads import best_mesh_head
from helpers.results.pictures import read_png
from helpers.results.run_files import best_image
from helpers.search.space import baseline, check_space, load_study_file
from helpers.storage.backends import open_storage
from helpers.study.stop import stop_requested

COUNT = max(MUTATIONS, 24)
WRITTEN = ("inside/out", "inside/images")  # by the test itself
SUBJECT = "xgaze_subject0000.h5"


def made_yaml(folder, repo_root):
    path = folder / "study.yaml"
    path.write_bytes((repo_root / "configs" / "studies" / "meshhead" / "space.yaml").read_bytes())
    return path


def read_study_yaml(path):
    load_study_file(path, "meshhead")


def made_json(folder, repo_root):
    run_study(spec(folder, fake_train, trials=2, epochs=2))
    return folder / "toy" / "best.json"


def read_json(path):
    read_best(path)
    own_files(path.parent)
    best_mesh_head(path.parent.parent)  # logs what it passes over


def made_database(folder, repo_root):
    run_study(spec(folder, fake_train, trials=2, epochs=2))
    return folder / "toy" / "study.db"


def read_database(path):
    summary_rows(load_study(path.parent))


def made_journal(folder, repo_root):
    import dataclasses

    path = folder / "study.journal"
    run_study(dataclasses.replace(spec(folder, fake_train, trials=2, epochs=2), storage=str(path)))
    return path


def read_journal(path):
    storage = open_storage(str(path), path.parent / "toy", must_exist=True)
    for study in storage.get_all_studies():
        storage.get_all_trials(study._study_id)


def made_zip(folder, repo_root):
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(COMPACT / SUBJECT, f"data/{SUBJECT}")
        archive.writestr("data/SHA256SUMS", f"{'0' * 64}  origin.json\n")
        archive.writestr("data/origin.json", "{}")
    return path


def read_zip(path):
    assert not is_own_archive(path)
    (path.parent / "out").mkdir(exist_ok=True)
    unpack([path], path.parent / "out", ("xgaze_*.h5",))


def made_hdf5(folder, repo_root):
    path = folder / SUBJECT
    path.write_bytes((COMPACT / SUBJECT).read_bytes())
    return path


def read_hdf5(path):
    check_dataset(path.parent)


def made_png(folder, repo_root):
    path = folder / "epoch_0001.png"
    Image.effect_noise((64, 48), 50).convert("RGB").save(path)
    return path


def read_picture(path):
    try:
        read_png(path)
    except OSError:  # what costs a report one picture
        return


def made_table(folder, repo_root):
    path = folder / "metrics.csv"
    path.write_text("epoch,train_loss,val_loss\n1,0.5,0.75\n2,0.25,\n3,0.125,0.5\n")
    return path


def read_table(path):
    (path.parent / "images").mkdir(exist_ok=True)
    for name in ("epoch_.png", "epoch_best.png", "epoch_0002.png"):
        (path.parent / "images" / name).touch()
    assert best_image(path.parent, "val_loss", minimize=True) == path.parent / "images" / "epoch_0002.png"


def made_checkpoint(folder, repo_root):
    path = folder / "best.pt"
    content = {"stage": "meshhead", "variant": "v", "config": {"a": [1, 2.5, "x"]}, "architecture": {"n": 3}}
    save_checkpoint(path, {**content, "model": {"w": torch.randn(40, 5), "b": torch.zeros(7, dtype=torch.int64)}})
    return path


def made_weights(folder, repo_root):
    path = folder / "guide.safetensors"
    path.write_bytes((frozen.WEIGHTS / path.name).read_bytes())
    return path


def read_frozen(path):
    frozen.WEIGHTS = path.parent  # in a process of its own
    frozen.load_frozen("guide")


KINDS = {
    "YAML": (made_yaml, read_study_yaml),
    "JSON": (made_json, read_json),
    "SQLite": (made_database, read_database),
    "journal": (made_journal, read_journal),
    "zip": (made_zip, read_zip),
    "HDF5": (made_hdf5, read_hdf5),
    "PNG": (made_png, read_picture),
    "CSV": (made_table, read_table),
    "pt": (made_checkpoint, load_checkpoint),
    "safetensors": (made_weights, read_frozen),
}


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs_are_read_or_refused_and_change_nothing(kind, tmp_path, repo_root, monkeypatch):
    make, read = KINDS[kind]
    (tmp_path / "around").mkdir()
    (tmp_path / "inside").mkdir()
    (tmp_path / "around" / "victim.txt").write_text("precious")
    monkeypatch.chdir(tmp_path / "around")
    path = make(tmp_path / "inside", repo_root)
    good = path.read_bytes()
    for bad in mutations(good, seed=sum(map(ord, kind)), count=COUNT):
        path.write_bytes(bad)
        before = snapshot(tmp_path)
        assert_harmless(read, path)
        after = {name: seen for name, seen in snapshot(tmp_path).items() if not name.startswith(WRITTEN)}
        assert after == {name: seen for name, seen in before.items() if not name.startswith(WRITTEN)}
    path.write_bytes(good)
    assert_harmless(read, path)


@pytest.mark.parametrize("seed", range(4))
def test_values_of_other_kinds_in_small_files_are_one_line(seed, tmp_path, repo_root):
    """Missing keys, wrong types and 10^9 where a size is expected: not noise, but sense of another kind."""
    run_study(spec(tmp_path, fake_train, trials=2, epochs=2))
    chance = random.Random(seed)
    values = [None, -1, 10**9, 1e308, "x", [], {}, True, [[1]], {"a": 1}]
    path = tmp_path / "toy" / "best.json"
    good = json.loads(path.read_text())
    for _ in range(COUNT // 4):
        bad = dict(good)
        for _ in range(chance.randint(1, 3)):
            name = chance.choice(sorted(bad))
            if chance.random() < 0.4:
                del bad[name]
            else:
                bad[name] = chance.choice(values)
        path.write_text(json.dumps(bad))
        assert_harmless(read_json, path)
    run = load_run(repo_root / "configs" / "runs" / "meshhead" / "quick.yaml")
    text = (
        tmp_path / "study.yaml",
        "study_name: x\ntrials: {}\nsearch_space: {{optim: {{lr: {{type: float, min: {}, max: {}}}}}}}\n",
    )
    for _ in range(COUNT // 4):
        text[0].write_text(
            text[1].format(*(chance.choice(["1000000000", "-1", "x", ".inf", "null", "1e-3", "[1]"]) for _ in range(3)))
        )
        assert_harmless(partial(checked_space, run=run), text[0])


def checked_space(path, run):
    study = load_study_file(path, "meshhead")
    baseline(study, run)
    check_space(study, run)


def test_a_stop_file_of_any_kind_is_no_obstacle(tmp_path):
    for content in (b"", b"\0" * 10, b"\xff" * 10**6, b"\x1b[2J"):
        (tmp_path / "stop").write_bytes(content)
        assert stop_requested(tmp_path)
    (tmp_path / "stop").unlink()
    os.mkfifo(tmp_path / "stop")
    assert stop_requested(tmp_path) is None
