"""Who may import whom, no print in packages, short functions: read from the source, not from what happens to be loaded."""

import ast
import json
import re
import sys

import pytest
from architecture_support import ROOT, parse, sources

PACKAGES = ("gazegaussian", "helpers")
BASE = {"types", "dimensions", "fields", "stages", "config", "errors", "utils"}
# Parts of gazegaussian and the parts each may see, itself included.
ALLOWED = {
    "errors": set(),
    "types": set(),
    "dimensions": set(),
    "utils": {"errors"},
    "fields": {"errors", "utils"},
    "stages": {"errors"},
    "config": {"errors", "utils", "fields", "stages"},
    "geometry": BASE,
    "nn": BASE | {"geometry"},
    "rendering": BASE | {"geometry", "nn"},
    "losses": BASE | {"geometry"},
    "metrics": BASE | {"geometry"},
    "data": BASE | {"geometry"},
    "mesh_metrics": BASE | {"geometry", "losses", "metrics", "rendering"},
    "models": BASE | {"geometry", "nn", "rendering"},
    "reference_networks": BASE | {"data", "geometry", "models"},
}
ALLOWED["training"] = {*ALLOWED} - {"reference_networks"} | {"training"}
ALLOWED["published"] = {*BASE, "models", "training", "published"}
ALLOWED["inference"] = {*ALLOWED["training"], "inference"}
ALLOWED["evaluation"] = {*ALLOWED["inference"], "evaluation"}
ALLOWED["build"] = {*ALLOWED["training"], "build"}
ALLOWED["measurement"] = {*ALLOWED, "measurement"}
FORBIDDEN = {"optuna", "helpers", "IPython", "ipywidgets", "tests", "benchmarks"}
SPEAKS_TO_NOTEBOOKS = "helpers/notebook/display.py"  # its output is the notebook's
LONGEST, LONGEST_KERNEL = 80, 100  # lines; what runs on the device in one piece cannot be split without a cost


