"""Axes of the figures and what the notebooks show: epochs are counted from 1, trials and epochs are whole numbers."""

import re
import shutil
from pathlib import Path

import optuna
import plotly.graph_objects as go
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image
from plotly.colors import unlabel_rgb

import helpers.notebook.display
from helpers import save_figures, study_figures
from helpers.analysis.importance import PAIRS, REST, Importance, Importances
from helpers.reporting.captions import shows
from helpers.reporting.importance_figure import LEVEL, importance_figure
from helpers.reporting.parameter_figures import parameter_figures
from helpers.reporting.pngs import find_browser


def study_of(trials=4, epochs=3):
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
                user_attrs={"folder": f"trial_{number:04d}"},
            )
        )  # fmt: skip
    return study


def test_curves_begin_at_epoch_one_and_the_stored_steps_stay():
    study = study_of(epochs=3)
    drawn = study_figures(study)["intermediate_values"]
    assert {tuple(trace.x) for trace in drawn.data} == {(1, 2, 3)}
    assert list(study.trials[0].intermediate_values) == [0, 1, 2]


def test_a_legend_tells_the_best_from_finished_and_pruned_curves_without_colours():
    lines = study_figures(study_of(trials=6))["intermediate_values"].data
    names = {line.name: (line.line.dash, line.line.width, line.marker.symbol) for line in lines if line.showlegend}
    assert names.keys() == {"best: trial 0", "other complete (3)", "pruned (1)", "failed (1)"}
    assert len(set(names.values())) == len(names)
    assert lines[-1].name == "best: trial 0", "it is on top"


@pytest.mark.parametrize(
    ("name", "axis"), [("intermediate_values", "xaxis"), ("history", "xaxis"), ("timeline", "yaxis")]
)
def test_short_axes_of_epochs_and_trials_tick_whole_numbers(name, axis):
    settings = study_figures(study_of())[name].layout[axis]
    assert (settings.dtick, settings.tickformat) == (1, "d")


def test_one_epoch_has_no_epochs_beside_it():
    assert study_figures(study_of(epochs=1))["intermediate_values"].layout.xaxis.range == (0.5, 1.5)
    assert study_figures(study_of(epochs=2))["intermediate_values"].layout.xaxis.range is None


def test_the_timeline_blames_no_gap_on_an_interruption():
    assert shows("timeline").endswith("nothing ran in gaps.")


def test_long_axes_leave_the_steps_to_plotly():
    figures = study_figures(study_of(trials=40, epochs=60))
    assert figures["intermediate_values"].layout.xaxis.dtick is None
    assert figures["history"].layout.xaxis.dtick is None


CHOICES = {"width": (64, 128, 512), "kind": ("dit", "conv")}
RANGES = {"lr": (1e-5, 1e-2, True), **{f"loss_importance_{number}": (0.5, 2.0, False) for number in range(7)}}


def searched(trials, *directions):
    """Complete trials over ten parameters; the values grow with their number."""
    study = optuna.create_study(study_name="wide", directions=directions or ["minimize"])
    study.set_user_attr("metric", "val_loss")
    spaces = {name: CategoricalDistribution(choices) for name, choices in CHOICES.items()}
    spaces |= {name: FloatDistribution(low, high, log=log) for name, (low, high, log) in RANGES.items()}
    for number in range(trials):
        params = {name: choices[number % len(choices)] for name, choices in CHOICES.items()}
        params |= {
            name: low + (high - low) * ((number * 7) % trials) / trials for name, (low, high, _) in RANGES.items()
        }
        study.add_trial(
            create_trial(params=params, distributions=spaces, values=[1.0 + 0.5 * number] * max(1, len(directions)))
        )
    return study


def drawn(study):
    """Figures over parameters, without the importances that decide which come first."""
    makers, hint = parameter_figures(study, [*CHOICES, *RANGES], "val_loss")
    return {name: make() for name, make in makers.items()}, hint


