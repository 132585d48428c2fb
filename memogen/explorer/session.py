"""The state that all tabs share: a model under a lock, the edits of its memory, pictures, and a sample of the data."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.memory import MixtureMemory
from memogen.memory.edit import added, frozen, thawed, without
from memogen.memory.inspect import best_slots, written
from memogen.metrics.samples import part_of
from memogen.metrics.slots import Placed, slot_names
from memogen.pretrained import from_pretrained, save_pretrained
from memogen.shipped import StoredNames, store_names
from memogen.training.unlearning import unlearned
from memogen.types import GenerativeModel, InputError

from .asked import Refused
from .draw import samples
from .loaded import LoadedModel
from .pictures import Pictures

LOOKED_AT = 4000  # training images that are encoded, always the same
_BLOCK = 64  # of these at a time, so that other questions get the model in between
EXAMPLES = 24
_UNDO = 40  # edits that can be undone
_MODELS = 3  # models of tasks kept in memory


@dataclass(frozen=True)
class Edit:
    """A step of editing, the memory after it, the slots ``mine`` that were added from pictures, and the generator's weights if they were trained."""

    description: str
    memory: MixtureMemory
    mine: frozenset[int] = frozenset()
    generator: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Looked:
    """A sample of the data: images, their classes if known, and their queries if the model has a mixture memory."""

    image: UInt8[np.ndarray, "n c h w"]
    label: Int[np.ndarray, " n"] | None
    classes: tuple[str, ...]
    query: Float[Tensor, "n d"] | None
    name: str


