"""The model that is shown: what it can do, the run around it, and the data to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memogen import pretrained, shipped
from memogen.memory.inspect import written
from memogen.memory.protocol import MixtureMemory, is_mixture
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.samples import num_labels
from memogen.metrics.slot_contents import ShowsSlots
from memogen.training.task_folders import task_folders
from memogen.types import ClassModel, GenerativeModel, ImageData, InputError, SlotModel

from .sheets import Sheet, sheets


@dataclass
class LoadedModel:
    """A model that draws images, its name, and what lies around it.

    ``sheets`` are the saved samples of its training, ``tasks`` the folders of the models after each task. ``data`` loads the images to compare with,
    or returns None; ``out`` is the folder for an edited model.
    """

    name: str
    model: GenerativeModel
    folder: Path | None = None
    data: Callable[[], ImageData | None] | None = None
    out: Path | None = None
    sheets: tuple[Sheet, ...] = ()
    tasks: tuple[Path, ...] = ()
    names: shipped.StoredNames | None = None
    examples: Any = None
    shape: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        config: Any = getattr(self.model, "config", None)
        shape = getattr(config, "image_shape", None)
        if shape is None or shape[0] not in (1, 3):
            raise InputError(f"{self.name}: its images have {shape[0] if shape else 'unknown'} channels: only grey (1) and colour (3) can be shown")
        self.shape = shape

    @property
    def mixture(self) -> MixtureMemory | None:
        """Its mixture memory, if that has written real slots and the generator reads their keys."""
        memory = self.model.memory if isinstance(self.model, SlotModel) else None
        if not is_mixture(memory):
            return None
        real = bool((written(memory) & (memory.values > 0.5)).any())
        return memory if real and self.model.latents(1).key is not None else None

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of slots of its trainable memories, by layer from the data up."""
        return self.model.slot_counts if isinstance(self.model, ShowsSlots) else ()

    @property
    def fills(self) -> bool:
        """Whether it can fill in missing pixels."""
        return isinstance(self.model, Reconstructs)

    @property
    def classes(self) -> tuple[tuple[int, str], ...]:
        """(number, name) of the classes that it can draw."""
        if isinstance(self.model, ClassModel):
            names: tuple[str, ...] = tuple(self.model.config.classes)
            return tuple((label, names[label] if label < len(names) else str(label)) for label in self.model.known)
        return tuple((label, str(label)) for label in range(num_labels(self.model)))

    @property
    def kind(self) -> str:
        """The kind of model in words."""
        if self.mixture is not None:
            return "memoryGAN"
        if self.fills:
            return "MEM-VAE" if self.layers else "VAE without memory"
        if isinstance(self.model, ClassModel):
            return "replay GAN"
        memory = getattr(self.model, "memory", None)
        return "GAN without memory" if memory is None else "memoryGAN whose generator is told no slot"


def open_model(name: str, folder: str) -> LoadedModel:
    """The model called ``name`` from ``folder``, which may be a name on the hub, with the run around it. Raises InputError."""
    model = pretrained.from_pretrained(folder)
    if not isinstance(model, GenerativeModel):
        raise InputError(f"{name}: a {type(model).__name__} cannot draw images: name another model")
    run = shipped.run_of(name)
    found = LoadedModel(Path(name).name or name, model, run)
    if run is not None:
        found.sheets, found.tasks = sheets(run), tuple(task / shipped.RUN_MODEL for task in task_folders(run))
        found.names, found.examples = shipped.stored_names(run), shipped.examples(run, found.shape)
    memory = found.mixture
    if found.names is not None and (memory is None or len(found.names.label) != memory.num_slots):
        found.names = None
    return found
