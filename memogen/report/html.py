"""HTML as text: everything that is not markup of ours is escaped; pictures are part of the page."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NewType

from PIL import Image

Html = NewType("Html", str)


def escape(text: object) -> Html:
    """Any text as HTML that shows it and does nothing else."""
    return Html(html.escape(str(text)))


def join(parts: Iterable[Html]) -> Html:
    return Html("\n".join(parts))


def element(name: str, *inside: Html, style: str = "") -> Html:
    """One element of a class ``style``."""
    return Html(f"<{name}{f' class={chr(34)}{style}{chr(34)}' if style else ''}>{''.join(inside)}</{name}>")


def paragraph(text: str, style: str = "") -> Html:
    return element("p", escape(text), style=style)


def section(title: str, *inside: Html) -> Html:
    return element("section", element("h2", escape(title)), *inside)


def code_block(text: str) -> Html:
    return element("pre", escape(text))


def details(summary: str, *inside: Html) -> Html:
    return element("details", element("summary", escape(summary)), *inside)


def png_address(picture: Image.Image) -> str:
    """The picture itself as a data address."""
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def file_address(path: Path) -> str:
    """A PNG file as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def figure(address: str, alt: str, caption: str = "", *, dark: str = "", size: tuple[int, int] | None = None, style: str = "") -> Html:
    """An image with a text for those who do not see it; ``dark`` is the image for the dark page, ``size`` in CSS pixels."""
    across = f' width="{size[0]}" height="{size[1]}"' if size else ""
    image = f'<img src="{escape(address)}" alt="{escape(alt)}"{across}>'
    if dark:
        image = f'<picture><source media="(prefers-color-scheme: dark)" srcset="{escape(dark)}">{image}</picture>'
    words = [element("figcaption", escape(caption))] if caption else []
    return element("figure", Html(image), *words, style=style)


def table(head: Sequence[str], rows: Sequence[Sequence[Html]], caption: str = "", *, style: str = "") -> Html:
    """A table that scrolls sideways on a narrow screen; with ``style`` "words" its last column holds sentences."""
    titles = join(Html(f'<th scope="col">{escape(name)}</th>') for name in head)
    body = join(element("tr", *(element("td", cell) for cell in row)) for row in rows)
    words = element("caption", escape(caption)) if caption else Html("")
    return element("div", element("table", words, element("thead", element("tr", titles)), element("tbody", body)), style=f"wide {style}".strip())


def page(title: str, *inside: Html, style: str = "") -> Html:
    """A whole document that asks for nothing outside itself; ``style`` "broad" is for wide tables."""
    sheet = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{sheet}</style>",
    )
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        *head,
        "</head>",
        "<body>",
        f'<main class="{style}">',
        *inside,
        "</main>",
        "</body>",
        "</html>",
        "",
    )
    return Html("\n".join(lines))


def write_page(path: Path, text: Html) -> Path:
    """Write a page in one piece, so that a reader never sees half of it; returns its path."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        building.write_text(text, encoding="utf-8")
        os.replace(building, path)
    finally:
        building.unlink(missing_ok=True)
    return path
