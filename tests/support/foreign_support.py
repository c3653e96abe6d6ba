"""Folders as they were: digests before and after, and files that other people or programs might have put there."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

TEXT = b"root:x:0:0\nsecond line\n" * 20
_MAGIC = bytes.fromhex("d9d505f920a163d7")


def snapshot(folder: Path) -> dict[str, str]:
    """Every entry under a folder, links and pipes included: kind, mode, time of change and digest of its content."""
    files = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        content = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        files[str(path.relative_to(folder))] = (
            f"{stat.st_mode:o} {stat.st_mtime_ns if not path.is_dir() else ''} {content}"
        )
    return files


def super_journal(database: Path, victim: Path) -> Path:
    """Put a rollback journal beside a database that names a file, which SQLite deletes once a writer has rolled it back."""
    raw = database.read_bytes()
    (size,) = struct.unpack(">H", raw[16:18])
    page = raw[:size]
    nonce = 12345
    name = str(victim).encode()
    total = nonce
    for place in range(size - 200, 0, -200):
        total = (total + page[place]) & 0xFFFFFFFF
    head = (_MAGIC + struct.pack(">IIIII", 1, nonce, len(raw) // size, 512, size)).ljust(512, b"\0")
    record = struct.pack(">I", 1) + page + struct.pack(">I", total)
    check = sum(name) & 0xFFFFFFFF
    tail = struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">II", len(name), check) + _MAGIC
    journal = database.with_name(f"{database.name}-journal")
    journal.write_bytes(head + record + tail)
    return journal


def killed_while_writing(database: Path, statement: str) -> None:
    """Leave a database as a writer does that was killed within a transaction: changed pages, and the journal that undoes them."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")  # pages are written before the transaction ends
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(statement)
        writer.execute("CREATE TABLE filler(x)")
        writer.execute(
            "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO filler SELECT zeroblob(500) FROM n"
        )
        journal = database.with_name(f"{database.name}-journal")
        copies = {path: path.read_bytes() for path in (database, journal)}
        writer.execute("ROLLBACK")
    for path, content in copies.items():
        path.write_bytes(content)


def run_sql(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
