"""Samplers and pruners by name: what a study file can reach, and what it cannot."""

import sys
import warnings
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from gazegaussian.config import GazeGaussianRun
from gazegaussian.errors import ConfigError
from helpers.search.predicted_final_loss import PredictedFinalLossPruner
from helpers.search.registry import ALLOW_HUB
from helpers.search.samplers_and_pruners import (
    PRUNERS,
    SAMPLERS,
    MinEpochsPruner,
    SpaceGrid,
    describe_pruner,
    describe_sampler,
    grid_size,
    make_pruner,
    make_sampler,
    study_pruner,
    study_sampler,
)
from helpers.search.space import Component, StudyFile, baseline

LR = {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}
DEPTH = {"type": "int", "min": 4, "max": 8, "step": 2}
HEADS = {"type": "categorical", "choices": [4, 8], "when": {"dit_depth": [6, 8]}}
IMPORTANCE = {"type": "float", "min": 0.1, "max": 0.3, "step": 0.1}


def study_file(space=None, **more) -> StudyFile:
    content = {"study_name": "toy", "trials": 4, "search_space": {"x": space or {"lr": LR}}, **more}
    return StudyFile.model_validate(content)


def pruner(name, epochs=12, min_epochs=None, **kwargs):
    return make_pruner(Component(name=name, kwargs=kwargs), epochs, min_epochs)


