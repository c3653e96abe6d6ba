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
        return generator.randint(space.low, space.high)
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


@pytest.mark.parametrize("choices", [("a", "b", "c"), (False, True), (1, 2)])
def test_choices_without_order_and_pairs_have_no_border(choices):
    space = CategoricalDistribution(choices)
    study = study_where_x_decides(space, choices[-1])
    assert borders(study, study.best_trial) == []
