"""How soon the explorer shows something: from the command to pictures in Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from benchmarks.speed.processes import environment
from benchmarks.speed.timing import Aim, Case, Cases, Prepared, Setting, Title

OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WATCH = """const shown = () => requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.shown = "yes"; }));
for (const name of ["putImageData", "drawImage"]) {
  const paint = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...given) {
    if (!document.documentElement.dataset.shown) shown();
    return paint.apply(this, given);
  };
}
document.addEventListener("load", ({ target }) => { if (target.closest?.("#preview")) document.documentElement.dataset.stored = "yes"; }, true);"""
STORED, DRAWN = "html[data-stored]", "html[data-shown]"
"""The samples that were stored with the model; and what the model itself has drawn, two frames after a canvas got it. Both marks stay."""
PATIENCE = 120.0  # seconds for a picture, or for the server to end


class Starts:
    """``memogen explore MODEL``, one after another, each in a new tab of a browser that is open already."""

    def __init__(self, model: str, browser: Any) -> None:
        self.model, self.browser = model, browser
        self.process: subprocess.Popen[str] | None = None
        self.tab: Any = None

    def ready(self) -> None:
        """End the last one, and open an empty tab."""
        self.end()
        self.tab = self.browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
        self.tab.add_init_script(WATCH)

    def start(self, sign: str, _: None = None) -> None:
        """From the command to a picture, whose ``sign`` stands on the page."""
        words = [sys.executable, "-m", "memogen", "explore", self.model]
        compiled = {name: value for name, value in environment().items() if name != "PYTHONDONTWRITEBYTECODE"}  # as pip leaves a package
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=compiled, cwd=tempfile.gettempdir())
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        if len(said) < 2:
            raise RuntimeError(f"memogen explore {self.model} ended with {self.process.wait()}")
        self.tab.goto(said[1], wait_until="commit")
        self.tab.wait_for_selector(sign, state="attached", timeout=PATIENCE * 1000)

    def end(self) -> None:
        """Close the tab and the server."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        self.tab.context.close()


def first_picture(setting: Setting) -> Cases:
    """``memogen explore`` of models that ship, from the command to the first pictures in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS, env={**os.environ})
        for model in ("digits",) if setting.quick else ("digits", "fashion", "mnist-vae"):
            starts = Starts(model, browser)
            try:
                for what, sign in (("stored samples", STORED), ("first drawn", DRAWN)):
                    title = Title(f"explore {model}: {what}", aims=(Aim(3.0, "value"),))
                    yield Case(title, Prepared(starts.ready, partial(starts.start, sign)))
            finally:
                starts.end()
        browser.close()


ENTRIES = (first_picture,)