def rehearse(pruner, epochs=12, good=10) -> int | None:
    """Play good trials, then hopeless ones; epochs after which the first hopeless one was pruned."""
    study = optuna.create_study(study_name="s", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    lengths = []
    for number in range(good + 4):
        trial = study.ask({"lr": FloatDistribution(1e-5, 1e-1, log=True)})
        for epoch in range(epochs):
            hopeless = number >= good
            trial.report(100.0 + epoch if hopeless else 1 / (epoch + 1) + 0.01 * number, epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                lengths += [epoch + 1] if hopeless else []
                break
        else:
            study.tell(trial, 1 / epochs + 0.01 * number)
    return min(lengths, default=None)


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
@pytest.mark.parametrize("min_epochs", [None, 8])
def test_every_preset_prunes_a_hopeless_trial_and_no_earlier_than_the_budget_allows(name, min_epochs):
    epoch = rehearse(pruner(name, min_epochs=min_epochs))
    assert epoch is not None
    assert epoch >= (min_epochs or (1 if name == "curve" else 2))  # the first epoch tells the end here
    assert epoch < 12


def test_no_pruner_prunes_nothing():
    assert rehearse(pruner("none", min_epochs=3)) is None
    assert isinstance(pruner("none", min_epochs=3), optuna.pruners.NopPruner)


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("name", PRUNERS)
def test_every_preset_can_be_made_for_any_length(name, epochs):
    study = optuna.create_study(study_name="s", pruner=pruner(name, epochs))
    trial = study.ask()
    for epoch in range(epochs):
        trial.report(1.0, epoch)
        assert not trial.should_prune()  # alone in its study


@pytest.mark.parametrize("name", PRUNERS)
def test_words_on_a_pruner_name_what_is_built(name):
    made = pruner(name, 12)
    said = describe_pruner(Component(name=name), 12)
    assert said.startswith(f"{name}: {type(made).__name__}")
    inner = getattr(made, "_wrapped_pruner", None)
    assert inner is None or f"wrapped median: {type(inner).__name__} (n_startup_trials 3, " in said
    for attribute, word in (("_reduction_factor", "reduction_factor"), ("_n_startup_trials", "n_startup_trials")):
        assert not hasattr(made, attribute) or f"{word} {getattr(made, attribute)}" in said
    with_minimum = describe_pruner(Component(name=name), 12, 4)
    assert with_minimum == (said if name == "none" else f"{said}, from epoch 4 on")


def test_words_on_a_sampler_name_its_class_and_what_it_is_given():
    study = study_file()
    given = Component(name="tpe", kwargs={"n_startup_trials": 5})
    assert describe_sampler(given, study) == f"tpe: {type(make_sampler(given, 0, study)).__name__} (n_startup_trials 5)"
    assert "multivariate False" in describe_sampler(Component(name="tpe_univariate"), study)
    assert describe_sampler(Component(name="optuna.samplers.QMCSampler"), study) == "optuna.samplers.QMCSampler"


def test_a_study_files_minimum_reaches_its_pruner():
    study = study_file(pruner="percentile", budget={"min_epochs": 6})
    made = study_pruner(study, 12)
    assert isinstance(made, MinEpochsPruner)
    assert rehearse(made) == 6
    assert rehearse(study_pruner(study_file(pruner="percentile"), 12)) == 4


@pytest.mark.parametrize("name", ["patient", "optuna.pruners.PatientPruner"])
def test_a_patient_pruner_waits_for_improvement_to_stop(name):
    wrapped = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 0}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patient = pruner(name, patience=4, wrapped=wrapped)
    assert isinstance(patient, optuna.pruners.PatientPruner)
    assert isinstance(patient._wrapped_pruner, optuna.pruners.MedianPruner)
    assert rehearse(pruner("median", **wrapped["kwargs"])) == 1
    assert rehearse(patient) == 6  # one value, and four and the present one without improvement


def test_a_patient_pruner_around_anything_or_nothing():
    inner = {"name": "patient", "kwargs": {"patience": 1, "wrapped": "pfl"}}
    outer = pruner("patient", epochs=9, patience=2, wrapped=inner)
    assert isinstance(outer._wrapped_pruner._wrapped_pruner, PredictedFinalLossPruner)
    assert outer._wrapped_pruner._wrapped_pruner.target_epoch == 9
    assert rehearse(pruner("patient", patience=2, wrapped=None), good=0) == 4
    with pytest.raises(ConfigError, match=r"Unknown optuna\.pruners 'os\.system'"):
        pruner("patient", wrapped={"name": "os.system"})


@pytest.mark.parametrize("home", ["helpers.search.predicted_final_loss", "helpers.predicted_final_loss"])
def test_our_pruner_by_dotted_name_knows_the_length_of_a_trial(home):
    dotted = f"{home}.PredictedFinalLossPruner"
    assert pruner(dotted, epochs=17).target_epoch == 17
    assert pruner(dotted, epochs=17, target_epoch=11, top_k=2).target_epoch == 11
    with pytest.raises(ConfigError, match=r"rejects.*top_k must be at least 1, not 0"):
        pruner(dotted, top_k=0)


FORBIDDEN = [
    "os.system", "builtins.eval", "subprocess.Popen", "helpers.study.run.StudySpec", "helpers.search.predicted_final_loss.predict",
    "optuna.pruners.os", "optuna.pruners.__class__", "optuna.pruners._median.MedianPruner", "optuna.samplers.nsgaii",
    "optuna.create_study", "optunahub.../x.y.Z", "optunahub.other.package.Name", "", ".",
]  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_nothing_else_can_be_reached_from_a_file(name, monkeypatch):
    imported = []
    monkeypatch.setattr("importlib.import_module", lambda module: imported.append(module))
    for make in (lambda c: make_pruner(c, 5), lambda c: make_sampler(c, 0)):
        with pytest.raises(ConfigError, match=r"Unknown optuna\.") as caught:
            make(Component(name=name))
        assert "\n" not in str(caught.value)
    assert imported == []


def test_a_sampler_is_no_pruner():
    with pytest.raises(ConfigError, match=r"Unknown optuna\.pruners 'optuna\.samplers\.TPESampler'"):
        pruner("optuna.samplers.TPESampler")
    with pytest.raises(ConfigError, match=r"Unknown optuna\.samplers 'pfl'"):
        make_sampler(Component(name="pfl"), 0)


def test_optunahub_says_what_is_missing_and_is_asked_for_the_named_package_only(monkeypatch):
    name = "optunahub.samplers.auto_sampler.AutoSampler"
    monkeypatch.setitem(sys.modules, "optunahub", None)
    monkeypatch.delenv(ALLOW_HUB, raising=False)
    with pytest.raises(ConfigError, match=r"is code that OptunaHub downloads .*--allow-hub"):
        make_sampler(Component(name=name), 0)
    monkeypatch.setenv(ALLOW_HUB, "1")
    with pytest.raises(ConfigError, match="pip install optunahub"):
        make_sampler(Component(name=name), 0)
    asked = []

    def load_module(package):
        asked.append(package)
        return SimpleNamespace(AutoSampler=optuna.samplers.RandomSampler)

    monkeypatch.setitem(sys.modules, "optunahub", SimpleNamespace(load_module=load_module))
    assert isinstance(make_sampler(Component(name=name), 3), optuna.samplers.RandomSampler)
    assert asked == ["samplers/auto_sampler"]
    with pytest.raises(ConfigError, match=r"OptunaHub gives no .*Absent"):
        make_sampler(Component(name="optunahub.samplers.auto_sampler.Absent"), 3)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("grid", "cmaes")])