def imports(tree, package=()):
    """Dotted names a module imports, those inside functions included; relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            absolute = base if node.level else node.module
            # `from gazegaussian import losses` names the part in the alias.
            yield from (f"{absolute}.{alias.name}" for alias in node.names)


def imports_of(path):
    return list(imports(parse(path), path.relative_to(ROOT).parent.parts))


def part(path):
    """gazegaussian/models/streams.py -> models; gazegaussian/build.py -> build; gazegaussian/__init__.py -> ''."""
    first = path.relative_to(ROOT / "gazegaussian").parts[0]
    return first.removesuffix(".py").replace("__init__", "")


def violations(path):
    own = part(path)
    allowed = {*ALLOWED.get(own, set()), own}
    for name in imports_of(path):
        top, _, rest = name.partition(".")
        if top in FORBIDDEN:
            yield f"{path.name} imports {name}"
        if top == "gazegaussian" and rest.split(".")[0] not in allowed:
            yield f"{own}/{path.name} imports {name}"


def test_every_part_of_the_package_has_a_rule():
    assert {part(path) for path in sources("gazegaussian")} - {""} == set(ALLOWED)


def test_rules_have_no_cycle():
    """Each part sees only parts that come before it."""
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [name for name, seen in ALLOWED.items() if name not in order and seen - {name} <= set(order)]
        assert ready, f"cycle among {set(ALLOWED) - set(order)}"
        order += ready
    assert order[-1] == "measurement"


@pytest.mark.parametrize("path", sources("gazegaussian"), ids=lambda p: str(p.relative_to(ROOT)))
def test_import_directions(path):
    assert list(violations(path)) == []


def test_the_check_sees_what_it_should():
    tree = ast.parse(
        "def f():\n    import optuna.trial\n    from gazegaussian import losses\n    from ..training import step"
    )
    assert list(imports(tree, ("gazegaussian", "models"))) == [
        "optuna.trial",
        "gazegaussian.losses",
        "gazegaussian.training.step",
    ]


def test_helpers_enter_through_the_front_door():
    """Helpers wire studies; models, rendering, networks and losses reach them through `build` and `training` alone."""
    inner = {"models", "rendering", "nn", "losses", "metrics"}
    wrong = [
        f"{path.name}: {name}"
        for path in sources("helpers")
        for name in imports_of(path)
        if name.startswith("gazegaussian.") and name.split(".")[1] in inner
    ]
    assert wrong == []


# Rooms of `helpers`, from the lowest row up: a file imports from its own room and from lower rows only.
ORDER = [
    {"optuna_private"},
    {"utils", "search", "storage"},
    {"results"},
    {"study"},
    {"analysis"},
    {"reporting", "web"},
    {"inference", "api"},
    {"notebook", "cli"},
]
ROW = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
DOOR = {"__init__", "predicted_final_loss"}  # the verbs, and a name that study files of earlier versions hold


def room(path):
    """helpers/study/workers/plan.py -> study; helpers/api.py -> api."""
    return path.relative_to(ROOT / "helpers").parts[0].removesuffix(".py")


def turning_back(own, names):
    """Imports of a room from a room of its own row or above it, or through the door."""
    for name in names:
        if name.split(".")[0] == "helpers":
            other = name.partition(".")[2].split(".")[0]
            through_the_door = other not in ROW and own not in ORDER[-1]  # commands and cells call the verbs
            if through_the_door or (other != own and ROW.get(other, -1) >= ROW[own]):
                yield name


@pytest.mark.parametrize("path", sources("helpers"), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_from_lower_rows_only(path):
    if room(path) not in DOOR:
        assert list(turning_back(room(path), imports_of(path))) == []


def test_the_rule_of_rooms_sees_what_turns_back():
    seen = [
        "helpers.study.run.run",
        "helpers.utils.files.x",
        "helpers.results.tables.y",
        "helpers.train",
        "optuna.Study",
    ]
    assert list(turning_back("results", seen)) == ["helpers.study.run.run", "helpers.train"]
    assert list(turning_back("search", seen)) == [name for name in seen if name.startswith("helpers")]
    assert list(turning_back("cli", [*seen, "helpers", "helpers.notebook.display.show_top"])) == [
        "helpers.notebook.display.show_top"
    ]


def test_the_drawing_of_imports_shows_every_arrow_between_rooms():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = page.partition("## Imports between rooms")[2].partition("```mermaid")[2].partition("```")[0]
    drawn = {
        (start, end)
        for start, ends in re.findall(r"^ +(\w+) --> (.+)$", drawing, flags=re.MULTILINE)
        for end in ends.split(" & ")
    }
    arrows = {
        (room(path), other)
        for path in sources("helpers")
        for name in imports_of(path)
        if name.startswith("helpers.") and (other := name.split(".")[1]) in ROW and other != room(path)
    }
    arrows = {arrow for arrow in arrows if arrow[0] in ROW}
    assert drawn == arrows, f"missing {sorted(arrows - drawn)}, not imported {sorted(drawn - arrows)}"


PRIVATE = "helpers/optuna_private.py"


def private_parts(tree):
    """Names of Optuna's private modules and attributes in a file; a class may override or call its own."""
    optunas = {"_storage", "_backend", "_study_id", "_trial_id", "_stub", "_cache", "_host", "_port", "_get_filepath"}
    for node in ast.walk(tree):
        own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        if isinstance(node, ast.Attribute) and node.attr in optunas and not own:
            yield node.attr
    yield from (name for name in imports(tree) if name.startswith("optuna") and "._" in name)


@pytest.mark.parametrize("path", sources("helpers"), ids=lambda p: str(p.relative_to(ROOT)))
def test_private_parts_of_optuna_are_used_in_one_module(path):
    assert bool(list(private_parts(parse(path)))) == (path == ROOT / PRIVATE)


def notebook_code(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in lines)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_import_helpers_alone(path):
    names = {name.split(".")[0] for code in notebook_code(path) for name in imports(ast.parse(code))}
    assert names - set(sys.stdlib_module_names) <= {"helpers"}


def functions(node):
    return [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def own_lines(function):
    """Lines of a function without those of the functions inside it (factories of kernels)."""
    lines, *nested = (set(range(f.lineno, f.end_lineno + 1)) for f in functions(function))
    return len(lines.difference(*nested))


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_print_and_no_long_function(path):
    tree = parse(path)
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if path != ROOT / SPEAKS_TO_NOTEBOOKS:
        assert "print" not in calls, "packages log, they do not print"
    for function in functions(tree):
        kernel = any("wp.kernel" in ast.unparse(decorator) for decorator in function.decorator_list)
        assert own_lines(function) <= (LONGEST_KERNEL if kernel else LONGEST), function.name
