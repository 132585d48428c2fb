"""The inverted file: what it finds has the exact scores and gradients, it finds nearly all of the posterior, and it keeps up with the writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from memogen.memory import Policy, VMFMemory
from memogen.memory.edit import added, frozen, without
from memogen.memory.functional import EMPTY, unit
from memogen.memory.index import products, spherical_k_means
from memogen.models import MemoryConfig, MemoryGANConfig
from tests.together import run_by_torchrun

DIM, SLOTS, CLUSTERS = 16, 4096, 32


def around(clusters: int, num: int, *, seed: int) -> Tensor:
    """Queries around fixed centres, as trained keys lie in clusters."""
    centres = unit(torch.randn(CLUSTERS, DIM, generator=torch.Generator().manual_seed(0)))[:clusters]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(clusters, (num,), generator=generator)
    return unit(centres[chosen] + 0.1 * torch.randn(num, DIM, generator=generator))


def clustered(candidates: int = 256, **options: object) -> VMFMemory:
    """A memory whose slots are all written, its masses of all sizes."""
    memory = VMFMemory(SLOTS, DIM, top_k=32, candidates=candidates, **options)  # type: ignore[arg-type]
    memory.keys.copy_(around(CLUSTERS, SLOTS, seed=1))
    generator = torch.Generator().manual_seed(2)
    memory.mass.copy_(1 + torch.rand(SLOTS, generator=generator))
    memory.age.copy_(torch.randperm(SLOTS, generator=generator))
    memory.refresh()
    return memory


def exact(memory: VMFMemory) -> VMFMemory:
    """The same memory, which scores all slots."""
    other = VMFMemory(memory.num_slots, memory.key_dim, top_k=memory.top_k)
    other.load_state_dict({name: part for name, part in memory.state_dict().items() if not name.startswith("index.")})
    return other


def write(memory: VMFMemory, times: int, *, seed: int, clusters: int = CLUSTERS) -> None:
    for number in range(seed, seed + times):
        memory.write(around(clusters, 32, seed=number), torch.arange(32) % 2)


def held(memory: VMFMemory, query: Tensor) -> Tensor:
    """The part of the exact posterior over the exact lookup that the index finds, for each query and class (b, 2)."""
    found, wanted = memory(query), exact(memory)(query)
    assert found.dense is None, "the index did not answer"
    kept = torch.zeros(len(query), memory.num_slots, dtype=torch.bool).scatter_(1, found.slots, True).gather(1, wanted.slots)
    real = memory.values[wanted.slots] > 0.5
    classes = [torch.softmax(wanted.score.masked_fill(other, EMPTY), 1) for other in (~real, real)]
    return torch.stack([(weights * kept).sum(1) for weights in classes], 1)


def places(memory: VMFMemory) -> tuple[Tensor, Tensor]:
    """How often a read can meet each slot: in the lists, where its entry counts, and among the moved ones."""
    index = memory.index
    assert index is not None
    listed = index.order[int(index.offsets[0]) :].long()
    listed = listed[index.cell[listed] >= 0]
    return torch.bincount(listed, minlength=memory.num_slots), index.moved.long()


def test_with_all_slots_as_candidates_a_read_is_the_exact_read() -> None:
    """Value, weights, first and second derivative."""
    memory = clustered(SLOTS).double()
    query = around(CLUSTERS, 12, seed=3).double().requires_grad_()
    answers = []
    for each in (memory, exact(memory).double()):
        each.load_state_dict(memory.state_dict(), strict=False)
        read = each(query)
        (gradient,) = torch.autograd.grad(read.logit.square().sum(), query, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), query)
        order = read.slots.argsort(1)
        answers.append([read.logit, read.value, gradient, second, *(part.gather(1, order) for part in (read.slots, read.weights, read.score))])
    assert memory(query).dense is None
    for found, wanted in zip(*answers, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_with_few_candidates_what_is_found_is_scored_exactly() -> None:
    memory, query = clustered(64), around(CLUSTERS, 20, seed=4)
    read = memory(query)
    scores = exact(memory)(query).dense
    assert scores is not None
    torch.testing.assert_close(read.score, scores.gather(1, read.slots), rtol=1e-5, atol=1e-5)
    assert all(len(set(row.tolist())) == memory.top_k for row in read.slots)
    assert ((memory.values[read.slots] > 0.5).sum(1) == memory.top_k // 2).all()


def test_products_are_those_of_each_query_with_its_own_slots() -> None:
    query, keys = torch.randn(3, 5), torch.randn(11, 5)
    slots, counts = torch.tensor([4, 1, 10, 4, 0, 7], dtype=torch.int32), torch.tensor([2, 0, 4])
    wanted = torch.stack([query[row] @ keys[slot] for row, slot in zip([0, 0, 2, 2, 2, 2], slots.tolist(), strict=True)])
    torch.testing.assert_close(products(query, keys, slots, counts), wanted)


def test_k_means_finds_clusters_that_lie_apart() -> None:
    centres = torch.eye(DIM)[:4]
    points = unit(centres.repeat_interleave(50, 0) + 0.05 * torch.randn(200, DIM, generator=torch.Generator().manual_seed(0)))
    assert (spherical_k_means(points, 4) @ centres.T).amax(0).min() > 0.99


def test_it_holds_the_posterior_and_still_does_after_a_thousand_writes() -> None:
    """Half of the queries come from centres that the memory did not know when its lists were made."""
    memory = VMFMemory(SLOTS, DIM, top_k=32, candidates=256)
    write(memory, 300, seed=10, clusters=CLUSTERS // 2)
    assert memory.index is not None and memory.index.counts[0] > 0
    for clusters in (CLUSTERS // 2, CLUSTERS):
        assert held(memory, around(clusters, 200, seed=5)).mean(0).min() > 0.99
        listed, moved = places(memory)
        assert torch.equal(listed + moved, (memory.keys.norm(dim=1) > 0).long())
        if clusters < CLUSTERS:
            write(memory, 1000, seed=1000)


def test_a_memory_that_is_being_filled_answers_exactly_until_the_index_can() -> None:
    memory, query = VMFMemory(SLOTS, DIM, top_k=32, candidates=256), around(CLUSTERS, 8, seed=6)
    assert memory(query).dense is not None
    write(memory, 1, seed=0)
    assert memory(query).dense is None
    assert (memory.keys[memory(query).slots].norm(dim=2) > 0).all()
    assert memory.index is not None and torch.equal(memory.index.empty(), memory.keys.norm(dim=1) == 0)


def test_lists_know_the_values_of_slots_that_change_them() -> None:
    """Where a query overwrites the oldest slot of all, a slot may pass from one class to the other."""
    from dataclasses import replace

    memory = clustered(policy=replace(Policy.preset("robust"), oldest="of_all"))
    before = memory.values.clone()
    for seed in range(20):
        memory.write(-around(4, 32, seed=seed), 0)
    assert (before != memory.values).any()
    memory.index.make_lists(memory.keys, memory.values)  # type: ignore[union-attr]
    assert torch.equal(memory.index.cell % 2, memory.values.int())  # type: ignore[union-attr]
    assert held(memory, around(CLUSTERS, 100, seed=7)).mean(0).min() > 0.99


def test_a_state_carries_on_bit_for_bit() -> None:
    memory, query = VMFMemory(SLOTS, DIM, top_k=32, candidates=128), around(CLUSTERS, 40, seed=8)
    write(memory, 230, seed=0)
    other = VMFMemory(SLOTS, DIM, top_k=32, candidates=128)
    other.load_state_dict({name: part.clone() for name, part in memory.state_dict().items()})
    for each in (memory, other):
        write(each, 60, seed=500)
    assert all(torch.equal(one, two) for one, two in zip(memory.state_dict().values(), other.state_dict().values(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(memory(query)[:5], other(query)[:5], strict=True))


def test_a_memory_without_an_index_has_no_trace_of_it() -> None:
    model = MemoryGANConfig(image_shape=(1, 8, 8), width=8, memory=MemoryConfig(64, 8, top_k=8)).build()
    assert not [name for name in model.state_dict() if "index" in name]
    indexed = MemoryGANConfig(image_shape=(1, 8, 8), width=8, memory=MemoryConfig(64, 8, top_k=8, candidates=16)).build()
    assert indexed.memory is not None and indexed.memory.index is not None and indexed.memory.index.candidates == 16


def test_removed_slots_are_not_found_and_added_ones_are() -> None:
    memory, query = clustered(), around(CLUSTERS, 40, seed=9)
    gone = memory(query).slots.unique()
    less = without(memory, gone)
    assert not torch.isin(less(query).slots, gone).any() and held(less, query).mean(0).min() > 0.99
    more, slots = added(less, -query[:3])
    assert torch.isin(slots, more(-query[:3]).slots).all()
    assert torch.isin(gone, memory(query).slots).all(), "the memory itself does not change"


def test_frozen_slots_are_found_and_kept() -> None:
    memory, query = clustered(), around(CLUSTERS, 40, seed=9)
    slots = memory(query[:4]).slots.unique()
    memory = frozen(memory, slots)
    keys = memory.keys[slots].clone()
    write(memory, 200, seed=300)
    assert torch.equal(memory.keys[slots], keys)
    assert torch.isin(memory(query[:4]).slots, slots).any() and held(memory, query).mean(0).min() > 0.99


@pytest.mark.parametrize(
    ("options", "said"),
    [({"candidates": 16}, "candidates"), ({"candidates": 8192}, "candidates"), ({"candidates": 256, "policy": "paper"}, "robust")],
)
def test_an_index_that_cannot_answer_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VMFMemory(SLOTS, DIM, top_k=32, **options)  # type: ignore[arg-type]


def test_processes_hold_the_same_index(tmp_path: Path) -> None:
    """Two processes with shares of each batch end with the state that one process makes of the joint batch."""
    script = tmp_path / "shares.py"
    script.write_text(
        "import torch, torch.distributed as dist\n"
        "from memogen.memory import VMFMemory\n"
        "from tests.memory.test_index import around\n"
        "dist.init_process_group('gloo'); rank = dist.get_rank()\n"
        "def run(first, last):\n"
        "    memory = VMFMemory(512, 16, top_k=16, candidates=64)\n"
        "    for seed in range(120):\n"
        "        memory.write(around(32, 32, seed=seed)[first:last], (torch.arange(32) % 2)[first:last])\n"
        "    return memory\n"
        "memory = run(0, 20) if rank == 0 else run(20, 32)\n"
        "assert memory.index.counts[0] > 0\n"
        "dist.barrier(); dist.destroy_process_group()\n"
        "one = run(0, 32)\n"
        "assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), memory.state_dict().values())), rank\n"
    )
    run_by_torchrun(script)
