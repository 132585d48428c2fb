"""A generator of which every memory slot owns a part: a gain and a shift of each normalised channel.

While the rest is frozen, new slots learn to draw new images and what the old ones draw keeps its bits. After Cong et al. 2020 ("GAN memory with no
forgetting", section 3), where a task modulates a frozen generator; here a slot does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memogen.nets.norm import evaluating

_SPEED = 4.0  # rows are kept as a quarter of what they stand for: as Adam moves all numbers alike, they learn four times as fast as weights


class SlotGenerator(nn.Module):
    """Codes (b, code_dim) and their slots (b,) to images: ``whole``, where the code is added an offset of the slot, and each batch norm's output y
    becomes y (1 + a_c) + b_c, a gain and a shift of slot c for every channel.

    All rows begin at zero, so that nothing is changed. ``tasks`` counts those whose slots own rows: from the first on ``whole`` is frozen, and draws
    by its running statistics. Raises ValueError for a generator without batch norm.
    """

    tasks: Tensor

    def __init__(self, whole: nn.Module, num_slots: int, code_dim: int) -> None:
        super().__init__()
        self.whole = whole
        self.widths = [norm.num_features for norm in self._norms()]
        if not self.widths:
            raise ValueError("slot_rows: the generator has no batch norm to modulate; give norm batch, or leave slot_rows off")
        self.offset = nn.Parameter(torch.zeros(num_slots, code_dim))
        self.row = nn.Parameter(torch.zeros(num_slots, 2 * sum(self.widths)))
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))

    @property
    def begun(self) -> bool:
        """Whether slots own rows already. Reads device memory; an outline without numbers has not begun."""
        return not self.tasks.is_meta and bool(self.tasks)

    def forward(self, code: Float[Tensor, "b code"], slot: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        rows = (_SPEED * self.row[slot]).split([2 * width for width in self.widths], 1)
        hooks = [norm.register_forward_hook(_modulation(row)) for norm, row in zip(self._norms(), rows, strict=True)]
        try:
            image: Tensor = self.whole(code + _SPEED * self.offset[slot])
        finally:
            for hook in hooks:
                hook.remove()
        return image

    def drawn(self, code: Float[Tensor, "b code"], slot: Int[Tensor, " b"], *, rows: bool) -> Float[Tensor, "b c h w"]:
        """The images in training: with ``rows`` only these take a gradient, and ``whole`` evaluates; else all but the rows."""
        for parameter in self.whole.parameters():
            parameter.requires_grad_(parameter.requires_grad and not rows)
        for parameter in (self.offset, self.row):
            parameter.requires_grad_(parameter.requires_grad and rows)
        if not rows:
            return self(code, slot)
        with evaluating(self.whole):
            return self(code, slot)

    def _norms(self) -> list[Any]:
        return [part for part in self.whole.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def _modulation(row: Float[Tensor, "b two_c"]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The hook of a norm layer, which gives its output (b, c, ...) the gains and shifts of ``row``."""

    def modulated(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        gain, shift = (part.unflatten(1, (-1, *(1,) * (out.ndim - 2))) for part in row.chunk(2, 1))
        return torch.addcmul(out + shift, out, gain)

    return modulated
