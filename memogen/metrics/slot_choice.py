"""Which slots of a mixture memory hold a class, or pictures; and a class taken out of it.

A memory learns without labels, so nothing in it says what a slot holds. Labelled images do: each belongs to slots by its posterior.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.memory import MixtureMemory
from memogen.memory.edit import weighted, without
from memogen.memory.functional import EMPTY, unit
from memogen.memory.inspect import prior, written
from memogen.metrics.slots import BLOCK, Placed
from memogen.types import InputError

HELD = 0.2  # a slot holds a class where this part of its images has it
MOST = 4.0  # by which the mass of a slot grows when another class is forgotten
ENOUGH = 4000  # labelled images that tell, encoded in about half a second


@torch.no_grad()
def real_posterior(memory: MixtureMemory, query: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
    """p(c | x, v = 1): over the written real slots alone, on the memory's device. Each row sums to one."""
    there = (memory.values > 0.5) & written(memory)
    scaled = memory.concentration * unit(query.to(memory.keys))
    score = torch.addmm(memory.log_prior().to(scaled), scaled, memory.keys.T)  # logarithms: beside a fake slot all real ones may round to 0
    return score.masked_fill(~there, EMPTY).softmax(1)


def class_shares(memory: MixtureMemory, known: Placed) -> Float[Tensor, "k classes"]:
    """Of each slot: the parts of its images that have each class, an image counting by its posterior; a row of zeros without images. On the CPU.

    s_ck = sum_i p(c | x_i) [y_i = k] / sum_i p(c | x_i). Raises InputError where the images have no labels.
    """
    classes = max(int(known.label.max()) + 1, len(known.images.classes))
    found = torch.zeros(memory.num_slots, classes, dtype=torch.float64)
    for query, label in zip(known.query.split(BLOCK), known.label.split(BLOCK), strict=True):
        member = torch.nn.functional.one_hot(label, classes).double()
        found += real_posterior(memory, query).double().cpu().T @ member
    return found / found.sum(1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)


def slots_of_classes(memory: MixtureMemory, known: Placed, classes: Sequence[int], *, held: float = HELD) -> Int[Tensor, " n"]:
    """The real slots of whose images a part of ``held`` at least has one of the classes, in order. Raises InputError for a class without images."""
    if not 0 < held <= 1:
        raise InputError(f"held: {held}: give a part above 0, 1 at most")
    shares = class_shares(memory, known)
    for label in classes:
        if not bool((known.label == label).any()):
            raise InputError(f"classes: no image of {known.images.name} has class {label}: give images that show it")
    return (shares[:, list(classes)].sum(1) >= held).nonzero()[:, 0]


@torch.no_grad()
def without_classes(
    memory: MixtureMemory, known: Placed, classes: Sequence[int], *, held: float = HELD, even: bool = True
) -> tuple[MixtureMemory, Int[Tensor, " n"]]:
    """A copy without the slots that hold one of the ``classes``, and these slots.

    Slots on the border of two classes take some of the other one with them. With ``even`` the other classes keep their shares of each other all the
    same: with p the prior, s the parts of :func:`class_shares` and L the real slots that stay, the mass of slot c is multiplied by

        f_c = sum_k s_ck r_k / sum_k s_ck,   r_k = sum_c p_c s_ck / sum_{c in L} p_c s_ck, at most 4,

    sums over the other classes k: one round of iterative proportional fitting. Raises InputError for a class without images, and where nothing
    would be left.
    """
    gone, shares = slots_of_classes(memory, known, classes, held=held), class_shares(memory, known)
    try:
        edited = without(memory, gone)
    except ValueError as error:
        raise InputError(f"classes: {error}") from error
    if not even:
        return edited, gone
    chance, others = prior(memory).cpu(), shares.clone()
    others[:, list(classes)] = 0
    stays = torch.ones(memory.num_slots, dtype=torch.bool).index_fill_(0, gone, False)
    before, left = chance @ others, (chance * stays) @ others
    lost = torch.where(left > 0, before / left.clamp_min(torch.finfo(left.dtype).tiny), 1).clamp_max(MOST)
    total = others.sum(1)
    factor = torch.where(total > 0, others @ lost / total.clamp_min(torch.finfo(total.dtype).tiny), 1)
    return weighted(edited, torch.where(memory.values.cpu() > 0.5, factor, 1)), gone


def slots_of_pictures(memory: MixtureMemory, query: Float[Tensor, "b d"], *, held: float = HELD) -> Int[Tensor, " n"]:
    """The real slots that one of the pictures belongs to: each picture's most probable slot, and those with a probability of ``held``; in order."""
    share = real_posterior(memory, query)
    found = share >= held
    found[torch.arange(len(share)), share.argmax(1)] = True
    return found.any(0).nonzero()[:, 0].cpu()
