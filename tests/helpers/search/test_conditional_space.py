"""Parameters that act under conditions: when they are drawn, what a baseline has, which corners are tried."""

import optuna
import pytest
from search_space_support import CONDITIONAL, LR, RENDERER, rejection, study_file

from gazegaussian.config import GazeGaussianRun
from gazegaussian.errors import ConfigError
from helpers.search.space import StudyFile, baseline, check_space


def drawn(study: StudyFile, number: int = 60) -> list[dict]:
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [study.suggest(sampler.ask()) for _ in range(number)]


def test_parameters_are_drawn_where_they_act_only():
    values = drawn(study_file(CONDITIONAL))
    for drawing in values:
        assert ("dit_depth" in drawing) == (drawing["renderer"] == "dit")
        assert ("dit_num_heads" in drawing) == (drawing.get("dit_depth") in (6, 8))
    assert {len(drawing) for drawing in values} == {1, 2, 3}


@pytest.mark.parametrize(("renderer", "depth", "active"), [("dit", 6, 3), ("dit", 4, 2), ("conv", 6, 1)])
def test_the_baseline_has_the_parameters_that_act_in_it(renderer, depth, active):
    config = GazeGaussianRun(model={"renderer": renderer, "dit_depth": depth})
    values = baseline(study_file(CONDITIONAL), config)
    assert list(values) == ["renderer", "dit_depth", "dit_num_heads"][:active]
    check_space(study_file(CONDITIONAL), config)


def test_a_value_that_does_not_act_need_not_lie_in_the_space():
    outside = GazeGaussianRun(model={"renderer": "conv", "dit_depth": 12})
    assert baseline(study_file(CONDITIONAL), outside) == {"renderer": "conv"}
    with pytest.raises(ConfigError, match="dit_depth = 12 lies outside"):
        baseline(study_file(CONDITIONAL), GazeGaussianRun(model={"dit_depth": 12}))


def test_corners_are_tried_under_the_conditions_that_they_act_in():
    # A 16 px patch does not divide the map of 24 px, which matters to a DiT only.
    config = GazeGaussianRun(data={"image_size": 96}, model={"renderer": "conv", "dit_patch_size": 16})
    patch = {"type": "categorical", "choices": [4, 8], "when": {"renderer": "dit"}}
    check_space(study_file({"x": {"renderer": RENDERER, "dit_patch_size": patch}}), config)
    bad = {**patch, "choices": [8, 16]}
    with pytest.raises(ConfigError, match="dit_patch_size 16 does not divide"):
        check_space(study_file({"x": {"renderer": RENDERER, "dit_patch_size": bad}}), config)


def test_conditions_above_conditions_are_searched_for_one_that_holds():
    # The second parent acts at depth 6 only; the first asks for depth 4 or 6.
    space = {
        "dit_depth": {"type": "categorical", "choices": [4, 6]},
        "dit_num_heads": {"type": "categorical", "choices": [4, 8], "when": {"dit_depth": 6}},
        "batch_size": {"type": "categorical", "choices": [1, 2], "when": {"dit_depth": [4, 6]}},
        "lr": {**LR, "when": {"dit_num_heads": 8, "batch_size": 1}},
    }
    check_space(study_file({"x": space}), GazeGaussianRun())
    never = {**space, "batch_size": {**space["batch_size"], "when": {"dit_depth": 4}}}
    with pytest.raises(ConfigError, match="lr never acts"):
        check_space(study_file({"x": never}), GazeGaussianRun())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": {**LR, "when": {"renderer": "dit"}}}, "lr acts when renderer, which is not searched"),
        ({"lr": {**LR, "when": {"renderer": "dti"}}, "renderer": RENDERER}, "renderer is 'dti', which renderer never is"),
        ({"eye_lr_mult": {**LR, "when": {"lr": 0.1}}, "lr": LR}, "lr, a float; a condition needs"),
        ({"lr": {**LR, "when": {}}}, "at least 1 item"),
        (
            {"dit_depth": {"type": "int", "min": 1, "max": 2, "when": {"batch_size": 1}},
             "batch_size": {"type": "int", "min": 1, "max": 2, "when": {"dit_depth": 1}}},
            "depend on each other in a circle",
        ),
    ],
)  # fmt: skip
def test_impossible_conditions_are_refused(parameters, message):
    assert message in rejection(space={"x": parameters})
