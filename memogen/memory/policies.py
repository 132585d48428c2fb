"""How a memory reads and writes, as data: every point where the paper, the authors' code and good sense part ways.

The presets ``paper``, ``code`` and ``robust`` are complete choices; any field can be set by itself with :func:`dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from .functional import Histogram, Prior

Fidelity = Literal["paper", "code", "robust"]


@dataclass(frozen=True)
class ReadPolicy:
    """How D(x) is read.

    ``lookup``: "joint" takes the k best slots whatever their class (Eq. 3), "stratified" the k/2 best of each class, so that a gradient is
    never lost. ``prior``: see :func:`memogen.memory.functional.log_prior`. ``smoothing``: beta of Eq. 1. ``clip``: epsilon of Eq. 4 on
    p(y=1|x), 0 for none. ``decayed_mass``: read with alpha h in place of h, as the authors' code does (it only matters against ``smoothing``).
    ``index``: "exact" scores all slots in one matrix product; for memories too large for that, "chunked" finds the same slots in bounded
    memory, and "approximate" most of them by faiss, built anew for every read.
    """

    lookup: Literal["joint", "stratified"] = "stratified"
    prior: Prior = "class"
    smoothing: float = 1e-8
    clip: float = 0.0
    decayed_mass: bool = False
    index: Literal["exact", "chunked", "approximate"] = "exact"

    def __post_init__(self) -> None:
        if self.lookup not in ("joint", "stratified"):
            raise ValueError(f"lookup is {self.lookup!r}; it must be 'joint' or 'stratified'")
        if self.prior not in ("joint", "class", "flat"):
            raise ValueError(f"prior is {self.prior!r}; it must be 'joint', 'class' or 'flat'")
        if self.index not in ("exact", "chunked", "approximate"):
            raise ValueError(f"index is {self.index!r}; it must be 'exact', 'chunked' or 'approximate'")
        if not 0 <= self.clip < 0.5:
            raise ValueError(f"clip is {self.clip}; it must lie in [0, 0.5)")
        if self.smoothing < 0:
            raise ValueError(f"smoothing is {self.smoothing}; it must not be negative")

    @classmethod
    def preset(cls, name: Fidelity) -> Self:
        """The reading of the paper, of the authors' code, or the robust one."""
        presets = {
            "paper": cls(lookup="joint", prior="joint", clip=1e-3),
            "code": cls(lookup="joint", prior="joint", clip=1e-3, decayed_mass=True),
            # departs: Eq. 3 looks up both classes together; with many slots every query soon finds one class only, and the clip ends all learning.
            "robust": cls(),
        }
        return presets[name]


@dataclass(frozen=True)
class WritePolicy:
    """How a batch of labelled queries changes the memory.

    ``rule``: "em" is incremental EM (Eq. 5), "kaiser" moves the nearest slot to normalise(K + q) (the ablation "- EM").
    ``histogram``: "fraction" adds gamma to the mass, "unit" one for every slot looked at. ``mass_floor``: the mass of a touched slot decays
    towards it, h0 = alpha h + (1 - alpha) floor; it is at once a Dirichlet prior on the mixture weights and the inertia of a key, in samples.
    ``order``: queries that share a slot are merged in one exact "batch" step, taken one by one ("sequential"), or the "last" one wins.
    ``label_lookup``: S_y by a "hard" condition v = y, or "soft" (similarity - 2 for the wrong label) as the authors' code does.
    ``replace_when``: a query overwrites a slot when the best slot of the unconditional lookup has the wrong label ("top1"), when no slot in
    it has the right one ("absent"), or "never". ``replace_which``: the oldest slot of all ("global") or of the query's class ("same_class").
    ``use``: a slot's age starts again when any query "looked_up" the slot, or only when it was the "best" of its class for one.
    ``initial_mass``: h at the start. ``initial_keys``: "zero", "random" unit vectors, or "queries": zero, and the first queries of each class
    fill its unwritten slots.
    """

    rule: Literal["em", "kaiser"] = "em"
    histogram: Histogram = "fraction"
    mass_floor: float = 2.0
    order: Literal["batch", "sequential", "last"] = "batch"
    label_lookup: Literal["hard", "soft"] = "hard"
    replace_when: Literal["top1", "absent", "never"] = "top1"
    replace_which: Literal["global", "same_class"] = "same_class"
    use: Literal["looked_up", "best"] = "best"
    initial_mass: float = 1e-5
    initial_keys: Literal["zero", "random", "queries"] = "queries"

    def __post_init__(self) -> None:
        allowed = {
            "rule": ("em", "kaiser"),
            "histogram": ("fraction", "unit"),
            "order": ("batch", "sequential", "last"),
            "label_lookup": ("hard", "soft"),
            "replace_when": ("top1", "absent", "never"),
            "replace_which": ("global", "same_class"),
            "use": ("looked_up", "best"),
            "initial_keys": ("zero", "random", "queries"),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
        if self.mass_floor < 0 or self.initial_mass < 0:
            raise ValueError(f"mass_floor {self.mass_floor} and initial_mass {self.initial_mass} must not be negative")

    @classmethod
    def preset(cls, name: Fidelity) -> Self:
        """The writing of the paper, of the authors' code, or the robust one."""
        literal = cls(mass_floor=0.0, replace_which="global", use="looked_up", initial_keys="zero")
        presets = {
            "paper": literal,
            "code": replace(literal, histogram="unit", order="last", label_lookup="soft"),
            # departs: Eq. 5 forgets a slot within two touches; the floor gives keys inertia and weights flatness, which keeps slots in use.
            # departs: with many queries a step every slot is looked up at every step; only a slot that is nobody's best is free to be replaced.
            # departs: the oldest slot of all may be of the other class; replacing within the class keeps the halves.
            "robust": cls(),
        }
        return presets[name]
