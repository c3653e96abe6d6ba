"""The report says what was measured, warns of what was planted, escapes what it shows, and opens offline."""

import base64
import io
import json
import re
from dataclasses import asdict
from datetime import datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image
from report_support import BASE, EPOCHS, failed, study_of
from study_support import run_study, spec

from helpers.analysis.confirm_report import ConfirmReport, judge
from helpers.analysis.continue_pruned import Continued, ContinuedReport
from helpers.analysis.importance import parameter_importances
from helpers.analysis.shares import expected_lead
from helpers.reporting.findings import (
    all_pruned,
    diagnostics_of,
    gain,
    headline,
    measure_usage,
    parameter_rows,
    warnings_of,
)
from helpers.reporting.report import report_sections, write_report
from helpers.reporting.report_images import WIDEST, picture_key, picture_lines, report_pictures

ANSWER = "How much better than the defaults, and how sure"


BEST = (TrialState.COMPLETE, 0.5, EPOCHS, {"seconds": 20.0}, 2e-3)
PRUNED = (TrialState.PRUNED, 2.0, 4, {"seconds": 8.0}, 3e-4)


def warned(study, confirm=None):
    return " ".join(warnings_of(study, confirm))


def advice(study, tmp_path):
    rows = diagnostics_of(study, measure_usage(study, tmp_path))
    return {row["problem"]: row["what to change"] for row in rows}


def test_epochs_and_seconds_are_spent_and_saved_as_measured(tmp_path):
    spent = measure_usage(study_of(BASE, BEST, PRUNED, PRUNED, failed("x")), tmp_path)
    assert (spent.epochs, spent.seconds) == (30, 59.0)
    assert (spent.saved_epochs, spent.saved_seconds) == (12, pytest.approx(24.0))
    assert spent.saved_share == pytest.approx(12 / 42)


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ((0, 60), "Trained: 20 epochs in 2 min of training."),
        ((0, 30), "Trained: 20 epochs in 2 min of training (the sum over trials, some of which ran side by side)."),
    ],
)
def test_training_time_is_told_from_the_time_that_went_by(tmp_path, starts, said):
    study = study_of()
    for begin in starts:
        start = datetime(2026, 1, 1) + timedelta(seconds=begin)
        trial = create_trial(value=1.0, intermediate_values=dict.fromkeys(range(10), 1.0), user_attrs={"seconds": 60.0})
        trial.datetime_start, trial.datetime_complete = start, start + timedelta(seconds=60)
        study.add_trial(trial)
    sections = {s.title: s for s in report_sections(study, tmp_path, parameter_importances(study))}
    assert said in sections["Spent and saved"].lines


def test_seconds_per_epoch_of_a_pruned_trial_come_from_its_own_table(tmp_path):
    place = tmp_path / "trial_0001"
    place.mkdir()
    (place / "metrics.csv").write_text("epoch,val_loss,seconds\n0,2.0,5.0\n1,2.0,7.0\n")
    attrs = {"seconds": 100.0, "folder": "/moved/away/trial_0001"}
    spent = measure_usage(study_of(BASE, (TrialState.PRUNED, 2.0, 2, attrs, 1e-4)), tmp_path)
    assert spent.saved_seconds == pytest.approx(8 * 6.0)


def test_an_interrupted_trial_is_counted_in_the_one_that_continued_it(tmp_path):
    cut = (TrialState.FAIL, 1.0, 6, {"seconds": 12.0, "fail_reason": "interrupted"}, 1e-3)
    again = (TrialState.COMPLETE, 0.7, EPOCHS, {"seconds": 21.0, "resume_of": 1}, 1e-3)
    study = study_of(BASE, cut, again)
    assert measure_usage(study, tmp_path).epochs == 20
    assert measure_usage(study, tmp_path).seconds == 41.0
    assert advice(study, tmp_path) == {}


def test_the_gain_is_measured_or_none():
    assert gain(study_of(BASE, BEST)) == 0.5
    assert gain(study_of(BASE)) == 0.0
    no_baseline = study_of(failed("OutOfMemoryError", baseline=True), BEST)
    assert gain(no_baseline) is None
    assert "no improvement over it was measured" in headline(no_baseline, None)[0]


