"""Best values at an end of what was searched: named where the parameter matters, ordered choices included."""

import random

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from helpers.analysis.borders import borders

LR = FloatDistribution(1e-5, 1e-2, log=True)
WIDTHS = CategoricalDistribution((64, 128, 256))


def draw(space, generator):
    if isinstance(space, CategoricalDistribution):
        return generator.choice(space.choices)
    if isinstance(space, IntDistribution):
        return generator.randrange(space.low, space.high + 1, space.step)
    if space.step:
        return space.low + space.step * generator.randrange(round((space.high - space.low) / space.step) + 1)
    place = generator.random()
    return space.low * (space.high / space.low) ** place if space.log else space.low + place * (space.high - space.low)


def study_where_x_decides(space, value, matters=True):
    """Forty trials over `x` and an idle number of layers, and one that is best at the given value of `x`."""
    study = optuna.create_study()
    study.set_user_attr("metric", "val_loss")
    generator = random.Random(0)
    spaces = {"x": space, "layers": IntDistribution(1, 4)}
    for _ in range(40):
        params = {name: draw(each, generator) for name, each in spaces.items()}
        place = space.to_internal_repr(params["x"]) / space.to_internal_repr(value if value else 1)
        study.add_trial(
            create_trial(
                params=params, distributions=spaces, value=2 + (abs(place - 1) if matters else generator.random())
            )
        )
    study.add_trial(create_trial(params={"x": value, "layers": 4}, distributions=spaces, value=1.9))
    return study


@pytest.mark.parametrize(
    ("space", "value", "end"),
    [
        (FloatDistribution(0.5, 2.0), 0.51, "lower"),
        (FloatDistribution(0.5, 2.0), 1.99, "upper"),
        (FloatDistribution(0.5, 2.0), 1.2, None),
        (IntDistribution(1, 8), 8, "upper"),
        (IntDistribution(1, 8), 7, None),
        (IntDistribution(8, 512, log=True), 500, "upper"),
        (IntDistribution(8, 512, log=True), 440, None),
        (IntDistribution(1, 1000), 985, "upper"),
        (IntDistribution(1, 16, log=True), 15, None),
        (IntDistribution(64, 512, step=64), 448, None),
        (FloatDistribution(0.0, 0.5, step=0.05), 0.5, "upper"),
        (FloatDistribution(0.0, 0.5, step=0.05), 0.45, None),
        (LR, 9.5e-3, "upper"),
        (WIDTHS, 256, "upper"),
        (WIDTHS, 128, None),
    ],
)
def test_values_on_a_border_are_named(space, value, end):
    study = study_where_x_decides(space, value)
    named = borders(study, study.best_trial)
    assert len(named) == (end is not None)
    assert all(f"{end} end" in text and text.startswith("x = ") for text in named), (
        "the idle layers are at their end too"
    )


def test_a_parameter_that_decides_nothing_is_not_named():
    study = study_where_x_decides(WIDTHS, 256, matters=False)
    assert borders(study, study.best_trial) == []


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (CategoricalDistribution(("a", "b", "c")), "c"),
        (CategoricalDistribution((False, True)), True),
        (CategoricalDistribution((1, 2)), 2),
        (IntDistribution(1, 2), 2),
        (IntDistribution(32, 64, step=32), 64),
        (IntDistribution(1, 2, log=True), 2),
        (FloatDistribution(0.5, 1.0, step=0.5), 1.0),
    ],
)
def test_no_border_without_order_or_of_two_values(space, value):
    study = study_where_x_decides(space, value)
    assert borders(study, study.best_trial) == []
