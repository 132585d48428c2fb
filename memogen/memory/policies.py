"""How a memory reads and writes: every point where the paper, the authors' code and what trains well differ, with a preset for each of the three."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self, get_args, get_type_hints

from .functional import Histogram, Prior

PolicyName = Literal["robust", "paper", "code"]


@dataclass(frozen=True)
class Policy:
    """A complete choice: take one by name with :meth:`preset`, and vary it with :func:`dataclasses.replace`.

    How D(x) is read:

    ``lookup``: "joint" takes the k best slots whatever their class (Eq. 3), "by_class" the k/2 best of each class, so that a gradient is never lost.
    ``prior``: see :func:`memogen.memory.functional.log_prior`. ``clip``: epsilon of Eq. 4 on p(y=1|x), 0 for none. ``decayed_mass``: p(c) takes
    alpha h in place of h, as the authors' code does (it only matters against the smoothing beta).

    How labelled queries change the memory:

    ``rule``: "em" is incremental EM (Eq. 5), "kaiser" moves the nearest slot to normalise(K + q) (the ablation "- EM").
    ``histogram``: "fraction" adds gamma to the mass h, "unit" one for every slot looked at. ``mass_floor``: the mass of a touched slot decays
    towards it, h0 = alpha h + (1 - alpha) floor; it is at once a Dirichlet prior on the mixture weights and the inertia of a key, in samples.
    ``shared_slot``: queries that share a slot are "merged" in one exact step, or the "last" one wins. ``label_match``: S_y by the "hard" condition
    v = y, or "soft" (similarity - 2 for the wrong label). ``oldest``: a query whose best slot has the wrong label overwrites the oldest slot
    "of_all", or "of_class", its own. ``age_reset``: a slot's age starts again when any query "looked_up" the slot, or only when it was the "best"
    of its class for one. ``fill_empty``: the first queries of each class fill its slots, whose keys are zero at the start.
    """

    lookup: Literal["joint", "by_class"]
    prior: Prior
    clip: float
    decayed_mass: bool
    rule: Literal["em", "kaiser"]
    histogram: Histogram
    mass_floor: float
    shared_slot: Literal["merged", "last"]
    label_match: Literal["hard", "soft"]
    oldest: Literal["of_all", "of_class"]
    age_reset: Literal["looked_up", "best"]
    fill_empty: bool

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(hints[field.name])
            if choices and value not in choices:
                raise ValueError(f"{field.name} is {value!r}; it must be one of {', '.join(choices)}")
        if not 0 <= self.clip < 0.5:
            raise ValueError(f"clip is {self.clip}; it must lie in [0, 0.5)")
        if self.mass_floor < 0:
            raise ValueError(f"mass_floor is {self.mass_floor}; it must not be negative")

    @property
    def answers_from_lookup(self) -> bool:
        """Whether S_y is simply the part of the lookup with the query's label, so that a write needs no other scores."""
        return self.lookup == "by_class" and self.label_match == "hard" and self.rule == "em"

    @classmethod
    def preset(cls, name: PolicyName) -> Self:
        """The policy that trains well ("robust"), or the literal algorithm of the paper or of the authors' code. Raises ValueError."""
        match name:
            case "robust":
                # departs: Eq. 3 looks up both classes together; with many slots every query soon finds one only, and the clip ends all learning.
                # departs: Eq. 5 forgets a slot within two touches; the floor gives keys inertia and weights flatness, which keeps slots in use.
                # departs: the oldest slot of all may be of the other class; replacing within the class keeps the halves.
                # departs: with many queries a step every slot is looked up at every step; only one that is nobody's best is free to be replaced.
                # departs: zero keys are never looked up once a few slots are written; the first queries fill them.
                return cls(
                    lookup="by_class",
                    prior="by_class",
                    clip=0.0,
                    decayed_mass=False,
                    rule="em",
                    histogram="fraction",
                    mass_floor=2.0,
                    shared_slot="merged",
                    label_match="hard",
                    oldest="of_class",
                    age_reset="best",
                    fill_empty=True,
                )
            case "paper":
                return cls(
                    lookup="joint",
                    prior="joint",
                    clip=1e-3,
                    decayed_mass=False,
                    rule="em",
                    histogram="fraction",
                    mass_floor=0.0,
                    shared_slot="merged",
                    label_match="hard",
                    oldest="of_all",
                    age_reset="looked_up",
                    fill_empty=False,
                )
            case "code":
                return cls(
                    lookup="joint",
                    prior="joint",
                    clip=1e-3,
                    decayed_mass=True,
                    rule="em",
                    histogram="unit",
                    mass_floor=0.0,
                    shared_slot="last",
                    label_match="soft",
                    oldest="of_all",
                    age_reset="looked_up",
                    fill_empty=False,
                )
        raise ValueError(f"policy is {name!r}; it must be one of {', '.join(get_args(PolicyName))}, or a complete Policy")
