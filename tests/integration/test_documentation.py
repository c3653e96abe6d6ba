"""The documentation says what is: keys, options, paths, links and examples are compared with the code."""

import ast
import os
import re
import subprocess
import sys

import optuna
import pytest
import typer
import yaml
from cli_support import TINY_GAZE
from documentation_support import FENCE, anchors, blocks, commands, links, pages, prose, read, sentences
from repository import ROOT
from synthetic_support import untrained_checkpoints

import train_gazegaussian_optuna as script
from docs.tools.pages import site_links
from docs.tools.repository import address, colab_link, with_address
from docs.tools.tables import BLOCK, filled, tables
from gazegaussian.config import load_run
from helpers.search.space import baseline, check_space
from helpers.search.study_config import EXTENDS, load_study_file
from helpers.utils.paths import run_file

PAGES = pages()
OTHERS = {"--no-deps", "--require-hashes", "--short"}  # options of pip and of a benchmark


def by_name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(script.app)


def leaves(command):
    """A command's own subcommands, or itself."""
    inner = getattr(command, "commands", None)
    return [command] if inner is None else [leaf for one in inner.values() for leaf in leaves(one)]


def parse(program, args):
    """Parse a call as the program does, without running it."""
    command, context = program, None
    while True:
        inner = getattr(command, "commands", None)
        if inner is None:
            return command.make_context(args[0] if args else "", list(args), parent=context)
        context = command.make_context("script", [], parent=context, resilient_parsing=True)
        assert args[0] in inner, f"no command {args[0]}"
        command, args = inner[args[0]], args[1:]


def test_the_readme_is_short_and_begins_as_agreed():
    text = read("README.md")
    assert len(text.split()) <= 900
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "What you get",
        "Install",
        "Quick start",
        "Your own data and search space",
        "Notebooks",
        "Results",
        "How it works",
        "Limits",
        "Licence and citation",
    ]
    offered = text.partition("## What you get")[2].partition("## Install")[0]
    assert len(re.findall(r"^- ", offered, flags=re.MULTILINE)) == 5
    install = blocks(text, "")[0].strip().splitlines()
    assert len(install) == 3
    assert install[0].startswith("git clone ")


@pytest.mark.parametrize("name", ["README.md", "docs/user-guide.md", "docs/faq.md"])
def test_sentences_are_short(name):
    lengths = [len(one.split()) for one in sentences(read(name))]
    assert len(lengths) > 15
    assert sum(lengths) / len(lengths) <= 25
    assert max(lengths) <= 45, max(sentences(read(name)), key=lambda one: len(one.split()))


def test_sentences_are_told_apart():
    text = "# T\n\nOne two three. Four five!\n\n- six seven\n- eight `a.b` nine: Ten eleven.\n\n| no | table |\n"
    assert [len(one.split()) for one in sentences(text)] == [3, 2, 3, 4, 2]
    assert "table" not in prose(text)


def test_ci_runs_the_command_that_the_readme_names():
    commands = [line.split() for line in read(".ci/run").splitlines()]
    assert ["make", "test"] in [args[:2] for args in commands]
    assert "`make test`" in read("README.md")


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_tables_of_keys_are_those_of_the_schemas(path):
    text = path.read_text(encoding="utf-8")
    assert text == filled(text), "run `python -m docs.tools.tables`"


