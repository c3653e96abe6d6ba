"""Study files: what is accepted, what is rejected and how that is said."""

import re

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_space_support import CONDITIONAL, LR, RENDERER, rejection, study_file

from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.errors import ConfigError
from helpers.search.space import Float, Int, StudyFile, baseline, check_space, load_study_file


def test_unknown_parameter_lists_the_known(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("study_name: a\ntrials: 1\nsearch_space:\n  x:\n    learning_rte: {type: int, min: 1, max: 2}\n")
    with pytest.raises(ConfigError, match=r"unknown parameter 'learning_rte'.*Known: .*lr"):
        load_study_file(path, "meshhead")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trails": 3}, r"trails: unknown key\. Did you mean 'trials'\?"),
        ({"budget": {"timeot": 3}}, r"budget\.timeot: unknown key\. Did you mean 'timeout'\?"),
        ({"sampler": {"name": "tpe", "kwarg": {}}}, r"sampler\.kwarg: unknown key\. Did you mean 'kwargs'\?"),
    ],
)
def test_unknown_keys_of_a_study_file_are_met_with_what_was_probably_meant(content, message):
    assert re.search(message, rejection(**content))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"type": "float", "min": 1.0, "max": 0.1}, "min 1.0 is above max 0.1"),
        ({"type": "float", "min": 0.0, "max": 0.1, "log": True}, "log needs min > 0"),
        ({"type": "categorical", "choices": []}, "choices"),
        ({"type": "float", "min": 0.0, "max": 0.1, "stepp": 1}, "stepp"),
    ],
)
def test_impossible_spaces_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        study_file({"x": {"lr": space}})


def test_baseline_outside_its_space_is_an_error():
    with pytest.raises(ConfigError, match=r"baseline.s lr = 0\.001 lies outside"):
        baseline(study_file({"x": {"lr": {"type": "float", "min": 0.01, "max": 0.1}}}), MeshHeadRun())


BASE = "study_name: base\ntrials: 9\nsearch_space:\n  a:\n    lr: {type: float, min: 1.0e-5, max: 1.0e-2, log: true}\n    batch_size: {type: categorical, choices: [2, 4]}\n"


def test_a_study_file_extends_another_one(tmp_path):
    (tmp_path / "space.yaml").write_text(BASE)
    (tmp_path / "study.yaml").write_text(
        "extends: space.yaml\nstudy_name: mine\nsearch_space:\n  a:\n    batch_size: {type: categorical, choices: [1]}\n"
    )
    study = load_study_file(tmp_path / "study.yaml", "meshhead")
    assert (study.study_name, study.trials) == ("mine", 9)
    assert list(study.parameters) == ["lr", "batch_size"]
    assert study.parameters["batch_size"].choices == [1]


def test_a_copy_of_a_shipped_study_file_finds_what_it_extends(tmp_path, repo_root):
    shipped = repo_root / "configs" / "studies" / "meshhead"
    copy = tmp_path / "mine.yaml"
    copy.write_bytes((shipped / "quick.yaml").read_bytes())
    assert load_study_file(copy, "meshhead", shipped).parameters
    with pytest.raises(ConfigError, match=r"extends space\.yaml, which is not beside it\. Copy that file, too"):
        load_study_file(copy, "meshhead")


@pytest.mark.parametrize(
    ("extends", "said"),
    [
        ("../space.yaml", "the name of a file in the same folder"),
        ("[a]", "the name of a file in the same folder"),
        ("again.yaml", "extends another file itself"),
    ],
)
def test_what_a_study_file_cannot_extend(tmp_path, extends, said):
    (tmp_path / "again.yaml").write_text(f"extends: space.yaml\n{BASE}")
    (tmp_path / "study.yaml").write_text(f"extends: {extends}\nstudy_name: mine\n")
    with pytest.raises(ConfigError, match=said):
        load_study_file(tmp_path / "study.yaml", "meshhead")


@pytest.mark.parametrize("stage", ["meshhead", "gazegaussian"])
@pytest.mark.parametrize("size", ["quick", "demo", "full"])
def test_shipped_study_files_hold_the_whole_space(stage, size, repo_root):
    from gazegaussian.config import load_run

    study = load_study_file(repo_root / "configs" / "studies" / stage / f"{size}.yaml", stage)
    config = load_run(repo_root / "configs" / "runs" / stage / f"{size}.yaml", stage)
    assert baseline(study, config)
    check_space(study, config)
    expected = {
        "meshhead": {"lr", "batch_size", "shape_mlp_width", "pose_mlp_width", "eye_mlp_width"},
        "gazegaussian": {
            "lr", "eye_lr_mult", "dit_depth", "dit_num_heads", "dit_patch_size", "vgg_importance",
            "eye_loss_importance", "gaze_loss_importance", "orthogonality_loss_importance",
        },
    }  # fmt: skip
    assert set(study.parameters) == expected[stage]


