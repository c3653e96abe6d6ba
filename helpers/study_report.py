"""The report of a study: one HTML file that opens offline, and the same text as Markdown beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import optuna
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup, escape

from helpers.confirm import ConfirmReport, load_confirm
from helpers.continued import load_continued
from helpers.durations import duration
from helpers.environment import environment
from helpers.files import write_text
from helpers.importance import Importances, parameter_importances
from helpers.plots import save_figures, study_figures, with_unit
from helpers.records import readable_config
from helpers.report_facts import Spending, gain, measure_spending, troubles_of, warnings_of
from helpers.results import (
    HTML_FILE,
    MARKDOWN_FILE,
    baseline_trial,
    best_trial,
    cell,
    markdown_table,
    metric_names,
    top_table,
)
from helpers.trial_states import state_name, successors

CODE = re.compile("`([^`]+)`")


@dataclass(frozen=True)
class Section:
    """A heading, sentences and at most one table."""

    title: str
    lines: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Columns in order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def report(study: optuna.Study, folder: Path) -> Path:
    """Draw a study's figures and write its report, `report.html` and `report.md`.

    Args:
        study: A loaded study.
        folder: Its folder.

    Returns:
        The HTML file; it needs no network.
    """
    figures = study_figures(study)
    save_figures(study, Path(folder) / "figures", figures=figures)
    return write_report(study, Path(folder), figures)


def write_report(study: optuna.Study, folder: Path, figures: dict[str, go.Figure] | None = None) -> Path:
    """Write `report.html` and `report.md` of a study.

    Args:
        study: A loaded study.
        folder: Its folder, where confirmation and continued trials are looked for too.
        figures: As `study_figures` gives them; drawn here when they are not at hand.

    Returns:
        The HTML file: all of it inside, no network needed.
    """
    folder = Path(folder)
    importances = parameter_importances(study)
    sections = report_sections(study, folder, importances)
    drawn = study_figures(study, importances) if figures is None else figures
    title = f"Study {study.study_name}"
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters["shown"] = _shown
    page = engine.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        plotly=plotly.offline.get_plotlyjs(),
        figures=[figure.to_html(full_html=False, include_plotlyjs=False) for figure in drawn.values()],
    )
    parts = [f"# {cell(title)}\n"]
    for section in sections:
        parts += [f"## {section.title}\n", *(f"{cell(line)}\n" for line in section.lines)]
        parts += [markdown_table(section.rows)] if section.rows else []
    write_text(folder / MARKDOWN_FILE, "\n".join(parts))
    return write_text(folder / HTML_FILE, page)


def _shown(value: Any) -> Markup:
    """A value of the report as HTML: four digits, nothing for None, what stands between backticks as code."""
    text = str(escape(f"{value:.4g}" if isinstance(value, float) else "" if value is None else value))
    return Markup(CODE.sub(r"<code>\1</code>", text))


def report_sections(study: optuna.Study, folder: Path, importances: Importances) -> list[Section]:
    """Put together what the report says.

    Args:
        study: A loaded study.
        folder: Its folder.
        importances: Of its parameters.
    """
    confirm, continued = load_confirm(folder), load_continued(folder)
    spending = measure_spending(study, folder)
    troubles = troubles_of(study, spending)
    sections = [
        _answer(study, confirm),
        Section("Best trials", rows=top_table(study)),
        Section("Confirmation", [confirm.statement], confirm.rows())
        if confirm
        else Section(
            "Confirmation", ["Not done: `confirm` retrains the best trials and the baseline with several seeds."]
        ),
        _spending(study, spending),
    ]
    if continued:
        sections.append(Section("Pruned trials, continued", [continued.statement], continued.rows()))
    sections += [
        Section("Warnings", warnings_of(study, importances, confirm) or ["None."]),
        Section("Troubles and what to change", [] if troubles else ["None was seen."], troubles),
        Section("Importances", [importances.statement], importances.rows()),
        _environment(study, confirm),
    ]
    return sections


def _answer(study: optuna.Study, confirm: ConfirmReport | None) -> Section:
    best, first = best_trial(study), baseline_trial(study)
    if best is None:
        return Section("Best configuration", ["No complete trial meets the constraints yet."])
    names = metric_names(study)
    values = ", ".join(f"{with_unit(name)} {value:.5g}" for name, value in zip(names, best.values, strict=True))
    lines = [f"Trial {best.number}: {values}."]
    improvement = gain(study)
    if improvement is None or first is None:
        lines.append("The baseline (the run configuration) has no value, so no improvement over it was measured.")
    elif best.number == first.number:
        lines.append("This is the baseline itself: no trial was better than the run configuration.")
    else:
        relative = f" ({improvement / abs(first.values[0]):.1%})" if first.values[0] else ""
        lines.append(
            f"The baseline (the run configuration, trial {first.number}) reached {first.values[0]:.5g}: the best trial is "
            f"better by {improvement:.4g}{relative} in {names[0]}, one training each."
        )
    if confirm is not None:
        lines.append(f"Confirmed with {len(confirm.seeds)} seeds: {confirm.statement}")
    if best.user_attrs.get("best_checkpoint"):
        lines.append(f"Checkpoint: {best.user_attrs['best_checkpoint']}")
    defaults: Mapping[str, Any] = first.params if first else {}
    rows = [
        {"parameter": name, "best": value, **({"baseline": defaults.get(name)} if defaults else {})}
        for name, value in best.params.items()
    ]
    return Section("Best configuration", lines, rows)


def _spending(study: optuna.Study, spent: Spending) -> Section:
    trials = study.get_trials(deepcopy=False)
    continued = successors(trials)
    counts = Counter(state_name(trial, continued).lower() for trial in trials)
    lines = [
        f"{len(trials)} trials: {', '.join(f'{count} {name}' for name, count in counts.most_common())}.",
        f"Trained: {spent.epochs} epochs in {duration(spent.seconds)}.",
    ]
    if continued:
        pairs = ", ".join(f"{after} from {before}" for before, after in continued.items())
        lines.append(f"Trials that go on from interrupted ones, which they include: {pairs}.")
    if len(study.directions) > 1:
        lines.append("Nothing is pruned in a study with several objectives.")
    else:
        unknown = f"; the time of {spent.saved_unknown} of them is not known" if spent.saved_unknown else ""
        lines.append(
            f"Saved by pruning: {spent.saved_epochs} epochs ({spent.saved_share:.0%} of what the same trials would have "
            f"trained to the end), {duration(spent.saved_seconds)} at each pruned trial's own measured seconds per "
            f"epoch{unknown}. Early stopping, which might have ended some of them, is not taken off."
        )
    return Section("Spent and saved", lines)


def _environment(study: optuna.Study, confirm: ConfirmReport | None) -> Section:
    stored = study.user_attrs.get("environment")
    lines = [] if stored else ["As found when this report was written."]
    found = dict(stored or environment(readable_config(study)))
    if "seed" in study.user_attrs:
        found["sampler seed"] = study.user_attrs["seed"]
    if confirm is not None:
        found["confirmation seeds"] = ", ".join(str(seed) for seed in confirm.seeds)
    found["report written"] = datetime.now().astimezone().isoformat(timespec="seconds")
    return Section("Environment", lines, [{"what": name, "value": value} for name, value in found.items()])
