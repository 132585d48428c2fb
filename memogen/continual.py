"""The continual benchmark for your own method, given as two functions. The protocol is docs/results/continual.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from memogen.data import load
from memogen.data.task_sequence import TaskConfig, task_sequence
from memogen.metrics.exam import Exam
from memogen.metrics.extractors import extractor, own_extractor
from memogen.metrics.rows import ResultRow, append_rows
from memogen.runs.stages import Examined, Kept
from memogen.types import ImageData, InputError, check_seed, to_uint8

Learn = Callable[[UInt8[Tensor, "n c h w"], Int[Tensor, " n"], Any], Any]
"""(images of a task, their classes, the state before it or None) to the state after it."""

Draw = Callable[[Any, int, int], Any]
"""(state, number, seed) to that number of images, or to (images, the class of each). Images are uint8, or floats in [0, 1]."""


def evaluate(
    learn: Learn,
    draw: Draw,
    *,
    name: str = "own",
    data: str | Path = "digits",
    folder: str | Path | None = None,
    tasks: TaskConfig = TaskConfig(classes_per_task=2),  # noqa: B008  frozen
    num_samples: int = 2000,
    seed: int = 0,
    judge: str | None = None,
    out: str | Path | None = None,
) -> list[ResultRow]:
    """Learn the tasks of ``data`` one after another and score the samples after each. The rows are like those of ``memogen reproduce continual``.

    What ``learn`` returns is all that the next task gets from the past. Its bytes are counted: of tensors, arrays, modules, optimisers, numbers,
    texts, and mappings, sequences, sets and dataclasses of these. Classes that ``draw`` returns count as the requested ones. ``seed`` seeds torch and
    NumPy before the first task; drawing does not change the state of torch's global generator. ``name`` is the variant of the rows.

    ``data`` is the name of a data set, with its files in ``folder``, or a place with labelled images; ``judge`` a classifier (default: the data's
    own). With ``out`` the rows are appended to that file. Raises InputError, if possible before the first task.
    """
    check_seed(seed)
    train, test = (load(str(data), folder=folder, split=split, progress=False) for split in ("train", "test"))
    known = judge or own_extractor(train.name)
    if known is None:
        raise InputError(f"judge: no classifier of {train.name} ships with memogen: name one, or a file of its weights")
    sequence = task_sequence(train, tasks)
    exam = Exam(extractor(known, image_shape=train.image_shape), test, sequence.tasks, num_samples, seed)
    examined, rows, state, spent, carried, shown = Examined(exam), list[ResultRow](), None, 0.0, 0, 0
    about = {
        "recipe": f"continual/{train.name}",
        "variant": name,
        "seed": seed,
        "budget": None,
        "command": f"python {Path(sys.argv[0]).name}",
        "data": train.digest,
    }
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    for task in sequence:
        carried, shown, began = bytes_of(state), shown + len(task.data), time.process_time()
        assert task.data.label is not None, "a sequence has labelled images"
        state = learn(torch.from_numpy(np.array(task.data.image)), torch.from_numpy(np.array(task.data.label)).long(), state)
        spent += time.process_time() - began
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            drawn = _drawn(draw(state, num_samples, seed), num_samples, exam.seen(task.number), test)
        found = examined.after(task.number, drawn)
        if task.number + 1 == len(sequence):
            found += examined.end([*rows, *found], Kept(carried))
        rows += [ResultRow.read({**about, "processor_seconds": round(spent, 1), "images": shown, **row}) for row in found]
    rows += [ResultRow.read({**about, "processor_seconds": 0.0, "images": 0, **row}) for row in examined.real(train)]
    if out is not None:
        append_rows(Path(out), rows)
    return rows


def bytes_of(state: object) -> int:
    """The size of a state: of tensors and arrays the whole storage that they are views of, each storage once; 8 for a number, 0 for None.

    Raises InputError for other types.
    """
    return sum(_storages(state, "state").values())


def _storages(value: object, where: str) -> dict[object, int]:
    """Bytes by storage. ``where`` names the value in messages."""
    match value:
        case None:
            return {}
        case bool() | int() | float() | np.generic():
            return {where: 8}
        case str() | bytes():
            return {where: len(value.encode() if isinstance(value, str) else value)}
        case Tensor():
            storage = value.untyped_storage()
            return {(storage.data_ptr(), str(value.device)): storage.nbytes()}
        case np.ndarray() if value.dtype != object:
            while isinstance(value.base, np.ndarray):
                value = value.base
            return {id(value): value.nbytes}
        case nn.Module() | torch.optim.Optimizer():
            return _storages(dict(value.state_dict()), where)
        case Mapping():
            found = _storages(list(value), f"{where} keys")
            for key, part in value.items():
                found |= _storages(part, f"{where}[{key!r}]")
            return found
        case Sequence() | Set():
            found = {}
            for number, part in enumerate(value):
                found |= _storages(part, f"{where}[{number}]")
            return found
    if is_dataclass(value) and not isinstance(value, type):
        return _storages(asdict(value), where)
    raise InputError(f"{where}: a {type(value).__name__} cannot be counted: keep tensors, arrays, modules, numbers, mappings or sequences")


def _drawn(given: Any, num: int, seen: tuple[int, ...], test: ImageData) -> ImageData:
    """What ``draw`` returned, as labelled or unlabelled images. Raises InputError."""
    image, label = given if isinstance(given, tuple) else (given, None)
    image = _images(torch.as_tensor(image), num, test.image_shape)
    if label is None:
        return ImageData(image, None, test.classes, "generated", "samples")
    label = torch.as_tensor(label).cpu()
    if label.shape != (num,) or label.is_floating_point() or label.is_complex():
        raise InputError(f"draw: its classes are {label.dtype} of shape {tuple(label.shape)}: give {num} whole numbers, the class of each image")
    strange = sorted(set(label.tolist()) - set(seen))
    if strange:
        raise InputError(f"draw: class {strange[0]} has not been learned: draw of {', '.join(map(str, seen))}")
    return ImageData(image, label.long().numpy(), test.classes, "generated", "samples")


def _images(image: Tensor, num: int, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "n c h w"]:
    if tuple(image.shape) != (num, *shape):
        raise InputError(f"draw: its images have the shape {tuple(image.shape)}: give {(num, *shape)}")
    if image.dtype == torch.uint8:
        return image.cpu().numpy()
    if not image.is_floating_point():
        raise InputError(f"draw: its images are {image.dtype}: give uint8, or floats in [0, 1]")
    if not bool(((image >= 0) & (image <= 1)).all()):  # nan fails both
        raise InputError(f"draw: its images reach from {float(image.min()):g} to {float(image.max()):g}: give floats in [0, 1]")
    return to_uint8(image, (0.0, 1.0)).cpu().numpy()
