"""Lets the pages show the examples of docstrings as code: a block of `>>>` lines becomes a section of Google's style."""

from __future__ import annotations

import textwrap
from typing import Any

import griffe

PROMPT = ">>>"


def with_section(docstring: str) -> str:
    r"""Put the blocks of a docstring that begin with a prompt under a heading of their own.

    >>> with_section("Add.\n\n>>> 1 + 1\n2")
    'Add.\n\nExamples:\n    >>> 1 + 1\n    2'
    """
    blocks = docstring.split("\n\n")
    shown = (f"Examples:\n{textwrap.indent(one, '    ')}" if one.startswith(PROMPT) else one for one in blocks)
    return "\n\n".join(shown)


class Examples(griffe.Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = with_section(obj.docstring.value)