def test_too_few_trials_are_said_once_and_unmeasured_noise_is_part_of_the_answer(tmp_path):
    study = study_of(BASE, BEST)
    write_report(study, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.count("4 complete trials") == 1
    assert "importances, rank, contour (4 complete trials, there are 2)" in text
    first, second = headline(study, None)
    assert first.startswith("Not confirmed, one training each: trial 1 is ahead by 0.5 (50.0%) in val_loss")
    assert "how much is unknown, since the noise of a training was not measured" in second
    assert "confirm FOLDER" in second
    assert "border" not in warned(study)


def confirmed(*differences):
    baseline = tuple(1.0 for _ in differences)
    values = tuple(1.0 - difference for difference in differences)
    rows = (judge("trial_0001", 1, {}, values, baseline, 1), judge("baseline", 0, {}, baseline, baseline, 1))
    return ConfirmReport("val_loss", "minimize", tuple(range(len(differences))), rows)


def test_the_checkpoint_is_named_as_in_the_study_and_as_in_an_export(tmp_path):
    state, value, epochs, attributes, lr = BEST
    kept = {**attributes, "best_checkpoint": str(tmp_path / "trial_0001" / "best.pt")}
    write_report(study_of(BASE, (state, value, epochs, kept, lr)), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Checkpoint: trial_0001/best.pt; `export`, which hands this report on, names it best.pt." in text


def test_noise_larger_than_the_gain_is_warned_of():
    study = study_of(BASE, BEST)
    assert "noise" not in warned(study, confirmed(*[0.25 + offset for offset in (-0.4, -0.2, 0.0, 0.2, 0.4)] * 4))
    assert "noise of the metric is larger than the gain" in warned(study, confirmed(0.5, -0.4, 0.2, -0.1))
    assert "noise" not in warned(study, confirmed(0.5, 0.4, 0.45, 0.5))


def test_a_pruner_that_lets_nothing_through_is_seen(tmp_path):
    assert all_pruned(study_of(BASE, *[PRUNED] * 5))
    assert not all_pruned(study_of(BASE, *[PRUNED] * 4))
    assert not all_pruned(study_of(BASE, PRUNED, BEST, *[PRUNED] * 4))
    assert not all_pruned(study_of(BASE, BEST))
    assert all_pruned(study_of(PRUNED))
    (change,) = advice(study_of(BASE, *[PRUNED] * 5), tmp_path).values()
    assert "n_warmup_steps" in change, "of a median"
    assert "min_resource" in change, "of successive halving"


def test_each_trouble_has_its_advice(tmp_path):
    memory = advice(study_of(BASE, failed("OutOfMemoryError: CUDA out of memory")), tmp_path)
    assert "batch_size to 1" in next(iter(memory.values()))
    worse = (TrialState.COMPLETE, 3.0, EPOCHS, {}, 2e-3)
    nothing = advice(study_of(BASE, *[worse] * 12), tmp_path)
    assert "widen the search space" in nothing["no improvement over the baseline in 13 trials"]
    assert any("more aggressive pruner" in change for change in nothing.values())
    stopped = advice(study_of(BASE, BEST, stop_reason="timeout of 60 s reached"), tmp_path)
    assert "more aggressive pruner" in next(iter(stopped.values()))
    assert advice(study_of(BASE, BEST, failed("NonFiniteError: bad loss")), tmp_path) == {
        "1 failed: NonFiniteError: bad loss": "a smaller largest lr"
    }
    assert advice(study_of(BASE, BEST), tmp_path) == {}


class Page(HTMLParser):
    """Tags and where they load from."""

    def __init__(self):
        super().__init__()
        self.tags = []
        self.sources = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        inside = "#"  # a link within the page
        self.sources += [value for name, value in attrs if name in ("src", "href") and not value.startswith(inside)]


def test_the_page_opens_offline_and_escapes_what_it_shows(tmp_path):
    evil = "<img src=x onerror=alert(1)> | & `code`"
    study = study_of(BASE, BEST, PRUNED, failed(f"DataError: {evil}"))
    path = write_report(study, tmp_path)
    assert path == tmp_path / "report.html"
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.sources == [], "it loads something"
    assert "img" not in page.tags
    assert "&lt;img src=x" in text
    assert "<code>code</code>" in text
    assert f"train_gazegaussian_optuna.py confirm {tmp_path}</code>" in text
    assert text.count("plotly.js v") == 1, "plotly.js is there once"
    assert page.tags.count("h1") == 1
    markdown = (tmp_path / "report.md").read_text()
    assert "<img" not in markdown
    for title in re.findall(r"<h2>(.*?)</h2>", text):
        assert title == "Figures" or f"## {title}\n" in markdown
    widths = [line.count(" | ") for line in markdown.splitlines() if line.startswith("| problem") or "failed:" in line]
    assert len(set(widths)) == 1


def test_the_report_of_a_real_study_answers_how_much_better(tmp_path):
    asked = spec(tmp_path, trials=4)
    study = run_study(asked)
    sections = {s.title: s for s in report_sections(study, asked.folder, parameter_importances(study))}
    assert "the best trial is the baseline itself" in sections[ANSWER].lines[0]
    assert "Sampler: tpe: TPESampler" in " ".join(sections["Sampler and pruner"].lines)
    assert "Pruner: median: MedianPruner (n_startup_trials 3, " in " ".join(sections["Sampler and pruner"].lines)
    rows = {row["what"]: row["value"] for row in sections["Environment"].rows}
    assert {"code", "torch", "optuna", "device", "training seed", "networks"} <= rows.keys()
    assert all(rows.values())
    assert sections["Best trials"].rows[0]["trial"] == 0


def test_the_confirmation_is_part_of_the_report(tmp_path):
    study = study_of(BASE, BEST)
    (tmp_path / "confirm.json").write_text(json.dumps(asdict(confirmed(0.5, 0.4, 0.45, 0.5))))
    sections = {s.title: s for s in report_sections(study, tmp_path, parameter_importances(study))}
    lines = sections[ANSWER].lines
    said = (
        "Better on the validation people alone by 0.4625 (46.2%) in val_loss, 95% interval of the gain 0.3863 to 0.5387"
    )
    assert lines[0].startswith(said)
    assert "In the search, with one training each: trial 1 is ahead by 0.5 (50.0%) in val_loss" in lines[-1]
    assert "as many equal configurations would be ahead by about 0.0382 (expected lead at" in lines[-1]
    assert sections["Confirmation"].lines[0] == " ".join(lines[:-1]), "headline and section say different things"
    assert len(sections["Confirmation"].rows) == 2


def test_continued_trials_of_an_earlier_state_of_the_study_say_so(tmp_path):
    report = ContinuedReport("val_loss", 1, 0.5, 1, (Continued(2, 3, 0.8, 0.7, EPOCHS, 1.0, False),))
    (tmp_path / "continued.json").write_text(json.dumps(asdict(report)))

    def lines(*trials):
        study = study_of(BASE, *trials)
        sections = report_sections(study, tmp_path, parameter_importances(study))
        return next(section.lines for section in sections if section.title == "Pruned trials, continued")

    assert lines(BEST, PRUNED) == [report.statement]
    assert "went on since then" in lines(BEST, PRUNED, PRUNED)[1]
    assert "went on since then" in lines(BEST, PRUNED, (TrialState.COMPLETE, 0.1, EPOCHS, {}, 3e-3))[1]


def test_a_study_without_any_trial_has_a_report(tmp_path):
    assert "No complete trial" in write_report(study_of(), tmp_path).read_text()


def test_an_answer_that_may_be_chance_says_so():
    study = study_of(BASE, BEST)
    assert headline(study, confirmed(0.5, -0.4, 0.2, -0.1))[0].startswith(
        "Better on average, though that may be chance"
    )
    assert headline(study, confirmed(-0.5, -0.4))[0].startswith(
        "Not better: worse on average, though that may be chance,"
    )
    assert headline(study, confirmed(-0.5, -0.4, -0.45))[0].startswith("Not better: worse by 0.")
    assert headline(study, confirmed(0.0, 0.0, 0.0))[0].startswith("No difference was seen in val_loss")


def test_who_is_ahead_over_seeds_is_said_of_configurations_that_were_compared():
    worse = study_of(BASE, (TrialState.COMPLETE, 1.5, EPOCHS, {}, 3e-3))  # the baseline is the best of the search
    assert any("trial 1 is ahead of trial 0, the best of the search" in s for s in headline(worse, confirmed(0.5, 0.4)))
    assert "trial 1, best over seeds" in parameter_rows(worse, confirmed(0.5, 0.4))[0]
    lost = confirmed(-0.5, -0.4)
    assert not any("ahead of" in sentence for sentence in headline(worse, lost))
    assert "trial 1, best over seeds but for the baseline" in parameter_rows(worse, lost)[0]
    later = study_of(BASE, BEST, (TrialState.COMPLETE, 0.4, EPOCHS, {}, 3e-3))
    assert not any("is ahead of trial 2" in s for s in headline(later, confirmed(0.5, 0.4))), (
        "trial 2 was not confirmed"
    )


def test_a_best_trial_that_came_after_the_confirmation_is_said_first(tmp_path):
    later = study_of(BASE, BEST, (TrialState.COMPLETE, 0.4, EPOCHS, {}, 3e-3))
    lost = confirmed(-0.5, -0.4, -0.45)
    first, second, *_ = headline(later, lost, tmp_path)
    assert first.startswith("Trial 2, now the best, is not confirmed: `")
    assert first.endswith(f"confirm {tmp_path}` measures it.")
    assert second.startswith("An earlier confirmation was of trial 1: Not better: worse by 0.")
    assert "not confirmed" not in " ".join(headline(study_of(BASE, BEST), lost))
    (tmp_path / "confirm.json").write_text(json.dumps(asdict(lost)))
    write_report(later, tmp_path)
    assert (tmp_path / "report.md").read_text().count("now the best, is not confirmed") == 1


def test_chance_alone_is_the_expected_lead_of_the_best_of_as_many_equal_ones():
    many = [(TrialState.COMPLETE, 0.6, EPOCHS, {}, 3e-3)] * 18
    said = headline(study_of(BASE, BEST, *many), confirmed(0.5, 0.4, 0.45, 0.5))[-1]
    noise = 0.0479 / 2**0.5  # half the variance of the differences
    assert float(re.search(r"ahead by about ([0-9.]+)", said)[1]) == pytest.approx(expected_lead(19) * noise, rel=0.02)
    assert "best of 19 trials beside the baseline" in said


def test_pictures_of_the_best_trials_and_the_baseline_are_within_the_page(tmp_path):
    others = [(TrialState.COMPLETE, 0.5 + number / 10, EPOCHS, {}, 1e-3) for number in range(3)]
    trials = [BASE, *others]
    study = study_of(
        *[(*trial[:3], {**trial[3], "folder": f"trial_{n:04d}"}, trial[4]) for n, trial in enumerate(trials)]
    )
    noise = np.random.default_rng(0).integers(0, 256, (200, 1200, 3), np.uint8)
    for number in range(len(trials)):
        (tmp_path / f"trial_{number:04d}" / "images").mkdir(parents=True)
        Image.fromarray(noise).save(tmp_path / f"trial_{number:04d}" / "images" / "epoch_0010.png")
    page = Page()
    page.feed(write_report(study, tmp_path).read_text())
    pictures = [source.partition(",")[2] for source in page.sources if source.startswith("data:image/jpeg;base64,")]
    assert len(pictures) == len(page.sources) == 3
    assert max(Image.open(io.BytesIO(base64.b64decode(picture))).width for picture in pictures) == WIDEST
    captions = [picture.caption.split(":")[0] for picture in report_pictures(study, tmp_path)]
    assert captions == ["trial 1", "trial 2", "trial 0 (baseline)"]
    (tmp_path / "trial_0002" / "images" / "epoch_0010.png").write_bytes(b"cut")
    assert [picture.caption.split(":")[0] for picture in report_pictures(study, tmp_path)] == [captions[0], captions[2]]
    assert "the silhouette" in picture_key(study)


def test_the_page_begins_with_its_contents_and_has_no_empty_section(tmp_path):
    study = study_of(BASE, BEST)
    text = write_report(study, tmp_path).read_text()
    titles = [section.title for section in report_sections(study, tmp_path, parameter_importances(study))]
    listed = re.findall(r'<li><a href="#([a-z-]+)">([^<]+)</a>', text)
    assert [name for _, name in listed] == titles
    assert re.findall(r'<h2 id="([a-z-]+)">', text) == [anchor for anchor, _ in listed]
    assert len({anchor for anchor, _ in listed}) == len(listed)
    assert "Warnings" not in titles
    assert "Problems and what to change" not in titles
    markdown = (tmp_path / "report.md").read_text()
    assert all(f"- [{title}](#" in markdown for title in titles)
    for empty in (study_of(), study):
        sections = report_sections(empty, tmp_path, parameter_importances(empty))
        assert all(s.lines or s.rows or s.pictures or s.figures for s in sections)


def test_the_command_that_confirms_names_the_folder_but_in_what_others_get(tmp_path, monkeypatch):
    study = study_of(BASE, BEST)
    folder = tmp_path / "my study"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    assert "confirm &#39;my study&#39;</code> measures it" in write_report(study, folder).read_text()
    shared = write_report(study, folder, out=tmp_path / "shared").read_text()
    assert "confirm FOLDER</code>, with the folder of the study, measures it" in shared
    study.set_user_attr("stage", "digits")  # one of a user's own
    own = write_report(study, folder).read_text()
    assert "confirm &#39;my study&#39; --stage-module FILE</code> measures it" in own


def test_a_picture_that_looks_worse_than_the_baselines_is_explained(tmp_path):
    for number in (0, 1):
        (tmp_path / f"trial_{number:04d}" / "images").mkdir(parents=True)
        Image.new("RGB", (520, 444)).save(tmp_path / f"trial_{number:04d}" / "images" / "epoch_0010.png")

    def pictured(value):
        values = [(*BASE[:3], {**BASE[3], "folder": "trial_0000"}, BASE[4])]
        values.append((TrialState.COMPLETE, value, EPOCHS, {"folder": "trial_0001"}, 2e-3))
        study = study_of(*values)
        return picture_lines(study, report_pictures(study, tmp_path))

    assert "may look worse than the baseline's" in pictured(0.5)[-1]
    assert len(pictured(9.0)) == 1, "the baseline is the best"
