"""The page in a browser, on a desk and on a phone: every control changes what is shown, without errors and without other hosts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.explorer import toys
from tests.report import toy

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES = {"desk": (1280, 860), "phone": (390, 844)}
LOOK = """(place) => {
  const root = document.querySelector(place);
  const images = [...root.querySelectorAll("canvas, img")].map((each) => (each.tagName === "IMG" ? each.src : each.toDataURL()));
  const states = [...root.querySelectorAll("[aria-pressed], .cell")].map((each) => each.className + each.getAttribute("aria-pressed"));
  return JSON.stringify([images, states, root.innerText, getComputedStyle(root).backgroundColor]);
}"""
PATIENCE = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as found:
        launched = found.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()


class Tab:
    """A page in a tab, what went wrong there, and what it asked for."""

    def __init__(self, browser: Any, address: str, size: str, **options: Any) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(viewport={"width": width, "height": height}, has_touch=size == "phone", **options)
        self.page, self.address, self.wrong = self.context.new_page(), address, list[str]()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: None if request.url.startswith(address) else self.wrong.append(request.url))

    def turn(self, view: str) -> str:
        """Go to a view, and wait until its first picture is there; its place."""
        self.page.goto(f"{self.address}#{view}")
        place = f"#view-{view}"
        self.page.wait_for_selector(f"{place}:not([hidden])")
        self.until(lambda: self.page.locator(f"{place} canvas, {place} img").count())
        self.rest()
        return place

    def until(self, true: Callable[[], Any]) -> None:
        """Wait, by asking from outside: the page's policy allows no script that is made of a string."""
        end = time.monotonic() + PATIENCE / 1000
        while not true():
            assert time.monotonic() < end, "nothing changed"
            self.page.wait_for_timeout(40)

    def rest(self) -> None:
        """Wait until no question is open."""
        self.until(lambda: self.page.evaluate("document.documentElement.dataset.asking === '0'"))

    def changes(self, place: str, act: Callable[[], Any]) -> None:
        """That something done changes what is shown at a place."""
        before = self.page.evaluate(LOOK, place)
        act()
        self.until(lambda: self.page.evaluate(LOOK, place) != before)
        self.rest()

    def press(self, place: str, name: str) -> Callable[[], Any]:
        return lambda: self.page.locator(place).get_by_role("button", name=name, exact=True).first.click()

    def choose(self, place: str, label: str, value: str) -> Callable[[], Any]:
        return lambda: self.page.locator(place).get_by_label(label, exact=True).select_option(value)

    def slide(self, place: str, label: str, value: float) -> Callable[[], Any]:
        return lambda: self.page.locator(place).get_by_label(label, exact=True).fill(str(value))

    def fits(self) -> None:
        """Nothing is wider than the window."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def close(self) -> None:
        assert not self.wrong
        self.context.close()


def known_class(session: Any) -> str:
    """The name of a class that has slots."""
    name: str = session.names.classes[max(session.names.label)]
    return name


@pytest.fixture(params=["desk", pytest.param("phone", marks=pytest.mark.slow)])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tab(browser: Any, size: str) -> Iterator[Callable[..., Tab]]:
    """Shows sessions."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def opened(session: Any, **options: Any) -> Tab:
            found = Tab(browser, stack.enter_context(toys.shown(session)), size, **options)
            stack.callback(found.close)
            return found

        yield opened


def test_slots_can_be_found_sorted_and_looked_at(tab: Callable[..., Tab]) -> None:
    session = toys.session(data=toys.data)
    toys.looked_at(session)
    shown = tab(session)
    place, name = shown.turn("slots"), known_class(session)
    shown.fits()
    for order in ("likeness", "mass", "number", "class"):
        shown.changes(f"{place} .wall", shown.choose(place, "Sort by", order))
    shown.changes(f"{place} .wall", shown.press(f"{place} .toolbar", "New noise"))
    find = shown.page.locator(place).get_by_label("Find", exact=True)
    shown.changes(f"{place} .wall", lambda: find.fill(name))
    labels = [each.get_attribute("aria-label") or "" for each in shown.page.locator(".cell").all()]
    assert labels and all(name in label for label in labels)
    shown.changes(f"{place} .wall", lambda: find.fill("7"))
    assert shown.page.locator(".cell").count() == 1
    shown.changes(f"{place} .wall", lambda: find.fill(""))
    shown.changes(f"{place} .detail", lambda: shown.page.locator(".cell").nth(3).click())
    shown.until(lambda: shown.page.locator(f"{place} .detail canvas").count() >= 25)
    shown.changes(f"{place} .detail", shown.press(f"{place} .detail", "New noise"))
    shown.changes(f"{place} .detail", lambda: shown.page.locator(".detail button.tile").first.click())
    shown.changes(f"{place} .detail", shown.press(f"{place} .detail", "Freeze"))
    shown.changes(f"{place} .detail", shown.press(f"{place} .detail", "Unfreeze"))
    shown.changes(f"{place} .wall", shown.press(f"{place} .detail", "Turn off"))
    shown.changes(f"{place} .wall", shown.press(f"{place} .detail", "Turn on"))
    shown.changes(f"{place} .wall", shown.press(f"{place} .detail", "Forget"))
    shown.fits()
    shown.press(f"{place} .detail", "Close the slot")()


