"""Colours of the figures."""

from __future__ import annotations

from helpers.results.trial_states import INTERRUPTED

# Okabe and Ito's colours for colour-blind readers.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
STATE_COLORS = {
    "COMPLETE": PALETTE[0],
    "PRUNED": PALETTE[1],
    "FAIL": PALETTE[3],
    "RUNNING": PALETTE[2],
    INTERRUPTED: PALETTE[5],
}
