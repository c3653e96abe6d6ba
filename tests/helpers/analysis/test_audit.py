"""The parameter audit: planted faults are found and named, a clean stage passes, a passed audit is not repeated."""

import importlib.util
import itertools
import json
import sys
from dataclasses import replace
from typing import Literal

import pytest
import torch
from audit_support import CHANCE, Builder, TinyStage
from pydantic import Field

from gazegaussian.config import GazeGaussianRun, StageRun, StageTraining, with_parameters
from gazegaussian.errors import ConfigError
from helpers.analysis.audit import audit_study
from helpers.analysis.audit_checks import Auditor
from helpers.analysis.short_training import without_delays
from helpers.search.space import StudyFile
from helpers.study.spec import StudySpec

GAZE = {"type": "float", "min": 0.05, "max": 0.5, "log": True}
SPACE = {
    "lr": {"type": "float", "min": 1e-4, "max": 1e-1, "log": True},
    "batch_size": {"type": "categorical", "choices": [2, 4]},
    "dit_num_heads": {"type": "categorical", "choices": [4, 8]},
    "dit_depth": {"type": "int", "min": 1, "max": 6},
    "gaze_loss_importance": GAZE,
    "vgg_importance": GAZE,
    "identity_offset_importance": {"type": "float", "min": 1e-3, "max": 1.0, "log": True},
    "lr_decay": {"type": "float", "min": 0.1, "max": 1.0},
}


def spec(tmp_path, *names, **spaces):
    space = {**{name: SPACE[name] for name in names}, **spaces}
    study = StudyFile.model_validate({"study_name": "toy", "trials": 6, "search_space": {"all": space}})
    run = GazeGaussianRun(optim={"lr": 1e-3}, training={"device": "cpu", "batch_size": 2})
    return StudySpec(run, study, tmp_path, check=lambda config: None)


def audit(tmp_path, *names, faults=(), **spaces):
    report = audit_study(spec(tmp_path, *names, **spaces), Builder(*faults))
    return report, {row.parameter: row for row in report.parameters}


def test_a_clean_stage_passes_and_shapes_are_told_from_weights(tmp_path):
    report, rows = audit(tmp_path, *SPACE)
    assert report.ok, report.rows()
    report.raise_if_failed()
    assert all(row.reaches_training is True for row in rows.values())
    assert all(row.changes_metric is False for row in rows.values()), (
        "also where shapes differ: predictions are replayed"
    )
    assert rows["lr"].values[:2] == (1e-3, 1e-1)
    assert {1e-4, 1e-1} < set(rows["lr"].values)
    assert {row.word for row in rows.values()} == {"ok", "weak"}
    assert rows["identity_offset_importance"].verdict.startswith("weak: changes a step by 0.0")
    assert [row["parameter"] for row in report.rows()] == list(SPACE)


@pytest.mark.parametrize("fault", ["unread", "labels only"])
def test_a_parameter_that_does_not_reach_training_is_named(tmp_path, fault):
    """`labels only` changes the reported loss but no weight: the loss curve alone would be fooled."""
    report, rows = audit(tmp_path, "lr", "gaze_loss_importance", "vgg_importance", faults=[fault])
    assert [name for name, row in rows.items() if not row.ok] == ["gaze_loss_importance"]
    with pytest.raises(ConfigError, match=r"gaze_loss_importance does not reach training \(0\.1, 0\.5") as caught:
        report.raise_if_failed()
    assert "\n" not in str(caught.value)
    assert "vgg_importance" not in str(caught.value)


def test_a_loss_weight_inside_the_metric_is_named(tmp_path):
    report, rows = audit(
        tmp_path, "lr", "gaze_loss_importance", "vgg_importance", faults=["weighted validation metric"]
    )
    assert [name for name, row in rows.items() if row.changes_metric is True] == ["gaze_loss_importance"]
    assert rows["gaze_loss_importance"].reaches_training is True
    with pytest.raises(
        ConfigError, match=r"gaze_loss_importance changes the metric \(val_loss of the same weights .* -> "
    ):
        report.raise_if_failed()


def test_a_parameter_inside_the_metric_of_a_constraint_is_named(tmp_path):
    plain = spec(tmp_path, "lr", "gaze_loss_importance")
    study = plain.study.model_copy(update={"metric": "other"})
    builder = Builder("weighted validation metric")
    assert audit_study(replace(plain, study=study), builder).ok
    limited = StudyFile.model_validate({**study.model_dump(), "constraints": {"val_loss": "<= 9"}})
    report = audit_study(replace(plain, study=limited), builder)
    assert [row.parameter for row in report.parameters if row.changes_metric] == ["gaze_loss_importance"]


