"""Figures fit where they are shown: no width of their own, title and legend above the plot, the baseline named."""

import optuna
import plotly.graph_objects as go
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from study_results_support import study_of

from helpers import study_figures
from helpers.notebook.live_curves import live_curves
from helpers.reporting.figure_layout import BAR_LETTERS, LEGEND_ROW, NOTE_LINE, fit, legend_entries
from helpers.study.progress import StudyProgress, TrialProgress

SPACE = {
    "lr": FloatDistribution(1e-6, 1e-1, log=True),
    "renderer": CategoricalDistribution(("very_large_patches", "small_patches")),
    **{f"importance_of_loss_{number}": FloatDistribution(0, 1) for number in range(7)},
}


def searched(count=14):
    """Trials over nine parameters, the first the baseline; every third one is pruned."""
    study = study_of(["minimize"], [], "val_loss")
    for number in range(count):
        share = (number * 5 % count) / count
        params = dict.fromkeys(SPACE, share) | {"lr": 10 ** (-6 + 5 * share)}
        params["renderer"] = SPACE["renderer"].choices[number % 2]
        curve = {epoch: 1 + number + 1 / (epoch + 1) for epoch in range(2 if number % 3 == 1 else 5)}
        pruned = number % 3 == 1
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE, value=min(curve.values()), params=params,
                distributions=SPACE, intermediate_values=curve, user_attrs={"baseline": True} if number == 2 else {},
            )
        )  # fmt: skip
    return study


def every_figure():
    several = study_of(["minimize", "maximize"], [([1.0, 5.0], {}), ([3.0, 1.0], {})], ["gaze_error_deg", "psnr"])
    several.add_trial(create_trial(values=[2.0, 9.0], user_attrs={"baseline": True}))
    two = study_figures(several)
    trial = TrialProgress(0, "running", 2, (0.5, 0.4))
    live = live_curves(StudyProgress("toy", "val_loss", True, (trial,), 0, 4, 8, 1.0, 9.0, None, None))
    return {**study_figures(searched()), "pareto_front": two["pareto_front"], "live": live}


@pytest.fixture(scope="module")
def figures():
    return every_figure()


def test_every_figure_takes_the_width_of_its_place_and_has_its_legend_above(figures):
    names = {"history", "importances", "contour", "slice", "parallel_coordinate", "rank", "edf", "timeline"}
    assert names | {"intermediate_values", "pareto_front", "live"} == figures.keys()
    for name, figure in figures.items():
        layout = figure.layout
        assert layout.width is None, name
        assert layout.autosize, name
        assert layout.height >= 400, name
        legend = layout.legend
        assert (legend.orientation, legend.y, legend.yanchor) == ("h", 1, "bottom"), name
        assert (layout.title.yref, layout.title.yanchor, layout.title.xref) == ("container", "top", "container"), name
        assert all(axis.automargin for axis in (*figure.select_xaxes(), *figure.select_yaxes())), name


def test_title_notes_and_legend_have_room_above_the_plot(figures):
    for name, figure in figures.items():
        notes = len((figure.layout.title.subtitle.text or "").split("<br>")) if figure.layout.title.subtitle.text else 0
        rows = bool(legend_entries(figure))
        assert figure.layout.margin.t >= 40 + NOTE_LINE * notes + LEGEND_ROW * rows, name
        lines = [figure.layout.title.text, *(figure.layout.title.subtitle.text or "").split("<br>")]
        assert max(len(line) for line in lines) <= 110, f"{name}: clipped at 700 pixels"


def test_many_long_entries_get_rows_of_the_legend_and_a_long_study_a_line_of_its_own():
    few = fit(go.Figure([go.Scatter(y=[1], name=name) for name in ("a", "b")]), "Curves", "toy")
    many = fit(go.Figure([go.Scatter(y=[1], name=f"{number}" * 40) for number in range(4)]), "Curves", "x" * 80)
    assert many.layout.margin.t - few.layout.margin.t == 3 * LEGEND_ROW + NOTE_LINE
    assert few.layout.title.text == "Curves - toy"
    assert many.layout.title.text == "Curves"
    assert many.layout.title.subtitle.text == f"Study {'x' * 80}"


def test_colour_bars_have_their_titles_beside_them(figures):
    bars = [figures["contour"].data[0].colorbar]
    bars += [t.marker.colorbar for t in figures["parallel_coordinate"].data if t.marker.showscale]
    assert len(bars) == 2
    assert all(bar.title.side == "right" and bar.title.text for bar in bars)
    long = searched()
    long.set_user_attr("metric", "validation_gaze_error_of_held_out_people_deg")
    (title,) = {bar.title.text for bar in [study_figures(long)["contour"].data[0].colorbar]}
    assert len(title) == BAR_LETTERS, "longer than the bar"
    assert title.endswith("…")
    assert "<br>" not in title, "a second line lies over the ticks"


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("history", "baseline: trial 2"),
        ("intermediate_values", "baseline: trial 2"),
        ("parallel_coordinate", "baseline: trial 2"),
        ("pareto_front", "baseline: trial 2"),
    ],
)
def test_the_baseline_is_named(figures, name, entry):
    assert entry in legend_entries(figures[name])


def test_the_baselines_line_is_the_one_of_its_parameters(figures):
    line = figures["parallel_coordinate"].data[-1]
    shown = dict(line.customdata)
    assert float(shown["lr"]) == pytest.approx(10 ** (-6 + 5 * 10 / 14), rel=0.01)
    assert shown["renderer"] == "very_large_patches"


def test_ticks_are_few_and_choices_break_so_that_neighbours_keep_apart(figures):
    axes = {axis.title.text: axis for axis in figures["slice"].select_xaxes() if axis.title.text}
    assert len(axes["lr"].ticktext) <= 4
    assert set(axes["renderer"].ticktext) == {"very_large_<br>patches", "small_<br>patches"}


def test_the_numbers_along_the_axis_of_the_objective_differ():
    study = study_of(["minimize"], [], "l1")
    for number in range(6):
        params = {"lr": 10.0 ** -(1 + number), "w": 0.1 * number}
        space = {"lr": FloatDistribution(1e-8, 1, log=True), "w": FloatDistribution(0, 1)}
        study.add_trial(create_trial(params=params, distributions=space, value=0.1061 + 0.0003 * number))
    notes = [note for note in study_figures(study)["parallel_coordinate"].layout.annotations if note.x == 0]
    texts = [note.text for note in notes]
    assert len(set(texts)) == len(texts) >= 4
    assert float(texts[0]) == 0.1061
    assert float(texts[-1]) == 0.1076


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_ranks_draw_a_good_trial_above_a_bad_one_in_the_same_place(direction):
    study = optuna.create_study(direction=direction)
    space = {"a": CategoricalDistribution(["x", "y"]), "b": CategoricalDistribution(["x", "y"])}
    for number in range(8):
        params = {"a": "xy"[number % 2], "b": "xy"[number // 2 % 2]}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(7 - number)))
    figure = study_figures(study)["rank"]
    points = [trace for trace in figure.data if trace.hovertext is not None]
    assert points
    best = 7 if direction == "minimize" else 0
    for trace in points:
        assert trace.hovertext[-1].startswith(f"Trial #{best}<br>")
        assert len(trace.x) == len(trace.marker.color) == 8


def test_ranks_stay_light_with_many_trials():
    figure = study_figures(searched(100))["rank"]
    assert len(figure.to_json()) < 300_000
    assert figure.data[0].hovertext[-1].startswith("Trial #0<br><b>val_loss, best up to epoch 2: ")
