"""The command of a line of results as a reader needs it: what was typed, without what differs from run to run of the same line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

OWN = ("--out", "--seeds", "--training.seed")
"""Options that say where one run lies and which of the line's seeds it has."""


def shortened(command: str) -> str:
    """The command without these options; as it is where it is no command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept = [word for before, word in zip(["", *words], words, strict=False) if before not in OWN and word.partition("=")[0] not in OWN]
    return shlex.join(kept)


def training_command(commands: Iterable[str]) -> str:
    """The one that made the model, among those that made a line's numbers; the first by name where several did."""
    return min(commands, key=lambda command: (command.startswith("memogen evaluate"), command), default="")
