"""Axes of the figures and what the notebooks show: epochs are counted from 1, trials and epochs are whole numbers."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

import helpers.notebook
from helpers import study_figures


def study_of(trials=4, epochs=3, best_epoch=None):
    """Trials with a curve each; the second is pruned, the last one failed."""
    study = optuna.create_study(study_name="curves")
    study.set_user_attr("metric", "val_loss")
    for number in range(trials):
        curve = {epoch: 1.0 + number + 1 / (epoch + 1) for epoch in range(epochs)}
        state = {1: TrialState.PRUNED, trials - 1: TrialState.FAIL}.get(number, TrialState.COMPLETE)
        study.add_trial(
            create_trial(
                state=state, params={"x": number / trials}, distributions={"x": FloatDistribution(0, 1)},
                value=min(curve.values()) if state == TrialState.COMPLETE else None, intermediate_values=curve,
                user_attrs={} if best_epoch is None else {"best_epoch": best_epoch},
            )
        )  # fmt: skip
    return study


def test_curves_begin_at_epoch_one_and_the_stored_steps_stay():
    study = study_of(epochs=3)
    drawn = study_figures(study)["intermediate_values"]
    assert {tuple(trace.x) for trace in drawn.data} == {(1, 2, 3)}
    assert list(study.trials[0].intermediate_values) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "axis"), [("intermediate_values", "xaxis"), ("history", "xaxis"), ("timeline", "yaxis")]
)
def test_short_axes_of_epochs_and_trials_tick_whole_numbers(name, axis):
    settings = study_figures(study_of())[name].layout[axis]
    assert (settings.dtick, settings.tickformat) == (1, "d")


def test_long_axes_leave_the_steps_to_plotly():
    figures = study_figures(study_of(trials=40, epochs=60))
    assert figures["intermediate_values"].layout.xaxis.dtick is None
    assert figures["history"].layout.xaxis.dtick is None


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(helpers.notebook, "show_image", lambda path: seen.append(Path(path).name))
    return seen


def images(folder, *epochs):
    (folder / "images").mkdir(parents=True)
    for epoch in epochs:
        (folder / "images" / f"epoch_{epoch:04d}.png").touch()


@pytest.mark.parametrize(("best_epoch", "image"), [(4, "epoch_0005.png"), (None, "epoch_0006.png")])
def test_the_best_epochs_image_is_found_by_its_number(tmp_path, shown, best_epoch, image):
    study = study_of(best_epoch=best_epoch)
    images(tmp_path / "trial_0000", 4, 5, 6)  # a continued trial begins with its predecessor's next epoch
    helpers.notebook.show_best_images(study, tmp_path)
    assert shown == [image]


def test_the_last_image_is_the_last_epochs(tmp_path, shown, capsys):
    images(tmp_path / "run", 1, 2, 10)
    helpers.notebook.show_last_image(tmp_path / "run")
    assert shown == ["epoch_0010.png"]
    helpers.notebook.show_last_image(tmp_path)
    assert "no images" in capsys.readouterr().out


def test_failed_trials_are_not_finished():
    assert helpers.notebook.count_finished(study_of(trials=4)) == 3
