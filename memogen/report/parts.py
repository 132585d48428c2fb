"""What a page is made of, and how it becomes HTML: frozen values that the templates beside this file write out.

A page is one file that asks for nothing outside itself: its style and its pictures are inside. Whatever is not markup of a template is escaped.
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
"""Which way a number improves; empty where neither is better."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(words: object) -> str:
    """The words with control characters, marks that turn the direction of writing and lone surrogates written out, as in ``\\x1b``.

    Line breaks and tabs stay.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(words))


@dataclass(frozen=True)
class Text:
    """A paragraph; ``soft`` is for what is said aside."""

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
    """Text as it is; folded away under ``summary`` where there is one."""

    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""


@dataclass(frozen=True)
class Figure:
    """An image with a text ``alt`` for those who do not see it.

    ``address`` and ``dark``, the image for the dark page, are data addresses; ``size`` is in CSS pixels; ``style`` "pixels" keeps pixels square,
    and "pixels wide" scrolls where the screen is narrow.
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
    """The head of a table's column, and which way its numbers improve."""

    title: str
    better: Better = ""


@dataclass(frozen=True)
class Cell:
    """A cell with a ``note`` in small letters behind it and a raised ``mark``."""

    text: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table that scrolls sideways in a box of its own where the screen is narrow.

    ``style`` "stack" turns every row into a card there, each number under its title; "words": the last column holds sentences;
    "words stack" is both.
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
    """(mark, text) each, folded away under ``summary``."""

    kind: ClassVar[str] = "listing"
    summary: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """Parts side by side where there is room: small "charts", a "pair", or a "strip" of small pictures."""

    kind: ClassVar[str] = "group"
    parts: Sequence[Part]
    style: Literal["charts", "pair", "strip"] = "charts"


Part = Text | Heading | Code | Figure | Table | Listing | Group


@dataclass(frozen=True)
class Section:
    """A part of the page under a title of its own."""

    title: str
    parts: tuple[Part, ...]


def tables_last(shown: Sequence[Section]) -> list[Section]:
    """The sections with pictures first: one with a table of its own comes after them, and a table beside pictures gets a section there."""
    first, last = list[Section](), list[Section]()
    for section in shown:
        if any(isinstance(part, Table) for part in section.parts):
            last.append(section)
            continue
        tables = [inner for part in section.parts if isinstance(part, Group) for inner in part.parts if isinstance(inner, Table)]
        first.append(replace(section, parts=tuple(map(_without_tables, section.parts))) if tables else section)
        last += [Section(f"{section.title}, in numbers", tuple(tables))] if tables else []
    return [*first, *last]


def _without_tables(part: Part) -> Part:
    if not isinstance(part, Group):
        return part
    return replace(part, parts=[inner for inner in part.parts if not isinstance(inner, Table)])


@dataclass(frozen=True)
class Sign:
    """What is said of a run's life: good, bad, or None where nobody can tell yet."""

    alive: bool | None
    words: str


@dataclass(frozen=True)
class Tile:
    """A number that is seen at a glance."""

    value: str
    title: str
    better: Better = ""


def png_address(picture: Image.Image) -> Markup:
    """The picture itself as a data address."""
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return _address(buffer.getvalue())


def file_address(path: Path) -> Markup:
    """A PNG file as a data address."""
    return _address(path.read_bytes())


def _address(png: bytes) -> Markup:
    return Markup("data:image/png;base64,{}").format(base64.b64encode(png).decode())


def render(template: str, **values: object) -> str:
    """A whole document, or what another template makes of the values. Raises jinja2's UndefinedError for a value that it lacks."""
    return _environment().get_template(template).render(**values)


def html_of(section: Section) -> str:
    """A section by itself."""
    return render("section.html", section=section)


def environment(*loaders: BaseLoader) -> Environment:
    """Makes documents from the templates of ``loaders``, then from those beside this file; whatever is no markup is escaped and made visible."""
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


def write_page(path: Path, text: str) -> Path:
    """Write a page in one piece, so that a reader never sees half of it; makes its folder and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        building.write_text(text, encoding="utf-8")
        os.replace(building, path)
    finally:
        building.unlink(missing_ok=True)
    return path