@dataclass
class Session:
    """The shared state; whoever uses the model does so within :meth:`held`.

    ``edits`` begins with the memory as trained and is empty for a model without mixture memory; ``off`` are the slots that are turned off;
    ``version`` grows with every change; ``trouble`` says why there are no data.
    """

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
    _trained: Mapping[str, Tensor] | None = None  # the generator's weights before the first unlearning

    def __post_init__(self) -> None:
        memory, self.names = self.loaded.mixture, self.loaded.names
        if memory is not None:
            self.edits = [Edit("as it was trained", memory)]

    @contextmanager
    def held(self) -> Iterator[Any]:
        """The model for one thread, without gradients."""
        with self._lock, torch.no_grad():
            yield self.loaded.model

    @property
    def original(self) -> MixtureMemory:
        """The memory as trained. Raises Refused for a model without mixture memory."""
        if not self.edits:
            raise Refused("this model has no memory of slots to look at", 404)
        return self.edits[0].memory

    @property
    def written(self) -> MixtureMemory:
        """The edited memory, with the slots that are turned off still in it. Raises Refused as :attr:`original`."""
        return self.edits[-1].memory if self.edits else self.original

    @property
    def mine(self) -> frozenset[int]:
        """Slots that were added from pictures."""
        return self.edits[-1].mine if self.edits else frozenset()

    @property
    def effective(self) -> MixtureMemory:
        """The memory that the model draws from now: the edited one without the slots that are turned off."""
        memory: MixtureMemory = self.loaded.model.memory  # type: ignore[attr-defined]  # only a model with a mixture is asked
        return memory

    @contextmanager
    def as_trained(self) -> Iterator[None]:
        """Give the model its trained memory and generator for a while. To be called within :meth:`held`."""
        with self.remembering(self.original):
            self._give(None)
            try:
                yield
            finally:
                self._give(self.edits[-1].generator)

    @contextmanager
    def remembering(self, memory: MixtureMemory) -> Iterator[None]:
        """Give the model another memory for a while. To be called within :meth:`held`."""
        model: Any = self.loaded.model
        before, model.memory = model.memory, memory
        try:
            yield
        finally:
            model.memory = before

    def check(self, slots: list[int]) -> None:
        """Raises Refused unless all of these are real slots."""
        real = set(torch.nonzero(self.written.values > 0.5)[:, 0].tolist())
        if wrong := [slot for slot in slots if slot not in real]:
            raise Refused(f"slot {wrong[0]}: is not a real slot of this memory", 404)

    def change(self, what: str, slots: list[int]) -> None:
        """Turn slots "off" or "on", "forget" (empty), "freeze" or "thaw" them. Raises Refused, and changes nothing, if that is impossible."""
        with self.held():
            self.check(slots)
            if what in ("off", "on"):
                self._take(self.edits, self.off | frozenset(slots) if what == "off" else self.off - frozenset(slots))
                return
            if not slots:
                raise Refused("slots: choose one at least")
            edited, done = {"forget": (without, "forgot"), "freeze": (frozen, "froze"), "thaw": (thawed, "thawed")}[what]
            try:
                memory: Any = edited(self.written, slots)
            except ValueError as error:
                raise Refused(str(error), 409) from error
            mine = self.mine - frozenset(slots) if what == "forget" else self.mine
            self._step(f"{done} slot {slots[0]}" if len(slots) == 1 else f"{done} {len(slots)} slots", memory, mine, self.off)

    def unlearn(self, slots: list[int]) -> None:
        """Forget ``slots``, and train a copy of the generator until it cannot draw what they held (:mod:`memogen.training.unlearning`).

        The model answers other questions meanwhile. Raises Refused, and changes nothing, if that is impossible or another edit came first.
        """
        with self.held() as shared:
            self.check(slots)
            edits, off, model = self.edits, self.off, copy.deepcopy(shared)
            model.memory = self.written
        try:
            memory = without(self.written, slots)
            generator = unlearned(model, torch.tensor(slots)).generator.state_dict()
        except (InputError, ValueError) as error:
            raise Refused(str(error), 409) from error
        with self.held():
            if self.edits is not edits or self.off != off:
                raise Refused("the memory was edited meanwhile: unlearn again", 409)
            if self._trained is None:
                self._trained = copy.deepcopy(self.loaded.model.generator.state_dict())  # type: ignore[attr-defined]
            done = f"unlearned slot {slots[0]}" if len(slots) == 1 else f"unlearned {len(slots)} slots"
            self._step(done, memory, self.mine - frozenset(slots), self.off - frozenset(slots), generator)

    def add(self, images: UInt8[Tensor, "b c h w"], *, share: float) -> list[int]:
        """Write pictures as new slots with this share of the prior in place of the lightest slots; returns their numbers. Raises Refused."""
        with self.held() as model:
            try:
                memory, slots = added(self.written, model.encode(images), share=share)
            except ValueError as error:
                raise Refused(str(error), 409) from error
            found = [int(slot) for slot in slots]
            named = "a picture" if len(found) == 1 else f"{len(found)} pictures"
            self._step(f"added {named}", memory, self.mine | frozenset(found), self.off - frozenset(found))
            return found

    def undo(self) -> str:
        """Take the last step back and return its description. Raises Refused if there is none."""
        with self.held():
            if len(self.edits) < 2:
                raise Refused("there is no edit to undo", 409)
            description = self.edits[-1].description
            self._take(self.edits[:-1], self.off)
            return description

    def reset(self) -> None:
        """Return to the memory as trained."""
        with self.held():
            self._take(self.edits[:1], frozenset())

    def _step(
        self, description: str, memory: MixtureMemory, mine: frozenset[int], off: frozenset[int], generator: Mapping[str, Tensor] | None = None
    ) -> None:
        kept = self.edits if len(self.edits) <= _UNDO else [self.edits[0], *self.edits[2:]]
        self._take([*kept, Edit(description, memory, mine, generator or self.edits[-1].generator)], off)

    def _take(self, edits: list[Edit], off: frozenset[int]) -> None:
        """Show the last of ``edits`` with ``off`` turned off. Raises Refused, and changes nothing, if no real slot would be left."""
        memory = edits[-1].memory
        try:
            shown = without(memory, sorted(off)) if off else memory
        except ValueError as error:
            raise Refused(str(error), 409) from error
        model: Any = self.loaded.model
        if self.edits and edits[-1].generator is not self.edits[-1].generator:
            self.cache.pop("directions", None)  # they are those of the generator
        self._give(edits[-1].generator)
        self.edits, self.off, model.memory = edits, off, shown
        self.version += 1

    def _give(self, generator: Mapping[str, Tensor] | None) -> None:
        """Give the model these weights of the generator, or the trained ones."""
        if self._trained is not None:  # else no edit has changed them
            self.loaded.model.generator.load_state_dict(generator or self._trained)  # type: ignore[attr-defined]  # a model of slots has one

    def save(self) -> str:
        """Write the model as it draws now, and the names of its slots, to the folder named at the start; returns the folder. Raises Refused."""
        out = self.loaded.out
        if out is None:
            raise Refused("there is no folder to save to: start the explorer again with --out FOLDER", 409)
        with self.held() as shared:
            model = copy.deepcopy(shared)
        try:
            save_pretrained(model, out)
            if self.names is not None:
                emptied = (~written(model.memory)).nonzero()[:, 0].tolist()
                store_names(out, self.names.but([*self.mine, *emptied]))
        except (InputError, OSError) as error:
            raise Refused(f"{out}: cannot be written ({error})", 409) from error
        return str(out)

    def model_of(self, task: int | None) -> GenerativeModel:
        """The model after a task, or for None the one that is shown. To be called within :meth:`held`. Raises Refused."""
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

    def look(self) -> Looked | None:
        """The sample of the data. The first call starts to read it; None until then, and if there are no data that fit."""
        with self._lock:
            if self.loaded.data is not None and self._looking is None:
                thread = threading.Thread(target=self._look, name="data", daemon=True)
                thread.start()
                self._looking = thread
        return self.looked

    @property
    def looking(self) -> bool:
        """Whether data are being read."""
        return self._looking is not None and self._looking.is_alive()

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
            image, query = np.asarray(part.image), None
            if self.edits:
                blocks = []
                for start in range(0, len(image), _BLOCK):
                    if self._closed:
                        return
                    with self.held() as model:
                        blocks.append(model.encode(torch.from_numpy(np.array(image[start : start + _BLOCK]))).cpu())
                query = torch.cat(blocks)
                if part.label is not None and self.names is None:
                    placed = Placed(part, query, best_slots(self.original, query), len(data))
                    found = slot_names(placed.slot, placed.label, part.classes, self.original.num_slots)
                    share = [0.0 if label < 0 else value for label, value in zip(found.label.tolist(), found.share.tolist(), strict=True)]
                    classes = tuple(found.class_name(label) for label in range(int(found.label.max()) + 1))
                    self.names = StoredNames(classes, tuple(found.label.tolist()), tuple(share))
            self.looked = Looked(image, part.label, part.classes, query, f"{part.name}, {part.split}")
            self.version += 1
        except (InputError, OSError) as error:  # shown on the page, which goes on without data
            self.trouble = str(error)

    def examples(self) -> list[np.ndarray]:
        """Pictures to try: those that ship with the model, else some of the data, else samples of the model. Chosen once."""
        with self._lock:
            if not self.pictures.examples:
                looked = self.look()
                if self.loaded.examples is not None:
                    self.pictures.examples = list(self.loaded.examples[:EXAMPLES])
                elif looked is not None:
                    self.pictures.examples = list(looked.image[: 3 * EXAMPLES : 3])
                elif not self.looking:
                    with self.held() as model:
                        self.pictures.examples = list(samples(model, EXAMPLES, seed=7).numpy())
            return self.pictures.examples
