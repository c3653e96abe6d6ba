"""The repository's address, read where the notebooks have it, and what follows from it in the README and on the site."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST = "notebooks/00_quickstart.ipynb"
_COLAB = "https://colab.research.google.com/"
_ADDRESS = re.compile(r"^REPOSITORY = .*?\"(https://[^\"]*)\"", re.MULTILINE)
_BADGE = re.compile(r"(\[!\[Open in Colab\]\([^)]*\)\]\()[^)]*(\))")
_CLONE = re.compile(r"^git clone \S+ ", re.MULTILINE)
_UNKNOWN = "URL_OF_THIS_REPOSITORY"


def address() -> str:
    """Clone URL in the first cell of notebook 00; empty while there is none."""
    match = _ADDRESS.search((ROOT / "notebooks/scripts/00_quickstart.py").read_text(encoding="utf-8"))
    return match[1].removesuffix("/").removesuffix(".git") if match else ""


def colab_link(url: str) -> str:
    """Where the badge leads: notebook 00 of a repository on GitHub, else Colab's own page.

    >>> colab_link("https://github.com/someone/studies")
    'https://colab.research.google.com/github/someone/studies/blob/main/notebooks/00_quickstart.ipynb'
    >>> colab_link("")
    'https://colab.research.google.com/'
    """
    path = url.removeprefix("https://github.com/")
    return _COLAB if path == url else f"{_COLAB}github/{path}/blob/main/{FIRST}"


def with_address(text: str, url: str) -> str:
    """Set the badge and the clone command of the README."""
    text = _BADGE.sub(lambda match: f"{match[1]}{colab_link(url)}{match[2]}", text)
    return _CLONE.sub(f"git clone {url or _UNKNOWN} ", text)
