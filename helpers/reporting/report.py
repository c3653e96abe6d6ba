"""The report of a study: one HTML file that opens offline, and the same text as Markdown beside it."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import optuna
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup, escape
from optuna.trial import TrialState

from gazegaussian.errors import ConfigError
from gazegaussian.utils.counts import counted
from helpers.analysis.confirm_report import ConfirmReport, load_confirm
from helpers.analysis.continue_pruned import load_continued
from helpers.analysis.importance import Importances, parameter_importances
from helpers.reporting.captions import missing_figures, shows
from helpers.reporting.figures import save_figures, study_figures
from helpers.reporting.findings import (
    ResourceUsage,
    diagnostics_of,
    headline,
    measure_usage,
    parameter_rows,
    warnings_of,
)
from helpers.reporting.report_images import ReportPicture, picture_lines, report_pictures
from helpers.reporting.study_note import write_note
from helpers.results.attributes import EARLIER_SEARCHES, PRUNER, SAMPLER, SAMPLER_SEED
from helpers.results.lookup import readable_config
from helpers.results.ranking import best_trial, metric_names, signs
from helpers.results.tables import HTML_FILE, MARKDOWN_FILE, cell, markdown_table, top_table
from helpers.results.trial_states import state_name, successors
from helpers.utils.environment import environment
from helpers.utils.files import DiskError, require_writable, write_text
from helpers.utils.formatting import duration, with_unit
from helpers.utils.own_folder import OwnFolder
from helpers.utils.paths import shown_environment, shown_path
from helpers.utils.plain_text import printable

logger = logging.getLogger(__name__)

CODE = re.compile("`([^`]+)`")


@dataclass(frozen=True)
class Section:
    """A heading, sentences, at most one table, pictures and figures."""

    title: str
    lines: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[ReportPicture] = field(default_factory=list)
    figures: dict[str, go.Figure] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """Name of its place in the page."""
        return re.sub("[^a-z]+", "-", self.title.lower()).strip("-")

    @property
    def columns(self) -> list[str]:
        """Columns in order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def report(study: optuna.Study, folder: Path, out: Path | None = None, storage: str | None = None) -> Path:
    """Draw a study's figures and write its report, `report.html` and `report.md`, and its summary as the dashboard's note.

    Args:
        study: A loaded study.
        folder: Its folder.
        out: Where to, instead of the study's folder: new, empty, or of an earlier report. The study's folder and its store
            are then only read.
        storage: URL of the study's store, where it is not in the folder.

    Returns:
        The HTML file; it needs no network.

    Raises:
        ConfigError: The place cannot be written, or `out` holds something else.

    >>> study = helpers.load_study(Path("optuna_results/digits"))
    >>> helpers.report(study, Path("optuna_results/digits"), Path("my_report")).as_posix()
    'my_report/report.html'
    """
    folder = Path(folder)
    target = OwnFolder(out or folder, "report")
    if out is not None:
        target.require_own()
    else:
        try:
            require_writable(folder)
        except DiskError as error:
            raise ConfigError(f"{error} The report of a study that you may only read goes to --out DIR.") from error
    logger.info("report of %s: importances", study.study_name)
    importances = parameter_importances(study)
    logger.info("report of %s: drawing the figures", study.study_name)
    figures = study_figures(study, importances)
    save_figures(study, target.path / "figures", figures=figures)
    logger.info("report of %s: writing the page", study.study_name)
    page = write_report(study, folder, figures, out, importances)
    if out is None:
        write_note(study, summary(study, folder), folder, storage)
    else:
        target.mark()
    return page


def summary(study: optuna.Study, folder: Path) -> list[str]:
    """Say in Markdown what the report begins with: the gain, the best parameters, warnings, what it took."""
    confirm = load_confirm(folder)
    rows = parameter_rows(study, confirm)
    return [
        *map(cell, headline(study, confirm, folder)),
        *([markdown_table(rows).rstrip()] if rows else []),
        *(cell(f"Warning: {warning}") for warning in warnings_of(study, confirm)),
        *map(cell, _usage(study, measure_usage(study, folder)).lines),
        f"Figures and pictures: `{HTML_FILE}` in the study's folder.",
    ]


