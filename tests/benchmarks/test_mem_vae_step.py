"""The benchmark measures what it says: the arms are alike, the floor is the products of the real layers, a small run gives a full set of rows."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import mem_vae_step
from memogen.training.config import TrainingConfig
from memogen.training.runtime import start
from tests.models.mem_vae import SMALL

MEMORY = mem_vae_step.RECIPES["mem_vae/digits"](variant="mem_vae")


def setting(batch_size: int = 8) -> mem_vae_step.Setting:
    return mem_vae_step.Setting(start(TrainingConfig(steps=1, device="cpu")), batch_size, 2, time.perf_counter)


def test_rows_of_the_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mem_vae_step, "find_spec", lambda name: None)
    out = tmp_path / "results" / "step.jsonl"
    mem_vae_step.main(["--recipe", "mem_vae/digits", "--rounds", "2", "--batch-size", "8", "--device", "cpu", "--out", str(out)])
    found = [json.loads(text) for text in out.read_text().splitlines()]
    keys = {(row["protocol"]["precision"], row["variant"], row["metric"]) for row in found}
    wanted = (("mem_vae", "step_seconds"), ("vae", "step_seconds"), ("mem_vae", "step_ratio"), ("mem_vae", "products_seconds"))
    assert keys == {(precision, *row) for precision in ("float32", "bf16") for row in wanted}
    assert all(row["value"] > 0 for row in found)
    printed = capsys.readouterr().out
    assert printed.count("pythae is not installed") == 2 and "digits mem_vae" in printed


def test_the_floor_has_a_product_for_every_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products forward are those of the model's own matrices; backward, two for each, but for the first layer's input."""
    recipe = replace(MEMORY, model=SMALL, objective=replace(MEMORY.objective, num_samples=3))
    results = mem_vae_step.products(recipe, setting(batch_size=7))()
    count = len(results) // 3 + 1
    matrices = {name: p for name, p in SMALL.build().named_parameters() if p.ndim == 2 and not name.endswith(("memory.linear", "memory.gate"))}
    assert len(results) == 3 * count - 1 and count == len(matrices)
    assert sorted(sorted(grad.shape) for grad in results[count : 2 * count]) == sorted(sorted(p.shape) for p in matrices.values())
    assert {len(out) for out in results[:count]} == {7, 21}


def test_a_step_of_ours_trains() -> None:
    torch.manual_seed(0)
    before = MEMORY.model.build().decoder.head.weight.detach().clone()
    made: list[torch.nn.Module] = []
    build = type(MEMORY.model).build

    def kept(config: object) -> torch.nn.Module:
        made.append(build(config))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(MEMORY.model), "build", kept)
        step = mem_vae_step.training_step(MEMORY, setting())
    step(), step()
    assert not torch.equal(made[0].decoder.head.weight.detach(), before)


def test_pythaes_arm_has_the_same_layers_and_falls() -> None:
    """As many numbers as ours without memory: batch norm takes a gain and a shift in both."""
    pytest.importorskip("pythae")
    plain = mem_vae_step.RECIPES["mem_vae/digits"](variant="vae").model
    counted: list[int] = []
    adam = torch.optim.Adam

    def counting(parameters: object, **options: object) -> torch.optim.Adam:
        given = list(parameters)
        counted.append(sum(p.numel() for p in given))
        return adam(given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", counting)
        step = mem_vae_step.pythae_step(plain, 3, setting(16))
    assert counted == [sum(p.numel() for p in plain.build().parameters())]
    losses = [step() for _ in range(60)]
    assert losses[-1] < losses[0]