def test_gazegaussian_defaults_are_the_published_baseline():
    run = GazeGaussianRun()
    assert (run.optim.lr, run.model.dit_depth, run.model.dit_num_heads, run.model.dit_patch_size) == (1e-4, 6, 8, 8)
    assert (run.loss.vgg_importance, run.loss.gaze_loss_importance, run.loss.eye_loss_importance) == (0.1, 0.1, 1.0)


def test_a_choice_that_no_model_can_be_built_with_is_named():
    space = {"x": {"dit_patch_size": {"type": "categorical", "choices": [8, 16]}}}
    with pytest.raises(ConfigError, match=r"dit_patch_size = 16.*does not divide the 24 px feature map"):
        check_space(study_file(space), GazeGaussianRun(data={"image_size": 96}))


def test_a_parameter_in_two_categories_is_refused():
    lr = {"type": "float", "min": 0.1, "max": 1.0}
    with pytest.raises(ValueError, match="lr in more than one category"):
        study_file({"a": {"lr": lr}, "b": {"lr": lr}})


WIDESPREAD = """
study_name: gaze_head
trials: 20
seed: 42
metric: val_loss
direction: minimize
sampler: {name: optuna.samplers.TPESampler, kwargs: {n_startup_trials: 5}}
pruner:
  name: optuna.pruners.MedianPruner
  kwargs: {n_startup_trials: 3, n_warmup_steps: 5}
search_space:
  optimisation:
    lr: {type: float, min: 1e-5, max: 1e-2, log: true, step: null}
    batch_size: {type: int, min: 1, max: 4, step: null, log: false}
  widths:
    shape_mlp_width: {type: int, min: 64, max: 256, step: 64}
    eye_mlp_width: {type: categorical, choices: [64, 128, 256]}
"""


def test_a_file_in_the_widespread_layout_loads_as_it_is(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(WIDESPREAD)
    study = load_study_file(path, "meshhead")
    assert list(study.parameters) == ["lr", "batch_size", "shape_mlp_width", "eye_mlp_width"]
    assert study.sampler.kwargs == {"n_startup_trials": 5}
    values = study.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask())
    assert values["shape_mlp_width"] in (64, 128, 192, 256)
    assert all(space.contains(values[name]) for name, space in study.parameters.items())


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(WIDESPREAD + "    lr: {type: float, min: 1, max: 2}\ntrials: 5\n")
    with pytest.raises(ConfigError, match="'trials' is given twice"):
        load_study_file(path, "meshhead")


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 50), st.integers(0, 60), st.integers(1, 7), st.integers(0, 1000))
def test_what_an_int_range_suggests_is_in_it_and_its_grid_is_all_of_it(low, more, step, seed):
    space = Int(type="int", min=low, max=low + more, step=step)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    value = space.suggest(trial, "n")
    assert value in space.grid()
    assert all(space.contains(point) for point in space.grid())
    assert [n for n in range(low, low + more + 1) if space.contains(n)] == list(space.grid())
    assert space.corners() == [space.grid()[0], space.grid()[-1]]


@settings(deadline=None, max_examples=50)
@given(st.floats(-5, 5), st.integers(1, 20), st.floats(0.01, 2), st.integers(0, 1000))
def test_a_stepped_float_suggests_points_of_its_grid(low, steps, step, seed):
    space = Float(type="float", min=low, max=low + (steps + 0.5) * step, step=step)
    value = space.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask(), "x")
    assert len(space.grid()) == steps + 1
    assert min(abs(value - point) for point in space.grid()) < 1e-9
    assert space.contains(value)
    assert not space.contains(low + 0.5 * step)


def test_log_ranges_are_drawn_by_their_logarithm():
    study = study_file({"x": {"dit_depth": {"type": "int", "min": 1, "max": 1024, "log": True}}})
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = [study.suggest(sampler.ask())["dit_depth"] for _ in range(200)]
    assert 0.35 < sum(value <= 32 for value in values) / 200 < 0.65


def test_true_is_no_number_and_equal_choices_are_refused():
    assert not Int(type="int", min=0, max=4).contains(True)
    assert "hold 1 twice" in rejection(space={"x": {"batch_size": {"type": "categorical", "choices": [True, 2, 1]}}})


