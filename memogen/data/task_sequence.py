"""A labelled data set as a sequence of tasks. Each has the images of a few classes, which no other task sees."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from memogen.data.arrays import digest
from memogen.data.batches import epoch_order
from memogen.types import ImageData, InputError, check_seed


@dataclass(frozen=True)
class TaskConfig:
    """Which classes make which task.

    ``order`` lists the classes in the order of learning, (): by number; ``order_seed`` draws an order instead.
    ``classes_per_task`` of them make a task (the last task takes the rest), and the first ``num_tasks`` tasks are learned, None: all.
    ``joint`` puts the images of all these tasks into one. The first ``left_out`` images of the data set are in no task, like the
    validation part of TensorFlow's MNIST reader.
    """

    classes_per_task: int = 1
    order: tuple[int, ...] = ()
    order_seed: int | None = None
    num_tasks: int | None = None
    joint: bool = False
    left_out: int = 0

    def __post_init__(self) -> None:
        if self.order_seed is not None:
            check_seed(self.order_seed, "order_seed")
        if self.classes_per_task < 1 or self.left_out < 0 or (self.num_tasks is not None and self.num_tasks < 1):
            raise ValueError(
                f"classes_per_task {self.classes_per_task} and num_tasks {self.num_tasks} must be 1 or more, left_out {self.left_out} 0 or more"
            )
        if len(set(self.order)) < len(self.order) or min(self.order, default=0) < 0:
            raise ValueError(f"order is {self.order}; it must name each class once, by its number")
        if self.order and self.order_seed is not None:
            raise ValueError(f"order_seed is {self.order_seed} and order {self.order}; give one of the two")

    def tasks(self, num_classes: int) -> tuple[tuple[int, ...], ...]:
        """The classes of each task. Raises InputError where ``order`` names an unknown class, or ``num_tasks`` more tasks than there are."""
        drawn = range(num_classes) if self.order_seed is None else epoch_order(num_classes, seed=self.order_seed, epoch=0).tolist()
        order = self.order or tuple(drawn)
        if max(order) >= num_classes:
            raise InputError(f"succession.tasks.order: class {max(order)} is not there: name classes 0 to {num_classes - 1}")
        each = self.classes_per_task
        tasks = tuple(order[start : start + each] for start in range(0, len(order), each))
        if self.num_tasks is not None and self.num_tasks > len(tasks):
            raise InputError(
                f"succession.tasks.num_tasks is {self.num_tasks}: {len(order)} classes make only {len(tasks)}: give {len(tasks)} or fewer"
            )
        tasks = tasks[: self.num_tasks]
        return (tuple(chain.from_iterable(tasks)),) if self.joint else tasks


@dataclass(frozen=True)
class Task:
    """``data`` holds the images of ``classes`` and of no other class, under the labels that they have in the whole data set."""

    number: int
    classes: tuple[int, ...]
    data: ImageData


class TaskSequence:
    """Tasks to be opened in their order, each once.

    The sequence holds the pixels of each task and not the whole data set. Opening a task hands over its pixels and drops those of all
    tasks before it, so while a task is learned the images of earlier ones are out of reach.
    """

    def __init__(self, data: ImageData, tasks: Sequence[Sequence[int]], *, left_out: int = 0) -> None:
        if data.label is None:
            raise InputError(f"sequence: {data.name} has no labels: give labelled images, such as a folder with a sub-folder for each class")
        named = list(chain.from_iterable(tasks))
        if len(set(named)) < len(named) or not all(tasks) or not tasks:
            raise InputError(f"sequence: tasks are {tasks}: give each task a class or more, and no class twice")
        self.tasks = tuple(tuple(classes) for classes in tasks)
        self.classes = data.classes
        self._waiting = {number: _part(data, classes, left_out) for number, classes in enumerate(self.tasks)}

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        """The tasks that have not been opened yet, one after another."""
        for number in sorted(self._waiting):
            yield self.open(number)

    def open(self, number: int) -> Task:
        """Task ``number``, counted from 0. Raises InputError for one that was opened already or lies before one that was."""
        named = self.digest(number)
        self._waiting, (data, waiting) = {}, (self._waiting[number], self._waiting)
        self._waiting = {later: part for later, part in waiting.items() if later > number}
        return Task(number, self.tasks[number], replace(data, digest=named))

    def digest(self, number: int) -> str:
        """The digest of the images of task ``number``. Raises InputError where the task is over."""
        if number not in self._waiting:
            known = f"tasks {min(self._waiting)} to {len(self) - 1} are still to come" if self._waiting else "no task is left"
            raise InputError(f"sequence: task {number} cannot be opened any more: {known}")
        data = self._waiting[number]
        return digest(data.image, data.label)


def task_sequence(data: ImageData, config: TaskConfig) -> TaskSequence:
    """The sequence that ``config`` makes of ``data``."""
    return TaskSequence(data, config.tasks(num_classes(data)), left_out=config.left_out)


def check_tasks(data: ImageData, config: TaskConfig) -> None:
    """Raises InputError where :func:`task_sequence` would, without touching a pixel."""
    for classes in config.tasks(num_classes(data)):
        _rows(data, classes, config.left_out)


def num_classes(data: ImageData) -> int:
    """How many classes labelled data have. Raises InputError where they have no labels."""
    if data.label is None or not len(data):
        raise InputError(
            f"sequence: {data.name} has no labelled images: give a folder with a sub-folder for each of two classes or more, or an npz with labels"
        )
    return len(data.classes) or int(data.label.max()) + 1


def of_classes(data: ImageData, classes: Sequence[int]) -> ImageData:
    """The images of these classes alone, with a digest of their own."""
    part = _part(data, classes)
    return replace(part, digest=digest(part.image, part.label))


def _part(data: ImageData, classes: Sequence[int], left_out: int = 0) -> ImageData:
    rows = _rows(data, classes, left_out)
    assert data.label is not None, "the rows were found by it"
    return replace(data, image=_pixels(data.image, rows), label=np.array(data.label[rows]), digest="")


def _rows(data: ImageData, classes: Sequence[int], left_out: int = 0) -> np.ndarray:
    """The places of the images of these classes, each of which has some."""
    assert data.label is not None, "the caller has looked"
    rows = left_out + np.flatnonzero(np.isin(data.label[left_out:], list(classes)))
    missing = sorted(set(classes) - set(np.unique(data.label[rows]).tolist()))
    if missing:
        known = f"class {missing[0]}" + (f" ({data.classes[missing[0]]})" if missing[0] < len(data.classes) else "")
        raise InputError(f"{data.name} {data.split}: no image of {known}: give some, or leave it out of the order (succession.tasks.order)")
    return rows


def _pixels(image: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows in memory of their own; where they are neighbours in a file, a map of these bytes alone."""
    adjacent = int(rows[-1] - rows[0]) == len(rows) - 1
    if adjacent and isinstance(image, np.memmap) and isinstance(image.base, mmap.mmap):  # of a slice, NumPy does not know where in the file it begins
        begin = image.offset + int(rows[0]) * image.strides[0]
        return np.memmap(str(image.filename), image.dtype, "r", begin, (len(rows), *image.shape[1:]))
    return np.array(image[rows])
