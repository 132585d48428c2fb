"""Metrics, console lines, the window of terms, and sample grids."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.training import NonFiniteLoss, grid
from memogen.training.log import Window, open_log, terms_of, truncate_metrics
from memogen.types import InputError, Loss
from tests.training.toy import train


@given(steps=st.lists(st.integers(1, 100), max_size=10).map(sorted), restored=st.integers(0, 100), cut=st.booleans())
def test_truncation_keeps_the_lines_up_to_the_restored_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], restored: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in steps) + ('{"step": 1, "lo' if cut else ""))
    truncate_metrics(path, restored)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [step for step in steps if step <= restored]


@given(damage=st.binary(max_size=40), place=st.integers(0, 2))
def test_a_damaged_line_is_dropped_and_the_others_stay(tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int) -> None:
    lines = [json.dumps({"step": step, "loss": 0.5}).encode() for step in (1, 2, 3)]
    lines[place] = damage.replace(b"\n", b"").replace(b"\r", b"") + b"\xff" + b"[" * 100_000 * (len(damage) % 2)
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    path.write_bytes(b"\n".join(lines))
    truncate_metrics(path, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [step for step in (1, 2, 3) if step != place + 1]


def test_samples_beyond_the_restored_step_go(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-00000010.png", "step-00000020.png", "step-mine.png", "other.png"):
        (tmp_path / "samples" / name).touch()
    with open_log(tmp_path, 10, tensorboard=False):
        pass
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["other.png", "step-00000010.png", "step-mine.png"]


def test_what_is_not_finite_becomes_null_and_a_follower_writes_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path, 0, tensorboard=False) as log:
        log.metrics(3, 192, 1.23456, {"a": 0.5, "b": math.inf})
        log.line("hello")
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 3, "images_seen": 192, "seconds": 1.235, "a": 0.5, "b": None}
    assert (tmp_path / "train.log").read_text().endswith(" hello\n")
    with open_log(None, 0, tensorboard=False) as log:
        log.metrics(3, 192, 1.0, {"a": 0.5})
        log.line("nothing")


def test_tensorboard_writes_events_or_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    train(tmp_path, steps=2, tensorboard=True, log_every=1)
    assert list((tmp_path / "tensorboard").glob("events*"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="tensorboard is not installed"):
        train(tmp_path / "without", steps=2, tensorboard=True)


def test_the_window_gives_means_over_all_that_was_seen() -> None:
    window = Window()
    for step, value in ((1, 1.0), (2, 2.0), (3, 6.0)):
        window.add(step, "p", terms_of(Loss(torch.tensor(value), {"half": torch.tensor(value / 2, dtype=torch.float64)})), must=True)
    window.add(3, "p", {"usage": torch.tensor(7)})
    window.look(lambda values: values)
    assert window.close() == {"p/total": 3.0, "p/half": 1.5, "p/usage": 7.0}
    assert window.close() == {}


def test_the_window_names_the_first_bad_step_and_term_but_lets_metrics_be_undefined() -> None:
    window = Window()
    window.add(1, "p", {"undefined": torch.tensor(torch.nan)})
    window.look(lambda values: values)
    for step, value in ((2, 1.0), (3, torch.nan), (4, torch.inf)):
        window.add(step, "p", terms_of(Loss(torch.tensor(1.0), {"gap": torch.tensor(value)})), must=True)
    with pytest.raises(NonFiniteLoss, match="step 3: p/gap is not finite"):
        window.look(lambda values: values)


@given(count=st.integers(1, 9), channels=st.sampled_from([1, 3]), size=st.tuples(st.integers(2, 60), st.integers(1, 60)), columns=st.integers(0, 4))
def test_a_grid_shows_every_image_magnified_to_be_seen(count: int, channels: int, size: tuple[int, int], columns: int) -> None:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, channels, *size) * 3
    sheet = grid(images, columns)
    assert sheet.mode == {1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(sheet).reshape(sheet.height, sheet.width, channels)
    columns = columns or math.ceil(math.sqrt(count))
    height, width = (pixels.shape[0] - 2) // math.ceil(count / columns), (pixels.shape[1] - 2) // columns
    assert max(height, width) - 2 >= 48
    for i in range(count):
        top, left = 2 + i // columns * height, 2 + i % columns * width
        assert (pixels[top : top + height - 2, left : left + width - 2] == 3 * i).all()


def test_a_grid_of_anything_else_is_refused() -> None:
    for shape in ((0, 1, 2, 2), (1, 2, 2, 2)):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            grid(torch.zeros(shape, dtype=torch.uint8))
