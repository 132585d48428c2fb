"""Task streams: every image in exactly one task, tasks in their order, and no way back."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memogen.data.task_sequence import TaskConfig, TaskSequence, of_classes, task_sequence
from memogen.types import ImageData, InputError


def labelled(labels: list[int] | np.ndarray, classes: int = 0) -> ImageData:
    """Image i has every pixel equal to i mod 256 under the label given."""
    image = np.broadcast_to((np.arange(len(labels)) % 256).astype(np.uint8)[:, None, None, None], (len(labels), 1, 2, 2))
    return ImageData(np.ascontiguousarray(image), np.array(labels), tuple(f"class {c}" for c in range(classes)))


@given(
    labels=st.lists(st.integers(0, 6), min_size=20, max_size=60).filter(lambda labels: set(labels) == set(range(7))),
    each=st.integers(1, 8),
    seed=st.none() | st.integers(0, 9),
)
def test_every_image_is_in_the_task_of_its_class_and_in_no_other(labels: list[int], each: int, seed: int | None) -> None:
    data = labelled(labels)
    tasks = list(task_sequence(data, TaskConfig(classes_per_task=each, order_seed=seed)))
    assert [task.number for task in tasks] == list(range(-(-7 // each)))
    assert sorted(c for task in tasks for c in task.classes) == list(range(7))
    for task in tasks:
        rows = np.flatnonzero(np.isin(data.label, task.classes))
        np.testing.assert_array_equal(task.data.image, data.image[rows])
        np.testing.assert_array_equal(task.data.label, data.label[rows])
    assert len({task.data.digest for task in tasks}) == len(tasks)


def test_orders() -> None:
    assert TaskConfig().tasks(3) == ((0,), (1,), (2,))
    assert TaskConfig(order=(2, 0), classes_per_task=1).tasks(3) == ((2,), (0,))
    assert TaskConfig(classes_per_task=2, num_tasks=2).tasks(5) == ((0, 1), (2, 3))
    assert TaskConfig(num_tasks=2, joint=True).tasks(5) == ((0, 1),)
    first, second = (TaskConfig(order_seed=seed).tasks(10) for seed in (0, 1))
    assert first != second
    assert first == TaskConfig(order_seed=0).tasks(10)
    with pytest.raises(InputError, match="class 7 is not there"):
        TaskConfig(order=(7,)).tasks(3)


@pytest.mark.parametrize("wrong", [{"classes_per_task": 0}, {"order": (1, 1)}, {"order": (-1,)}, {"num_tasks": 0}, {"order": (1,), "order_seed": 2}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        TaskConfig(**wrong)


def test_a_part_can_be_left_out_of_every_task() -> None:
    tasks = list(task_sequence(labelled([0, 1, 0, 1, 0, 1]), TaskConfig(left_out=3)))
    assert [task.data.image[:, 0, 0, 0].tolist() for task in tasks] == [[4], [3, 5]]


def test_the_past_cannot_be_reached() -> None:
    """Nothing that the stream or a task refers to, however far, holds a pixel of an earlier task; and the earlier pixels themselves are gone."""
    stream = task_sequence(labelled(np.repeat([0, 1, 2], 4)), TaskConfig())
    first = stream.open(0)
    gone = weakref.ref(first.data.image)
    del first
    second = stream.open(1)
    gc.collect()
    assert gone() is None
    assert {4, 5, 6, 7} <= _pixels_within(stream, second) <= set(range(4, 12))
    for number in (0, 1):
        with pytest.raises(InputError, match=f"task {number} cannot be opened any more: tasks 2 to 2"):
            stream.open(number)
    stream.open(2)
    assert _pixels_within(stream) == set()
    with pytest.raises(InputError, match="no task is left"):
        stream.open(2)


def _pixels_within(*roots: object) -> set[int]:
    """The values of every image array that can be reached from ``roots``, whatever it is a part of."""
    seen, found, waiting = set[int](), set[int](), list(roots)
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type) or type(item).__name__ in ("module", "function"):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            found |= set(item.ravel().tolist()) if item.dtype == np.uint8 else set()
            waiting += [item.base]
        waiting += gc.get_referents(item)
        waiting += list(vars(item).values()) if isinstance(item, ImageData | TaskSequence) else []
    return found


def test_neighbours_in_a_file_are_mapped_without_the_rest_of_it(tmp_path: Path) -> None:
    data = labelled(np.repeat([0, 1, 2], 4))
    np.save(tmp_path / "image.npy", data.image)
    mapped = ImageData(np.load(tmp_path / "image.npy", mmap_mode="r"), data.label)
    tasks = list(TaskSequence(mapped, [(0, 1), (2,)]))
    assert [task.data.image.nbytes for task in tasks] == [32, 16]
    assert all(isinstance(task.data.image, np.memmap) for task in tasks)
    assert np.unique(tasks[0].data.image).tolist() == list(range(8))
    assert np.unique(tasks[1].data.image).tolist() == list(range(8, 12))
    tail = ImageData(mapped.image[4:], data.label[4:])
    assert np.unique(TaskSequence(tail, [(2,)]).open(0).data.image).tolist() == list(range(8, 12))
    mixed = TaskSequence(mapped, [(0, 2), (1,)]).open(0).data.image
    assert not isinstance(mixed, np.memmap)
    assert np.unique(mixed).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_what_makes_no_stream_is_refused() -> None:
    image = np.zeros((2, 1, 2, 2), np.uint8)
    with pytest.raises(InputError, match="no labelled images"):
        task_sequence(ImageData(image), TaskConfig())
    with pytest.raises(InputError, match="no labels"):
        TaskSequence(ImageData(image), [(0,)])
    with pytest.raises(InputError, match="no image of class 1"):
        task_sequence(labelled([0, 2], classes=3), TaskConfig())
    with pytest.raises(InputError, match="no class twice"):
        TaskSequence(labelled([0, 1]), [(0, 1), (1,)])


def test_the_images_of_some_classes() -> None:
    part = of_classes(labelled([0, 1, 2, 1]), [1])
    assert part.label.tolist() == [1, 1]
    assert part.image[:, 0, 0, 0].tolist() == [1, 3]
    assert part.digest
