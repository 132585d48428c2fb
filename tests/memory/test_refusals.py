"""What no write may do to a memory: nothing that is not finite, no unknown label, nothing by halves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from memogen.memory import VMFMemory
from tests.together import run_by_torchrun


def settled(num_slots: int = 64, key_dim: int = 16) -> VMFMemory:
    """A memory after some writes of random queries."""
    memory = VMFMemory(num_slots, key_dim, top_k=16)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        memory.write(torch.randn(32, key_dim, generator=generator), torch.arange(32) % 2)
    return memory


def spoilt(what: float) -> tuple[Tensor, Tensor]:
    """A batch in which one query is not finite, or, by the sign of ``what``, one label is unknown."""
    query, value = torch.randn(32, 16, generator=torch.Generator().manual_seed(1)), (torch.arange(32) % 2).float()
    if math.isfinite(what):
        value[3] = what
    else:
        query[3, 5] = what
    return query, value


@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf, 0.9, 2.0, -1.0])
def test_a_batch_that_cannot_be_learned_changes_nothing(what: float) -> None:
    memory = settled()
    before = {name: buffer.clone() for name, buffer in memory.state_dict().items()}
    with pytest.raises(ValueError, match="1 of 32 queries"):
        memory.write(*spoilt(what))
    assert all(torch.equal(before[name], buffer) for name, buffer in memory.state_dict().items())


@pytest.mark.parametrize("what", [math.nan, math.inf, 0.9, -1.0])
@pytest.mark.parametrize("reads", [False, True])
def test_where_looking_would_cost_such_queries_are_left_out(what: float, reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory becomes what the other queries make of it, and the report says which were ignored."""
    monkeypatch.setattr("memogen.memory.vmf.refuse_unknown", lambda known: None)  # as on an accelerator
    memory, other = settled(), settled()
    query, value = spoilt(what)
    done = memory.write(query, value, memory(query) if reads else None)
    rest = torch.arange(32) != 3
    other.write(query[rest], value[rest])
    assert done.ignored.nonzero().flatten().tolist() == [3] and not (done.overwrites | done.dropped)[3]
    for name, buffer in other.state_dict().items():
        torch.testing.assert_close(memory.state_dict()[name], buffer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("query", "value"), [(torch.zeros(0, 16), 1), (torch.zeros(0, 16), torch.zeros(0)), (torch.randn(4, 15), 1)])
def test_what_is_no_batch_of_queries_ages_no_slot(query: Tensor, value: Tensor | int) -> None:
    memory = settled()
    before = memory.age.clone()
    with pytest.raises(ValueError, match="quer"):
        memory.write(query, value)
    assert torch.equal(memory.age, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_buffers_stay_in_single_precision(dtype: torch.dtype) -> None:
    """Cast with its model to half precision, a memory reads and writes on, with the numbers that it had."""
    memory, other = settled(), settled().to(dtype)
    query = torch.randn(32, 16, generator=torch.Generator().manual_seed(2))
    for each in (memory, other):
        each.write(query, torch.arange(32) % 2)
    for name, buffer in memory.state_dict().items():
        assert torch.equal(other.state_dict()[name], buffer)
    assert settled().double().keys.dtype == torch.float64


def test_shares_of_a_batch_may_differ_between_processes(tmp_path: Path) -> None:
    """Two processes with 40 and 24 queries end with the memory that one process makes of all 64."""
    script = tmp_path / "shares.py"
    script.write_text(
        "import torch, torch.distributed as dist\n"
        "from memogen.memory import VMFMemory\n"
        "dist.init_process_group('gloo')\n"
        "query = torch.randn(64, 16, generator=torch.Generator().manual_seed(5)); value = torch.arange(64) % 2\n"
        "share = slice(0, 40) if dist.get_rank() == 0 else slice(40, 64)\n"
        "memory = VMFMemory(32, 16); memory.write(query[share], value[share])\n"
        "dist.barrier(); rank = dist.get_rank(); dist.destroy_process_group()\n"
        "one = VMFMemory(32, 16); one.write(query, value)\n"
        "assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), memory.state_dict().values())), rank\n"
    )
    run_by_torchrun(script)