def test_every_schema_has_its_table():
    shown = [name for path in PAGES for _, name, _, _ in BLOCK.findall(path.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(tables())
    assert f"`{EXTENDS}:" in read("docs/study-file.md")


def test_a_table_holds_values_default_and_meaning():
    (row,) = [line for line in tables()["meshhead.optim"]().splitlines() if line.startswith("| `lr_decay`")]
    assert row == "| `lr_decay` | number, above 0, at most 1 | `1` | Learning rate of the last epoch over the first's |"


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_links_lead_somewhere(path):
    for target in links(path.read_text(encoding="utf-8")):
        if "://" in target:
            assert target.startswith("https://"), target
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.is_relative_to(ROOT), target
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_what_pages_name_exists(path):
    text = path.read_text(encoding="utf-8")
    made = set(re.findall(r"^```\w+ (\S+)$", text, re.MULTILINE))  # files that the page itself holds
    for name in re.findall(
        r"(?<![\w/.])((?:configs|docs|helpers|gazegaussian|tests|notebooks|benchmarks)/[\w/.-]*\w)", text
    ):
        if name in made or re.search(r"_executed|/STAGE|_choose|_report", name):  # made by a command, or a placeholder
            continue
        assert list(ROOT.glob(f"{name}*")), name
    for module in re.findall(r"python -m ((?:benchmarks|gazegaussian|docs)[\w.]*\w)", text):
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), module


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_command_lines_are_parsed_by_the_program(path, program):
    if path.name == "CONTRIBUTING.md":
        pytest.skip("test_contributing.py runs its commands, with the files that it makes")
    for args in commands(path.read_text(encoding="utf-8")):
        parse(program, args)


def test_a_command_line_that_the_program_refuses_is_seen(program):
    (args,) = commands("```\npython train_gazegaussian_optuna.py study meshhead --colour red  # no\n```")
    assert args == ["study", "meshhead", "--colour", "red"]
    with pytest.raises(script.UsageError, match="--colour"):
        parse(program, args)
    assert parse(program, ["data", "synth", "DIR", "--people", "4"]).params["people"] == 4
    assert sum(len(commands(path.read_text(encoding="utf-8"))) for path in PAGES) > 25


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_options_exist(path, program):
    known = {
        name
        for command in (program, *leaves(program))
        for one in command.params
        for name in (*one.opts, *one.secondary_opts)
    }
    text = FENCE.sub("", path.read_text(encoding="utf-8"))  # those of code blocks are parsed
    spans = [
        span
        for span in re.findall(r"`([^`]+)`", text)
        if "python -m" not in span and not span.startswith(("pip", "ssh"))
    ]
    named = {word for span in spans for word in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", span)}
    assert named - known - OTHERS - {"--help"} == set()


def test_every_public_verb_is_on_the_page_of_the_api():
    stub = ast.parse(read("helpers/__init__.pyi"))
    names = {alias.name for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names}
    shown = {target.rpartition(".")[2] for target in re.findall(r"^::: (\S+)", read("docs/api.md"), flags=re.MULTILINE)}
    assert names - shown == set()


@pytest.fixture
def readme_study(tmp_path):
    """The study file of the README."""
    (content,) = blocks(read("README.md"), "yaml")
    path = tmp_path / "my_study.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_the_study_file_of_the_readme_fits_the_default_sizes(readme_study):
    study = load_study_file(readme_study, "gazegaussian")
    run = load_run(run_file("gazegaussian"), "gazegaussian")
    check_space(study, run)
    assert set(baseline(study, run)) == {"lr", "renderer", "dit_depth"}
    assert study.pruner.name == "hyperband"
    assert [limit.metric for limit in study.limits] == ["gaze_error_deg"]
    assert study.parameters["dit_depth"].when == {"renderer": "dit"}


def test_study_files_of_the_pages_can_be_read(tmp_path):
    whole, objectives = blocks(read("docs/study-file.md"), "yaml")
    (tmp_path / "a.yaml").write_text(whole, encoding="utf-8")
    assert load_study_file(tmp_path / "a.yaml", "gazegaussian").keep_best == 3
    both = {**yaml.safe_load(whole), **yaml.safe_load(objectives)}
    del both["pruner"]
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(both), encoding="utf-8")
    assert load_study_file(tmp_path / "b.yaml", "gazegaussian").multi


def test_the_study_of_the_readme_runs(readme_study, tmp_path):
    (checkpoint,) = untrained_checkpoints(tmp_path / "model", count=1)
    run = yaml.safe_load(TINY_GAZE)
    run["optim"] = {"lr": 1e-3}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    args = ["--config", "run.yaml", "--study", str(readme_study), "--init-from", str(checkpoint), "--out", "results"]
    args += ["--n-trials", "4", "--epochs", "1", "--no-audit", "--workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    synth = ["data", "synth", "heads", "--people", "2", "--size", "64", "--frames", "1", "--cameras", "4"]
    for call in (
        [*synth, "--test-people", "1", "--workers", "0"],
        ["study", "gazegaussian", "--data", "heads", *args],
    ):
        command = [sys.executable, str(ROOT / "train_gazegaussian_optuna.py"), *call]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/results/my_study/study.db")
    assert len(study.trials) == 4
    for trial in study.trials:
        assert ("dit_depth" in trial.params) == (trial.params["renderer"] == "dit")
        assert trial.state.name == "COMPLETE", trial.user_attrs
        assert list(trial.constraints) == ["gaze_error_deg"]


def test_the_badge_follows_the_address_of_the_repository():
    text = read("README.md")
    assert text == with_address(text, address()), "run `python -m docs.tools.tables`"
    known = with_address(text, "https://github.com/someone/studies")
    assert f"({colab_link('https://github.com/someone/studies')})" in known
    assert "git clone https://github.com/someone/studies studies" in known
    assert with_address(known, address()) == text


def test_links_become_those_of_the_site():
    text = "[a](docs/data.md#your-own-data) ![b](docs/images/x.png) [c](notebooks/n.ipynb) [d](https://e.org)"
    page = ROOT / "README.md"
    assert site_links(text, page, "index.md", None) == (
        "[a](data.md#your-own-data) ![b](images/x.png) c [d](https://e.org)"
    )
    assert "[c](https://h.org/r/blob/main/notebooks/n.ipynb)" in site_links(text, page, "index.md", "https://h.org/r")
    security = site_links("[s](../SECURITY.md)", ROOT / "docs/reliability.md", "reliability.md", None)
    assert security == "[s](security.md)"


def test_the_site_builds_and_its_pages_load_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("index.html", "user-guide/index.html", "api/index.html", "study-folder/index.html"):
        page = (tmp_path / "site" / name).read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*stylesheet[^>]*href=\"([^\"]+)\"", page
        )
        assert [one for pair in loaded for one in pair if "//" in one] == []
    api = (tmp_path / "site/api/index.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in api, "an example that is not shown as code"
    assert 'id="helpers.run"' in api
