"""The report on a user's files: counted while reading, then written beside the cache and shown once."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from memogen.errors import printable

NAMED = 5  # file names shown per reason
_DARK = 128  # below it, a report says how bright the brightest pixel is


@dataclass(frozen=True)
class Finding:
    """``count`` files with the same reason. Skipped files are all named, of others the first few."""

    count: int
    files: tuple[str, ...] = ()

    def text(self, most: int | None = NAMED) -> str:
        """The count, and at most ``most`` names."""
        named = tuple(map(printable, self.files[:most]))
        more = ", ..." if self.count > len(named) else ""
        return f"{self.count} ({', '.join(named)}{more})" if named else str(self.count)


@dataclass(frozen=True)
class DataReport:
    """A data set after reading: how many images were kept, skipped (by reason) and changed (by reason), and of what kind they are.

    ``ignored``: files that are no images. ``sizes`` maps "height x width" to counts, ``modes`` Pillow's mode names, ``labels`` class names.
    ``problems``: lines that would stop a training run, such as mixed sizes. ``trained``: the (height, width) that a training would get, where known.
    ``brightest``: the largest byte of all pictures. ``elsewhere``: how many images ``test_share`` puts into another split. ``cache``: a line for each
    damaged cache of these images.
    """

    place: str
    kept: int
    skipped: Mapping[str, Finding] = field(default_factory=dict)
    changed: Mapping[str, Finding] = field(default_factory=dict)
    ignored: Finding = field(default_factory=lambda: Finding(0))
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    trained: tuple[int, int] | None = None
    brightest: int | None = None
    elsewhere: int = 0
    cache: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True when every file was taken as it is."""
        return not (self.skipped or self.changed or self.problems)

    def text(self, *, whole: bool = False) -> str:
        """A few plain lines for a person; ``whole`` names every skipped file, otherwise a line says how to list them."""
        lost = sum(finding.count for finding in self.skipped.values())
        others = f", {self.ignored.count} other files ignored" if self.ignored.count else ""
        lines = [f"data: {printable(self.place)}: {self.kept or 'no'} images read, {lost} skipped{others}"]
        lines += [f"  skipped, {reason}: {finding.text(None if whole else NAMED)}" for reason, finding in sorted(self.skipped.items())]
        lines += [f"  all of them by name: memogen data check --data {printable(shlex.quote(self.place))}"] if lost and not whole else []
        lines += [f"  changed, {reason}: {finding.text()}" for reason, finding in sorted(self.changed.items())]
        kinds = {"sizes (height x width)": self.sizes, "modes": self.modes, "labels": self.labels}
        lines += [f"  {title}: {_listing(counts)}" for title, counts in kinds.items() if counts]
        if self.elsewhere:
            lines.append(f"  in another split, by test_share: {self.elsewhere}")
        if self.brightest is not None and self.brightest < _DARK:
            lines.append(f"  dark: no pixel is brighter than {self.brightest} of 255")
        if self.trained:
            lines.append(f"  as trained: {self.kept} images of {' x '.join(map(str, self.trained))}, {lost} left out")
        return "\n".join([*lines, *(f"  {line}" for line in self.cache), *(f"  problem: {printable(line)}" for line in self.problems)])

    def json(self) -> str:
        """The same for a program."""
        return json.dumps(asdict(self), indent=1)


def _listing(counts: Mapping[str, int], most: int = 12) -> str:
    """The most frequent first; the rest is counted."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{printable(name)}: {count}" for name, count in ranked[:most]]
    return ", ".join(shown + ([f"and {len(ranked) - most} more"] if len(ranked) > most else []))


class Tally:
    """Counts while files are read."""

    def __init__(self) -> None:
        self.kept = 0
        self.skipped: dict[str, list[str]] = {}
        self.changed: dict[str, list[str]] = {}
        self.sizes: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.others: tuple[str, ...] = ()
        self.problems: list[str] = []
        self.brightest: int | None = None
        self.elsewhere = 0

    def skip(self, reason: str, name: str) -> None:
        """This file is left out."""
        self.skipped.setdefault(reason, []).append(name)

    def change(self, reason: str, name: str) -> None:
        """This file is kept, but changed."""
        self.changed.setdefault(reason, []).append(name)

    def report(self, place: str) -> DataReport:
        """What was found so far."""
        return DataReport(
            place,
            self.kept,
            {reason: Finding(len(names), tuple(names)) for reason, names in self.skipped.items()},
            {reason: Finding(len(names), tuple(names[:NAMED])) for reason, names in self.changed.items()},
            Finding(len(self.others), self.others[:NAMED]),
            dict(self.sizes),
            dict(self.modes),
            dict(self.labels),
            tuple(self.problems),
            brightest=self.brightest,
            elsewhere=self.elsewhere,
        )
