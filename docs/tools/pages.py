"""Hook of MkDocs: pages that lie outside `docs/`, and links that fit both GitHub and the site.

README.md and its siblings stay where GitHub looks for them. Every link is written relative to its file, so that it works on
GitHub; here those to a page become links of the site, and those to code become links to the repository, or plain text while
the repository has no address.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OUTSIDE = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "optuna_results/README.md": "study-folder.md",
}
"""Files outside `docs/` that are pages, if they exist, and what they are called on the site."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_BADGES = re.compile(r"<!-- badges -->.*?<!-- end -->", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the repository's address."""
    sys.path.insert(0, str(ROOT))  # MkDocs runs a hook by its path
    from docs.tools.repository import address

    config.repo_url = address() or None
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    from mkdocs.structure.files import File

    for path, name in OUTSIDE.items():
        if (ROOT / path).is_file():
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page into those of the site."""
    del files
    text = _BADGES.sub("", markdown)  # images from other hosts
    source = Path(str(page.file.abs_src_path))
    parts = _CODE.split(text)  # every second part is code
    parts[::2] = [site_links(part, source, page.file.src_uri, config.repo_url) for part in parts[::2]]
    return "".join(parts)


def site_links(text: str, source: Path, uri: str, repository: str | None) -> str:
    """Rewrite the links of a text.

    Args:
        text: Markdown.
        source: File that holds it.
        uri: Of its page, relative to the site's sources.
        repository: Address of the repository, if it has one.
    """

    def rewritten(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        path, hash_mark, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        there = Path(os.path.normpath(source.parent / path))
        inside = there.relative_to(ROOT).as_posix()
        name = OUTSIDE.get(inside) or (there.relative_to(DOCS).as_posix() if there.is_relative_to(DOCS) else None)
        if name is not None:
            return f"{image}[{label}]({os.path.relpath(name, Path(uri).parent)}{hash_mark}{anchor})"
        return f"[{label}]({repository}/blob/main/{inside})" if repository else label

    return _LINK.sub(rewritten, text)