@pytest.mark.parametrize("kind", ["mixture", "mem_vae", "replay"])
def test_every_view_fits_a_phone(browser: Any, kind: str) -> None:
    session = toys.session(kind)
    with toys.shown(session) as address:
        shown = Tab(browser, address, "phone")
        shown.turn("samples")
        for view in shown.page.evaluate("[...document.querySelectorAll('nav a')].map((each) => each.hash.slice(1))"):
            shown.turn(view)
            shown.fits()
        if kind == "mixture":
            shown.turn("slots")
            shown.changes("#view-slots .detail", lambda: shown.page.locator(".cell").first.tap())
            shown.fits()
        shown.close()


def test_the_wall_is_walked_by_keys(tab: Callable[..., Tab]) -> None:
    shown = tab(toys.session())
    place = shown.turn("slots")
    shown.page.locator(".cell").first.focus()
    focused = "document.activeElement.getAttribute('aria-label')"
    first = shown.page.evaluate(focused)
    for key in ("ArrowRight", "ArrowDown"):
        before = shown.page.evaluate(focused)
        shown.page.keyboard.press(key)
        assert shown.page.evaluate(focused) != before
    shown.changes(f"{place} .detail", lambda: shown.page.keyboard.press("Enter"))
    shown.page.locator(".cell").nth(5).focus()
    shown.page.keyboard.press("Home")
    assert shown.page.evaluate(focused) == first


def test_a_picture_is_dropped_and_looked_at(tab: Callable[..., Tab], tmp_path: Path) -> None:
    shown = tab(toys.session(data=toys.data))
    place = shown.turn("picture")
    (tmp_path / "one.png").write_bytes(toys.png())
    (tmp_path / "text.txt").write_text("no picture")
    file = shown.page.locator(f"{place} input[type=file]")
    shown.changes(place, lambda: file.set_input_files(tmp_path / "one.png"))
    shown.page.wait_for_selector(f"{place} .barrow")
    shown.changes(f"{place} .results", shown.press(f"{place} .results", "Again"))
    shown.changes(f"{place} .results", lambda: shown.page.locator(f"{place} .strip button.tile").nth(2).click())
    shown.changes(f"{place} .results", shown.press(place, "Draw a sample"))
    shown.changes("#note", lambda: file.set_input_files(tmp_path / "text.txt"))
    shown.fits()
    shown.changes("#view-slots .detail", lambda: shown.page.locator(f"{place} .barrow").first.click())


@pytest.mark.parametrize("kind", ["mixture", "plain"])
def test_the_picture_follows_in_the_square(tab: Callable[..., Tab], kind: str) -> None:
    shown = tab(toys.session(kind))
    place = shown.turn("between")
    shown.fits()
    big, chart = f"{place} .card:last-child", f"{place} .pad"
    box = shown.page.locator(chart).bounding_box()
    mouse = shown.page.mouse

    def drag() -> None:
        mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        mouse.down()
        mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
        mouse.up()

    shown.changes(big, drag)
    for key in ("ArrowRight", "Shift+ArrowUp"):
        shown.changes(big, lambda key=key: shown.page.keyboard.press(key))  # type: ignore[misc]
    shown.changes(big, shown.press(place, "New corners"))
    shown.changes(big, shown.slide(place, "noise, direction 1", 2.5))
    shown.changes(big, shown.press(place, "Level the sliders"))
    if kind == "mixture":
        shown.changes(big, shown.press(place, "New noise"))
        corner = shown.page.locator(place).get_by_label("slot at the top left", exact=True)
        other = "13" if corner.input_value() != "13" else "14"
        shown.changes(place, lambda: (corner.fill(other), corner.press("Enter")))


def test_edits_show_before_and_after(tab: Callable[..., Tab], tmp_path: Path) -> None:
    session = toys.session(data=toys.data, out=tmp_path / "edited")
    toys.looked_at(session)
    shown = tab(session)
    place = shown.turn("edit")
    after = f"{place} .pair figure:last-child"
    shown.page.wait_for_selector(f"{after} canvas")
    shown.fits()
    shown.changes(after, shown.press(place, known_class(session)))
    shown.changes(f"{place} .board", shown.press(place, known_class(session)))
    shown.changes(f"{place} .board", shown.press(place, known_class(session)))
    shown.changes(f"{place} .board", shown.press(place, "Forget what is off"))
    shown.changes(f"{place} .board", shown.press(place, "Take back"))
    shown.changes(f"{place} .board", shown.press(place, known_class(session)))
    shown.page.locator(f"{place} .strip button.tile").first.click()
    shown.page.locator(f"{place} input[type=range]").fill("0.8")
    shown.changes(after, shown.press(place, "Write into the memory"))
    shown.changes(after, shown.press(place, "Take back"))
    shown.changes(after, shown.press(place, "New seed"))
    shown.changes("#note", shown.press(place, "Save as model …"))
    assert (tmp_path / "edited" / "model.safetensors").is_file()


