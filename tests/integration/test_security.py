"""What no change may undo: nothing foreign is executed, nothing listens, names stay in their folders, secrets stay secret."""

import ast
import re
import subprocess
import sys
import time
from dataclasses import replace

import optuna
import psutil
import pytest
from architecture_support import ROOT, parse, sources
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic import ValidationError
from study_support import SPACE, fake_train, run_study, spec

import helpers
import train_gazegaussian_optuna
from benchmarks.study import overhead
from gazegaussian.errors import ConfigError
from gazegaussian.utils.hidden_options import hide_option, reject_password
from helpers.notebook import cli_process as script
from helpers.notebook import display as notebook
from helpers.results.attributes import RESUME_OF
from helpers.search.study_config import StudyFile
from helpers.storage import backends as storage
from helpers.storage.errors import redacted
from helpers.study.trial_files import copy_checkpoint, remove_old_checkpoints

CODE = [*sources("gazegaussian", "helpers", "benchmarks"), ROOT / "train_gazegaussian_optuna.py"]
SECRET = "correct-horse-battery"
URL = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:{{port}}/db"


# --- nothing foreign is executed --------------------------------------------------------------------------------------


def calls(path):
    """Dotted name, or bare name of a method of something else, and node of every call in a file."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(node, name):
    return next((ast.unparse(word.value) for word in node.keywords if word.arg == name), None)


def forbidden(name, node, where):
    """Say what is wrong with a call; None where nothing is."""
    if name.endswith("torch.load") and keyword(node, "weights_only") != "True":
        return "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and keyword(node, "allow_pickle") not in (None, "False"):
        return "numpy.load of pickles"
    read_safely = name == "yaml.safe_load" or keyword(node, "Loader") == "_UniqueKeyLoader"
    if name.startswith("yaml.") and "load" in name and not read_safely:
        return "YAML that is not read by the safe loader"
    if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.Unpickler"):
        return name
    if name == "pickle.loads" and not ast.unparse(node.args[0]).startswith("pickle.dumps("):  # a round trip
        return name
    if keyword(node, "shell") not in (None, "False"):
        return "a shell"
    constant = node.args and isinstance(node.args[0], ast.Constant)
    if (
        name.endswith("import_module") and not constant and where not in ("registry.py", "stages.py", "peers.py")
    ):  # which know a list
        return "an import by a name from elsewhere"
    return None


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_was_read_is_executed(path):
    assert [what for name, node in calls(path) if (what := forbidden(name, node, path.name))] == []
    modules = {alias.name for node in ast.walk(parse(path)) if isinstance(node, ast.Import) for alias in node.names}
    assert not modules & {"dill", "cloudpickle", "joblib", "marshal", "shelve"}


@pytest.mark.parametrize(
    "bad",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "yaml.load(s, Loader=yaml.Loader)", "yaml.unsafe_load(s)",
        "np.load(p, allow_pickle=True)", "eval(text)", "pickle.loads(content)", "subprocess.run(words, shell=True)",
        "importlib.import_module(name)", "os.system(command)",
    ],
)  # fmt: skip
def test_the_check_sees_what_it_should(bad):
    node = ast.parse(bad).body[0].value
    assert forbidden(ast.unparse(node.func), node, "x.py")


# --- nothing listens --------------------------------------------------------------------------------------------------


def listeners():
    return [c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]


def deaf_train(config, run_dir, hooks, resume):
    """Trains and fails where this process, made by the study, listens to anything."""
    assert listeners() == []
    return overhead.train(config, run_dir, hooks, resume)


def test_a_study_and_the_processes_of_its_trials_listen_to_nothing(tmp_path):
    before = listeners()
    asked = spec(tmp_path, deaf_train, trials=1, epochs=1)
    study = run_study(replace(asked, isolate=True))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE], study.trials[0].user_attrs
    assert listeners() == before


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_address_of_all_networks_is_written_down(path):
    texts = {
        node.value for node in ast.walk(parse(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not texts & {"0.0.0.0", "::", "[::]"}


# --- names stay in their folders --------------------------------------------------------------------------------------

NAMES = ["../x", "/abs", "a/b", "a\\b", "a\0b", "a\n", "..", ".hidden", "", " ", "x" * 101, "$(id)", "\x1b[2J"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished study."""
    out = tmp_path_factory.mktemp("finished")
    run_study(spec(out, trials=1))
    return out / "toy"