def write_report(
    study: optuna.Study,
    folder: Path,
    figures: dict[str, go.Figure] | None = None,
    out: Path | None = None,
    importances: Importances | None = None,
) -> Path:
    """Write `report.html` and `report.md` of a study.

    Args:
        study: A loaded study.
        folder: Its folder, where confirmation and continued trials are looked for too.
        figures: As `study_figures` gives them; drawn here when they are not at hand.
        out: Where to, instead of the study's folder.
        importances: Of its parameters; computed here when they are not at hand.

    Returns:
        The HTML file: all of it inside, no network needed.
    """
    folder, target = Path(folder), Path(out or folder)
    importances = parameter_importances(study) if importances is None else importances
    drawn = study_figures(study, importances) if figures is None else figures
    sections = report_sections(study, folder, importances, drawn, own=out is None)
    title = f"Study {study.study_name}"
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters |= {"shown": _shown, "drawn": _drawn, "explained": shows}
    page = engine.get_template("report.html.j2").render(
        title=title, sections=sections, plotly=plotly.offline.get_plotlyjs()
    )
    write_text(target / MARKDOWN_FILE, _markdown(title, sections))
    return write_text(target / HTML_FILE, page)


def _markdown(title: str, sections: list[Section]) -> str:
    """The page as Markdown, with the names of pictures and figures in their places."""
    contents = "".join(f"- [{section.title}](#{section.anchor})\n" for section in sections)
    parts = [f"# {cell(title)}\n", contents]
    for section in sections:
        pictures = [
            f"{picture.caption}: `{picture.file.parents[1].name}/images/{picture.file.name}`"
            for picture in section.pictures
        ]
        figures = [f"`figures/{name}.html`: {shows(name)}" for name in section.figures]
        lines = [*section.lines, *pictures, *figures]
        parts += [f"## {section.title}\n", *(f"{cell(line)}\n" for line in lines)]
        parts += [markdown_table(section.rows)] if section.rows else []
    return "\n".join(parts)


def _drawn(figure: go.Figure) -> Markup:
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False))


def _shown(value: Any) -> Markup:
    """A value of the report as HTML: four digits, nothing for None, what stands between backticks as code."""
    text = str(escape(f"{value:.4g}" if isinstance(value, float) else "" if value is None else printable(str(value))))
    return Markup(CODE.sub(r"<code>\1</code>", text))


def report_sections(
    study: optuna.Study,
    folder: Path,
    importances: Importances,
    figures: dict[str, go.Figure] | None = None,
    own: bool = True,
) -> list[Section]:
    """Put together what the report says: first how much better than the defaults, and how sure.

    Args:
        study: A loaded study.
        folder: Its folder.
        importances: Of its parameters.
        figures: As `study_figures` gives them.
        own: Whether it stays in the study's folder; a report for others does not name that folder.
    """
    confirm = load_confirm(folder)
    continued = load_continued(folder)
    usage = measure_usage(study, folder)
    drawn = figures or {}
    diagnostics = diagnostics_of(study, usage)
    pictures = report_pictures(study, folder)
    missing = missing_figures(study, drawn)
    needs = [
        f"{', '.join(name for name in missing if missing[name] == need)} ({need})"
        for need in dict.fromkeys(missing.values())
    ]
    sections = [
        Section("How much better than the defaults, and how sure", headline(study, confirm, folder if own else None)),
        _configuration(study, folder, confirm),
        Section("Warnings", warnings_of(study, confirm)),
        Section("Best trials", rows=top_table(study)),
    ]
    if pictures:
        sections.append(Section("Pictures of the best trials", picture_lines(study, pictures), pictures=pictures))
    if confirm:
        sections.append(Section("Confirmation", [confirm.statement], confirm.rows()))
    sections += [_search(study), _usage(study, usage)]
    if continued:
        lines = [continued.statement]
        best = best_trial(study)
        now = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        if best is None or best.number != continued.winner or len(now) > continued.pruned:
            lines.append("The study went on since then: best and pruned trials are those of that time; continue anew.")
        sections.append(Section("Pruned trials, continued", lines, continued.rows()))
    sections.append(Section("Problems and what to change", rows=diagnostics))
    if importances.parameters:
        sections.append(Section("Importances", [importances.statement], importances.rows()))
    said = [f"Not drawn, with what they need: {'; '.join(needs)}."] if missing else []
    sections += [Section("Figures", said, figures=drawn), _environment(study, confirm)]
    return [section for section in sections if section.lines or section.rows or section.pictures or section.figures]