def test_few_trials_draw_figures_that_say_so_and_fewer_draw_no_landscape():
    fewest = study_figures(searched(3))
    assert {"importances", "rank", "contour"} & fewest.keys() == set()
    few = study_figures(searched(4))
    assert {"importances", "rank", "contour"} <= few.keys()
    for name in ("slice", "parallel_coordinate", "rank", "contour"):
        assert "4 complete trials: a hint" in few[name].layout.title.subtitle.text
    for directions in (["maximize"], ["minimize", "maximize"]):
        enough, hint = drawn(searched(10, *directions))
        assert {"edf", "slice", "parallel_coordinate", "rank", "contour"} == enough.keys()
        assert hint == ""


def pruned_study():
    """Twelve trials of which the pruner stopped eight after three epochs; `lr` decides."""
    study = optuna.create_study(study_name="pruned")
    study.set_user_attr("metric", "val_loss")
    for number in range(12):
        stopped = number % 3 != 0
        curve = {epoch: number + 1 / (epoch + 1) for epoch in range(3 if stopped else 8)}
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if stopped else TrialState.COMPLETE, value=min(curve.values()),
                params={"lr": 1e-4 * 2**number, "width": (64, 128)[number % 2]},
                distributions={"lr": FloatDistribution(1e-5, 1, log=True), "width": CategoricalDistribution((64, 128))},
                intermediate_values=curve,
            )
        )  # fmt: skip
    return study


def test_pruned_trials_are_in_the_figures_over_parameters_at_a_common_epoch():
    figures = study_figures(pruned_study())
    for name in ("importances", "slice", "rank", "contour", "parallel_coordinate"):
        title = figures[name].layout.title
        said = re.sub("<.*?>", " ", f"{title.text} {title.subtitle.text}")
        assert "12 trials (4 complete, 8 pruned), each valued at its best up to epoch 3" in said, name
    panel = next(trace for trace in figures["slice"].data if len(trace.x) == 12)
    assert sorted(panel.y) == pytest.approx([number + 1 / 3 for number in range(12)])
    assert list(panel.marker.color) == list(range(12)), "trials keep their numbers"


@pytest.mark.parametrize("telling", [True, False])
def test_importances_are_bars_only_where_the_trials_tell(telling):
    rows = (Importance("lr", 0.5, 0.2, 0.8), Importance("width", 0.1, 0.0, 0.3))
    rest = (Importance(PAIRS, 0.1, 0.0, 0.2), Importance(REST, 0.3, 0.1, 0.5))
    importances = Importances(rows, "val_loss", 30, "said", *rest, level=0.07, out_of_bag=0.6 if telling else 0.1)
    figure = importance_figure(importances)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    level = next(trace for trace in figure.data if trace.name == LEVEL)
    assert set(level.x) == {0.07}
    assert ("do not tell" in figure.layout.title.text) is not telling
    if telling:
        assert {name: x for bar in bars for name, x in zip(bar.y, bar.x, strict=True)} == {
            "lr": 0.5, "width": 0.1, PAIRS: 0.1, REST: 0.3
        }  # fmt: skip
    else:
        assert bars == []
        assert figure.data[0].marker.symbol == "circle-open"
        assert list(figure.data[0].error_x.array) == pytest.approx([0.3, 0.2, 0.1, 0.2])


def test_slices_of_many_parameters_stand_in_rows_with_room_for_each():
    figure = drawn(searched(10))[0]["slice"]
    axes = list(figure.select_xaxes())
    shown = [axis.title.text.replace("<br>", "") for axis in axes if axis.title.text]
    assert sorted(shown) == sorted({**CHOICES, **RANGES})
    assert max(sum(axis.domain == other.domain for other in axes) for axis in axes) == 4, "rows"
    width = 800 - 140  # pixels of a narrow cell, without margins
    assert all((axis.domain[1] - axis.domain[0]) * width > 150 for axis in axes)
    assert {len(trace.x) for trace in figure.data} == {10}, "every panel has every trial"