def test_every_preset_suggests_the_same_from_the_same_seed(name):
    def suggestions(seed: int) -> list[dict]:
        file = study_file({"lr": LR, "dit_depth": DEPTH}, sampler=name, pruner="none", seed=seed)
        study = optuna.create_study(sampler=study_sampler(file))
        suggested = []
        for _ in range(4):
            trial = study.ask()
            suggested.append(file.suggest(trial))
            study.tell(trial, suggested[-1]["lr"])
        return suggested

    assert suggestions(3) == suggestions(3)
    assert name == "qmc" or suggestions(3) != suggestions(4)


def test_a_restart_does_not_repeat_the_first_suggestions():
    file = study_file()
    first, again = (
        [file.suggest(optuna.create_study(sampler=study_sampler(file, count)).ask()) for _ in range(2)]
        for count in (0, 5)
    )
    assert first != again


def test_univariate_and_conditional_tpe():
    assert make_sampler(Component(name="tpe_univariate"), 0)._multivariate is False
    assert study_sampler(study_file({"dit_depth": DEPTH, "dit_num_heads": HEADS}))._group
    assert not study_sampler(study_file())._group


def test_a_sampler_inside_a_sampler():
    kwargs = {"fixed_params": {"lr": 1e-3}, "base_sampler": {"name": "random"}}
    sampler = make_sampler(Component(name="optuna.samplers.PartialFixedSampler", kwargs=kwargs), 0)
    drawn = study_file({"lr": LR, "dit_depth": DEPTH}).suggest(optuna.create_study(sampler=sampler).ask())
    assert drawn["lr"] == 1e-3


def test_a_sampler_without_its_package_says_which(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install cmaes"):
        make_sampler(Component(name="cmaes"), 0)


@pytest.mark.parametrize("name", ["grid", "optuna.samplers.GridSampler", "optuna.samplers.BruteForceSampler"])
def test_the_grid_is_the_search_space_each_point_once(name):
    space = {"dit_depth": DEPTH, "dit_num_heads": HEADS, "vgg_importance": IMPORTANCE}
    file = study_file(space, sampler=name, trials=15)
    assert grid_size(file) == 15  # depth 4 has no choice of heads: (1 + 2 + 2) * 3
    config = GazeGaussianRun(loss={"vgg_importance": 0.1})
    study = optuna.create_study()
    study.enqueue_trial(baseline(file, config))
    seen = []
    for number in range(15):
        study.sampler = study_sampler(file, number)  # as if every trial had its own process
        trial = study.ask()
        seen.append(file.suggest(trial))
        if number == 7:  # killed and tried again
            study.tell(trial, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
            trial = study.ask()
            assert file.suggest(trial) == seen[-1]
        study.tell(trial, 1.0)  # the end of the grid raises nothing
    assert seen[0] == {"dit_depth": 6, "dit_num_heads": 8, "vgg_importance": 0.1}
    assert len({tuple(sorted((key, round(value, 9)) for key, value in point.items())) for point in seen}) == 15


@pytest.mark.parametrize(
    ("space", "more", "message"),
    [
        ({"lr": LR, "dit_depth": DEPTH}, {"sampler": "grid"}, r"needs a step \(or choices\) for lr: a float"),
        ({"dit_depth": DEPTH}, {"sampler": "grid"}, "has 3 points, fewer than trials 4: give 3"),
        (
            {"dit_depth": DEPTH},
            {"sampler": {"name": "grid", "kwargs": {"search_space": {"dit_depth": [4]}}}, "trials": 1},
            "leave its own out",
        ),
        ({"dit_depth": DEPTH}, {"sampler": {"name": "grid", "kwargs": {"sed": 1}}, "trials": 1}, "rejects"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(space, more, message):
    with pytest.raises(ConfigError, match=message):
        study_sampler(study_file(space, **more))


def test_a_grid_needs_a_study_file():
    with pytest.raises(ConfigError, match="needs a study file"):
        make_sampler(Component(name="grid"), 0)
    file = study_file({"dit_depth": DEPTH}, sampler="grid", trials=2)
    assert isinstance(study_sampler(file), SpaceGrid)