def _configuration(study: optuna.Study, folder: Path, confirm: ConfirmReport | None) -> Section:
    """What the parameters are, beside those that won over seeds and the defaults, with the ranges searched."""
    best = best_trial(study)
    if best is None:
        return Section("Best configuration", ["No complete trial meets the constraints yet."])
    names = metric_names(study)
    values = ", ".join(f"{with_unit(name)} {value:.5g}" for name, value in zip(names, best.values, strict=True))
    lines = [f"Trial {best.number}: {values}."]
    if best.user_attrs.get("best_checkpoint"):
        path = shown_path(best.user_attrs["best_checkpoint"], folder.resolve())
        lines.append(f"Checkpoint: {path}; `export`, which hands this report on, names it best.pt.")
    return Section("Best configuration", lines, parameter_rows(study, confirm))


def _search(study: optuna.Study) -> Section:
    """Who proposed and who pruned."""
    known = study.user_attrs
    aims = ", ".join(
        f"{with_unit(n)} ({'small' if s == 1 else 'large'} is good)"
        for n, s in zip(metric_names(study), signs(study), strict=True)
    )
    lines = [f"Searched for: {aims}."]
    for what, name in (("Sampler", SAMPLER), ("Pruner", PRUNER)):
        lines.append(f"{what}: {known.get(name, 'not recorded by the version that ran the study')}.")
    for search in known.get(EARLIER_SEARCHES, []):
        lines.append(
            f"Before trial {search['until_trial']}: sampler {search[SAMPLER]}, seed {search[SAMPLER_SEED]}; pruner "
            f"{search[PRUNER]}."
        )
    if SAMPLER in known:
        lines.append("Arguments that are not named are Optuna's defaults.")
    return Section("Sampler and pruner", lines)


def _usage(study: optuna.Study, usage: ResourceUsage) -> Section:
    trials = study.get_trials(deepcopy=False)
    resumed = successors(trials)
    counts = Counter(state_name(trial, resumed).lower() for trial in trials)
    lines = [
        f"{counted(len(trials), 'trial')}: {', '.join(f'{count} {name}' for name, count in counts.most_common())}.",
        f"Trained: {usage.trained}.",
    ]
    if resumed:
        pairs = ", ".join(f"{after} from {before}" for before, after in resumed.items())
        lines.append(f"Trials that resume interrupted ones, and include them: {pairs}.")
    if len(study.directions) > 1:
        lines.append("Nothing is pruned in a study with several objectives.")
    elif usage.saved_epochs:
        unknown = f"; the time of {usage.saved_unknown} of them is not known" if usage.saved_unknown else ""
        lines.append(
            f"Saved by pruning: {counted(usage.saved_epochs, 'epoch')} ({usage.saved_share:.0%} of what the same trials "
            f"would have trained to the end), {duration(usage.saved_seconds)} at each pruned trial's own measured seconds per "
            f"epoch{unknown}. Early stopping, which might have ended some of them, is not taken off."
        )
    return Section("Spent and saved", lines)


def _environment(study: optuna.Study, confirm: ConfirmReport | None) -> Section:
    stored = study.user_attrs.get("environment")
    lines = [] if stored else ["As found when this report was written."]
    facts = shown_environment(stored or environment(readable_config(study)))
    if confirm is not None:
        facts["confirmation seeds"] = ", ".join(str(seed) for seed in confirm.seeds)
    facts["report written"] = datetime.now().astimezone().isoformat(timespec="seconds")
    return Section("Environment", lines, [{"what": name, "value": value} for name, value in facts.items()])