def contrast_to_white(color):
    """WCAG's contrast ratio."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in unlabel_rgb(color)]
    return 1.05 / (0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0), ("maximize", 11)])
def test_every_line_of_parallel_coordinates_is_seen_and_the_best_is_on_top(direction, best):
    figure = drawn(searched(12, direction))[0]["parallel_coordinate"]
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == 12
    assert min(contrast_to_white(line.line.color) for line in lines) >= 3
    assert all(line.opacity >= 0.9 for line in lines)
    value = dict(lines[-1].customdata)["val_loss"]
    assert float(value) == 1.0 + 0.5 * best
    darkest = max(lines, key=lambda line: contrast_to_white(line.line.color))
    assert darkest is lines[-1]
    names = {text.replace("<br>", "") for text in figure.layout.xaxis.ticktext}
    assert names == {"val_loss", *CHOICES, *RANGES}, "shortened"


def test_axes_of_ranks_and_contours_tick_the_choices():
    makers, _ = parameter_figures(searched(12), ["width", "lr", "kind"], "val_loss")
    for name in ("rank", "contour"):
        figure = makers[name]()
        axes = {axis.title.text: axis for axis in (*figure.select_xaxes(), *figure.select_yaxes()) if axis.title.text}
        assert tuple(axes["width"].tickvals) == CHOICES["width"]
        assert {"1e-05", "0.0001", "0.001"} & set(axes["lr"].ticktext)


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(helpers.notebook.display, "show_image", lambda path: seen.append(Path(path).name))
    return seen


def images(folder, *epochs):
    (folder / "images").mkdir(parents=True)
    for epoch in epochs:
        (folder / "images" / f"epoch_{epoch:04d}.png").touch()


@pytest.mark.parametrize(("values", "image"), [((6, 5, 4, 3, 1, 2), "epoch_0005.png"), ((), "epoch_0006.png")])
def test_the_best_epochs_image_is_found_by_its_number(tmp_path, shown, values, image):
    images(tmp_path / "trial_0000", 4, 5, 6)  # a continued trial begins with its predecessor's next epoch
    table = ["epoch,val_loss", *(f"{epoch},{value}" for epoch, value in enumerate(values, 1))]
    (tmp_path / "trial_0000" / "metrics.csv").write_text("\n".join(table))
    helpers.notebook.display.show_best_images(study_of(), tmp_path)
    assert shown == [image]


def test_a_best_trial_without_images_is_said(tmp_path, shown, capsys):
    helpers.notebook.display.show_best_images(study_of(), tmp_path)
    assert shown == []
    assert "trial 0 kept no images" in capsys.readouterr().out


def test_a_training_shows_the_image_of_the_weights_that_it_keeps(tmp_path, shown, capsys, repo_root):
    run = tmp_path / "run"
    images(run, 1, 2, 3)
    shutil.copy(repo_root / "configs" / "runs" / "meshhead" / "quick.yaml", run / "config.yaml")
    (run / "metrics.csv").write_text("epoch,val_loss,l1\n1,3,3\n2,2,1\n3,1,2\n")
    helpers.notebook.display.show_training(run)
    assert shown == ["epoch_0002.png"]
    assert "epoch 2, the best by l1" in capsys.readouterr().out
    shutil.rmtree(run / "images")
    helpers.notebook.display.show_training(run)
    assert "no images" in capsys.readouterr().out


def test_failed_trials_are_not_finished():
    assert helpers.notebook.display.count_finished(study_of(trials=4)) == 3


@pytest.mark.skipif(find_browser() is None, reason="PNG figures need a browser")
def test_pngs_have_the_size_of_their_figure(tmp_path):
    figure = go.Figure(layout={"width": 420, "height": 240})
    save_figures(None, tmp_path, figures={"wide": figure})
    assert Image.open(tmp_path / "wide.png").size == (630, 360)