def test_both_faults_of_one_parameter_are_told(tmp_path):
    _, rows = audit(tmp_path, "gaze_loss_importance", faults=["unread", "weighted validation metric"])
    verdict = rows["gaze_loss_importance"].verdict
    assert "does not reach training" in verdict
    assert "changes the metric" in verdict


def test_a_network_that_is_never_called_does_not_hide_behind_its_shape(tmp_path):
    _, rows = audit(tmp_path, "dit_depth", "dit_num_heads", faults=["idle branch"])
    assert rows["dit_depth"].reaches_training is False
    assert rows["dit_num_heads"].reaches_training is True


def test_training_that_is_not_repeatable_does_not_make_an_unread_parameter_look_read(tmp_path):
    CHANCE.manual_seed(0)
    _, rows = audit(tmp_path, "lr", "gaze_loss_importance", faults=["noise", "unread"])
    assert rows["gaze_loss_importance"].reaches_training is False
    assert rows["lr"].reaches_training is True


def test_late_loss_terms_act_from_the_start_and_their_start_can_be_searched(tmp_path):
    start = {"type": "int", "min": 2, "max": 9}
    _, rows = audit(tmp_path, "vgg_importance", perceptual_start_epoch=start)
    assert GazeGaussianRun().loss.perceptual_start_epoch > 2
    assert rows["vgg_importance"].reaches_training is True
    assert rows["perceptual_start_epoch"].reaches_training is True


def test_a_value_that_ends_training_early_is_said_and_is_no_fault(tmp_path):
    report, rows = audit(tmp_path, "lr", faults=["diverges"])
    assert report.ok
    assert rows["lr"].verdict == "ok, but 0.1 ends training early: NonFiniteError: bad loss"
    assert rows["lr"].changes_metric is False


def test_a_run_that_cannot_be_trained_at_all_is_refused(tmp_path):
    bad = spec(tmp_path, "vgg_importance")
    bad = type(bad)(GazeGaussianRun(optim={"lr": 0.1}, training={"device": "cpu"}), bad.study, tmp_path)
    with pytest.raises(ConfigError, match="cannot train the run configuration itself"):
        audit_study(bad, Builder("diverges"))


@pytest.mark.parametrize(
    ("when", "reaches"), [(None, False), ({"renderer": "dit"}, True), ({"renderer": ["dit"]}, True)]
)
def test_a_conditional_parameter_is_audited_where_it_acts(tmp_path, when, reaches):
    space = {
        "dit_depth": {"type": "int", "min": 1, "max": 4, "when": when},
        "renderer": {"type": "categorical", "choices": ["conv", "dit"]},
    }
    study = StudyFile.model_validate({"study_name": "toy", "trials": 6, "search_space": {"all": space}})
    run = GazeGaussianRun(model={"renderer": "conv", "dit_depth": 2}, training={"device": "cpu"})
    row = Auditor(study, run, Builder("branch of dit")).parameter("dit_depth")
    assert row.reaches_training is reaches
    assert row.values == (2, 4, 3, 1)


def test_one_choice_is_no_question(tmp_path):
    report, rows = audit(tmp_path, "lr", batch_size={"type": "categorical", "choices": [2]})
    assert report.ok
    assert rows["batch_size"].reaches_training is None


def test_a_passed_audit_is_not_repeated_until_something_changes(tmp_path, monkeypatch):
    build = Builder()
    first = audit_study(spec(tmp_path, "lr"), build)
    trained = build.count
    again = audit_study(spec(tmp_path, "lr"), build)
    assert build.count == trained
    assert again.cached
    assert again.parameters == first.parameters
    assert not audit_study(spec(tmp_path, "lr", "vgg_importance"), build).cached
    assert audit_study(spec(tmp_path, "lr", "vgg_importance"), build).cached
    assert not audit_study(spec(tmp_path, "lr", "vgg_importance"), build, use_cache=False).cached
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "audit_reach.py").write_text("other = 'rules'")
    monkeypatch.setattr("helpers.analysis.audit.RULES", rules)
    assert not audit_study(spec(tmp_path, "lr", "vgg_importance"), build).cached, "an audit by other rules counts"


