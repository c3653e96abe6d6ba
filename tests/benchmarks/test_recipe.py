"""Parts of the quick recipe are compared with paired seeds, and what was measured is not measured again."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks.quality import on_test_people, recipe
from gazegaussian.errors import ConfigError

PEOPLE = ["a", "b", "c"]


@pytest.fixture
def trained(monkeypatch):
    """Trainings take no time; batches of two are 0.1 worse for every person, a little more with every seed. Returns what was trained."""
    trainings = []

    def train(config, folder, resume):
        folder.mkdir(parents=True)
        trainings.append((config.training.batch_size, config.training.seed))
        return SimpleNamespace(best_checkpoint=folder / "best.pt")

    def measured(config, checkpoint, people):
        seed = config.training.seed % 1000
        loss = 0.5 + 0.01 * seed + (0.1 + 0.001 * seed if config.training.batch_size == 2 else 0.0)
        return {person: {"val_loss": loss + 0.001 * i, "gaze_error_deg": 5.0} for i, person in enumerate(people)}

    monkeypatch.setattr(on_test_people, "train_run", train)
    monkeypatch.setattr(on_test_people, "measure_checkpoint", measured)
    monkeypatch.setattr(on_test_people, "find_test_people", lambda config: (PEOPLE, ""))
    return trainings


def run(monkeypatch, folder, *args):
    """Call the command."""
    monkeypatch.setattr(sys, "argv", ["recipe", "mesh.pt", str(folder), *args])
    recipe.main()


def test_a_change_is_as_much_worse_as_it_is_and_nothing_is_trained_twice(trained, tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path, "--seeds", "2", "--change", "batch_size: 2")
    told = capsys.readouterr().out
    assert "| nothing (shipped) | 0.5060 | 5.00 |" in told
    assert "| `batch_size: 2` | 0.6065 | 5.00 | 0.1005 | 0.0941 to 0.1069 | 2 of 2 |" in told
    assert trained == [(4, 1000), (4, 1001), (2, 1000), (2, 1001)]
    run(monkeypatch, tmp_path, "--seeds", "2", "--change", "batch_size: 2")
    assert capsys.readouterr().out == told
    assert len(trained) == 4


def test_every_change_of_the_table_is_one_and_differs_from_what_ships(trained, tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path, "--seeds", "1")
    assert len(capsys.readouterr().out.splitlines()) == 3 + len(recipe.CHANGES)
    shipped = recipe.quick_gaze_gaussian(tmp_path)
    for change in recipe.CHANGES:
        assert recipe.with_parameters(shipped, recipe.changed(change)) != shipped


@pytest.mark.parametrize(("change", "said"), [("batchsize: 2", "batchsize"), ("batch_size", "expected NAME: VALUE")])
def test_a_wrong_change_is_told_before_anything_is_trained(trained, tmp_path, monkeypatch, change, said):
    with pytest.raises((SystemExit, ConfigError), match=said):
        run(monkeypatch, tmp_path, "--change", change)
    assert not trained
