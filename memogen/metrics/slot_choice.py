"""Finds the slots of a mixture memory that hold a class, or the content of given pictures, and removes a class.

The memory is trained without labels. Labelled images show what its slots hold: each image belongs to slots by its posterior. What the generator
draws around the key of a slot can be of another class than the images that belong to it, so :func:`drawn` labels samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.memory import MixtureMemory
from memogen.memory.edit import weighted, without
from memogen.memory.functional import EMPTY, unit
from memogen.memory.inspect import prior, written
from memogen.metrics.samples import BLOCK
from memogen.metrics.slots import BuiltSlots, Placed
from memogen.types import InputError, to_uint8

HELD = 0.15  # a slot holds a class if at least this share of its images has it
MOST = 4.0  # the largest factor on a slot's mass when another class is removed
ROUNDS = 5  # of proportional fitting
ENOUGH = 4000  # labelled images that are looked at; they are encoded in about half a second
DRAWN = 500  # samples that are looked at
NEAREST = 5  # labelled images that say what a sample shows


@torch.no_grad()
def drawn(model: BuiltSlots, known: Placed, *, num: int = DRAWN) -> Placed:
    """``num`` samples of the model in place of labelled images: each is there once for each of the labelled images nearest to it, with their labels.

    Nearest by cosine, in the model's queries. A sample's ``query`` is the one that it is drawn with. ``known`` itself for a generator that reads no
    slot. Raises InputError if the images have no labels.
    """
    latents = model.latents(num, seed=0)
    if latents.key is None or latents.slot is None:
        return known
    image = to_uint8(model.decode(latents), model.image_range)
    near = (unit(model.encode(image)).cpu() @ unit(known.query).T).topk(min(NEAREST, len(known.query)), dim=1).indices
    each = near.shape[1]
    label, image = known.label[near.flatten()], image.cpu().repeat_interleave(each, 0)
    samples = replace(known.images, image=image.numpy(), label=label.numpy(), name=f"{num} samples of the model", digest="")
    return Placed(samples, latents.key.cpu().repeat_interleave(each, 0), latents.slot.cpu().repeat_interleave(each), num)


@torch.no_grad()
def real_posterior(memory: MixtureMemory, query: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
    """p(c | x, v = 1) over the written real slots, on the memory's device. Each row sums to one."""
    there = (memory.values > 0.5) & written(memory)
    scaled = memory.concentration * unit(query.to(memory.keys))
    score = torch.addmm(memory.log_prior().to(scaled), scaled, memory.keys.T)  # logarithms: beside a fake slot all real ones may round to 0
    return score.masked_fill(~there, EMPTY).softmax(1)


def class_shares(memory: MixtureMemory, known: Placed) -> Float[Tensor, "k classes"]:
    """s_ck = sum_i p(c | x_i) [y_i = k] / sum_i p(c | x_i): which share of slot c's images has class k; zeros without images. On the CPU.

    Raises InputError if the images have no labels.
    """
    classes = max(int(known.label.max()) + 1, len(known.images.classes))
    found = torch.zeros(memory.num_slots, classes, dtype=torch.float64)
    for query, label in zip(known.query.split(BLOCK), known.label.split(BLOCK), strict=True):
        member = torch.nn.functional.one_hot(label, classes).double()
        found += real_posterior(memory, query).double().cpu().T @ member
    return found / found.sum(1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)


def slots_of_classes(memory: MixtureMemory, known: Placed, classes: Sequence[int], *, held: float = HELD) -> Int[Tensor, " n"]:
    """The real slots of whose images at least the share ``held`` has one of the classes, in order. Raises InputError for a class without images."""
    return _holding(class_shares(memory, known), known, classes, held)


def _holding(shares: Float[Tensor, "k classes"], known: Placed, classes: Sequence[int], held: float) -> Int[Tensor, " n"]:
    if not 0 < held <= 1:
        raise InputError(f"held: {held}: give a part above 0, 1 at most")
    for label in classes:
        if not bool((known.label == label).any()):
            raise InputError(f"classes: no image of {known.images.name} has class {label}: name a class that they show")
    return (shares[:, list(classes)].sum(1) >= held).nonzero()[:, 0]


@torch.no_grad()
def without_classes(
    memory: MixtureMemory, known: Placed, classes: Sequence[int], *, held: float = HELD, even: bool = True
) -> tuple[MixtureMemory, Int[Tensor, " n"]]:
    """A copy of the memory without the slots that hold one of the ``classes``, and these slots.

    A slot on the border of two classes also holds images of the other one. With ``even`` the other classes still keep their proportions: with p the
    prior, s the shares of :func:`class_shares` and L the real slots that stay, the mass of slot c is multiplied by

        f_c <- f_c sum_k s_ck r_k / sum_k s_ck, at most 4,   r_k = sum_c p_c s_ck / sum_{c in L} f_c p_c s_ck,

    with sums over the other classes k: five rounds of iterative proportional fitting from f = 1. Raises InputError for a class without images, and
    if no slot would be left.
    """
    shares = class_shares(memory, known)
    gone = _holding(shares, known, classes, held)
    try:
        edited = without(memory, gone)
    except ValueError as error:
        raise InputError(f"classes: {str(error).removeprefix('slots: ')}") from error
    if not even:
        return edited, gone
    chance, others = prior(memory).cpu(), shares.clone()
    others[:, list(classes)] = 0
    stays = torch.ones(memory.num_slots, dtype=torch.bool).index_fill_(0, gone, False)
    before, total, factor = chance @ others, others.sum(1), stays.to(chance)
    for _ in range(ROUNDS):
        left = (chance * factor) @ others
        lost = torch.where(left > 0, before / left.clamp_min(torch.finfo(left.dtype).tiny), 1)
        gain = torch.where(total > 0, others @ lost / total.clamp_min(torch.finfo(total.dtype).tiny), 1)
        factor = (factor * gain).clamp_max(MOST)
    return weighted(edited, torch.where(memory.values.cpu() > 0.5, factor, 1)), gone


def slots_of_pictures(memory: MixtureMemory, query: Float[Tensor, "b d"], *, held: float = HELD) -> Int[Tensor, " n"]:
    """The real slots of the pictures, in order: the most probable slot of each, and every slot with a probability of at least ``held``."""
    share = real_posterior(memory, query)
    found = share >= held
    found[torch.arange(len(share)), share.argmax(1)] = True
    return found.any(0).nonzero()[:, 0].cpu()
