"""Runs the notebooks' set-up cells, and 01 as a rehearsal, in a kernel like Colab's; prints a row per notebook, fails on a fault.

Run by `.ci/colab` with Colab's packages. What is a stand-in: `google.colab` (Drive declines, a port becomes a script). What is
not Colab's: Python's version, torch, no GPU, no browser at the other end.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 1_000_000  # of one output
FIRST_LINES = "import anywidget, ipywidgets"  # what Colab's kernel has imported before the first cell
MODULES = {
    "__init__.py": "",
    "drive.py": "def mount(place, force_remount=False):\n    raise ValueError('declined')\n",
    "output.py": "def serve_kernel_port_as_iframe(port, path='/', height=400):\n"
    "    from IPython.display import Javascript, display\n    display(Javascript(f'// {port}'))\n",
}


def main() -> None:
    """Run all of it."""
    work = Path(sys.argv[1])
    place = Path(sysconfig.get_path("purelib"), "google", "colab")
    place.mkdir(parents=True, exist_ok=True)
    for name, text in MODULES.items():
        (place / name).write_text(text)
    os.environ.update(COLAB_NOTEBOOK_ID="rehearsal", COLAB_RELEASE_TAG="rehearsal", BROWSER_PATH="/none")
    os.environ.pop("JPY_SESSION_NAME", None)
    write_kernel(work / "kernels" / "colab")
    faults = []
    print("notebook | packages that came | changed | restart | set-up s | all s | largest output")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        whole = path.stem.startswith("01")
        if whole:
            with_parameters(notebook, smoke=True, data=str(work / "data"), out=str(work / "results"))
        else:
            first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")
            del notebook.cells[first + 1 :]
        faults += rehearse(path.stem, notebook, work, whole)
    if faults:
        raise SystemExit("\n".join(faults))


def rehearse(name: str, notebook: nbformat.NotebookNode, work: Path, whole: bool) -> list[str]:
    """Run a notebook and print its row; returns what is wrong.

    Args:
        name: Of it.
        notebook: Its cells.
        work: Folder with the kernel.
        whole: It shows figures.
    """
    before = versions()
    started = time.monotonic()
    seconds: list[float] = []
    manager = KernelSpecManager(kernel_dirs=[str(work / "kernels")])
    client = NotebookClient(
        notebook, timeout=600, kernel_name="colab", resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager = manager
    client.on_cell_executed = lambda **_: seconds.append(time.monotonic() - started)
    client.execute()
    took = time.monotonic() - started
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    forms = [data for output in outputs if (data := output.get("data"))]
    largest = max(len(json.dumps(output)) for output in outputs)
    now = versions()
    came = sorted(set(now) - set(before))
    changed = sorted(package for package in before if now.get(package) != before[package])
    restart = "Restart" in text
    print(f"{name} | {len(came)} | {', '.join(changed) or 'none'} | {'yes' if restart else 'no'} | "
          f"{seconds[0]:.0f} | {took:.0f} | {largest / 1000:.0f} kB")  # fmt: skip
    faults = [f"{package} was {before[package]} and is {now.get(package)}" for package in changed]
    faults += ["it asks for a restart"] if restart else []
    faults += [f"an output of {largest} bytes"] if largest > MOST_BYTES else []
    faults += [] if "Drive could not be mounted (declined)" in text else ["Drive was not asked for by itself"]
    if whole:
        pages = [data["text/html"] for data in forms if "cdn.plot.ly" in data.get("text/html", "")]
        faults += [] if len(pages) >= 3 else [f"{len(pages)} figures that load plotly.js from its address, expected 3"]
        faults += ["a figure as plotly's JSON"] if any("plotly" in kind for data in forms for kind in data) else []
        faults += [f"warning: {line}" for line in text.splitlines() if "Warning" in line]
    return [f"{name}: {fault}" for fault in faults]


def versions() -> dict[str, str]:
    """Versions of what is installed, by name."""
    return {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}


def with_parameters(notebook: nbformat.NotebookNode, **parameters: object) -> None:
    """Put a cell that sets parameters behind the one that is tagged."""
    position = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    lines = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(position + 1, nbformat.v4.new_code_cell(lines))


def write_kernel(folder: Path) -> None:
    """Describe a kernel that has imported what Colab's has."""
    folder.mkdir(parents=True)
    words = [
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
        f"--IPKernelApp.exec_lines={FIRST_LINES}",
    ]
    (folder / "kernel.json").write_text(json.dumps({"argv": words, "display_name": "Colab", "language": "python"}))


main()
