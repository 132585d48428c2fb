"""``python -m benchmarks``: how fast everything is, beside its floor, beside others, and beside an earlier checkout.

A file is a group, a function in it an entry, which yields one case after another: our work, what stands beside it, the least that must be done, and
what is aimed at. :mod:`.timing` makes a line of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from benchmarks.speed.timing import Cases, Setting

GROUPS = ("memory", "steps", "scoring", "data", "run", "page")
Entry = Callable[[Setting], Cases]


def entries(groups: Sequence[str] = GROUPS) -> dict[str, Entry]:
    """Entries by their names, GROUP.FUNCTION."""
    return {f"{group}.{entry.__name__}": entry for group in groups for entry in import_module(f"benchmarks.speed.{group}").ENTRIES}


def chosen(words: Sequence[str]) -> Iterator[str]:
    """The names of the entries meant by names and groups, all of them by none. Raises ValueError for a word that is neither."""
    known = entries()
    for word in words or GROUPS:
        found = [name for name in known if word == name or name.startswith(f"{word}.")]
        if not found:
            raise ValueError(f"{word!r}: no such entry: choose from {', '.join((*GROUPS, *known))}")
        yield from found
