"""The fields of a question, each checked; a bad value is refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memogen.errors import printable


class Refused(Exception):  # noqa: N818  the question is at fault
    """A question that cannot be answered: one printable line, and the status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(printable(" ".join(message.split()))[:400])
        self.status = status


@dataclass(frozen=True)
class Asked:
    """The fields of a question. Every method raises :class:`Refused` for a missing value, and for one out of range."""

    fields: Mapping[str, Any]

    @classmethod
    def read(cls, body: bytes) -> Asked:
        """From a JSON object."""
        try:
            found = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise Refused("the request is not JSON") from error
        if not isinstance(found, dict):
            raise Refused("the request is not a JSON object")
        return cls(found)

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number from ``least`` to ``most``."""
        return _whole(self._value(name, default), name, least, most)

    def optional(self, name: str, least: int, most: int) -> int | None:
        """The same, or None if it is missing or null."""
        return None if self.fields.get(name) is None else self.whole(name, least, most)

    def real(self, name: str, least: float, most: float, default: float | None = None) -> float:
        """A number from ``least`` to ``most``."""
        return _real(self._value(name, default), name, least, most)

    def wholes(self, name: str, least: int, most: int, *, longest: int, default: Sequence[int] | None = None) -> list[int]:
        """A list of at most ``longest`` whole numbers."""
        return [_whole(value, name, least, most) for value in self._values(name, longest, default)]

    def reals(self, name: str, least: float, most: float, *, longest: int, default: Sequence[float] | None = None) -> list[float]:
        """A list of at most ``longest`` numbers."""
        return [_real(value, name, least, most) for value in self._values(name, longest, default)]

    def points(self, name: str, *, longest: int) -> list[tuple[float, float]]:
        """A list of at most ``longest`` points of the unit square."""
        found = []
        for point in self._values(name, longest, None):
            if not isinstance(point, list) or len(point) != 2:
                raise Refused(f"{name}: a point is two numbers from 0 to 1")
            found.append((_real(point[0], name, 0, 1), _real(point[1], name, 0, 1)))
        return found

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of some words."""
        value = self._value(name, None)
        if value not in choices:
            raise Refused(f"{name}: give one of {', '.join(choices)}")
        return str(value)

    def bits(self, name: str, length: int) -> list[bool]:
        """A word of ``length`` zeros and ones."""
        value = self._value(name, None)
        if not isinstance(value, str) or len(value) != length or set(value) - {"0", "1"}:
            raise Refused(f"{name}: give {length} zeros and ones in one word")
        return [letter == "1" for letter in value]

    def _value(self, name: str, default: object) -> object:
        value = self.fields.get(name)
        if value is None and default is None:
            raise Refused(f"{name}: is missing")
        return default if value is None else value

    def _values(self, name: str, longest: int, default: Sequence[object] | None) -> list[object]:
        value = self._value(name, None if default is None else list(default))
        if not isinstance(value, list):
            raise Refused(f"{name}: give a list")
        if len(value) > longest:
            raise Refused(f"{name}: holds {len(value)} values; give {longest} at most")
        return value


def _whole(value: object, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"{name}: give a whole number from {least} to {most}")
    return value


def _real(value: object, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        raise Refused(f"{name}: give a number from {least:g} to {most:g}")
    return float(value)
