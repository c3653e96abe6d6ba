"""The command line as people use it: exit codes, one clear line, JSON."""

import json
import sys

import pytest
import torch
from cli_support import assert_bad_input, run, workplace  # noqa: F401  fixtures
from repository import ROOT

import train_gazegaussian_optuna
from gazegaussian.data import SyntheticSettings, synthesize
from gazegaussian.training.checkpoints import SCHEMA_VERSION, load_checkpoint
from gazegaussian.training.trainer import TrainResult


@pytest.fixture(scope="module")
def meshhead(run, workplace):
    args = ("--config", "meshhead.yaml", "--data", "data", "--device", "cpu")
    done = run("train", "meshhead", *args, "--out", "mesh", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["checkpoint"]


@pytest.fixture(scope="module")
def gazegaussian(run, workplace, meshhead):
    args = ("--config", "gazegaussian.yaml", "--data", "data", "--device", "cpu", "--meshhead", meshhead)
    done = run("train", "gazegaussian", *args, "--out", "gaze", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["checkpoint"]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["train"], ["Missing argument 'STAGE'", "meshhead, gazegaussian"]),
        (["train", "meshead"], ["'meshead' is not one of 'meshhead', 'gazegaussian'", "train --help"]),
        (["train", "meshhead", "--epochs", "0"], ["--epochs"]),
        (["trian"], ["Did you mean 'train'? See"]),
        (["study", "meshhead", "--epoch", "3"], ["--epoch", "--epochs"]),
        (["redirect", "x"], ["--subject"]),
        (["study", "meshhead", "--n-trials", "-3"], ["--n-trials takes a whole number of at least 1, not -3. See"]),
        (
            ["study", "meshhead", "--n-trials", "three"],
            ["--n-trials takes a whole number of at least 1, not three. See"],
        ),
        (["study", "meshhead", "--timeout", "-1"], ["--timeout takes a number of at least 0, not -1. See"]),
        (["redirect", "x", "--pitch", "abc"], ["--pitch takes a number, not abc. See"]),
        (["data", "synth", "x", "--cameras", "19"], ["--cameras takes a whole number from 1 to 18, not 19. See"]),
        (["redirect", "x", "--yaw", "-20", "-10"], ["-10 is another: repeat --yaw for each value. See"]),
        (["redirect", "x", "--yaw", "20", "10"], ["10 is another: repeat --yaw for each value. See"]),
        (["redirect", "x", "--yaw=-20", "-10"], ["-10 is another: repeat --yaw for each value. See"]),
    ],
)
def test_a_wrong_call_is_one_line(args, parts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", *args])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "Value error" not in line
    assert all(part in line for part in parts), line


@pytest.mark.parametrize("command", ["audit", "estimate", "study"])
def test_a_wrong_pruner_is_named_before_torch_is_loaded(command, tmp_path, monkeypatch, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(
        "study_name: own\ntrials: 2\nmetric: l1\npruner: hyperbnd\nsearch_space:\n  optimisation:\n    lr: {type: float, min: 1.0e-4, max: 1.0e-2}\n"
    )
    monkeypatch.setattr(sys, "argv", ["script", command, "meshhead", "--study", str(file), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 2
    said = capsys.readouterr().err
    assert "hyperbnd" in said.splitlines()[-1]
    assert "loading torch" not in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--study", "configs/runs/meshhead/quick.yaml"], "quick.yaml is a run configuration: pass it with --config."),
        (
            ["--config", "configs/studies/meshhead/quick.yaml"],
            "quick.yaml is a study file: pass it with --study, which",
        ),
        (
            ["--config", "configs/studies/meshhead/space.yaml"],
            "space.yaml is a study file: pass it with --study, which",
        ),
        (["--config", "README.md"], "Correct it, or name a file of `key: value` lines as those in configs."),
        (["--study", "README.md"], "Correct it, or name a file of `key: value` lines as those in configs."),
    ],
)
def test_a_file_of_another_kind_is_said_to_be_one(args, said, tmp_path, monkeypatch, capsys):
    option, file = args
    monkeypatch.setattr(sys, "argv", ["script", "study", "meshhead", option, str(ROOT / file), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line
    assert len(line) < 400


@pytest.mark.parametrize("command", ["audit", "estimate", "study", "train"])
def test_stage_one_takes_no_meshhead(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", command, "meshhead", "--meshhead", "nope.pt"])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 2
    assert "--meshhead is for gazegaussian, not for meshhead" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["audit", "estimate", "study", "train"])
def test_a_file_in_place_of_the_folder_is_named_before_torch_is_loaded(command, tmp_path, monkeypatch, capsys):
    file = tmp_path / "README.md"
    file.write_text("mine")
    for out in (file, file / "below"):
        monkeypatch.setattr(sys, "argv", ["script", command, "meshhead", "--out", str(out)])
        with pytest.raises(SystemExit) as ending:
            train_gazegaussian_optuna.main()
        assert ending.value.code == 2
        said = capsys.readouterr().err
        assert f"cannot be used as a folder ({file} is a file); name another one." in said.splitlines()[-1]
        assert "loading torch" not in said


def test_without_a_command_the_help_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 2
    assert "Commands:" in capsys.readouterr().err


def test_help_of_every_command(run):
    for args in (
        [],
        ["study"],
        ["train"],
        ["data", "synth"],
        ["data", "check"],
        ["data", "download"],
        ["redirect"],
        ["evaluate"],
    ):
        done = run(*args, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_train_leaves_the_files_of_a_run(meshhead, workplace):
    assert {p.name for p in (workplace / "mesh").iterdir()} >= {
        "best.pt", "last.pt", "metrics.csv", "run.log", "config.yaml", "images",
    }  # fmt: skip
    assert "epoch 2/2" in (workplace / "mesh" / "run.log").read_text()


def test_train_again_is_done_and_another_training_is_refused(run, workplace, meshhead):
    before = (workplace / meshhead).read_bytes()
    args = ("train", "meshhead", "--config", "meshhead.yaml", "--data", "data", "--device", "cpu", "--out", "mesh")
    again = run(*args, "--json")
    assert again.returncode == 0, again.stderr
    assert "already finished after 2 epochs: nothing to do" in again.stderr
    assert json.loads(again.stdout)["last"]["epoch"] == 2
    assert_bad_input(run(*args, "--seed", 5), "seed: 0 -> 5", "another --out")
    assert_bad_input(run(*args, "--epochs", 1), "2 of 2 epochs finished", "1 was asked for", "--epochs 2 or more")
    assert (workplace / meshhead).read_bytes() == before


def test_study_resumes_and_its_winner_trains(run, workplace):
    study = workplace / "study.yaml"
    study.write_text(
        "study_name: tiny\ntrials: 2\nsearch_space:\n  a:\n    lr: {type: float, min: 1e-4, max: 1e-2, log: true}\n"
        "    eye_mlp_width: {type: categorical, choices: [8, 16]}\n"
    )
    args = ("study", "meshhead", "--config", "meshhead.yaml", "--study", study, "--data", "data", "--device", "cpu")
    first = run(*args, "--out", "results", "--json")
    assert first.returncode == 0, first.stderr
    assert len(json.loads(first.stdout)["trials"]) == 2
    again = run(*args, "--out", "results")
    assert again.returncode == 0
    assert "nothing to add" in again.stderr
    best = workplace / "results" / "tiny" / "best.json"
    stored = json.loads(best.read_text())
    load_checkpoint_ok = load_checkpoint(workplace / "results" / "tiny" / f"trial_{stored['trial']:04d}" / "best.pt")
    assert load_checkpoint_ok["config"]["optim"]["lr"] == stored["parameters"]["lr"]
    args = ("train", "meshhead", "--config", "meshhead.yaml", "--params", best, "--data", "data", "--device", "cpu")
    trained = run(*args, "--epochs", 1, "--out", "winner", "--json")
    assert trained.returncode == 0, trained.stderr
    assert load_checkpoint(workplace / "winner" / "best.pt")["config"]["optim"]["lr"] == stored["parameters"]["lr"]


def test_redirect_writes_a_strip_that_differs_by_gaze(run, workplace, gazegaussian):
    from PIL import Image

    args = (
        "--data",
        "data",
        "--subject",
        "subject0001",
        "--pitch",
        0,
        "--yaw",
        -20,
        "--yaw",
        20,
        "--out",
        "strip.png",
    )
    done = run("redirect", gazegaussian, *args)
    assert done.returncode == 0, done.stderr
    assert "resized" not in done.stderr
    strip = Image.open(workplace / "strip.png")
    top = strip.height - 66  # of the tiles, under the captions
    assert strip.width == 3 * 66
    assert top >= 12
    source, left, right = (strip.crop((66 * n, top, 66 * n + 64, top + 64)).tobytes() for n in range(3))
    assert left != right
    assert source not in (left, right)


def test_evaluate_prints_what_it_writes(run, workplace, gazegaussian):
    args = ("evaluate", gazegaussian, "--data", "data", "--pairs", 2, "--device", "cpu")
    done = run(*args, "--json", "--out", "evaluated")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((workplace / "evaluated" / "evaluation.json").read_text())
    assert printed["pairs"] == 2
    assert printed["metrics"]["gaze_error_deg"]["value"] >= 0
    assert_bad_input(run(*args, "--gaze-network", gazegaussian), "published layouts")


def test_data_check_reports_and_fails_on_damage(run, workplace):
    done = run("data", "check", "data", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ok"] is True
    broken = workplace / "broken"
    synthesize(broken, SyntheticSettings(people=2, size=32, frames=1, cameras=2), progress=False)
    file = next(broken.glob("*.h5"))
    file.write_bytes(file.read_bytes()[:1000])
    assert run("data", "check", "broken").returncode == 2
    args = ("--config", "meshhead.yaml", "--data", "broken", "--device", "cpu")
    assert_bad_input(run("train", "meshhead", *args, "--out", "x"), file.name)


def test_redirect_refuses_before_it_loads(run, workplace):
    (workplace / "untrained.pt").touch()
    args = ("--data", "data", "--subject", "subject0001", "--pitch", 0, "--yaw", 400, "--out", "x.png")
    assert_bad_input(run("redirect", "untrained.pt", *args), "--yaw takes -90 to 90 degrees")


def test_synth_into_a_used_folder(run, workplace):
    args = ("data", "synth", "made", "--people", 2, "--size", 32, "--frames", 1)
    assert run(*args).returncode == 0
    again = run(*args)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert_bad_input(run(*args[:-4], "--size", 64, "--frames", 1), "size: 32 -> 64", "another folder")


def test_unknown_parameter_in_the_study_file(run, workplace):
    (workplace / "typo.yaml").write_text(
        "study_name: a\ntrials: 1\nsearch_space:\n  a:\n    dit_dept: {type: int, min: 4, max: 8}\n"
    )
    assert_bad_input(run("study", "gazegaussian", "--study", "typo.yaml"), "'dit_dept'", "Did you mean 'dit_depth'")


def test_missing_data_folder(run):
    done = run("study", "meshhead", "--data", "nowhere", "--out", "r2", "--device", "cpu")
    assert_bad_input(done, "nowhere")


def test_checkpoint_of_another_schema_version(run, workplace, meshhead):
    content = torch.load(workplace / meshhead, weights_only=True)
    torch.save({**content, "schema_version": SCHEMA_VERSION + 1}, workplace / "old.pt")
    args = (
        "--config",
        "gazegaussian.yaml",
        "--data",
        "data",
        "--meshhead",
        "old.pt",
        "--out",
        "r3",
        "--device",
        "cpu",
    )
    assert_bad_input(run("study", "gazegaussian", *args), "schema version")


def test_stage_two_without_stage_one(run):
    done = run("study", "gazegaussian", "--data", "data", "--out", "empty")
    assert_bad_input(done, "study meshhead")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(run):
    done = run("train", "meshhead", "--config", "meshhead.yaml", "--data", "data", "--device", "cuda", "--out", "r4")
    assert_bad_input(done, "--device cpu or auto")


def test_a_diverged_training_is_one_line(tmp_path, monkeypatch, capsys):
    def diverge(config, folder, resume=False):
        return TrainResult(float("nan"), -1, [{"val_loss": float("nan")}], folder / "best.pt", folder / "last.pt")

    monkeypatch.setattr("gazegaussian.build.train_run", diverge)
    monkeypatch.setattr(sys, "argv", ["script", "train", "meshhead", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ending:
        train_gazegaussian_optuna.main()
    assert ending.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "diverged: l1 was never finite in 1 epoch" in line
