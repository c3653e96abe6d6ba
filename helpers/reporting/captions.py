"""Figures in words: what each shows, and what one that is not drawn needs."""

from __future__ import annotations

from collections.abc import Collection

import optuna

from helpers.analysis.comparable_trials import comparable_trials
from helpers.analysis.importance import FEW_TRIALS

SHOWS = {
    "history": "The metric of each complete trial, and the best so far: a best that is flat for long promises little more.",
    "intermediate_values": "The metric after every epoch, a line per trial. Pruned trials end early; lines that cross late "
    "speak against early pruning.",
    "pareto_front": "The trials that no other beats in every objective: the choice that is left to you.",
    "timeline": "When each trial ran and how it ended; nothing ran in gaps.",
    "importances": "Share of the metric's variance over the searched space that each parameter explains by itself, beside pairs "
    "and the rest. Where intervals overlap, there is no order; up to the dotted line a parameter without effect reaches as well. "
    "Hollow marks: the trials do not tell.",
    "edf": "Share of the complete trials whose metric is at most a value: where it is steep, many trials end alike.",
    "parallel_coordinate": "A line per trial through all its values, dark is good: where dark lines meet, good trials "
    "agree.",
    "slice": "Each parameter against the metric, dark trials are late ones: look for a trend within a panel.",
    "rank": "Pairs of the most important parameters, coloured by the rank of the value: blue is small, red is large.",
    "contour": "The metric interpolated between trials, over two parameters: a guess away from the points.",
}


def shows(name: str) -> str:
    """Say what a figure of `study_figures` shows."""
    return SHOWS["history" if name.startswith("history") else name]


def missing_figures(study: optuna.Study, drawn: Collection[str]) -> dict[str, str]:
    """Say what the figures need that a study has not got yet.

    Args:
        study: A loaded study.
        drawn: Names of its figures.

    Returns:
        In a few words, by name; figures of other kinds of study (one objective, several) are left out.
    """
    comparable = comparable_trials(study)
    usable = len(comparable.trials)
    kind = "complete trials" if comparable.epoch is None else "comparable trials"
    two, few = (f"{wanted} {kind}, there are {usable}" for wanted in (2, FEW_TRIALS))
    single = len(study.directions) == 1
    needs = {
        "history": "a complete trial",
        **({"intermediate_values": "a finished epoch"} if single else {"pareto_front": "a complete trial"}),
        "timeline": "a trial",
        "importances": few if usable < FEW_TRIALS else "values that differ and a parameter that every trial has",
        **dict.fromkeys(("edf", "parallel_coordinate", "slice"), two if usable < 2 else "a parameter that varies"),
        **dict.fromkeys(("rank", "contour"), few if usable < FEW_TRIALS else "two parameters that vary"),
    }
    if len(study.directions) > 3:
        needs["pareto_front"] = "two or three objectives"
    return {name: need for name, need in needs.items() if name not in drawn}
