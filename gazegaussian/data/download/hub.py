"""Files of a model hub (the interface of huggingface.co) over HTTPS: listed with their sizes, fetched with resumption.

`HF_ENDPOINT` names another server, as for the hub's own client.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazegaussian.errors import DataError, first_line
from gazegaussian.utils.progress import progress

logger = logging.getLogger(__name__)

ENDPOINT = "https://huggingface.co"
TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5  # connections in a row that bring nothing
PAUSE = 2.0  # seconds before the second of them, doubled each time
BUSY = (408, 429, 500, 502, 503, 504)  # answers that may be better later
MEBIBYTE = 1 << 20
_NETWORK = (OSError, http.client.HTTPException)  # URLError is an OSError


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository."""

    name: str
    size: int  # bytes
    sha256: str | None  # of large files
    url: str


def list_files(repository: str, revision: str = "main") -> list[RemoteFile]:
    """List the files at the top of a repository.

    Args:
        repository: owner/name.
        revision: Branch, tag or commit.

    Raises:
        DataError: The hub cannot be reached, or has no such repository.
    """
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    require_encrypted(endpoint)
    where = f"{urllib.parse.quote(repository)}/resolve/{urllib.parse.quote(revision, safe='')}"
    url = f"{endpoint}/api/models/{urllib.parse.quote(repository)}/tree/{urllib.parse.quote(revision, safe='')}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            require_encrypted(answer.url)
            entries: list[dict[str, Any]] = json.load(answer)
        return [
            RemoteFile(
                entry["path"],
                int(entry["size"]),
                (entry.get("lfs") or {}).get("oid"),
                f"{endpoint}/{where}/{urllib.parse.quote(entry['path'])}",
            )
            for entry in entries
            if entry["type"] == "file"
        ]
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{endpoint}: expected the repository {repository}, revision {revision}, the answer was {error.code} "
            f"{error.reason}; give --repository the one that has the data"
        ) from error
    except (*_NETWORK, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{endpoint} cannot be reached or does not answer as a model hub ({_reason(error)}); go online, set HF_ENDPOINT to a "
            "mirror, or copy the subject files into the folder by hand"
        ) from error


def require_encrypted(url: str) -> None:
    """Reject an address that anybody on the way could answer: checksums come from the same place as the files.

    Args:
        url: Of the hub, or where it led to.

    Raises:
        DataError: It is not https, and not on this machine.
    """
    parsed = urllib.parse.urlsplit(url)
    here = parsed.scheme == "http" and parsed.hostname in ("127.0.0.1", "localhost", "::1")
    if parsed.scheme != "https" and not here:
        raise DataError(f"{url[:200]}: expected an address that begins with https://; set HF_ENDPOINT to one")


def fetch(file: RemoteFile, path: Path) -> None:
    """Download a file, or resume a partial download; size and checksum are right afterwards.

    Args:
        file: What.
        path: Where to; `<path>.part` holds what has come so far.

    Raises:
        DataError: The connection broke for good (the same call resumes it), or what came is not the file.
    """
    if path.is_file() and path.stat().st_size == file.size:
        return
    partial = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while (have := partial.stat().st_size if partial.exists() else 0) < file.size:
        try:
            _receive(file, partial, have)
        except _NETWORK as error:
            reason = _reason(error)
            if isinstance(error, urllib.error.HTTPError) and error.code not in BUSY:
                raise DataError(f"{file.url}: expected the file, the answer was {error.code} {reason}") from error
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise DataError(f"{partial}: the disk is full; make room and run again to resume") from error
        else:
            reason = "it ended early"
        came = (partial.stat().st_size if partial.exists() else 0) - have
        failures = 0 if came > 0 else failures + 1
        if failures == ATTEMPTS:
            raise DataError(
                f"{file.name}: expected {file.size} bytes, got {have} before the connection failed {ATTEMPTS} times ({reason}); "
                "run again to resume"
            )
        if failures:
            time.sleep(PAUSE * 2 ** (failures - 1))
    _verify(file, partial)
    os.replace(partial, path)


def _receive(file: RemoteFile, partial: Path, have: int) -> None:
    """Append what one connection brings."""
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        require_encrypted(answer.url)
        # 200 to a request for a range: the server sends everything, so that everything is written anew.
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DataError(f"{file.url}: asked for bytes from {have} on, got {answer.headers.get('Content-Range')}")
        done = have if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as stream:
            blocks = progress(_blocks(answer), f"{file.name}, MiB", -(-file.size // MEBIBYTE), done // MEBIBYTE)
            for block in blocks:
                done += len(block)
                stream.write(block)
                if done > file.size:
                    break


def _blocks(answer: Any) -> Iterator[bytes]:
    while block := answer.read(MEBIBYTE):
        yield block


def _verify(file: RemoteFile, partial: Path) -> None:
    """Compare size and checksum; what is wrong is deleted, as it cannot be gone on with."""
    size = partial.stat().st_size
    problem = f"{file.size} bytes, got {size}" if size != file.size else ""
    if not problem and file.sha256:
        with partial.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        problem = f"the checksum {file.sha256[:12]}, got {digest[:12]}" if digest != file.sha256 else ""
    if problem:
        partial.unlink()
        raise DataError(f"{file.name}: expected {problem}; what came is deleted, run again")


def _reason(error: BaseException) -> str:
    return (first_line(str(getattr(error, "reason", None) or "")) or first_line(error))[:100]