def test_other_tabs_follow(tab: Callable[..., Tab], browser: Any) -> None:
    shown = tab(toys.session())
    place = shown.turn("slots")
    other = Tab(browser, shown.address, "desk")
    other.turn("slots")
    other.page.locator(".cell").nth(2).click()
    shown.changes(f"{place} .wall", other.press("#view-slots .detail", "Turn off"))
    other.close()


def test_the_theme_is_switched_and_kept(tab: Callable[..., Tab]) -> None:
    shown = tab(toys.session(), color_scheme="dark")
    shown.turn("samples")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = shown.page.evaluate(ground)
    shown.changes("body", lambda: shown.page.locator("#theme").click())
    light = shown.page.evaluate(ground)
    shown.page.reload()
    assert shown.page.evaluate(ground) == light != dark


@pytest.mark.parametrize("kind", ["mixture", "mem_vae", "conditional_vae", "replay", "plain", "vae", "untold"])
def test_samples_of_every_family(tab: Callable[..., Tab], kind: str) -> None:
    shown = tab(toys.session(kind))
    place = shown.turn("samples")
    shown.page.wait_for_selector(f"{place} canvas")
    shown.fits()
    shown.changes(f"{place} .tiles", shown.press(place, "New"))
    seed = shown.page.locator(place).get_by_label("Seed", exact=True)
    shown.changes(f"{place} .tiles", lambda: (seed.fill("12"), seed.press("Enter")))
    if kind in ("conditional_vae", "replay"):
        shown.changes(f"{place} .tiles", shown.choose(place, "Class", "2"))
    if kind == "mem_vae":
        shown.changes(f"{place} .tiles", lambda: shown.page.get_by_label("memory of layer 0").uncheck())
    views = [each.inner_text() for each in shown.page.locator("nav a").all()]
    assert ("Slots" in views) == (kind in ("mixture", "mem_vae", "conditional_vae")) and ("Edit" in views) == (kind == "mixture")
    assert ("Fill in" in views) == kind.endswith("vae") and ("Classes" in views) == (kind == "replay")


def test_slots_of_layers(tab: Callable[..., Tab]) -> None:
    session = toys.session("mem_vae", data=toys.data)
    toys.looked_at(session)
    shown = tab(session)
    place = shown.turn("slots")
    shown.fits()
    for way in ("alone", "contrast", "apart"):
        shown.changes(f"{place} .wall", shown.choose(place, "Show", way))
    shown.changes(f"{place} .wall", shown.choose(place, "Layer", "1"))
    shown.changes(f"{place} .detail", lambda: shown.page.locator(".cell").first.click())


def test_painted_pixels_are_filled_in(tab: Callable[..., Tab]) -> None:
    session = toys.session("mem_vae", data=toys.data)
    toys.looked_at(session)
    shown = tab(session)
    place = shown.turn("fill")
    result = f"{place} .pair figure:last-child"
    shown.fits()
    shown.changes(result, lambda: shown.page.locator(f"{place} .strip button.tile").nth(1).click())
    shown.changes(place, shown.press(place, "nothing"))
    box = shown.page.locator(f"{place} canvas.paint").first.bounding_box()
    mouse = shown.page.mouse

    def stroke() -> None:
        mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
        mouse.down()
        mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.3 * box["height"], steps=6)
        mouse.up()

    shown.changes(result, stroke)
    shown.changes(f"{place} .pair figure:first-child", lambda: (shown.page.locator(place).get_by_label("rub out").check(), stroke()))
    for preset in ("left half", "square", "at random", "lower half"):
        shown.changes(result, shown.press(place, preset))
    shown.page.wait_for_timeout(1500)
    shown.changes(result, shown.slide(place, "Step of the filling", 0))
    shown.changes(result, shown.press(place, "Another way"))


def test_classes_and_tasks_and_the_training(tab: Callable[..., Tab], tmp_path: Path) -> None:
    from memogen.explorer.loaded import open_model
    from memogen.pretrained import save_pretrained

    run = toy.run_folder(tmp_path / "run")
    sheets = open_model(str(run), str(run / "model")).sheets
    first = toys.replay()
    first.learned[2] = -1
    for number, model in enumerate((first, toys.replay())):
        save_pretrained(model, tmp_path / f"task-{number}")
    shown = tab(toys.session("replay", sheets=sheets, tasks=(tmp_path / "task-0", tmp_path / "task-1")))
    place = shown.turn("classes")
    shown.page.wait_for_selector(f"{place} canvas")
    shown.fits()
    shown.changes(place, shown.press(place, "New noise"))
    place = shown.turn("tasks")
    shown.page.wait_for_selector(f"{place} canvas")
    shown.changes(place, shown.slide(place, "After which task", 0))
    shown.changes(f"{place} .rows", shown.press(place, "Play"))
    place = shown.turn("training")
    shown.changes(place, shown.slide(place, "Point of the training", 0))
    shown.changes(place, shown.press(place, "Play"))
    shown.fits()
