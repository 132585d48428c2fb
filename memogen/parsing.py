"""JSON and YAML from outside: read into plain values, or refused with a ValueError, whatever the text holds.

The libraries recurse without a limit, and with YAML's aliases a few lines can stand for billions of values. Here, size, depth and aliases are
checked before anything is built.
"""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 24
MAX_DEPTH = 64


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document. Raises ValueError for text that is not JSON, too long or too deeply nested."""
    _check_length(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is too deeply nested") from error


def parse_yaml(text: str | bytes) -> Any:
    """The value of a YAML document. Raises ValueError, in one line, for text that is not YAML, too long or too deeply nested, or uses aliases."""
    _check_length(text)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"it uses the alias *{event.anchor}, where the value itself must stand")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, LookupError, ArithmeticError, AttributeError, TypeError) as error:  # YAML's constructors raise these too
        raise ValueError(" ".join(str(error).split())) from error


def read_regular(path: Path) -> bytes:
    """The bytes of a file, at most one more than :data:`MAX_BYTES`. Raises OSError, also for a pipe, a socket or a device, which is not opened."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "a folder, not a file" if path.is_dir() else "no regular file, but a pipe, a socket or a device", str(path))
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    """The JSON objects of a JSONL file, one a line. Damaged or cut-off lines are left out; without a file there are none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    rows = []
    for line in lines:
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row:
            rows.append(row)
    return tuple(rows)


def _check_length(text: str | bytes) -> None:
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MiB")
