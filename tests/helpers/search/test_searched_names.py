"""What may be searched: a study that asks for anything else is rejected before it exists; stored ones still open."""

import pytest
import yaml
from study_support import fake_train, run_study, spec

from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.errors import ConfigError
from gazegaussian.fields import parameter_fields, searchable
from helpers import load_study, summary_rows
from helpers.search.space import load_study_file

FORBIDDEN = {
    "seed": {"type": "int", "min": 0, "max": 9},
    "epochs": {"type": "int", "min": 1, "max": 9},
    "monitor": {"type": "categorical", "choices": ["val_loss", "silhouette_iou"]},
    "monitor_mode": {"type": "categorical", "choices": ["min", "max"]},
    "device": {"type": "categorical", "choices": ["cpu", "cuda"]},
    "threads": {"type": "int", "min": 1, "max": 2},
    "variant": {"type": "categorical", "choices": ["default", "released"]},
    "preview_images": {"type": "int", "min": 0, "max": 4},
    "landmarks": {"type": "int", "min": 70, "max": 103},
}
DATA = [name for name, (section, _) in parameter_fields(MeshHeadRun).items() if section == "data"]
NUMBERS = {"type": "int", "min": 32, "max": 64}
LR = {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}


@pytest.mark.parametrize("name", [*FORBIDDEN, *DATA])
def test_what_says_how_a_trial_is_run_or_measured_is_not_searched(name, tmp_path):
    space = {"all": {"lr": LR, name: FORBIDDEN.get(name, NUMBERS)}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"study_name": "toy", "trials": 3, "search_space": space}))
    for begin in (lambda: load_study_file(path, "meshhead"), lambda: spec(tmp_path, search_space=space)):
        with pytest.raises(
            ConfigError, match=f"'{name}' cannot be searched .* A search may use: batch_size, "
        ) as caught:
            begin()
        assert "\n" not in str(caught.value)


def test_splat_backend_of_stage_two_is_refused_and_no_name_stands_in_the_list_that_is_refused():
    for run in (MeshHeadRun, GazeGaussianRun):
        assert not {*FORBIDDEN, *DATA, "splat_backend", "mlp_widths"} & set(searchable(run))
    assert {"lr", "batch_size", "vgg_importance", "patience"} < set(searchable(GazeGaussianRun))


def test_what_no_search_may_use_is_refused_also_beside_a_condition(tmp_path):
    space = {
        "all": {
            "batch_size": {"type": "categorical", "choices": [1, 2]},
            "seed": {**FORBIDDEN["seed"], "when": {"batch_size": 1}},
        }
    }
    with pytest.raises(ConfigError, match="'seed' cannot be searched"):
        spec(tmp_path, search_space=space)


def test_a_stored_study_that_searched_a_seed_still_opens(tmp_path, monkeypatch):
    space = {"all": {"lr": LR, "seed": FORBIDDEN["seed"]}}
    with monkeypatch.context() as before:
        before.setattr("helpers.study.spec.check_searched", lambda *_: None)
        old = spec(tmp_path, train=fake_train, trials=2, search_space=space)
    run_study(old)
    rows = summary_rows(load_study(tmp_path / "toy"))
    assert len(rows) == 2
    assert all("seed" in str(row) for row in rows)
