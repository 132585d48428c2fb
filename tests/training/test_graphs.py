"""Recorded turns: on a GPU they take the training where unrecorded ones take it; elsewhere the option changes nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, ReplayGAN, ReplayGANObjective
from memogen.recipes import RECIPES
from memogen.runs.configuration import Splits
from memogen.training import TrainState, fit, graphs, seed
from memogen.training.fit import Course
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


def learned(folder: Path, name: str, variant: str, **options: bool) -> dict[str, torch.Tensor]:
    """The weights of a recipe of the digits after 10 steps on the GPU in double precision; of a sequence of tasks, in the second task."""
    recipe = RECIPES[name](variant=variant)
    seed(0)
    model, data, teacher = recipe.model.build(), Splits(recipe.data).train, None
    if isinstance(model, ReplayGAN):
        assert isinstance(recipe.objective, ReplayGANObjective) and data.label is not None
        model.begin_task(0, range(3))
        teacher = recipe.objective.teacher(model)
        if teacher is not None:
            recipe.objective.teach(teacher, model)
        model.begin_task(1, [3])
        data = ImageData(data.image[data.label == 3], data.label[data.label == 3], digest="threes")
    training = replace(recipe.training, steps=10, log_every=2, device="cuda", precision="float64", **options)
    state = fit(model, recipe.objective, data, training, folder, console=False, course=Course(teacher=teacher))
    return state.modules["model"].state_dict()


@needs_gpu
@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("mem_vae/digits", "mem_vae"),
        ("mem_vae/digits", "mem_iwae_5"),
        ("replay_gan/digits", "joint_replay_alignment"),
        ("replay_gan/digits", "dgr"),
        ("replay_gan/digits", "ewc"),
    ],
)
def test_every_family_is_recorded(name: str, variant: str, tmp_path: Path) -> None:
    plain, made = learned(tmp_path / "plain", name, variant), learned(tmp_path / "made", name, variant, cuda_graphs=True)
    for key, value in made.items():
        torch.testing.assert_close(value, plain[key], rtol=1e-6, atol=1e-7, msg=lambda told, key=key: f"{key}: {told}")


@needs_gpu
@pytest.mark.parametrize("variant", ["mem_vae", "vamp_mem_vae"])
def test_compiled_losses_are_the_losses(variant: str, tmp_path: Path) -> None:
    """In processes of their own: the shape checks of the tests cannot be compiled."""
    found = []
    for options in ([], ["--training.compile", "true", "--training.cuda_graphs", "true"]):
        folder = tmp_path / str(len(options))
        words = ["mem_vae/digits", "--variant", variant, "--steps", "20", "--training.precision", "float64", "--scoring.metrics", "[]"]
        command = [sys.executable, "-m", "memogen", "train", *words, *options, "--device", "cuda", "--out", str(folder)]
        subprocess.run(command, check=True, timeout=300)
        found.append(load_file(folder / "model" / "model.safetensors"))
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-5, atol=1e-6, msg=lambda told, key=key: f"{key}: {told}")


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
