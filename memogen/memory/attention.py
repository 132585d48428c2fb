"""A memory of trainable slots that a decoder's layer asks for detail (Li, Zhu and Zhang, ICML 2016, sections 3.2 and 3.3).

Torch only. ``AttentionMemory(500, 70)`` takes the activations of a layer, (b, 500), and gives what the next layer sees instead of them, (b, 500).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

Addressing = Literal["sigmoid", "softmax"]
"""How the scores of the slots become their weights: each by itself, or as a distribution over them (appendix D)."""
Composition = Literal["ladder", "additive", "sum"]
"""How activation and memory meet: by the trainable element-wise function of section 3.3, or as their sum (appendix D), rectified or not."""
Fill = Literal["ones", "zeros", "mean"]
"""What replaces the memory's answer: ones (appendix C), zeros, or the mean answer to the batch, which is the same for every image."""


class AttentionRead(NamedTuple):
    """``weights`` = h_a of the slots, and the weighted sum of the slots, ``mix`` = h_m."""

    weights: Float[Tensor, "b k"]
    mix: Float[Tensor, "b d"]


class AttentionMemory(nn.Module):
    """``num_slots`` slots of ``query_dim`` numbers, read by content. Reading changes nothing; the slots learn by gradient.

    With a query g and the answer m, "ladder" gives relu(a1 + a2 m + a3 g + a4 g m + b1 sigmoid(c1 + c2 m + c3 g + c4 g m)), all products element by
    element (section 3.3), and starts as relu(g): a3 = c3 = 1, the others 0. "additive" gives relu(g + m), as the authors' code does, "sum" g + m, as
    appendix D prints it.

    Parameters: ``address`` (query to scores), ``slots`` (num_slots, query_dim), drawn from N(0, ``slot_std``^2), and for the ladder
    ``linear`` = a1..a4 and ``gate`` = c1..c4, each (4, query_dim), and ``gain`` = b1.
    """

    def __init__(
        self,
        query_dim: int,
        num_slots: int,
        *,
        addressing: Addressing = "sigmoid",
        compose: Composition = "ladder",
        slot_std: float = 0.01,
    ) -> None:
        super().__init__()
        check_attention(query_dim, num_slots, addressing=addressing, compose=compose, slot_std=slot_std)
        self.query_dim, self.num_slots = query_dim, num_slots
        self.addressing, self.composition = addressing, compose
        self.address = nn.Linear(query_dim, num_slots)
        nn.init.xavier_uniform_(self.address.weight)
        nn.init.zeros_(self.address.bias)
        self.slots = nn.Parameter(torch.empty(num_slots, query_dim))
        nn.init.normal_(self.slots, std=slot_std)
        if compose == "ladder":
            start = torch.zeros(4, query_dim)
            start[2] = 1
            self.linear, self.gate = nn.Parameter(start.clone()), nn.Parameter(start.clone())
            self.gain = nn.Parameter(torch.zeros(query_dim))

    def read(self, query: Float[Tensor, "b d"]) -> AttentionRead:
        """The weight of each slot, and the sum of the slots with these weights; differentiable in query and slots."""
        score = self.address(query)
        weights = torch.sigmoid(score) if self.addressing == "sigmoid" else torch.softmax(score, dim=1)
        return AttentionRead(weights, weights @ self.slots)

    def forward(self, query: Float[Tensor, "b d"], *, without: Fill | None = None) -> Float[Tensor, "b d"]:
        """The query composed with the memory's answer, or with what replaces it."""
        return self.compose(query, self.read(query).mix if without is None else self.absent(query, without))

    def compose(self, query: Float[Tensor, "b d"], mix: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The input of the next layer from a query and an answer, the memory's own or any other."""
        if self.composition != "ladder":
            return torch.relu(query + mix) if self.composition == "additive" else query + mix
        # departs: the authors' Theano gives a ReLU the slope 1/2 at zero, torch 0: an activation of exactly zero teaches a1, a2 and b1 nothing yet
        gate = _affine(self.gate, query, mix).sigmoid_()  # in place: a layer is bound by memory, and nothing else reads these
        return _affine(self.linear, query, mix).addcmul_(self.gain, gate).relu_()

    def absent(self, query: Float[Tensor, "b d"], fill: Fill) -> Float[Tensor, "b d"]:
        """What replaces the memory's answer."""
        match fill:
            case "ones":
                return torch.ones_like(query)
            case "zeros":
                return torch.zeros_like(query)
            case "mean":
                return self.read(query).mix.mean(0).expand_as(query)
            case _:
                assert_never(fill)

    def extra_repr(self) -> str:
        return f"{self.query_dim}, {self.num_slots}, addressing={self.addressing!r}, compose={self.composition!r}"


def check_attention(query_dim: int, num_slots: int, *, addressing: str, compose: str, slot_std: float) -> None:
    """Raises ValueError for an option out of its range."""
    if min(query_dim, num_slots) < 1:
        raise ValueError(f"query_dim {query_dim} and num_slots {num_slots} must be positive")
    if addressing not in ("sigmoid", "softmax"):
        raise ValueError(f"addressing is {addressing!r}; it must be 'sigmoid' or 'softmax'")
    if compose not in ("ladder", "additive", "sum"):
        raise ValueError(f"compose is {compose!r}; it must be 'ladder', 'additive' or 'sum'")
    if not 0 <= slot_std < float("inf"):
        raise ValueError(f"slot_std is {slot_std}; it must be finite and not negative")


def _affine(coefficients: Float[Tensor, "4 d"], query: Float[Tensor, "b d"], mix: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """w1 + w2 m + w3 g + w4 g m, as (w1 + w3 g) + m (w2 + w4 g)."""
    w1, w2, w3, w4 = coefficients.unbind(0)
    return torch.addcmul(w1, w3, query).addcmul_(mix, torch.addcmul(w2, w4, query))
