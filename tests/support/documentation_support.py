"""Shared by the tests of the documentation: its pages, and what stands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from repository import ROOT

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SCRIPT = "python train_gazegaussian_optuna.py "


def pages() -> list[Path]:
    """Every page that people read."""
    outside = [
        ROOT / name
        for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "optuna_results/README.md")
    ]
    return [*(path for path in outside if path.exists()), *sorted((ROOT / "docs").glob("*.md"))]


def read(name: str | Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Fenced code of a language; "" for those without one."""
    return [content for fence, content in FENCE.findall(text) if fence == language]


def prose(text: str) -> str:
    """A page without code blocks, tables, pictures, headings, comments and quotations of the program."""
    text = re.sub(r"<!--.*?-->", "", FENCE.sub("", text), flags=re.DOTALL)
    text = re.sub(r"\[?!\[[^\]]*\]\([^)]*\)(\]\([^)]*\))?", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|>| {4})", line)]
    return "\n".join(lines)


def sentences(text: str) -> list[str]:
    """Sentences of the prose; an item of a list and a paragraph end one, too."""
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)", prose(text))
    candidates = [one for part in parts for one in re.split(r"(?<=[.!?:])[*_)`]*\s+(?=[*_(`\"]*[A-Z0-9`])", part)]
    return [one for one in (" ".join(part.split()) for part in candidates) if len(one.split()) > 1]


def commands(text: str) -> list[list[str]]:
    """Words of every call of the script in the code blocks of a page, without its name."""
    calls = []
    for _, content in FENCE.findall(text):
        for line in content.replace("\\\n", " ").splitlines():
            if SCRIPT in line and "..." not in line:
                args = shlex.split(line.partition(SCRIPT)[2], comments=True)
                calls.append(args[: args.index("&")] if "&" in args else args)
    return calls


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    counts: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = counts.get(slug, 0)
        names.add(f"{slug}-{count}" if count else slug)
        counts[slug] = count + 1
    return names


def links(text: str) -> list[str]:
    """Targets of links and pictures outside code."""
    without_code = re.sub(r"`[^`\n]+`", "`code`", FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", without_code)
