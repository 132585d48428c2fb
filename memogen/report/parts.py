"""The parts of a page as frozen values, which the templates beside this file write as HTML.

A page is one file with its style and pictures inside; it loads nothing. Everything that is not a template's own markup is escaped.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

Better = Literal["higher", "lower", ""]
"""Which way a number improves; empty if neither is better."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(words: object) -> str:
    """The words with control characters, direction marks and lone surrogates as escapes such as ``\\x1b``; line breaks and tabs stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(words))


@dataclass(frozen=True)
class Text:
    """A paragraph; ``soft`` is small and grey."""

    kind: ClassVar[str] = "text"
    words: str
    soft: bool = False


@dataclass(frozen=True)
class Heading:
    """A title inside a section."""

    kind: ClassVar[str] = "heading"
    words: str


@dataclass(frozen=True)
class Code:
    """Preformatted text, folded under its ``summary`` if it has one."""

    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""


@dataclass(frozen=True)
class Figure:
    """An image with alternative text ``alt``.

    ``address`` and ``dark``, the image for the dark page, are data addresses; ``size`` is in CSS pixels; ``style`` "pixels" keeps pixels square,
    "wide" scrolls on a narrow screen.
    """

    kind: ClassVar[str] = "figure"
    address: str
    alt: str
    caption: str = ""
    dark: str = ""
    size: tuple[int, int] | None = None
    style: str = ""


@dataclass(frozen=True)
class Column:
    """The title of a table's column, and which way its numbers improve."""

    title: str
    better: Better = ""


@dataclass(frozen=True)
class Cell:
    """A cell, with a ``note`` in small letters and a raised ``mark`` behind it."""

    text: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table that scrolls sideways in its own box on a narrow screen.

    ``style`` "stack" shows each row as a card there; "words": the last column holds sentences; "words stack" is both.
    """

    kind: ClassVar[str] = "table"
    head: Sequence[Column | str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    style: str = ""

    @property
    def columns(self) -> list[Column]:
        """The head."""
        return [Column(each) if isinstance(each, str) else each for each in self.head]

    @property
    def cells(self) -> list[list[tuple[Column, Cell]]]:
        """The rows, each cell with its column."""
        rows = ([Cell(each) if isinstance(each, str) else each for each in row] for row in self.rows)
        return [list(zip(self.columns, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class Listing:
    """A list of (mark, text), folded under its ``summary``."""

    kind: ClassVar[str] = "listing"
    summary: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """Parts side by side if there is room: small "charts", a "pair", or a "strip" of small pictures."""

    kind: ClassVar[str] = "group"
    parts: Sequence[Part]
    style: Literal["charts", "pair", "strip"] = "charts"


Part = Text | Heading | Code | Figure | Table | Listing | Group


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Sign:
    """A judgement of a run in words: good (True), bad (False), or not known yet (None)."""

    alive: bool | None
    words: str


@dataclass(frozen=True)
class Tile:
    """A number shown large at the top."""

    value: str
    title: str
    better: Better = ""


def tables_last(shown: Sequence[Section]) -> list[Section]:
    """The sections with pictures first, then those with a table of their own; tables in groups of pictures move to sections at the end."""
    first, last = list[Section](), list[Section]()
    for section in shown:
        if any(isinstance(part, Table) for part in section.parts):
            last.append(section)
            continue
        parts, tables = list[Part](), list[Part]()
        for part in section.parts:
            if isinstance(part, Group):
                tables += [inner for inner in part.parts if isinstance(inner, Table)]
                part = replace(part, parts=[inner for inner in part.parts if not isinstance(inner, Table)])
            parts.append(part)
        first.append(replace(section, parts=tuple(parts)))
        if tables:
            last.append(Section(f"{section.title}, in numbers", tuple(tables)))
    return [*first, *last]


def png_address(picture: Image.Image | Path) -> Markup:
    """A picture, or a PNG file, as a data address."""
    if isinstance(picture, Path):
        png = picture.read_bytes()
    else:
        buffer = io.BytesIO()
        picture.save(buffer, format="png")
        png = buffer.getvalue()
    return Markup("data:image/png;base64,{}").format(base64.b64encode(png).decode())


def environment(*loaders: BaseLoader) -> Environment:
    """Renders the templates of ``loaders``, then those beside this file, with every value escaped and made :func:`visible`."""
    return Environment(
        loader=ChoiceLoader([*loaders, PackageLoader(__package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )


_environment = lru_cache(maxsize=1)(environment)


def render(template: str, **values: object) -> str:
    """The document that a template makes of the values. Raises jinja2's UndefinedError for a missing value."""
    return _environment().get_template(template).render(**values)


def write_page(path: Path, text: str) -> Path:
    """Write a file atomically, so that no reader sees half of it; makes its folder and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        building.write_text(text, encoding="utf-8")
        os.replace(building, path)
    finally:
        building.unlink(missing_ok=True)
    return path