def test_a_passed_audit_is_repeated_when_a_module_beside_the_stage_changes(tmp_path):
    for folder, beside in ((tmp_path / "loose", "losses.py"), (tmp_path / "package" / "stages", "../losses.py")):
        folder.mkdir(parents=True)
        if folder.parent.name == "package":
            for place in (folder, folder.parent):
                (place / "__init__.py").touch()
        stage = folder / "stage.py"
        stage.write_text("from audit_support import Builder\n\n\nclass Build(Builder):\n    pass\n")
        (folder / beside).write_text("weight = 1")
        loader = importlib.util.spec_from_file_location(f"stage_of_{folder.name}", stage)
        module = importlib.util.module_from_spec(loader)
        sys.modules[loader.name] = module
        loader.loader.exec_module(module)
        study = spec(tmp_path / folder.name, "lr")
        audit_study(study, module.Build())
        assert audit_study(study, module.Build()).cached
        (folder / beside).write_text("weight = 2")
        assert not audit_study(study, module.Build()).cached


class Sized(TinyStage):
    """Measures its size, which a constraint may limit, and what a clock would."""

    clock = itertools.count()

    def validate(self):
        size = sum(value.numel() for value in self.module.parameters())
        return {**super().validate(), "size": float(size), "noise": float(hash(str(next(self.clock))) % 1000)}


def test_a_constraint_that_reads_no_prediction_does_not_accuse_the_width(tmp_path):
    for limit in ("size", "noise"):
        study = spec(tmp_path / limit, "dit_num_heads")
        limited = study.study.model_copy(update={"constraints": {limit: "<= 1e9"}})
        row = audit_study(replace(study, study=limited), Sized).parameters[0]
        assert row.word == "ok", row.verdict


class Drawing(TinyStage):
    """Validates as a stage does that leaves dropout on."""

    def validate(self):
        return {"val_loss": super().validate()["val_loss"] * (1 + 0.1 * torch.rand(()).item())}


def test_validation_that_draws_random_numbers_leaves_the_question_open(tmp_path):
    row = audit_study(spec(tmp_path, "dit_num_heads"), Drawing).parameters[0]
    assert row.word == "not asked"
    assert "validation draws random numbers" in row.verdict


class Keeping(TinyStage):
    """Adam keeps the largest second moments where heads are many, and the module keeps what is no tensor."""

    def __init__(self, config):
        super().__init__(config)
        self.module["kept"] = Kept()

    def parameter_groups(self, optim):
        return [{**group, "amsgrad": optim.eye_lr_mult > 1} for group in super().parameter_groups(optim)]


class Kept(torch.nn.Module):
    def get_extra_state(self):
        return {"kept": 1}

    def set_extra_state(self, state):
        pass


def test_what_the_optimizer_or_the_module_keeps_besides_tensors_ends_no_audit(tmp_path):
    factor = {"type": "float", "min": 0.5, "max": 2.0}
    row = audit_study(spec(tmp_path, eye_lr_mult=factor), Keeping).parameters[0]
    assert row.word == "ok", row.verdict


@pytest.mark.parametrize("metric", ["train_loss", "loss_gaze"])
def test_a_metric_of_training_is_refused(tmp_path, metric):
    study = spec(tmp_path, "lr")
    with pytest.raises(
        ConfigError, match=f"'{metric}' is measured in training.*Take one of validation: other, val_loss"
    ):
        audit_study(replace(study, study=study.study.model_copy(update={"metric": metric})), Builder())


class LateTraining(StageTraining):
    aux_start_epoch: int = Field(2, ge=1)
    other_start_epoch: int | None = None


class Late(StageRun):
    stage: Literal["late"] = "late"
    training: LateTraining = LateTraining()


def test_a_late_start_is_moved_as_far_as_its_field_admits():
    moved = without_delays(Late()).training
    assert moved.aux_start_epoch == 1
    assert moved.other_start_epoch is None


def test_a_smoke_test_takes_over_what_passed_with_the_same_space_on_more_images(tmp_path, caplog):
    build = Builder()
    first = spec(tmp_path, "lr")
    audit_study(first, build)
    trained = build.count

    def named(name, **changes):
        return replace(
            first,
            study=first.study.model_copy(update={"study_name": name, "epochs": 1}),
            config=with_parameters(first.config, changes),
        )

    with caplog.at_level("INFO"):
        assert audit_study(named("toy_smoke", max_train_images=2), build).cached
    assert "audit: already passed in study toy for this space" in caplog.text
    assert build.count == trained
    assert not audit_study(named("toy_smoke", vgg_importance=0.4), build).cached, "another configuration"
    assert not audit_study(named("real", max_train_images=2), build).cached, "a study that is paid for"


