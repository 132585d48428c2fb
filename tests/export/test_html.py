"""The page that is sent, opened from disk in a browser without network: its pixels are torch's, and nothing that a user named becomes markup."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import memogen
from memogen.export import write_html
from memogen.export.html import PageFacts, read_card
from memogen.memory.functional import mean_cosine
from memogen.pretrained import save_pretrained
from memogen.shipped import StoredNames, shipped_models, stored_names
from tests.command import run
from tests.models.test_replay_gan import KINDS as REPLAY

from .kinds import built

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", *QUIET]
HOSTILE = '</script><img src="https://example.org/x" onerror="window.hit=1">"\'&amp;\u202e{{ 7 * 7 }}'
LARGEST = 10_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def shown(browser: Browser) -> Iterator[Any]:
    """Opens a page from disk; afterwards it must have asked for nothing and complained of nothing."""
    asked, complaints = list[str](), list[str]()
    context = browser.new_context(offline=True, viewport={"width": 1100, "height": 900})
    context.route(lambda address: address.startswith(("http", "ws")), lambda route: route.abort())

    def show(path: Path, *, ready: bool = True, before: str = "", width: int = 1100) -> Page:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if before:
            page.add_init_script(before)
        page.goto(path.as_uri())
        if ready:
            page.evaluate("memogen.ready.then(() => 0)")
        return page

    yield show
    context.close()
    assert not complaints
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


def pixels(page: Page, latents: Any) -> np.ndarray:
    """What the page draws of given latents."""
    given = {name: part.tolist() for name in ("noise", "key", "label") if (part := getattr(latents, name)) is not None}
    return np.array(page.evaluate("async (given) => Array.from(await memogen.draw(given))", given))


def same_pixels(page: Page, model: Any, num: int = 5) -> None:
    latents = model.latents(num, seed=4)
    low, high = model.image_range
    apart = np.abs(pixels(page, latents) - model.decode(latents).numpy().ravel()).max()
    assert apart < 0.01 * (high - low)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    names = stored_names(shipped_models()["digits"].folder)
    return write_html(memogen.from_pretrained("digits"), folder / "digits.html", PageFacts("digits", names=names))


def test_a_page_draws_what_torch_draws(digits: Path, shown: Any) -> None:
    page = shown(digits)
    model = memogen.from_pretrained("digits")
    assert digits.stat().st_size < LARGEST
    same_pixels(page, model, 9)
    same_pixels(page, model, 1)


def test_its_draws_follow_the_laws_of_the_memory(digits: Path, shown: Any) -> None:
    """Slots by their prior, and queries around their keys as closely as the memory's own draws."""
    page, model = shown(digits), memogen.from_pretrained("digits")
    data = page.evaluate("JSON.parse(document.getElementById('data').textContent).slots")
    made = page.evaluate("memogen.latents(1500)")
    slots, key = torch.tensor(data["numbers"])[made["place"]], torch.tensor(made["key"], dtype=torch.float64)
    assert bool((key.norm(dim=1) - 1).abs().max() < 1e-6)
    cosine = (key * model.memory.keys[slots].double()).sum(1)
    assert float(cosine.mean()) == pytest.approx(float(mean_cosine(model.memory.fitted_concentration(), model.memory.key_dim)), abs=0.003)
    share = torch.bincount(torch.tensor(made["place"]), minlength=len(data["prior"])).double() / 1500
    assert float((share - torch.tensor(data["prior"], dtype=torch.float64)).abs().max()) < 0.015
    noise = np.array(made["noise"])
    assert np.abs(noise).max() <= 1 and noise.std() == pytest.approx(3**-0.5, abs=0.02)
    assert {data["group"][place] for place in page.evaluate("memogen.latents(50, {group: 3}).place")} == {3}


def test_a_slot_that_is_clicked_is_drawn_and_a_drag_moves_the_image(digits: Path, shown: Any) -> None:
    page = shown(digits)
    picture = "document.getElementById('{}').toDataURL()"
    page.locator("#wall").click(position={"x": 40, "y": 40})
    assert "slot" in page.inner_text("#chosen").lower()
    page.wait_for_timeout(200)
    before = page.evaluate(picture.format("point"))
    box = page.locator("#square").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=4)
    page.mouse.up()
    page.wait_for_function(f"{picture.format('point')} !== {before!r}")
    page.locator("#square").press("ArrowLeft")
    page.get_by_role("button", name="7", exact=True).click()
    assert page.get_by_role("button", name="7", exact=True).get_attribute("aria-pressed") == "true"


