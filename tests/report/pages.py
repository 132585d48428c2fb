"""What a page must be, whatever it shows: HTML that closes what it opens and asks for nothing outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from memogen.report.parts import Section, render

VOID = {"meta", "link", "img", "source", "br"}
ADDRESSES = ("src", "srcset", "href", "action", "data", "poster")


class Page(HTMLParser):
    """Collects tags, images and texts; elements must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def addresses(self) -> list[str | None]:
        """Whatever a browser would load."""
        return [value for _, attributes in self.tags for name, value in attributes.items() if name in ADDRESSES]


def checked(text: str) -> Page:
    """The page, read: whole, with one title, without a script, and with all that it shows inside."""
    page = Page(text)
    assert not page.open, "everything is closed"
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("title"), tags.count("h1"), tags.count("style"), tags.count("script")) == (1, 1, 1, 0)
    assert page.addresses and all(address is not None and address.startswith("data:") for address in page.addresses)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\(|@import|https?://", style)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img"), "every image has a text for those who do not see it"
    return page


def html_of(section: Section) -> str:
    """A page of one section."""
    return render("page.html", title="A section", sections=[section])
