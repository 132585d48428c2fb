"""Device, precision and seeds."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from memogen.training import TrainingConfig, seed, start
from memogen.training.runtime import choose_device, seed_step
from memogen.types import InputError


def runtime_of(**changes: object):
    return start(TrainingConfig(**{"steps": 1, "device": "cpu", **changes}))


def test_one_process_leads_and_merges_nothing() -> None:
    runtime = runtime_of()
    parameter = nn.Parameter(torch.ones(2))
    with runtime.processes.merging([parameter]):
        parameter.sum().backward()
    assert (runtime.leads, runtime.processes.world_size, parameter.grad.tolist()) == (True, 1, [1, 1])
    assert runtime.processes.any(True) and not runtime.processes.any(False)


@pytest.mark.parametrize(("precision", "product"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_computes_in_the_precision_asked_for(precision: str, product: torch.dtype) -> None:
    runtime, layer = runtime_of(precision=precision), nn.Linear(2, 2)
    runtime.place(layer)
    with runtime.autocast():
        assert layer(torch.ones(1, 2)).dtype == product
    assert layer.weight.dtype == torch.float32
    assert (runtime.scaler() is not None) == (precision == "fp16")


def test_float64_holds_for_weights_and_new_tensors_and_is_undone() -> None:
    runtime, layer = runtime_of(precision="float64"), nn.BatchNorm1d(2)
    runtime.place(layer)
    assert {value.dtype for value in layer.state_dict().values()} == {torch.float64, torch.int64}
    with runtime.numerics():
        assert torch.zeros(1).dtype == torch.float64
    assert torch.zeros(1).dtype == torch.float32


def test_channels_last_reorders_convolutions_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    runtime_of(channels_last=True).place(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_seed_makes_weights_and_the_step_makes_dropout() -> None:
    def weights(number: int) -> list[float]:
        seed(number)
        return nn.Linear(2, 2).weight.flatten().tolist()

    assert weights(1) == weights(1) != weights(2)
    runtime = runtime_of()
    draws = []
    for number, step in ((0, 5), (0, 6), (1, 5), (0, 5)):
        seed_step(number, step, runtime)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[3]
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize("name", ["cuda:99", "abacus", "xpu:7"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"training\.device"):
        choose_device(name)


def test_mps_is_never_chosen_and_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match=r"training\.device .*double precision"):
        choose_device("mps")


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"ema_decay": 1.0},
        {"keep": 0},
        {"log_every": 0},
        {"checkpoint_every": -1},
        {"seed": -1},
    ],
)
def test_options_out_of_range_are_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"training.{next(iter(changes))}"):
        TrainingConfig(**{**asdict(TrainingConfig(steps=1)), **changes})


def test_sync_batch_norm_wants_cuda() -> None:
    with pytest.raises(InputError, match="sync_batch_norm"):
        runtime_of(sync_batch_norm=True)