def test_nothing_hostile_becomes_markup_and_a_phone_needs_no_scrolling_sideways(shown: Any, tmp_path: Path) -> None:
    """Names of a model, of its classes and of its slots, and its card, go onto the page as words."""
    model = built("memory_gan/memory_gan")
    names = StoredNames((HOSTILE, "b"), tuple(slot % 2 for slot in range(48)), (1.0,) * 48)
    card = f"---\ntags: [x]\n---\n# A\n## {HOSTILE}\n{HOSTILE}\n| a | b |\n|---|---|\n| {HOSTILE} | {HOSTILE} |\n- {HOSTILE}\n"
    page = shown(write_html(model, tmp_path / "page.html", PageFacts(HOSTILE, HOSTILE, card, names)), width=380)
    same_pixels(page, model)
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0 and "{{ 7 * 7 }}" in page.title()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_browser_that_is_too_old_is_told_in_one_sentence(digits: Path, shown: Any) -> None:
    page = shown(digits, ready=False, before="delete window.DecompressionStream")
    page.wait_for_function("document.getElementById('status').textContent.includes('DecompressionStream')")
    assert page.locator("button:disabled").count() == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", list(shipped_models()))
def test_every_model_that_ships_draws_in_a_page_of_ten_megabytes(name: str, shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.html"
    code, out, _ = run(f"export {name} --to html --out {path}", capsys)
    assert code == 0 and str(path) in out
    assert path.stat().st_size < LARGEST
    same_pixels(shown(path), memogen.from_pretrained(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["replay_gan/norm", "replay_gan/none", "mem_vae/conditional", "mem_vae/gaussian", "memory_gan/no_memory", "memory_gan/own_key", "memory_gan/odd"],
)
def test_other_kinds_draw_too(kind: str, shown: Any, tmp_path: Path) -> None:
    model = built(kind)
    same_pixels(shown(write_html(model, tmp_path / "page.html", PageFacts(kind))), model)


@pytest.mark.slow
def test_classes_have_names_and_are_drawn_by_them(shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = built("replay_gan/norm")
    model.config = replace(REPLAY["norm"], classes=("a boot", HOSTILE, "a coat"))
    save_pretrained(model, tmp_path / "shoes" / "model")
    assert run(f"export {tmp_path / 'shoes'} --to html --out {tmp_path / 'page.html'}", capsys)[0] == 0
    page = shown(tmp_path / "page.html")
    assert page.title() == "shoes"
    page.get_by_role("button", name="a coat").click()
    assert page.inner_text("#chosen") == "a coat"
    assert set(page.evaluate("memogen.latents(20, {label: 2}).label")) == {2}
    assert page.evaluate("window.hit") is None


def test_a_card_is_read_into_its_parts() -> None:
    table = "| h | k |\n|---|---:|\n| a\\|b | **2** |"
    text = "```\n## no\n```\nfoo\nbar\n\nbaz `q` [l](https://x)\n- one\n- two\n## Empty\n"
    assert read_card("") == []
    parts = read_card(f"---\nx: y\n---\n# T\nfirst\n## A\n{table}\n{text}")
    assert [part.title for part in parts] == ["A"]
    assert parts[0].blocks == [("rows", [("a|b", "2")]), ("text", ["foo", "bar"]), ("text", ["baz q l"]), ("points", ["one", "two"])]


def test_a_page_that_cannot_be_written_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    path.write_text("former")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    monkeypatch.setattr("memogen.export.html.translate", lambda *_, **__: __import__("onnx").ModelProto())
    with pytest.raises(OSError, match="space"):
        write_html(built("mem_vae/vae"), path, PageFacts("x"))
    monkeypatch.undo()
    assert path.read_text() == "former" and len(list(tmp_path.iterdir())) == 1


def test_the_runtime_is_the_one_on_record() -> None:
    import hashlib
    import json
    import lzma

    folder = Path(memogen.__file__).parent / "export" / "vendor"
    record = json.loads((folder / "runtime.json").read_text())
    for name, digest in record["files"].items():
        assert hashlib.sha256(lzma.decompress((folder / f"{name}.xz").read_bytes())).hexdigest() == digest
    assert "MIT License" in (folder / "LICENSE").read_text()
