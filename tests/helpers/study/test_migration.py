"""Migration: what can be compared moves, the rest is named."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from repository import ROOT
from study_support import fake_train, run_study, spec, study_file

import train_gazegaussian_optuna
from gazegaussian.config import GazeGaussianRun, MeshHeadRun, load_run
from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import dump_yaml
from helpers import default_spec, migrate_study
from helpers.results.attributes import BASELINE, CONFIG, FINGERPRINT, METRIC, RESUME_OF, STAGE
from helpers.search.space import StudyFile, baseline
from helpers.study.migration import ORIGIN, continuation, migrate
from helpers.utils.paths import COMMAND

LR = {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}
WIDER = {"type": "float", "min": 1e-6, "max": 1e-1, "log": True}
NARROW = {"type": "float", "min": 3e-4, "max": 3e-3, "log": True}


def space(**parameters) -> StudyFile:
    return study_file(search_space={"all": parameters})


def planted(study: StudyFile, trials: int = 8) -> optuna.Study:
    """A finished study in memory: the baseline, then random trials; every third is pruned."""
    config = MeshHeadRun(training={"epochs": 8})
    old = optuna.create_study(study_name="toy", sampler=optuna.samplers.RandomSampler(seed=0))
    marks = {STAGE: "meshhead", METRIC: "val_loss", CONFIG: config.model_dump_json(), FINGERPRINT: study.fingerprint()}
    for key, value in marks.items():
        old.set_user_attr(key, value)
    old.enqueue_trial(baseline(study, config), user_attrs={BASELINE: True})
    for number in range(trials):
        trial = old.ask()
        values = study.suggest(trial)
        trial.set_user_attr("folder", f"toy/trial_{number:04d}")
        pruned = number % 3 == 2
        for epoch in range(4 if pruned else 8):
            trial.report(sum(map(float, values.values())) + 1 / (epoch + 1), epoch)
        if pruned:
            old.tell(trial, state=TrialState.PRUNED)
        else:
            old.tell(trial, sum(map(float, values.values())) + 0.125)
    return old


@pytest.fixture
def old() -> optuna.Study:
    return planted(space(lr=LR))


def test_a_wider_space_takes_every_trial_with_its_curve_and_attributes(old):
    storage = optuna.storages.InMemoryStorage()
    study, kept, dropped = migrate(old, space(lr=WIDER), "wider", storage)
    assert kept == [trial.number for trial in old.trials]
    assert dropped == {}
    assert [t.state for t in study.trials].count(TrialState.PRUNED) > 0
    for before, after in zip(old.trials, study.trials, strict=True):
        assert (after.params, after.values, after.state) == (before.params, before.values, before.state)
        assert after.intermediate_values == before.intermediate_values
        assert after.user_attrs["folder"] == before.user_attrs["folder"]
        assert after.user_attrs[ORIGIN] == {"study": "toy", "trial": before.number}
        assert after.distributions["lr"].high == 0.1
        assert after.duration == before.duration
    assert study.best_value == old.best_value


def test_the_moved_study_goes_on_where_the_old_one_could_not(tmp_path):
    new_space = {"all": {"lr": WIDER}}
    old = run_study(spec(tmp_path, trials=2))
    with pytest.raises(ConfigError, match="another search space"):
        run_study(spec(tmp_path, search_space=new_space))
    (tmp_path / "moved").mkdir()
    storage = f"sqlite:///{(tmp_path / 'moved' / 'study.db').resolve()}"
    migrate(old, space(lr=WIDER), "moved", storage)
    study = run_study(spec(tmp_path, study_name="moved", trials=3, search_space=new_space))
    assert [t.number for t in study.trials if ORIGIN not in t.user_attrs] == [2]
    assert [t.number for t in study.trials if t.user_attrs.get(BASELINE)] == [0]


def test_trials_outside_a_narrower_space_stay_behind_with_the_reason(old):
    study, kept, dropped = migrate(old, space(lr=NARROW), "narrow", optuna.storages.InMemoryStorage())
    inside = {t.number for t in old.trials if 3e-4 <= t.params["lr"] <= 3e-3}
    assert 0 < len(inside) < len(old.trials)
    assert set(kept) == inside
    assert set(dropped) == {t.number for t in old.trials} - inside
    assert all("lr = " in reason and "outside" in reason for reason in dropped.values())
    assert len(study.trials) == len(inside)


def test_a_new_parameter_had_the_run_configurations_value(old):
    width = {"type": "categorical", "choices": [128, 256, 512]}
    study, kept, _ = migrate(old, space(lr=LR, shape_mlp_width=width), "more", optuna.storages.InMemoryStorage())
    assert len(kept) == len(old.trials)
    assert {trial.params["shape_mlp_width"] for trial in study.trials} == {256}
    without = {"type": "categorical", "choices": [128, 512]}
    with pytest.raises(ConfigError, match="shape_mlp_width = 256 lies outside"):
        migrate(old, space(lr=LR, shape_mlp_width=without), "less", optuna.storages.InMemoryStorage())


def test_a_parameter_no_longer_searched_must_have_the_run_configurations_value():
    old = planted(space(lr=LR, batch_size={"type": "categorical", "choices": [1, 2]}))
    ones = [t.number for t in old.trials if t.params["batch_size"] == 1]
    assert 0 < len(ones) < 8
    study, kept, dropped = migrate(old, space(lr=LR), "fewer", optuna.storages.InMemoryStorage())
    assert kept == ones
    assert all("batch_size = 2 is no longer searched" in reason for reason in dropped.values())
    assert all(set(trial.params) == {"lr"} for trial in study.trials)


def test_a_parameter_that_no_longer_acts_must_have_the_run_configurations_value():
    batch = {"type": "categorical", "choices": [1, 2]}
    width = {"type": "categorical", "choices": [128, 256]}
    old = planted(space(batch_size=batch, shape_mlp_width=width), trials=10)
    tied = space(batch_size=batch, shape_mlp_width={**width, "when": {"batch_size": 2}})
    study, kept, dropped = migrate(old, tied, "tied", optuna.storages.InMemoryStorage())
    assert set(dropped) == {t.number for t in old.trials if t.params == {"batch_size": 1, "shape_mlp_width": 128}}
    assert dropped
    assert all(("shape_mlp_width" in t.params) == (t.params["batch_size"] == 2) for t in study.trials)
    assert len(kept) + len(dropped) == 10


def test_failed_trials_and_marks_of_a_retry_do_not_move(old):
    trial = old.ask({"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)})
    old.tell(trial, state=TrialState.FAIL)
    old.enqueue_trial({"lr": 1e-3}, user_attrs={RESUME_OF: trial.number})
    retry = old.ask({"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)})
    old.tell(retry, 0.5)
    study, kept, dropped = migrate(old, space(lr=WIDER), "wider", optuna.storages.InMemoryStorage())
    assert trial.number not in {*kept, *dropped}
    assert retry.number in kept
    assert all(RESUME_OF not in t.user_attrs for t in study.trials)


def test_the_baseline_is_queued_again_when_it_does_not_move(old):
    other = optuna.create_study(study_name="other")  # a copy whose baseline failed
    for key, value in old.user_attrs.items():
        other.set_user_attr(key, value)
    other.add_trials([trial for trial in old.trials if not trial.user_attrs.get(BASELINE)])
    study, kept, _ = migrate(other, space(lr=WIDER), "new", optuna.storages.InMemoryStorage())
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert len(kept) == 7
    assert [trial.user_attrs[BASELINE] for trial in waiting] == [True]
    assert waiting[0].system_attrs["fixed_params"] == {"lr": 1e-3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "psnr"}, "has metric val_loss, the study file psnr"),
        ({"direction": "maximize"}, "has direction minimize"),
        ({"epochs": 9}, "trains 8 epochs, the study file asks for 9"),
    ],
)
def test_trials_of_another_question_are_refused(old, changes, message):
    with pytest.raises(ConfigError, match=message):
        migrate(old, study_file(**changes), "new", optuna.storages.InMemoryStorage())


def test_a_taken_name_is_refused_and_a_killed_migration_is_begun_anew(old):
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="taken", storage=storage)
    with pytest.raises(ConfigError, match="a study 'taken' already"):
        migrate(old, space(lr=WIDER), "taken", storage)
    half = optuna.create_study(study_name="half", storage=storage)
    half.set_user_attr(ORIGIN, "toy")
    half.add_trial(old.trials[0])
    study, kept, _ = migrate(old, space(lr=WIDER), "half", storage)
    assert len(study.trials) == len(kept) == len(old.trials)
    assert FINGERPRINT in study.user_attrs
    with pytest.raises(ConfigError, match="already"):
        migrate(old, space(lr=WIDER), "half", storage)


def test_a_moved_bound_is_applied_to_what_was_measured():
    old = planted(space(lr=LR), trials=1)
    fingerprint = study_file(constraints={"render_fps": ">= 30"}).fingerprint()
    old.set_user_attr(FINGERPRINT, fingerprint)
    dist = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
    for fps in (20.0, 35.0, 50.0):
        old.add_trial(
            optuna.trial.create_trial(
                params={"lr": 1e-3}, distributions=dist, value=1.0, constraints={"render_fps": 30.0 - fps}
            )
        )
    stricter = study_file(constraints={"render_fps": ">= 40"})
    study, kept, dropped = migrate(old, stricter, "strict", optuna.storages.InMemoryStorage())
    assert [trial.constraints["render_fps"] for trial in study.trials if trial.values] == [20.0, 5.0, -10.0]
    assert dropped == {0: "its render_fps was no constraint and is not known"}
    assert kept == [1, 2, 3]


def test_the_command_says_it_in_its_own_lines(tmp_path, monkeypatch, capsys, caplog):
    run_study(spec(tmp_path, trials=1))
    file = tmp_path / "wider.yaml"
    file.write_text(dump_yaml(study_file(study_name="x", search_space={"all": {"lr": WIDER}}).model_dump(mode="json")))
    caplog.clear()
    args = ["script", "migrate", str(tmp_path / "toy"), "--study", str(file), "--study-name", "wider"]
    monkeypatch.setattr(sys, "argv", args)
    level = optuna.logging.get_verbosity()
    try:
        train_gazegaussian_optuna.main()
    finally:
        optuna.logging.set_verbosity(level)
    said = capsys.readouterr().out
    assert "1 trial copied from toy" in said
    assert "A new study created" not in caplog.text
    (line,) = [line for line in said.splitlines() if line.startswith("Resume with: ")]
    args = shlex.split(line.removeprefix(f"Resume with: {COMMAND} "))
    assert args[:2] == ["study", "meshhead"]
    options = dict(zip(args[2::2], args[3::2], strict=True))
    assert options["--epochs"] == "8"
    assert options["--out"] == str(tmp_path)
    # It is the very study: settings and stored ones are compared when it is opened.
    again = default_spec(
        "meshhead",
        config=Path(options["--config"]),
        study=Path(options["--study"]),
        study_name=options["--study-name"],
        epochs=8,
        n_trials=2,
        out=tmp_path,
    )
    finished = run_study(replace(again, train=fake_train, check=lambda config: None, pool=None))
    assert [ORIGIN in trial.user_attrs for trial in finished.trials] == [True, False]


def test_the_command_after_a_migration_names_everything_that_the_study_starts_from(tmp_path):
    config = GazeGaussianRun(meshhead_checkpoint=tmp_path / "my head.pt", data={"root": tmp_path / "people"})
    study = optuna.create_study(study_name="wider")
    study.set_user_attr("config", config.model_dump_json())
    study.set_user_attr("stage", "gazegaussian")
    args = continuation(study, tmp_path / "out" / "wider", Path("study.yaml"))
    options = dict(zip(args[2::2], args[3::2], strict=True))
    assert args[:2] == ["study", "gazegaussian"]
    assert options["--meshhead"] == str(tmp_path / "my head.pt")
    assert options["--data"] == str(tmp_path / "people")
    assert "--init-from" not in options
    assert load_run(Path(options["--config"]), "gazegaussian") == config


def test_the_verb_makes_a_study_that_runs_on(tmp_path):
    run_study(spec(tmp_path, trials=3))
    file = tmp_path / "wider.yaml"
    file.write_text(dump_yaml(study_file(study_name="x", search_space={"all": {"lr": WIDER}}).model_dump(mode="json")))
    migration = migrate_study(tmp_path / "toy", file, "wider")
    assert migration.kept == [0, 1, 2]
    assert (tmp_path / "wider" / "summary.csv").read_text().count("\n") == 4
    more = run_study(spec(tmp_path, trials=4, study_name="wider", search_space={"all": {"lr": WIDER}}))
    assert [ORIGIN in trial.user_attrs for trial in more.trials] == [True] * 3 + [False]
    with pytest.raises(ConfigError, match=r"There is a study 'wider' already"):
        migrate_study(tmp_path / "toy", file, "wider")


def test_a_migration_that_is_refused_leaves_no_study(tmp_path):
    run_study(spec(tmp_path, trials=1))
    other = ROOT / "configs" / "studies" / "gazegaussian" / "quick.yaml"
    longer = tmp_path / "longer.yaml"
    longer.write_text(dump_yaml(study_file(epochs=3).model_dump(mode="json")))
    for path, reason in ((other, "stage 'gazegaussian', but 'meshhead'"), (longer, "epochs")):
        with pytest.raises(ConfigError, match=reason):
            migrate_study(tmp_path / "toy", path, "new")
        assert not (tmp_path / "new").exists()
