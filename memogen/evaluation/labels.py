"""The labels of images, for a model that is told them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from memogen.types import ImageData, InputError


@runtime_checkable
class Conditional(Protocol):
    """A model that may be conditional on labels: ``num_labels`` says on how many, 0 for none."""

    @property
    def num_labels(self) -> int: ...


def num_labels(model: object) -> int:
    """How many labels a model is conditional on; 0 for none."""
    return model.num_labels if isinstance(model, Conditional) else 0


def labels_for(model: object, data: ImageData, rows: slice) -> dict[str, Tensor]:
    """The labels of those images under the name by which a model asks for them; nothing for a model that is told none.

    Raises InputError where the data have none, or others than the model knows.
    """
    if not (known := num_labels(model)):
        return {}
    if data.label is None:
        raise InputError(f"label: {data.name} has none, and this model is conditional on {known} classes: give labelled images, or a label with them")
    label = torch.from_numpy(np.array(data.label[rows]))
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < known:
        raise InputError(f"label: {data.name} has labels {int(label.min())} to {int(label.max())}: this model knows labels 0 to {known - 1}")
    return {"label": label}
