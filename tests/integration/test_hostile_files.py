"""Hostile configurations, winners and stores: one clear line or a right reading; nothing in them is executed."""

import copy
import dataclasses
import json
import random
import shutil
import sys

import pytest
import torch
from hostile_support import MUTATIONS, Payload, assert_harmless, assert_refused, mutations
from study_support import fake_train, run_study, spec

import train_gazegaussian_optuna
from gazegaussian.config import load_run
from gazegaussian.utils.yaml_files import dump_yaml, read_yaml
from helpers import load_study, make_config, summary_rows
from helpers.results.mesh_heads import best_mesh_head
from helpers.search.space import baseline, check_space, load_study_file
from helpers.storage.backends import open_storage

HOSTILE = [
    None, [], {}, "", "x" * 3000, "\x1b[2J", "../../etc", -1, 10**30, 1e308, float("nan"), float("inf"), True,
    ["a", ["b"]], {"name": "os.system", "kwargs": {"command": "id"}}, {"type": "int", "min": 0, "max": 10**18}, [[[]]],
]  # fmt: skip
CHAIN = "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
MERGES = "".join(
    f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n" for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)
YAML = {
    "a billion laughs": f"a: &a [{', '.join('x' * 9)}]\n{CHAIN}",
    "a million merges": f"a: &a {{k: v}}\n{MERGES}",
    "an alias inside itself": "a: &a [*a]",
    "an unknown alias": "a: *b",
    "depth": "a: " + "[" * 50_000 + "]" * 50_000,
    "depth by indentation": "\n".join(" " * i + "a:" for i in range(900)),
    "length": "a: [" + "1," * 100_000 + "]",
    "size": "a: '" + "x" * 3_000_000 + "'",
    "a huge number": "a: 1" + "0" * 100_000,
    "a huge number in base 60": "a: 1" + ":59" * 60_000,
    "a huge hexadecimal number": "a: 0x" + "f" * 100_000,
    "a python object": "a: !!python/object/apply:os.system ['touch {marker}']",
    "a python name": "a: !!python/name:os.system",
    "a python module": "!!python/module:os",
    "a key given twice": "a: 1\na: 2",
    "a key that is a list": "? [a]\n: b",
    "a date that is none": "a: 2001-13-45",
    "an int that is none": "a: !!int ''",
    "a bool that is none": "a: !!bool x",
    "a time that is none": "a: !!timestamp x",
    "no UTF-8": "a: \udcff",
    "NUL": "a: \0",
    "nothing": "",
    "a list": "- a",
}


@pytest.mark.parametrize("content", YAML.values(), ids=YAML.keys())
def test_yaml_beyond_measure_is_refused_at_once(tmp_path, content):
    path = tmp_path / "study.yaml"
    marker = tmp_path / "executed"
    path.write_bytes(content.replace("{marker}", str(marker)).encode("utf-8", "surrogateescape"))
    assert_refused(read_yaml, path, str(path))
    assert not marker.exists()


def leaves(content, place=()):
    """Places of everything in a nested mapping, itself left out."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*place, key))


def with_hostile_values(good, seed):
    """Copies with one hostile value each."""
    chance = random.Random(seed)
    places = list(leaves(good))
    for _ in range(2 * MUTATIONS):
        bad = copy.deepcopy(good)
        *above, last = chance.choice(places)
        inside = bad
        for key in above:
            inside = inside[key]
        inside[last] = chance.choice(HOSTILE)
        yield bad


def read_study_file(path):
    study = load_study_file(path, "gazegaussian")
    config = load_run(path.parent / "run.yaml", "gazegaussian")
    baseline(study, config)
    check_space(study, config)


def test_study_and_run_files_with_hostile_values(tmp_path, repo_root):
    for name, other, read in (
        ("study.yaml", "run.yaml", read_study_file),
        ("run.yaml", "study.yaml", lambda path: load_run(path, "gazegaussian")),
    ):
        kinds = {"study.yaml": "studies", "run.yaml": "runs"}
        source = {file: repo_root / "configs" / kind / "gazegaussian" / "quick.yaml" for file, kind in kinds.items()}
        shutil.copy(source["study.yaml"].with_name("space.yaml"), tmp_path)
        (tmp_path / other).write_text(source[other].read_text())
        for bad in with_hostile_values(read_yaml(source[name]), len(name)):
            (tmp_path / name).write_text(dump_yaml(bad))
            assert_harmless(read, tmp_path / name)


WINNER = {"stage": "meshhead", "parameters": {"lr": 1e-3, "batch_size": 2}, "trial": 3, "meshhead_checkpoint": None}


@pytest.mark.parametrize("name", ["best.json", "best.yaml"])
def test_winners_with_hostile_values(tmp_path, name):
    path = tmp_path / name
    for bad in with_hostile_values(WINNER, 1):
        path.write_text(json.dumps(bad) if name.endswith("json") else dump_yaml(bad))
        assert_harmless(lambda path: make_config("meshhead", params=path), path)
    for text in ("[" * 100_000, '{"a": 1' + "0" * 10_000 + "}", '{"parameters": []}', "\xff", ""):
        path.write_text(text, encoding="latin-1")
        assert_refused(lambda path: make_config("meshhead", params=path), path, name)


def test_a_damaged_winner_of_another_study_is_passed_over(tmp_path):
    for number, text in enumerate(["{", "[]", '{"stage": "meshhead", "checkpoint": [1]}']):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "best.json").write_text(text)
    assert_refused(best_mesh_head, tmp_path, "No finished MeshHead study")


# --- stores -----------------------------------------------------------------------------------------------------------


def read_store(path):
    store = open_storage(str(path), path.parent, must_exist=True)
    for study in store.get_all_studies():
        store.get_all_trials(study._study_id)


def test_mutated_journals_are_read_or_refused(tmp_path):
    asked = spec(tmp_path, fake_train, trials=2, epochs=2)
    path = tmp_path / "study.journal"
    run_study(dataclasses.replace(asked, storage=str(path)))
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    hostile = [
        b'{"op_code": 99}\n',
        b'{"op_code": 4}\n',
        b"[]\n",
        b"{}\n",
        b'{"op_code": 0, "worker_id": {}}\n',
        b"[" * 99999,
    ]
    cases = [b"".join([*lines[:3], bad, *lines[3:]]) for bad in hostile] + [b"".join(reversed(lines))]
    for bad in [*cases, *mutations(good)]:
        path.write_bytes(bad)
        assert_harmless(read_store, path)


def test_mutated_databases_are_read_or_refused(tmp_path):
    run_study(spec(tmp_path, fake_train, trials=2, epochs=2))
    path = tmp_path / "toy" / "study.db"
    good = path.read_bytes()
    for bad in mutations(good):
        path.write_bytes(bad)
        assert_harmless(lambda path: summary_rows(load_study(path.parent)), path)


def test_the_command_line_says_it_in_one_line_and_ends_with_2(tmp_path, capfd, monkeypatch):
    torch.save({"schema_version": 1, "extra": Payload(tmp_path / "executed")}, tmp_path / "bad.pt")
    (tmp_path / "bad.yaml").write_text(YAML["a billion laughs"])
    (tmp_path / "bad.json").write_text("[" * 100_000)
    for args in (
        ["study", "meshhead", "--study", "bad.yaml"],
        ["train", "meshhead", "--config", "bad.yaml"],
        ["train", "meshhead", "--params", "bad.json"],
        ["train", "meshhead", "--init-from", "bad.pt"],
        ["import", "bad.pt"],
    ):
        monkeypatch.setattr(sys, "argv", ["script", *args])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ending:
            train_gazegaussian_optuna.main()
        assert ending.value.code == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
    assert not (tmp_path / "executed").exists()
