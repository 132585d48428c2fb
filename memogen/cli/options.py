"""Options as words: telling a command's own options from those of a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from memogen.errors import InputError


class UsageError(InputError):
    """The command line cannot be used: one line that says what, where and how to mend it."""


HIDDEN = argparse.SUPPRESS
"""The help text of an option or argument that is understood, but not shown."""


def split(words: Sequence[str], valued: Iterable[str], flags: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """A command's own words, and every option it does not know as name -> value (``true`` where no value follows)."""
    valued, flags = set(valued), set(flags)
    own: list[str] = []
    others: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return [*own, word, *rest], others
        if not word.startswith("--") or name in flags:
            own.append(word)
        elif name in valued:
            own += [word] if equals or not rest else [word, rest.pop(0)]
        else:
            takes_next = not equals and bool(rest) and not rest[0].startswith("--")
            others[name[2:]] = rest.pop(0) if takes_next else (value if equals else "true")
    return own, others
