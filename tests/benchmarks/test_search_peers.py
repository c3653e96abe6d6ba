"""The loop that replays other packages' searches, without these packages."""

import math

from benchmarks.search_efficiency.curves import Curve, Header, Recording
from benchmarks.search_efficiency.peers import promoted
from benchmarks.search_efficiency.table import Table

EPOCHS = 4
WARM_UP = 0.5  # epochs
CURVES = {0: [4.0, 3.0, 2.0, 1.0], 1: [5.0, 4.5, 4.2, 4.0], 2: [3.0, None]}


class Halving:
    """Asks for the rows in turn with one epoch, then for the first with all."""

    def __init__(self, table, seed):
        self.orders = [(row, table.params[row], 1) for row in range(2)] + [(0, table.params[0], EPOCHS)]
        self.orders.append((2, table.params[2], EPOCHS))
        self.told = []

    def ask(self):
        return self.orders[len(self.told)]

    def tell(self, value):
        self.told.append(value)


def table():
    space = {"lr": {"type": "float", "min": 0.0, "max": 1.0}}
    study = {"study_name": "planted", "trials": 5, "direction": "minimize", "search_space": {"all": space}}
    header = Header("meshhead", "choose", EPOCHS, 1, "digest", {}, study, {}, "", "")
    lines = []
    for row, values in CURVES.items():
        metrics = {"val_loss": values, "cpu_seconds": [2.0] * len(values)}
        status = "diverged" if None in values else "complete"
        lines.append(Curve(row, 0, "whole", {"lr": 0.4 * row}, status, metrics, 1.0, 2 * WARM_UP))
    return Table(Recording(header, lines))


def test_a_promoted_configuration_pays_for_its_new_epochs_and_a_failure_is_the_worst():
    searches = []

    def make(*arguments):
        searches.append(Halving(*arguments))
        return searches[-1]

    played = promoted(make)(table(), 0, 9.0, 1)
    assert [trial.row for trial in played.trials] == [0, 1, 0, 2]
    begun = 1 + WARM_UP
    assert [trial.spent for trial in played.trials] == [
        begun,
        2 * begun,
        2 * begun + EPOCHS - 1,
        3 * begun + 2 * (EPOCHS - 1),
    ]
    assert [trial.value for trial in played.trials] == [None, None, 1.0, None]
    assert searches[0].told == [4.0, 5.0, 1.0, math.inf]
