"""A generator of which every memory slot owns a part: a gain and a shift of each normalised map, of low rank.

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

_SCALE = 5.0  # of the basis: as Adam moves all numbers alike, it says how much faster rows learn than weights


class SlotGenerator(nn.Module):
    """Codes (b, code_dim) and their slots (b,) to images: ``whole``, where the code is added an offset of the slot, and each batch norm's output y
    becomes y (1 + a_c B) + b_c B', with ``rank`` numbers a_c and as many b_c of slot c and a fixed random basis [B, B'] of the layer.

    All rows begin at zero, so that nothing is changed. ``tasks`` counts those whose slots own rows: from the first on ``whole`` is frozen, and draws
    by its running statistics. Raises ValueError for a generator without batch norm.
    """

    tasks: Tensor

    def __init__(self, whole: nn.Module, num_slots: int, code_dim: int, rank: int) -> None:
        super().__init__()
        self.whole, self.rank = whole, rank
        widths = [norm.num_features for norm in self._norms()]
        if not widths:
            raise ValueError("slot_rank: the generator has no batch norm to modulate; give norm batch, or a slot_rank of 0")
        self.offset = nn.Parameter(torch.zeros(num_slots, code_dim))
        self.row = nn.Parameter(torch.zeros(num_slots, len(widths), 2, rank))
        for layer, width in enumerate(widths):
            self.register_buffer(f"basis{layer}", _SCALE / rank * torch.randn(2, rank, width))
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))

    def forward(self, code: Float[Tensor, "b code"], slot: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        hooks = [norm.register_forward_hook(self._modulation(layer, slot)) for layer, norm in enumerate(self._norms())]
        try:
            image: Tensor = self.whole(code + self.offset[slot])
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

    def _modulation(self, layer: int, slot: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        """The hook of a norm layer."""
        basis: Tensor = getattr(self, f"basis{layer}")

        def modulated(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            gain, shift = torch.einsum("bkr,krc->kbc", self.row[slot, layer], basis).unflatten(2, (-1, *(1,) * (out.ndim - 2)))
            return torch.addcmul(out + shift, out, gain)

        return modulated
