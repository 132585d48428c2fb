"""Recorded turns: on a GPU they take the training where unrecorded ones take it; elsewhere the option changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective
from memogen.training import TrainState, fit, graphs, seed
from memogen.training.optimise import phase_optimisers
from memogen.types import Batch, ImageData, InputError, Loss, OptimiserConfig, Phase
from tests.training.toy import DATA, ToyConfig, ToyObjective, config, fingerprint, train

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
IMAGES = ImageData(np.random.default_rng(0).integers(0, 256, (200, 3, 16, 16), dtype=np.uint8), digest="graphs")


def test_without_cuda_the_option_changes_nothing(tmp_path: Path) -> None:
    assert fingerprint(train(tmp_path / "a", cuda_graphs=True)) == fingerprint(train(tmp_path / "b"))


def test_a_run_may_go_on_with_and_without(tmp_path: Path) -> None:
    train(tmp_path, steps=10)
    assert train(tmp_path, steps=20, cuda_graphs=True).step == 20


def test_what_talks_to_the_host_in_every_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.cuda_graphs is true.*fp16"):
        train(tmp_path, cuda_graphs=True, precision="fp16")
    model = nn.Linear(1, 1)
    phase = Phase("only", (model,), lambda batch: Loss(torch.zeros(())), optimiser=OptimiserConfig(eps_form="uncorrected"))
    with pytest.raises(InputError, match=r"training\.cuda_graphs: Adam of phase only"):
        phase_optimisers(model, (phase,), recorded=True)


class Replayed(torch.cuda.CUDAGraph):
    """A recording without a GPU: to repeat it is to compute its row anew from the tensors that it holds."""

    def __new__(cls, own: Batch, row: torch.Tensor) -> Replayed:
        return object.__new__(cls)

    def __init__(self, own: Batch, row: torch.Tensor) -> None:
        self.own, self.row = own, row

    def replay(self) -> None:
        self.row.copy_(_numbers(self.own))


def _numbers(batch: Batch) -> torch.Tensor:
    return torch.stack([batch.index.float().sum(), batch.index.float().max()])


def test_each_phase_and_stream_is_warmed_up_recorded_once_and_fed_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []

    def record(phase: str, batch: Batch, turn: object) -> graphs._Recording:
        recorded.append((phase, batch.stream))
        own = replace(batch, index=batch.index.clone())
        row = torch.zeros(2)
        return graphs._Recording(Replayed(own, row), own, ("sum", "max"), 1, row)

    warmed = []

    def aside(batch: Batch, turn: graphs.Turning) -> tuple[graphs.Scalars, graphs.Scalars]:
        warmed.append(batch.stream)
        return turn(batch)

    def turn(batch: Batch) -> tuple[graphs.Scalars, graphs.Scalars]:
        one, other = _numbers(batch)
        return {"sum": one}, {"max": other}

    monkeypatch.setattr(graphs, "_record", record)
    monkeypatch.setattr(graphs, "_aside", aside)
    taken, made = graphs.Graphs(), []
    for step in range(6):
        for stream in (0, 1):
            batch = Batch(torch.arange(step, step + 4 + stream), stream=stream)
            made.append((taken("critic", batch, turn), turn(batch)))
    assert [found == expected for found, expected in made] == [True] * 12, "no later batch reaches into what an earlier one gave"
    assert warmed == [0, 1] * graphs.WARM_UP and recorded == [("critic", 0), ("critic", 1)]


def trained(folder: Path, *, graphs: bool, steps: int = 12) -> TrainState:
    """A memoryGAN on the GPU in double precision, so that the order of a summation does not show."""
    seed(0)
    model = MemoryGANConfig((3, 16, 16), "resnet", 8, memory=MemoryConfig(64, 16, top_k=16))
    adam = OptimiserConfig(schedule="linear")
    options = config(device="cuda", precision="float64", steps=steps, cuda_graphs=graphs, sample_every=5)
    return fit(model.build(), MemoryGANObjective(critic=adam, generator=adam), IMAGES, options, folder, console=False)


@needs_gpu
def test_recorded_steps_are_the_steps(tmp_path: Path) -> None:
    """Weights, moments, averages and memory after warm-up, recording and eight repeats, with a learning rate that falls."""
    recorded, plain = trained(tmp_path / "recorded", graphs=True), trained(tmp_path / "plain", graphs=False)
    one, other = recorded.modules["model"].state_dict(), plain.modules["model"].state_dict()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-6, atol=1e-7, msg=lambda told, name=name: f"{name}: {told}")
    assert recorded.averages is not None and plain.averages is not None
    for name, value in recorded.averages.values.items():
        torch.testing.assert_close(value, plain.averages.values[name], rtol=1e-6, atol=1e-7)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("recorded", "plain")]
    assert lines[0].count("\n") == lines[1].count("\n")


@needs_gpu
def test_a_recorded_run_resumes(tmp_path: Path) -> None:
    trained(tmp_path / "a", graphs=True)
    whole = trained(tmp_path / "b", graphs=True).modules["model"].state_dict()
    seed(0)
    for name, value in trained(tmp_path / "a", graphs=True).modules["model"].state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-7)


@needs_gpu
def test_dropout_differs_from_step_to_step(tmp_path: Path) -> None:
    """Were a recording to keep its random numbers, the same batch would give the same loss at a learning rate of next to nothing."""

    class Still(ToyObjective):
        def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
            return tuple(replace(phase, optimiser=OptimiserConfig(learning_rate=1e-30)) for phase in super().phases(model))

    one = ImageData(DATA.image[:1].repeat(8, 0), digest="one")
    seed(0)
    fit(ToyConfig(dropout=0.5).build(), Still(), one, config(steps=12, log_every=1, device="cuda", cuda_graphs=True), tmp_path, console=False)
    gaps = {line.partition('"critic/gap": ')[2].partition(",")[0] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()}
    assert len(gaps) == 12


@needs_gpu
def test_a_turn_that_asks_the_device_is_refused(tmp_path: Path) -> None:
    class Curious(ToyObjective):
        def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
            critic, generator = super().phases(model)

            def loss(batch: Batch) -> Loss:
                found = generator.loss(batch)
                return Loss(found.total * (1 if float(found.total) > 0 else 2))

            return critic, replace(generator, loss=loss)

    with pytest.raises(InputError, match=r"training\.cuda_graphs: phase generator cannot be recorded"):
        fit(ToyConfig().build(), Curious(), DATA, config(device="cuda", cuda_graphs=True), tmp_path, console=False)