@pytest.mark.parametrize("name", NAMES)
def test_a_studys_name_is_the_name_of_a_folder_in_out(tmp_path, finished, name):
    with pytest.raises(ValidationError, match="study_name"):
        StudyFile.model_validate({"study_name": name, "trials": 1, "search_space": SPACE})
    out = tmp_path / "out"
    with pytest.raises(ConfigError) as rejected:
        helpers.default_spec("meshhead", study_name=name, out=out)
    assert str(rejected.value).isprintable()
    assert "expected at most 100 letters, digits, '_', '.' and '-'" in str(rejected.value)
    with pytest.raises(ConfigError, match="--study-name: expected at most 100 letters"):
        helpers.migrate_study(finished, tmp_path / "study.yaml", name, out)
    assert list(tmp_path.iterdir()) == []


def trial_at(study, folder):
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.set_user_attr("folder", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("best.pt", "last.pt", ".x.tmp"):
        (folder / name).write_bytes(b"weights")
    return trial


@pytest.mark.parametrize("place", ["elsewhere/trial_0000", "toy/..", "toy/link"])
def test_checkpoints_outside_a_studys_folder_are_neither_removed_nor_taken(tmp_path, place):
    """The storage, or a link in a folder that somebody handed over, may name any place."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (tmp_path / "mine").mkdir()
    (folder / "link").symlink_to(tmp_path / "mine")
    study = optuna.create_study()
    old = trial_at(study, tmp_path / place)
    study.tell(old, state=TrialState.FAIL)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert remove_old_checkpoints(study, folder, 1) == []
    study.enqueue_trial({}, user_attrs={RESUME_OF: old.number})
    assert not copy_checkpoint(study.trials, study.ask(), folder, folder / "trial_0002")
    assert {path.name for path in (tmp_path / place).iterdir()} >= {"best.pt", "last.pt", ".x.tmp"}


# --- secrets stay secret ----------------------------------------------------------------------------------------------


def test_an_option_moves_from_the_command_line_to_the_environment():
    assert hide_option(["a", "--x", "1", "b"], "--x", "X") == (["a", "b"], {"X": "1"})
    assert hide_option(["a", "--x=1=2"], "--x", "X") == (["a"], {"X": "1=2"})
    assert hide_option(["a", "--xy", "1", "--x"], "--x", "X") == (["a", "--xy", "1", "--x"], {})


def test_the_processes_that_notebooks_start_show_no_password(monkeypatch):
    started = []

    class Popen:
        stdout = ()

        def __init__(self, args, env, **more):
            started.append((args, env))

        def wait(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Popen)
    notebook.run_script("report", "folder", "--storage", URL)
    script.Script(["study", "meshhead", f"--storage={URL}"])
    for args, environment in started:
        assert SECRET not in str(args)
        assert environment[script.STORAGE_VARIABLE] == URL


def test_a_failed_script_names_its_command_without_the_password(tmp_path):
    with pytest.raises(script.ScriptError, match=r"report .*missing ended with exit code 2: error: No study") as error:
        notebook.run_script("report", f"--storage={URL}", tmp_path / "missing")
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "args",
    [
        ["report", "x", "--storage", URL.format(port=1)],
        ["study", "meshhead", f"--storage=me:{SECRET}@host/db"],
        ["report", "x", f"--storage=mysql://host/db?password={SECRET}"],
    ],
)
def test_a_password_on_the_command_line_is_refused_before_anything_is_imported(args):
    command = [sys.executable, "-X", "importtime", str(script.SCRIPT), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "typer" not in done.stderr, "seconds in which everybody may read it"
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("error: a password on the command line")
    assert script.STORAGE_VARIABLE in said
    assert SECRET not in said


def test_what_holds_no_password_is_not_refused():
    for url in (
        "sqlite:////home/a:b@c/study.db",
        "postgresql://me@host/db",
        "C:\\me@home\\s.journal",
        "grpc://host:13000",
    ):
        reject_password(["report", "--storage", url], "--storage", "X")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
def test_a_password_is_in_no_title_and_in_no_childs_environment(tmp_path, monkeypatch, capfd):
    pytest.importorskip("psycopg")
    seen = []

    def look(*args, **more):
        seen.append(subprocess.run(["env"], capture_output=True, text=True, check=True).stdout)
        raise ConfigError("seen")

    monkeypatch.setattr("helpers.load_study", look)
    monkeypatch.setenv(script.STORAGE_VARIABLE, URL.format(port=1))
    monkeypatch.setattr(sys, "argv", ["script", "report", str(tmp_path)])
    with pytest.raises(SystemExit):
        train_gazegaussian_optuna.main()
    assert len(seen) == 1
    assert SECRET not in seen[0]
    assert SECRET not in "".join(capfd.readouterr())


def test_the_storage_is_read_from_the_environment(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(script.STORAGE_VARIABLE, f"me:{SECRET}@host/db")
    monkeypatch.setattr(sys, "argv", ["script", "report", str(tmp_path)])
    with pytest.raises(SystemExit):
        train_gazegaussian_optuna.main()
    said = capfd.readouterr().err
    assert "Unknown storage 'me:***@host/db'" in said
    assert SECRET not in said


def test_a_password_gets_into_no_file_line_or_attribute(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setattr(storage, "Database", lambda url, engine_kwargs: RDBStorage(f"sqlite:///{tmp_path}/server.db"))
    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.import_dbapi", classmethod(lambda cls: None))
    monkeypatch.setattr(
        "sqlalchemy.dialects.postgresql.psycopg.PGDialect_psycopg.import_dbapi", classmethod(lambda c: None)
    )
    asked = replace(spec(tmp_path, fake_train, trials=2, epochs=2), storage=URL.format(port=1))
    assert SECRET not in repr(asked)
    with caplog.at_level("DEBUG"):
        helpers.run(asked, audit=False)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert written == []
    assert (tmp_path / "server.db").stat().st_size > 0
    assert (tmp_path / "toy" / "report.html").exists()
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "url", [f"grpc://me:{SECRET}@localhost:1", f"host=h user=me password={SECRET}", f"mysql://h/d?password={SECRET}"]
)
def test_urls_that_cannot_be_opened_show_no_password(tmp_path, monkeypatch, url):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    started = time.monotonic()
    with pytest.raises(ConfigError) as rejected:
        storage.open_storage(url, tmp_path)
    assert SECRET not in str(rejected.value) + redacted(url)
    assert time.monotonic() - started < storage.ANSWER_SECONDS


SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of AWS": r"\bAKIA[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}",
    "a key of Google": r"\bAIza[\w-]{35}",
    "a token of Slack": r"\bxox[abprs]-[\w-]{10,}",
    "a key of a language model": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a password in a URL": r"\w://[^\s:/@\"'{}]+:(?!password@|PASSWORD@|\*+@)[^\s/@\"'{}]{2,}@",
}


def secrets_in(text, tests=False):
    return [what for what, pattern in SECRETS.items() if re.search(pattern, text) and not (tests and "URL" in what)]


def test_no_tracked_file_holds_a_secret():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            secrets = secrets_in(path.read_text(encoding="utf-8", errors="ignore"), name.startswith("tests/"))
            assert secrets == [], name


def test_the_scan_sees_what_it_should():
    assert secrets_in("-----BEGIN RSA " + "PRIVATE KEY-----") == ["a private key"]
    assert secrets_in("ghp_" + "a1" * 18) == ["a token of GitHub"]
    assert secrets_in("postgresql://me:" + "hunter2@host/db") == ["a password in a URL"]
    assert secrets_in("postgresql+psycopg://user:password@host/db, postgresql://me@host") == []


# --- what SECURITY.md promises ----------------------------------------------------------------------------------------

PROMISES = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), PROMISES)
def test_every_row_of_the_table_of_trust_names_its_test(file, name):
    (path,) = (ROOT / "tests").rglob(file)
    names = {node.name for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef)}
    assert name in names


def test_every_row_of_the_table_of_trust_has_a_verdict_and_a_test():
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("\n| from a stranger |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) >= 15
    for thing, verdict, _, test in rows:
        assert verdict in ("safe", "read-only", "never"), thing
        assert re.fullmatch(r"`test_\w+\.py::test_\w+`", test), thing
