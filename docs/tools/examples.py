"""Lets the pages show the examples of docstrings as code: a block of `>>>` lines is fenced."""

from __future__ import annotations

from typing import Any

import griffe

PROMPT = ">>>"


def fenced(docstring: str) -> str:
    r"""Fence the blocks of a docstring that begin with a prompt.

    >>> fenced("Add.\n\n>>> 1 + 1\n2")
    'Add.\n\n```pycon\n>>> 1 + 1\n2\n```'
    """
    blocks = docstring.split("\n\n")
    return "\n\n".join(f"```pycon\n{one.rstrip()}\n```" if one.startswith(PROMPT) else one for one in blocks)


class Examples(griffe.Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
