"""An inverted file: which slots a query should score, without scoring all of them.

The keys are divided into lists around centroids, and a query scores the members of the nearest lists alone (Sivic and Zisserman 2003, "Video
Google"; Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", section IV). Centroids are found by spherical k-means
(Dhillon and Modha 2001) in two levels, so that a key is assigned by some 2 sqrt(l) products in place of l (Nistér and Stewénius 2006).

The lists hold the numbers of slots, never their keys or masses. These are read where they lie, so that a score is exact and a list that lags behind
the writes can only miss a slot, never misjudge one.
"""

from __future__ import annotations

import math
import warnings

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .functional import EMPTY, unit
from .lookup import unwritten

LISTS = 16  # times sqrt(slots): as many lists
SAMPLE = 16  # keys for each list, from which the centroids are learned
ITERATIONS = 8  # of k-means
ROUND = 4096  # writes in which every slot is compared with the lists once
GROUPED, RANKED = 32, 8  # for each candidate, the members of the groups whose lists are compared with a query, and of the lists put in order
WAITING = 4  # a part of the number of lists: so many slots wait before they are put into lists
BLOCK = 8192  # keys assigned at once


class InvertedFile(nn.Module):
    """An index of the slots of a memory, kept up to date under its writes.

    A slot that holds a key is either in one list, where ``cell`` is 2 list + value, or ``moved``: written or strayed since the lists were made, with
    ``cell`` -1. Every query scores all moved slots. When they are many, they are put into lists; when as many have moved as there
    were slots, the centroids are learned anew. A slot without a key is nowhere. All of it is in the state, and a function of the writes alone.

    Args:
        num_slots, key_dim: of the memory. candidates: members of lists that a query scores, of each class; whole lists, so a few more.
    """

    coarse: Tensor
    centroids: Tensor
    cell: Tensor
    moved: Tensor
    order: Tensor
    offsets: Tensor
    counts: Tensor

    def __init__(self, num_slots: int, key_dim: int, candidates: int) -> None:
        super().__init__()
        self.candidates = candidates
        groups = max(1, round(math.sqrt(LISTS * math.sqrt(num_slots))))
        self.register_buffer("coarse", torch.zeros(groups, key_dim))  # centroids of groups of lists
        self.register_buffer("centroids", torch.zeros(groups * groups, key_dim))  # of lists, those of a group side by side
        self.register_buffer("cell", torch.full((num_slots,), -1, dtype=torch.int32))
        self.register_buffer("moved", torch.zeros(num_slots, dtype=torch.bool))
        self.register_buffer("order", torch.zeros(num_slots, dtype=torch.int32))  # slots by cell, when the lists were made
        self.register_buffer("offsets", torch.zeros(2 * groups * groups + 1, dtype=torch.long))  # where each cell begins in it
        self.register_buffer("counts", torch.zeros(4, dtype=torch.long))  # slots that centroids know; moves since the lists, the centroids; writes

    # --- reading ---

    @torch.no_grad()
    def look_up(
        self,
        query: Float[Tensor, "b d"],
        keys: Float[Tensor, "k d"],
        values: Float[Tensor, " k"],
        log_prior: Float[Tensor, " k"],
        kappa: float,
        k: int,
    ) -> tuple[Int[Tensor, "b t"], Float[Tensor, "b t"]] | None:
        """The ceil(k/2) best real and floor(k/2) best fake slots among the candidates of each unit query, and their scores kappa K.q + log p(c).

        None where the lists hold fewer than that.
        """
        near, moved = query @ self.centroids.T, self.moved.nonzero()[:, 0]
        listed = log_prior.masked_fill(self.cell < 0, EMPTY)
        found = []
        for value, share in ((1, (k + 1) // 2), (0, k // 2)):
            slots, counts = self._candidates(query, near, value)
            score = torch.addcmul(listed.index_select(0, slots), products(query, keys, slots, counts), torch.tensor(kappa).to(query))
            late = moved[(values[moved] > 0.5) == bool(value)]
            columns = torch.arange(max(int(counts.amax()), share), device=query.device) < counts[:, None]
            table = torch.zeros(columns.shape, dtype=slots.dtype, device=query.device).masked_scatter_(columns, slots)
            scores = score.new_full(columns.shape, EMPTY).masked_scatter_(columns, score)
            table = torch.cat([table, late.to(table).expand(len(query), -1)], 1)
            scores = torch.cat([scores, torch.addmm(log_prior[late], kappa * query, keys[late].T)], 1)
            best = scores.topk(share, dim=1, sorted=False)
            found.append((table.gather(1, best.indices), best.values))
        slots, scores = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return (slots.long(), scores) if bool((scores > EMPTY / 2).all()) else None

    def _candidates(self, query: Float[Tensor, "b d"], near: Float[Tensor, "b l"], value: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " b"]]:
        """The slots of a class in the lists nearest to each query, one query after the other, and how many each has."""
        first, groups = self.offsets[value:-1:2], len(self.coarse)
        sizes = self.offsets[value + 1 :: 2] - first
        group = (query @ self.coarse.T).argsort(1, descending=True)
        few = sizes.view(groups, -1).sum(1)[group].cumsum(1) < GROUPED * self.candidates
        group = group[:, : int(few.sum(1).amax()) + 1]
        lists = (group[:, :, None] * groups + torch.arange(groups, device=group.device)).flatten(1)
        ranked = RANKED * self.candidates * int(sizes.count_nonzero()) // max(1, int(sizes.sum())) + 1
        best = near.gather(1, lists).masked_fill_(sizes[lists] == 0, -2).topk(min(ranked, lists.shape[1]), dim=1).indices
        lists = lists.gather(1, best)
        size = sizes[lists]
        size = size * (size.cumsum(1) - size < self.candidates)
        runs, starts = size.flatten(), first[lists].flatten()
        place = torch.repeat_interleave(starts - runs.cumsum(0) + runs, runs)
        return self.order.index_select(0, place.add_(torch.arange(len(place), device=place.device))), size.sum(1)

    # --- following the writes ---

    @torch.no_grad()
    def follow(self, keys: Float[Tensor, "k d"], values: Float[Tensor, " k"], changed: Int[Tensor, " n"]) -> None:
        """Take note of slots that a write ``changed``, and of a share of the others, which drift little by little."""
        share = -(-len(keys) // ROUND)
        drifting = torch.arange(share, device=keys.device).add_(self.counts[3] * share).remainder_(len(keys))
        slots = torch.cat([changed, drifting])
        held = ~unwritten(keys[slots])
        strays = ~held | (self._cells(keys, values, slots) != self.cell[slots])
        slots, held = slots[strays], held[strays]
        new = (held & ~self.moved[slots]).sum()
        self.cell[slots] = -1
        self.moved[slots] = held
        self.counts[1:] += torch.stack([new, new, torch.ones_like(new)])
        if self.counts[1] > len(self.centroids) // WAITING:
            self.make_lists(keys, values)

    def empty(self) -> Bool[Tensor, " k"]:
        """Which slots hold no key."""
        return (self.cell < 0) & ~self.moved

    @torch.no_grad()
    def make_lists(self, keys: Float[Tensor, "k d"], values: Float[Tensor, " k"], *, anew: bool = False) -> None:
        """Put the moved slots into lists, or ``anew`` all slots, around centroids learned from the present keys."""
        slots = self.moved.nonzero()[:, 0]
        if anew or self.counts[2] >= self.counts[0]:
            slots = (~unwritten(keys)).nonzero()[:, 0]
            self._learn(keys, slots)
            self.cell.fill_(-1)
            self.counts[0], self.counts[2] = len(slots), 0
        for part in slots.split(BLOCK):
            self.cell[part] = self._cells(keys, values, part)
        self.moved.zero_()
        self.counts[1] = 0
        self.order.copy_(self.cell.sort(stable=True).indices)
        self.offsets.copy_(torch.bincount(self.cell + 1, minlength=len(self.offsets)).cumsum(0))

    def _cells(self, keys: Tensor, values: Tensor, slots: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """2 list + value of each slot: the nearest list of the two nearest groups."""
        held, tried = keys[slots], min(2, len(self.coarse))
        group = (held @ self.coarse.T).topk(tried, dim=1).indices.flatten()
        order, sizes = group.argsort(stable=True), torch.bincount(group, minlength=len(self.coarse)).tolist()
        parts = zip(held[order // tried].split(sizes), self.centroids.chunk(len(self.coarse)), strict=True)
        cosine, inside = (torch.cat(found) for found in zip(*((part @ centroids.T).max(1) for part, centroids in parts), strict=True))
        back = order.argsort()
        best = cosine[back].view(-1, tried).argmax(1, keepdim=True)
        lists = (group * len(self.coarse) + inside[back]).view(-1, tried).gather(1, best)[:, 0]
        return (2 * lists + (values[slots] > 0.5)).to(self.cell.dtype)

    def _learn(self, keys: Tensor, slots: Int[Tensor, " n"]) -> None:
        sample = keys[slots[:: max(1, len(slots) // (SAMPLE * len(self.centroids)))]]
        self.coarse.copy_(spherical_k_means(sample, len(self.coarse)))
        group = (sample @ self.coarse.T).argmax(1)
        for number, centroids in enumerate(self.centroids.chunk(len(self.coarse))):
            members = sample[group == number]
            centroids.copy_(spherical_k_means(members, len(centroids)) if len(members) else self.coarse[number])

    def extra_repr(self) -> str:
        return f"lists={len(self.centroids)}, candidates={self.candidates}"


def products(query: Float[Tensor, "b d"], keys: Float[Tensor, "k d"], slots: Int[Tensor, " n"], counts: Int[Tensor, " b"]) -> Float[Tensor, " n"]:
    """The products of each query with the keys of its own ``counts`` slots. No key is copied."""
    rows = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(slots.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sparse tensors in compressed rows are "in beta state"
        pattern = torch.sparse_csr_tensor(rows, slots, query.new_zeros(len(slots)), (len(query), len(keys)), check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, query, keys.T, beta=0.0).values()


def spherical_k_means(points: Float[Tensor, "n d"], num: int) -> Float[Tensor, "num d"]:
    """``num`` unit centroids of unit points, from points at equal steps as a start. One that no point is nearest to stays where it was."""
    centroids = points[torch.arange(num, device=points.device) * len(points) // num].clone()
    for _ in range(ITERATIONS):
        nearest = torch.cat([(part @ centroids.T).argmax(1) for part in points.split(BLOCK)])
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        reached = torch.bincount(nearest, minlength=num) > 0
        centroids = torch.where(reached[:, None], unit(sums), centroids)
    return centroids
