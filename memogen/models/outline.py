"""The outline of a model: its names and shapes without numbers."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..types import InputError


def outline(config: Any) -> nn.Module:
    """The model that ``config`` builds, on the "meta" device. Raises InputError for sizes that do not fit this machine or any tensor."""
    try:
        with torch.device("meta"), _Unfilled():
            model: nn.Module = config.build()
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise InputError("model: its sizes are larger than a tensor can be: make them smaller") from error
    size, room = sum(map(_bytes, model.state_dict().values())), machine_memory()
    if size > room:
        raise InputError(f"model: its weights take {size / 2**30:,.1f} GiB, and this machine has {room / 2**30:,.1f} GiB: make its sizes smaller")
    return model


class _Unfilled(TorchFunctionMode):
    """Skips the initialisers of ``torch.nn.init``, some of which make torch load its compiler on the "meta" device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def machine_memory() -> float:
    """Bytes of this machine's memory; infinite if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")