def test_several_objectives_have_a_direction_each_and_no_pruner():
    study = study_file({"x": {"lr": LR}}, metric=["gaze_error_deg", "ssim"], direction=["minimize", "maximize"])
    assert (study.multi, study.metrics, study.directions) == (True, study.metric, study.direction)
    assert study.pruner.name == "none"
    one = study_file({"x": {"lr": LR}}, metric=["psnr"], direction=["maximize"])
    assert (one.multi, one.metric, one.metrics, one.directions) == (False, "psnr", ["psnr"], ["maximize"])
    two = {"metric": ["psnr", "ssim"], "direction": ["maximize", "maximize"]}
    assert "give pruner: none" in rejection(**two, pruner={"name": "median"})
    assert "searches one objective only" in rejection(**two, sampler="cmaes", pruner="none")
    assert "needs as many directions" in rejection(metric=["psnr", "ssim"], direction="maximize")
    assert "names one twice" in rejection(metric=["psnr", "psnr"], direction=["maximize", "maximize"])


@pytest.mark.parametrize("name", ["gp", "optuna.samplers.GPSampler", "cmaes"])
def test_samplers_that_ignore_pruned_trials_stand_without_a_pruner(name):
    assert study_file({"x": {"lr": LR}}, sampler=name).pruner.name == "none"
    assert "learns nothing from pruned trials: give pruner: none" in rejection(sampler=name, pruner="median")
    assert study_file({"x": {"lr": LR}}, sampler=name, pruner="optuna.pruners.NopPruner").sampler.name == name


def test_constraints_are_read_and_measured():
    study = study_file({"x": {"lr": LR}}, constraints={"render_fps": ">= 30", "peak_memory_gb": "<=15.5"})
    speed, memory = study.limits
    assert (speed.metric, memory.metric) == ("render_fps", "peak_memory_gb")
    assert [speed.violation(value) for value in (20, 30, 40)] == [10, 0, -10]
    assert [memory.violation(value) for value in (16, 15.5)] == [0.5, 0]
    assert 0 < speed.violation(float("nan")) < float("inf")
    for text in ("> 30", "30", ">= many", ">= nan"):
        assert "must read like '>= 30' or '<= 15'" in rejection(constraints={"render_fps": text})


def test_budgets_are_checked():
    budget = {"timeout": 3600, "max_total_epochs": 100, "max_compute": 9e3, "trial_timeout": 60, "min_epochs": 3}
    assert study_file({"x": {"lr": LR}}, budget=budget, epochs=3).budget.model_dump() == budget
    assert set(study_file({"x": {"lr": LR}}).budget.model_dump().values()) == {None}
    assert "min_epochs 3 is above epochs 2" in rejection(budget=budget, epochs=2)
    for name in budget:
        assert name in rejection(budget={name: 0})
    assert "max_failures" in rejection(max_failures=0)
    assert "keep_best" in rejection(keep_best=0)


def test_the_fingerprint_holds_what_makes_trials_comparable():
    plain = study_file({"x": {"lr": LR}})
    same = study_file({"renamed": {"lr": LR}}, trials=9, seed=3, pruner="sha", sampler="random", budget={"timeout": 1})
    assert same.fingerprint() == plain.fingerprint()
    changes = [
        {"constraints": {"render_fps": ">= 30"}},
        {"metric": "psnr"},
        {"metric": ["psnr", "ssim"], "direction": ["minimize", "minimize"]},
    ]
    for change in changes:
        other = study_file({"x": {"lr": LR}}, **change)
        assert other.fingerprint() != plain.fingerprint()
        assert other.differences(plain.fingerprint())
    renderer = {"x": {"renderer": RENDERER, "lr": LR}}
    tied = study_file({"x": {"renderer": RENDERER, "lr": {**LR, "when": {"renderer": "dit"}}}})
    (difference,) = tied.differences(study_file(renderer).fingerprint())
    assert difference.startswith("lr: ")
    assert difference.endswith("when {'renderer': 'dit'}")


def test_fingerprints_of_older_versions_still_hold():
    stored = (
        '{"direction": "minimize", "metric": "val_loss", "space": {"lr": {"log": true, "max": 0.01, "min": 1e-05, '
        '"step": null, "type": "float"}}}'
    )
    assert study_file({"x": {"lr": LR}}).fingerprint() == stored


def test_a_study_file_survives_being_written_and_read():
    study = study_file(CONDITIONAL, constraints={"render_fps": ">= 30"}, sampler="gp", budget={"min_epochs": 2})
    assert StudyFile.model_validate(study.model_dump()) == study
    assert StudyFile.model_validate_json(study.model_dump_json()).fingerprint() == study.fingerprint()
