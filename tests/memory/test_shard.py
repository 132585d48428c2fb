"""A memory whose keys are divided over processes reads, writes and draws what the whole one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memogen.memory import Policy, ShardedMemory, VMFMemory
from memogen.models import MemoryConfig
from tests.memory.sharded import DIM, OPTIONS, SLOTS, asks_for_all, begun, course, divided
from tests.together import done, together


@pytest.mark.parametrize(("world_size", "filled"), [(2, True), (4, True), (2, False), (4, False)])
def test_a_divided_memory_is_the_whole_one(world_size: int, filled: bool, tmp_path: Path) -> None:
    """In double precision: the same slots are looked up, touched, replaced and drawn; numbers agree to 1e-12.

    Neither slots nor queries divide evenly. In a new memory many slots have equal scores, of which any may be looked up.
    """
    with together(tmp_path, divided, tmp_path, filled, of=world_size) as processes:
        assert done(processes) == [0] * world_size, [(tmp_path / f"err-{rank}").read_text() for rank in range(world_size)]
    shares = [dict(np.load(tmp_path / f"course-{rank}.npz")) for rank in range(world_size)]
    memory = VMFMemory(SLOTS, DIM, **OPTIONS).double()
    memory.load_state_dict(begun(filled=filled))
    for name, expected in course(memory, 0, 1).items():
        if name.startswith("joint"):
            assert all(np.array_equal(share[name], shares[0][name]) for share in shares)
        found = shares[0][name] if name.startswith("joint") else np.concatenate([share[name] for share in shares])
        if filled or not name.startswith(("slots", "weights")):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=name)
    state = dict(np.load(tmp_path / "state.npz"))
    assert state.keys() == memory.state_dict().keys()
    for name, tensor in memory.state_dict().items():
        np.testing.assert_allclose(state[name], tensor.numpy(), rtol=0, atol=1e-12, err_msg=name)


def test_one_process_has_the_whole_memory() -> None:
    assert type(MemoryConfig(64, 16, sharded=True).build()) is VMFMemory


@pytest.mark.parametrize(
    "options", [{"policy": "paper"}, {"policy": "code"}, {"em_steps": 2}, {"candidates": 128}, {"policy": Policy.preset("paper")}]
)
def test_what_needs_all_scores_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="|".join(["sharded", *options])):
        MemoryConfig(4096, 16, sharded=True, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        ShardedMemory(4096, 16, rank=0, world_size=2, **options)


def test_more_processes_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        ShardedMemory(3, 16, rank=0, world_size=4)


def test_a_question_to_all_slots_is_refused(tmp_path: Path) -> None:
    with together(tmp_path, asks_for_all, tmp_path) as processes:
        assert done(processes) == [0, 0]
    assert all("load the saved model" in (tmp_path / f"told-{rank}").read_text() for rank in range(2))
