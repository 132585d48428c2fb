"""Operations for which a host waits for its device: what a training step should do without."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


class Waits(TorchDispatchMode):
    """Within, notes each operation whose result or shape the host has to read. ``repeat_interleave`` by a number reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        boolean = name in ("index", "index_put", "index_put_") and any(isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in args[1] or ())
        if name in WAITING or boolean:
            self.noted.append(func.__name__)
        return func(*args, **(kwargs or {}))
