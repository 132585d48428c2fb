"""What the slots of a memoryGAN tell of images, as tables of texts."""

from __future__ import annotations

import math

from memogen.memory.inspect import mean_cosine
from memogen.metrics.slot_contents import Contents
from memogen.metrics.slots import Estimate, Knowledge, Placed, effective_rank, lead, share


def contents_table(images: Contents, samples: Contents | None) -> list[list[str]]:
    """How many images and slots there are, and the shares of variance between slots: a column for images and one for samples."""
    groups = {"images": images} | ({"samples": samples} if samples else {})
    shares = [group.between() for group in groups.values()]
    counts = [
        ["number", *(f"{len(group.slot):,}" for group in groups.values())],
        ["different slots", *(f"{group.num_slots:,}" for group in groups.values())],
    ]
    between = ([f"variance of {name} between slots", *(_share(each[name]) for each in shares)] for name in shares[0])
    return [["", *groups], *counts, *between]


def about(known: Placed, asked: Placed) -> str:
    """Which images tell of classes, in words."""
    told = f"{len(known.slot):,} of {known.of:,} training images say which class a slot holds"
    return f"{asked.images.name}: {told}, {len(asked.slot):,} of {asked.of:,} test images ask; ± is one standard error over these."


def knowledge_table(found: Knowledge) -> list[list[str]]:
    """A line for the memory's slots and for each mark: clusters, starts, how often they tell the class, the slots' lead, mutual information."""
    slots, *marks = found.sortings
    rest = [["", ""], *([f"{len(mark.known)}", estimate(lead(slots, mark), signed=True)] for mark in marks)]
    lines = (
        [each.name, f"{each.clusters:,}", starts, estimate(each.told), ahead, estimate(each.agreement)]
        for each, (starts, ahead) in zip(found.sortings, rest, strict=True)
    )
    return [["sorted by", "clusters", "starts", "tell the class", "slots lead by", "adjusted mutual information"], *lines]


def neighbours_table(found: Knowledge) -> list[list[str]]:
    """How often the five nearest training images tell the class, by what is near."""
    return [["nearest by", "five tell the class"], *([name, estimate(share(right))] for name, right in found.neighbours.items())]


def spread(asked: Placed) -> str:
    """Whether queries point in many directions, in words."""
    rank = f"effective rank of the queries {effective_rank(asked.query):.1f} of {asked.query.shape[1]}"
    return f"{rank}, mean cosine of two {_share(mean_cosine(asked.query))}"


def estimate(found: Estimate, *, signed: bool = False) -> str:
    """A number with its standard error."""
    if math.isnan(found.value):
        return "-"
    return f"{found.value:{'+' if signed else ''}.3f} ± {_share(found.error)}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
