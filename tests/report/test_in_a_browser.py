"""A report page in Chromium, on a desk and a phone, light and dark: a silent console, no scrolling sideways, pictures first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memogen.report.page import write_report

from . import toy

CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PLACES = """() => {
  const top = node => node.getBoundingClientRect().top
  return [[...document.querySelectorAll("section img")].map(top), [...document.querySelectorAll("table")].map(top)]
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--disable-sync"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(toy.run_folder(tmp_path_factory.mktemp("run") / "toys"), data=toy.images(60), held_out=toy.images(50, seed=9))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_fits_its_screen(browser: Any, page: Path, width: int, theme: str) -> None:
    said: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.as_uri())
    wide, colour = tab.evaluate("[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]")
    pictures, tables = tab.evaluate(PLACES)
    hidden = tab.evaluate("[...document.images].filter(image => !image.complete || !image.naturalWidth).length")
    verdicts = tab.locator(".sign").count()
    context.close()
    assert said == [] and wide == width and hidden == 0 and verdicts == 1
    assert pictures and tables and max(pictures) < min(tables)
    dark = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) < 3 * 128
    assert dark == (theme == "dark")
