"""The table of an evaluation, beside the published values."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from gazegaussian.evaluation.results import Evaluation, Measured
from gazegaussian.utils.counts import counted

TITLES = {
    "gaze_error_deg": "gaze error, degrees",
    "head_pose_error_deg": "head pose error, degrees",
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "perceptual": "judge's perceptual distance",
    "fid": "FID",
    "fid_judge": "Fréchet distance of judge's features",
    "identity": "identity similarity, %",
    "fps": "frames per second",
    "gaze_label_error_deg": "gaze read against label, degrees",
}
DECIMALS = {"ssim": 3, "lpips": 3, "perceptual": 4, "fid_judge": 3, "fps": 1}
# Wei et al. 2025, ETH-XGaze, 512 px.
PUBLISHED = {
    "GazeGaussian": {
        "gaze_error_deg": 6.622, "head_pose_error_deg": 2.128, "ssim": 0.823, "psnr": 18.734, "lpips": 0.216,
        "fid": 41.972, "identity": 67.749, "fps": 74,
    },
    "GazeNeRF": {
        "gaze_error_deg": 6.944, "head_pose_error_deg": 3.470, "ssim": 0.733, "psnr": 15.453, "lpips": 0.291,
        "fid": 81.816, "identity": 45.207, "fps": 46,
    },
}  # fmt: skip
# Columns that a narrow terminal leaves out, the last one first.
GIVES_WAY = ("measured by", "source as it is", *(f"{title} (published)" for title in PUBLISHED))
READING = (
    "Intervals are for the mean of other people (Student t, jackknife over subjects). 'source as it is' measures the source images as if they were the renders: what "
    "not redirecting gives, and how alike two images of one person are to the recogniser."
)
COMPARISON = (
    "The published columns are for ETH-XGaze at 512 px with other judges (gaze, identity), other pairs and on a GPU. They say "
    "what is usual there; they are no comparison with values of other data, least of all of synthetic heads."
)


def table_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per metric: value, interval, what measured it (or why it is missing), the published values."""
    rows = []
    for name, measured in evaluation.metrics.items():
        row: dict[str, Any] = {
            "metric": TITLES[name],
            "value": _text(name, measured.value),
            "95% interval": _interval(name, measured),
            "source as it is": "" if measured.source is None else _text(name, measured.source),
            "measured by": measured.by if measured.value is not None else f"not measured: {measured.by}",
        }
        rows.append(row | {f"{title} (published)": str(values.get(name, "")) for title, values in PUBLISHED.items()})
    return rows


def _text(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.{DECIMALS.get(name, 2)}f}"


def _interval(name: str, measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return "-"
    return f"{_text(name, measured.low)} to {_text(name, measured.high)}"


def heading(evaluation: Evaluation) -> str:
    """What was measured, in one line."""
    return (
        f"{evaluation.checkpoint} (variant {evaluation.variant}, {evaluation.image_size} px) on {evaluation.data_set}, "
        f"{evaluation.data}, split {evaluation.split}: {counted(evaluation.pairs, 'redirection')} of "
        f"{counted(evaluation.subjects, 'person', 'people')}, {evaluation.device}"
    )


def all_notes(evaluation: Evaluation) -> list[str]:
    """The evaluation's own notes and what the columns mean."""
    return [*evaluation.notes, READING, COMPARISON]


def as_markdown(evaluation: Evaluation) -> str:
    """The table as Markdown."""
    rows = table_rows(evaluation)
    names = list(rows[0])
    lines = [heading(evaluation), "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in all_notes(evaluation)), ""])


def as_values(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the pairs and pictures as plain values, for JSON."""
    plain = {
        name: value for name, value in vars(evaluation).items() if name not in ("rows", "pictures", "metrics", "notes")
    }
    metrics = {name: asdict(measured) for name, measured in evaluation.metrics.items()}
    return plain | {"metrics": metrics, "published": PUBLISHED, "notes": all_notes(evaluation)}


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of a table, or pairs, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
