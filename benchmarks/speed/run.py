"""What a command costs from beginning to end: samples of a model on disk, a short training, and what a run does after its last step."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.speed.memory import live_in
from benchmarks.speed.processes import environment
from benchmarks.speed.step import training_step
from benchmarks.speed.timing import Aim, Case, Cases, Prepared, Setting, Title
from memogen import save_pretrained
from memogen.recipes import RECIPES


def samples(setting: Setting) -> Cases:
    """64 samples of a digits model in a folder, to a picture: ``memogen sample``."""
    torch.manual_seed(0)
    model = RECIPES["memory_gan/digits"]().model.build().eval()
    live_in(model.memory)
    with folder() as place:
        save_pretrained(model, place / "model")
        title = Title("64 samples from disk", aims=(Aim(2.5, "value"), Aim(2.5 / 4.7, "before")))
        words = ["sample", str(place / "model"), "--num", "64", "--out", str(place / "samples.png")]
        yield Case(title, lambda: command(words, place / "cache", setting))


def training(setting: Setting) -> Cases:
    """``memogen train memory_gan/digits --steps 100``, scores and report among it, beside its 100 steps alone."""
    steps = setting.size(100, 2)
    recipe = RECIPES["memory_gan/digits"]()
    step = training_step(recipe, setting.runtime(recipe), recipe.training.batch_size)
    few = ["--scoring.num_samples", "80", "--training.batch_size", "8"] if setting.quick else []

    def alone() -> None:
        for _ in range(steps):
            step()

    with folder() as place:
        words = ["train", "memory_gan/digits", "--steps", str(steps), *few]
        yield Case(Title(f"training {steps} digits steps", beside="steps alone"), run(words, place, setting), alone)


def tail(setting: Setting) -> Cases:
    """``memogen train memory_gan/folder --steps 2`` on 5,000 pictures of 64x64: what a run does beside its steps."""
    num, side = setting.size(5000, 60), setting.size(64, 16)
    few = ["--scoring.num_samples", "40", "--training.batch_size", "8"] if setting.quick else []
    image = np.random.default_rng(0).integers(0, 256, (num, side, side, 3), dtype=np.uint8)
    with folder() as place:
        np.savez(place / "pictures.npz", image=image)
        words = ["train", "memory_gan/folder", "--data", str(place / "pictures.npz"), "--steps", "2", *few]
        yield Case(
            Title(f"run's tail, {num:,} pictures of {side}x{side}", aims=(Aim(15.0, "value"), Aim(15 / 67, "before"))), run(words, place, setting)
        )


ENTRIES = (samples, training, tail)


@contextmanager
def folder() -> Iterator[Path]:
    """An empty one, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def run(words: list[str], place: Path, setting: Setting) -> Prepared:
    """A training into a new run folder, with an empty cache."""
    numbers = count()
    return Prepared(lambda: place / str(next(numbers)), lambda out: command([*words, "--out", str(out / "run")], out / "cache", setting))


def command(words: list[str], cache: Path, setting: Setting) -> None:
    """``memogen`` with these words in a process of its own; in this one where it is to be quick. Raises RuntimeError where it fails."""
    words = [*words, "--device", setting.device] if words[0] == "train" and setting.device != "auto" else words
    failed, said = (_here if setting.quick else _apart)(words, {"MEMOGEN_CACHE": str(cache)})
    if failed:
        raise RuntimeError(f"memogen {' '.join(words)}: {said.strip().splitlines()[-1]}")


def _here(words: list[str], also: dict[str, str]) -> tuple[int, str]:
    """(exit status, what was said) in this process."""
    from memogen.cli import main

    told = io.StringIO()
    with patch.dict(os.environ, also), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        return int(main(words) or 0), told.getvalue()


def _apart(words: list[str], also: dict[str, str]) -> tuple[int, str]:
    """The same in another; its working folder holds no package that could be taken for the one being measured."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with tempfile.TemporaryDirectory() as here:
        line = [sys.executable, "-m", "memogen", *words]
        done = subprocess.run(line, cwd=here, env=environment() | threads | also, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr
