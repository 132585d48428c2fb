"""Two processes learn what the mathematics says, of every family, and go on where one has stopped; see also ``tests/training/test_processes.py``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.models.two_processes import NORMED, STEPS, everything, learned, train
from tests.together import done, together


def losses(folder: Path) -> np.ndarray:
    """Every logged number of every step but the clock, (steps, numbers)."""
    from tests.command import rows_in

    # per-process means of what was written joint, or of a gradient before merging, are not losses
    skipped = {"seconds", "critic/query_gradient", "critic/replaced_real"}
    return np.array([[row[name] for name in sorted(row) if name not in skipped] for row in rows_in(folder / "metrics.jsonl")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every family: what two processes have learned from the start, and what they have learned after one that did the first half."""
    place = tmp_path_factory.mktemp("together")
    for family, steps in STEPS.items():
        train(family, place / "begun" / family, steps=steps // 2)
    shutil.copytree(place / "begun", place / "alone")
    with together(place, everything, place) as processes:
        assert done(processes) == [0, 0], [(place / f"err-{rank}").read_text() for rank in range(2)]
    return place


def shares(family: str) -> int:
    """Into how many shares one process must split the batch to learn what two processes learn."""
    return 2 if family in NORMED else 1


def check(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-8, err_msg=name)


def ranks(folder: Path, name: str) -> list[dict[str, np.ndarray]]:
    return [dict(np.load(folder / f"{name}-{rank}.npz")) for rank in range(2)]


@pytest.mark.parametrize("family", STEPS)
def test_two_processes_learn_what_one_does(folder: Path, family: str, tmp_path: Path) -> None:
    """In double precision: the same weights, memory, averages and moments to the bit on both ranks, and to 1e-8 those of one process that minimises
    the mean of the losses of the two shares. Without batch norm that is the loss of the joint batch.
    """
    first, second = ranks(folder, family)
    assert first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
    state = train(family, tmp_path, steps=STEPS[family], shares=shares(family))
    check(first, learned(state))
    np.testing.assert_allclose(losses(folder / family), losses(tmp_path), rtol=0, atol=1e-8)
    memory = getattr(state.modules["model"], "memory", None)
    assert family != "memory_gan" or float(memory.mass.std()) > 0


@pytest.mark.parametrize("family", STEPS)
def test_two_processes_go_on_where_one_has_stopped(folder: Path, family: str) -> None:
    """To 1e-8 what one process learns that splits its batches from there on, or goes on as before without batch norm."""
    first, second = ranks(folder, f"continued-{family}")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    check(first, learned(train(family, folder / "alone" / family, steps=STEPS[family], shares=shares(family))))


@pytest.mark.parametrize("family", STEPS)
def test_one_process_goes_on_where_two_have_stopped(folder: Path, family: str, tmp_path: Path) -> None:
    steps = STEPS[family] + 4
    shutil.copytree(folder / family, tmp_path / "two")
    train(family, tmp_path / "one", steps=STEPS[family], shares=shares(family))
    found, expected = (learned(train(family, tmp_path / side, steps=steps)) for side in ("two", "one"))
    check(found, expected)
