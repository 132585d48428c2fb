"""Result rows: how a score is written down."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = dict[str, object]


class Interrupted(KeyboardInterrupt):
    """A scoring was stopped by Ctrl-C or SIGTERM; ``rows`` holds what was computed: append them, then raise on.

    A row over fewer samples than were asked for says so: its protocol has their true number and ``interrupted``. ``where`` names the stage.
    """

    def __init__(self, rows: list[Row], where: str = "") -> None:
        kept = f"{len(rows)} score{'s' * (len(rows) > 1)} of what was seen until then" if rows else "no score was finished"
        super().__init__(f"scoring stopped{' at ' if where else ''}{where}; {kept}")
        self.rows = rows


def append_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows to a JSONL file in a single write, so that a reader or another writer sees all of them or none; flushed to the disk."""
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        file.write((_mending(path) + text).encode())
        os.fsync(file.fileno())


def _mending(path: Path) -> str:
    """A newline where an earlier write was cut off, so that only its own row is lost."""
    if not path.exists() or path.stat().st_size == 0:
        return ""
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return "" if file.read(1) == b"\n" else "\n"