def test_an_interrupted_audit_goes_on_with_the_next_parameter(tmp_path):
    class Interrupted(Builder):
        armed = True
        asked = ()

        def __call__(self, config):
            moved = config.loss.gaze_loss_importance != 0.1 and config.data.max_val_images == 2
            if moved and self.armed:
                raise KeyboardInterrupt
            if config.data.max_val_images == 2:
                self.asked = (*self.asked, (config.optim.lr, config.loss.vgg_importance))
            return super().__call__(config)

    names = ("lr", "vgg_importance", "gaze_loss_importance", "lr_decay")
    with pytest.raises(KeyboardInterrupt):
        audit_study(spec(tmp_path, *names), Interrupted())
    stored = json.loads((tmp_path / "toy" / "audit.json").read_text())
    assert [row["parameter"] for row in stored["parameters"]] == ["lr", "vgg_importance"]
    assert stored["ok"] is False, "half an audit passes for a whole one"
    build = Interrupted()
    build.armed = False
    report = audit_study(spec(tmp_path, *names), build)
    assert set(build.asked) == {(1e-3, 0.1)}, "what had passed was trained again"
    assert [row.parameter for row in report.parameters] == list(names)
    assert report.ok
    assert audit_study(spec(tmp_path, *names), build).cached


def test_a_failed_or_damaged_audit_is_repeated(tmp_path):
    build = Builder("unread")
    assert not audit_study(spec(tmp_path, "gaze_loss_importance"), build).ok
    before = build.count
    stored = json.loads((tmp_path / "toy" / "audit.json").read_text())
    assert stored["ok"] is False
    assert not audit_study(spec(tmp_path, "gaze_loss_importance"), build).ok
    assert build.count > before
    (tmp_path / "toy" / "audit.json").write_text('{"key": ')
    assert audit_study(spec(tmp_path, "lr"), build).ok


def test_an_audit_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    audit(tmp_path, "lr")
    assert torch.equal(torch.rand(4), expected)


def test_the_real_mesh_head_passes(tmp_path):
    from synthetic_support import mesh_run, mesh_stage

    space = {
        "lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True},
        "eye_mlp_width": {"type": "categorical", "choices": [16, 32]},
        "silhouette_importance": {"type": "float", "min": 0.01, "max": 1.0, "log": True},
    }
    study = StudyFile.model_validate({"study_name": "real", "trials": 1, "search_space": {"all": space}})
    run = mesh_run(warm_start_steps=30)
    report = audit_study(StudySpec(run, study, tmp_path), build=mesh_stage)
    assert report.ok, report.rows()
    assert [row.changes_metric for row in report.parameters] == [False, False, False]
    assert {row.reaches_training for row in report.parameters} == {True}


def test_a_metric_that_is_not_measured_is_named(tmp_path):
    study = StudyFile.model_validate(
        {"study_name": "toy", "trials": 1, "metric": "val_lsos", "search_space": {"all": {"lr": SPACE["lr"]}}}
    )
    bad = StudySpec(GazeGaussianRun(training={"device": "cpu"}), study, tmp_path, check=lambda config: None)
    with pytest.raises(ConfigError, match="'val_lsos' is not measured here; measured: other, val_loss"):
        audit_study(bad, Builder())


def test_the_batch_size_is_asked_at_the_number_of_images_that_the_study_validates(tmp_path):
    class LeftOver(Builder):
        def __call__(self, config):
            stage = super().__call__(config)
            usual = stage.validate
            images = config.data.max_val_images
            left = images % config.training.batch_size
            stage.validate = lambda: {**usual(), "val_loss": usual()["val_loss"] * (1 + 0.1 * left)}
            return stage

    for images, ok in ((8, True), (10, False)):  # of 2 images, as few as the audit trains with, none is left over
        asked = spec(tmp_path, "batch_size")
        asked = replace(asked, config=with_parameters(asked.config, {"max_val_images": images}))
        assert audit_study(asked, LeftOver(), use_cache=False).ok is ok


def test_a_table_has_a_word_for_every_parameter(tmp_path):
    space = {"patience": {"type": "int", "min": 1, "max": 5}}
    report, _ = audit(tmp_path, "lr", "gaze_loss_importance", faults=["unread"], **space)
    told = {row["parameter"]: (row["verdict"], row["why"].split(" (")[0]) for row in report.rows()}
    assert told == {
        "lr": ("ok", ""),
        "gaze_loss_importance": ("rejected", "does not reach training"),
        "patience": ("not asked", "not asked whether it reaches training: it decides when a training stops"),
    }
