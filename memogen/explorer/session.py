"""The state that all tabs share: one model under one lock, the edits of its memory, pictures and directions of noise at hand, data looked at once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.memory import MixtureMemory
from memogen.memory.edit import without
from memogen.memory.inspect import best_slots
from memogen.metrics.samples import part_of
from memogen.metrics.slots import Placed, slot_names
from memogen.pretrained import from_pretrained
from memogen.shipped import StoredNames
from memogen.types import GenerativeModel, InputError

from .asked import Refused
from .loaded import LoadedModel
from .pictures import Pictures

LOOKED_AT = 4000  # training images that are encoded, the same ones always
_BLOCK = 64  # of them at a time, so that a click in between waits no longer
EXAMPLES = 24
_UNDO = 40
_MODELS = 3  # of tasks, kept in memory


@dataclass(frozen=True)
class Edit:
    """A step of editing: what it was, the memory after it, and which of its slots were ``mine``, added from pictures."""

    description: str
    memory: MixtureMemory
    mine: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Looked:
    """A sample of the data: images, classes where they have them, and, of a model with a mixture memory, their queries."""

    image: UInt8[np.ndarray, "n c h w"]
    label: Int[np.ndarray, " n"] | None
    classes: tuple[str, ...]
    query: Float[Tensor, "n d"] | None
    name: str


@dataclass
class Session:
    """Everything that a page asks about goes through here; whoever touches the model does so within :meth:`held`."""

    loaded: LoadedModel
    pictures: Pictures
    edits: list[Edit] = field(default_factory=list)
    off: frozenset[int] = frozenset()
    version: int = 0
    looked: Looked | None = None
    trouble: str = ""
    names: StoredNames | None = None
    cache: dict[Any, Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _looking: threading.Thread | None = None
    _closed: bool = False
    _done: bool = False

    def __post_init__(self) -> None:
        memory, self.names = self.loaded.mixture, self.loaded.names
        if memory is not None:
            self.edits = [Edit("as it was trained", memory)]

    @contextmanager
    def held(self) -> Iterator[GenerativeModel]:
        """The model for one thread alone, without gradients."""
        with self._lock, torch.no_grad():
            yield self.loaded.model

    # --- the memory ---

    @property
    def original(self) -> MixtureMemory:
        """As it was trained. Raises Refused for a model without one to look at."""
        if not self.edits:
            raise Refused("this model has no memory of slots to look at", 404)
        return self.edits[0].memory

    @property
    def written(self) -> MixtureMemory:
        """As it is edited, with the slots that are turned off."""
        return self.original if len(self.edits) == 1 else self.edits[-1].memory

    @property
    def mine(self) -> frozenset[int]:
        """Slots that were added from pictures."""
        return self.edits[-1].mine if self.edits else frozenset()

    @property
    def effective(self) -> MixtureMemory:
        """What the model draws from now."""
        memory: MixtureMemory = self.loaded.model.memory  # type: ignore[attr-defined]  # a mixture is there: see original
        return memory

    @contextmanager
    def remembering(self, memory: MixtureMemory) -> Iterator[None]:
        """Within, the model has another memory. To be called within :meth:`held`."""
        model: Any = self.loaded.model
        before, model.memory = model.memory, memory
        try:
            yield
        finally:
            model.memory = before

    def edit(self, edit: Edit) -> None:
        """Take a step; the oldest but the first are forgotten when there are many."""
        kept = self.edits if len(self.edits) <= _UNDO else [self.edits[0], *self.edits[2:]]
        self._take([*kept, edit], self.off)

    def undo(self) -> str:
        """Take the last step back, and say which it was. Raises Refused where there is none."""
        if len(self.edits) < 2:
            raise Refused("there is no edit to undo", 409)
        description = self.edits[-1].description
        self._take(self.edits[:-1], self.off)
        return description

    def reset(self) -> None:
        """The memory as it was trained."""
        self._take(self.edits[:1], frozenset())

    def turn_off(self, slots: frozenset[int]) -> None:
        """These slots, and no others, are turned off."""
        self._take(self.edits, slots)

    def _take(self, edits: list[Edit], off: frozenset[int]) -> None:
        """Show the last of ``edits`` with ``off`` turned off. Raises Refused, and changes nothing, where no real slot would be left."""
        memory = edits[-1].memory
        try:
            shown = without(memory, sorted(off)) if off else memory
        except ValueError as error:
            raise Refused(str(error), 409) from error
        model: Any = self.loaded.model
        self.edits, self.off, model.memory = edits, off, shown
        self.version += 1

    # --- models of tasks ---

    def model_of(self, task: int | None) -> GenerativeModel:
        """The model that a task ended with; None: the one that is looked at. To be called within :meth:`held`. Raises Refused."""
        if task is None:
            return self.loaded.model
        if not 0 <= task < len(self.loaded.tasks):
            raise Refused(f"task {task}: this run has tasks 0 to {len(self.loaded.tasks) - 1}" if self.loaded.tasks else "this run has no tasks", 404)
        models: dict[int, Any] = self.cache.setdefault("models", {})
        if task not in models:
            while len(models) >= _MODELS:
                models.pop(next(iter(models)))
            try:
                models[task] = from_pretrained(self.loaded.tasks[task])
            except InputError as error:
                raise Refused(str(error), 409) from error
        found: GenerativeModel = models[task]
        return found

    # --- data ---

    def look(self) -> Looked | None:
        """The sample of the data; None while it is being read for the first time, and where there are none or they are of no use."""
        with self._lock:
            if self.loaded.data is not None and self._looking is None:
                self._looking = threading.Thread(target=self._look, name="data", daemon=True)
                self._looking.start()
        return self.looked

    @property
    def looking(self) -> bool:
        """Whether data are being read."""
        return self._looking is not None and not self._done

    def close(self) -> None:
        """Stop reading data."""
        self._closed = True

    def _look(self) -> None:
        try:
            assert self.loaded.data is not None
            data = self.loaded.data()
            if data is None:
                return
            if data.image_shape != self.loaded.shape:
                raise InputError(f"{data.name}: images are {data.image_shape}, the model's {self.loaded.shape}")
            part = part_of(data, LOOKED_AT)
            query = self._queries(np.asarray(part.image)) if self.edits else None
            if query is not None and part.label is not None and self.names is None:
                placed = Placed(part, query, best_slots(self.original, query), len(data))
                found = slot_names(placed.slot, placed.label, part.classes, self.original.num_slots)
                share = [0.0 if label < 0 else value for label, value in zip(found.label.tolist(), found.share.tolist(), strict=True)]
                classes = tuple(found.class_name(label) for label in range(int(found.label.max()) + 1))
                self.names = StoredNames(classes, tuple(found.label.tolist()), tuple(share))
            self.looked = Looked(np.asarray(part.image), part.label, part.classes, query, f"{part.name}, {part.split}")
            self.version += 1
        except (InputError, OSError) as error:  # said on the page; the rest of it goes without data
            self.trouble = str(error)
        except _Closed:
            pass
        finally:
            self._done = True

    def _queries(self, image: UInt8[np.ndarray, "n c h w"]) -> Float[Tensor, "n d"]:
        found = []
        for start in range(0, len(image), _BLOCK):
            if self._closed:
                raise _Closed
            with self.held() as model:
                encode: Any = model.encode  # type: ignore[attr-defined]  # only a model with a mixture is asked
                found.append(encode(torch.from_numpy(np.array(image[start : start + _BLOCK]))).cpu())
        return torch.cat(found)

    def examples(self) -> list[np.ndarray]:
        """Pictures to try: those that came with the model, else some of the data, else samples of the model. Chosen once."""
        with self._lock:
            if not self.pictures.examples:
                looked = self.look()
                if self.loaded.examples is not None:
                    self.pictures.examples = list(self.loaded.examples[:EXAMPLES])
                elif looked is not None:
                    self.pictures.examples = list(looked.image[: 3 * EXAMPLES : 3])
                elif not self.looking:
                    from .draw import samples

                    with self.held() as model:
                        self.pictures.examples = list(samples(model, EXAMPLES, seed=7).numpy())
            return self.pictures.examples


class _Closed(Exception):  # noqa: N818  nothing went wrong
    """The server ends."""


def copied(session: Session) -> Any:
    """The model with the memory that it draws from now, apart from the session's own."""
    with session.held() as model:
        return copy.deepcopy(model)
