"""Two MeshHeads are compared with paired seeds on test people, and what was measured is not measured again."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic_support import gaze_run, gaze_stage, train

from benchmarks.quality import mesh_head_pair, on_test_people
from gazegaussian.errors import ConfigError


@pytest.fixture
def trained(monkeypatch):
    """Trainings take no time; a start called `good` is 0.1 better for every person, a little more with every seed. Returns what was trained."""
    starts = []

    def train(config, folder, resume):
        folder.mkdir(parents=True)
        starts.append((config.meshhead_checkpoint.stem, config.training.seed, config.training.epochs))
        return SimpleNamespace(best_checkpoint=folder / "best.pt")

    def measured(config, checkpoint, people):
        seed = config.training.seed % 1000
        worse = 0.0 if config.meshhead_checkpoint.stem == "good" else 0.1 + 0.001 * seed
        return {person: {"val_loss": 0.5 + worse + 0.01 * seed + 0.001 * i} for i, person in enumerate(people)}

    monkeypatch.setattr(on_test_people, "train_run", train)
    monkeypatch.setattr(on_test_people, "measure_checkpoint", measured)
    monkeypatch.setattr(on_test_people, "find_test_people", lambda config: (["a", "b", "c"], ""))
    return starts


def test_the_better_start_wins_by_what_it_is_better_and_nothing_is_trained_twice(
    trained, tmp_path, monkeypatch, capsys
):
    args = ["pair", "good.pt", "other.pt", str(tmp_path / "runs"), "--seeds", "3", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", args)
    mesh_head_pair.main()
    told = capsys.readouterr().out
    assert "gain of the challenger in val_loss: 0.10100, 95% interval 0.09852 to 0.10348" in told
    assert "(3 seeds, 3 test people); it won 3 of 3" in told
    assert trained == [(name, 1000 + seed, 2) for seed in range(3) for name in ("good", "other")]
    mesh_head_pair.main()
    assert capsys.readouterr().out == told
    assert len(trained) == 6


def test_without_test_people_nothing_is_claimed(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(on_test_people, "find_test_people", lambda config: ([], "no one is left"))
    monkeypatch.setattr(sys, "argv", ["pair", "good.pt", "other.pt", str(tmp_path / "runs")])
    with pytest.raises(SystemExit, match="no one is left"):
        mesh_head_pair.main()


def test_what_another_start_left_in_the_folder_is_not_read(tmp_path):
    config = gaze_run(max_train_images=2).model_copy(update={"meshhead_checkpoint": Path("one.pt")})
    train(gaze_stage(config), config, tmp_path)
    measured = {"a": {"val_loss": 0.5}}
    (tmp_path / "test_people.json").write_text(json.dumps(measured))
    assert on_test_people.train_and_measure(config, tmp_path) == measured
    other = config.model_copy(update={"meshhead_checkpoint": Path("other.pt")})
    with pytest.raises(ConfigError, match=r"another configuration \(meshhead_checkpoint: "):
        on_test_people.train_and_measure(other, tmp_path)
