"""A command line run inside the tests."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from memogen import cli


def run(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    code = cli.main(shlex.split(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
