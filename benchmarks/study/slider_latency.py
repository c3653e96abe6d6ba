"""How long does a slider take? From a changed value to the PNG that the front end is sent, the judge's reading included.

    python -m benchmarks.study.slider_latency CHECKPOINT [--data DIR] [--changes 60]

The values never repeat, so that no image comes from the panel's memory. Printed: median and 90% quantile, milliseconds, and the
median of the processor's own time, which other jobs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from helpers.notebook.redirect_panel import RedirectPanel
from helpers.notebook.redirect_widget import open_panel


def measure(panel: RedirectPanel, changes: int) -> dict[str, float]:
    """Move one slider after the other to places where it has not been.

    Args:
        panel: Opened outside an event loop: every change is drawn before the next.
        changes: How many.

    Returns:
        Milliseconds: median and p90 of what passes, median of what the processor works.
    """
    names = list(panel.sliders)
    spent = []
    worked = []
    for count in range(changes):
        slider = panel.sliders[names[count % len(names)]]
        value = slider.min + (7 * count) % (slider.max - slider.min + 1)
        value = value if value != slider.value else slider.min + (slider.value - slider.min + 1) % 3
        before = panel.images[0].value
        started = time.perf_counter()
        busy = time.process_time()
        slider.value = value
        spent.append(1000 * (time.perf_counter() - started))
        worked.append(1000 * (time.process_time() - busy))
        assert panel.images[0].value != before, "nothing was drawn"
    spent.sort()
    latency = {"median_ms": statistics.median(spent), "p90_ms": spent[int(0.9 * (len(spent) - 1))]}
    return {name: round(value, 1) for name, value in {**latency, "cpu_median_ms": statistics.median(worked)}.items()}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--changes", type=int, default=60)
    arguments = parser.parse_args()
    panel = open_panel(arguments.checkpoint, arguments.data, Path("optuna_results"))
    measure(panel, 8)
    print(json.dumps({"image_px": panel.renderers[0].size, **measure(panel, arguments.changes)}))


if __name__ == "__main__":
    main()
