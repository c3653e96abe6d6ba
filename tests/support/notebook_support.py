"""Notebooks with the parameters of a test."""

from __future__ import annotations

from pathlib import Path

import nbformat


def with_parameters_cell(path: Path, **parameters: object) -> nbformat.NotebookNode:
    """Read a notebook and set parameters in a cell of its own after the tagged one, as papermill does.

    Args:
        path: Of the .ipynb.
        parameters: By name; their repr must be Python.
    """
    notebook = nbformat.read(path, as_version=4)
    position = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
    injected = nbformat.v4.new_code_cell("\n".join(f"{key} = {value!r}" for key, value in parameters.items()))
    notebook.cells.insert(position + 1, injected)
    return notebook
