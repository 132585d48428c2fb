"""`memogen sample --temper` and `--rare`: what they draw, and what they refuse in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from memogen.memory.inspect import tempered
from memogen.pretrained import save_pretrained
from memogen.types import InputError
from tests.command import run
from tests.metrics.toys import small_gan


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a saved model ``m`` whose first slot holds almost all of the mass."""
    model = small_gan()
    assert model.memory is not None
    model.memory.mass[0] = 1e6
    save_pretrained(model, tmp_path / "m")
    np.savez(tmp_path / "m.npz", x=np.zeros((3, 8, 8), np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_model_draws_by_a_weight() -> None:
    model = small_gan()
    memory = model.memory
    assert memory is not None
    memory.mass.copy_(torch.rand(32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(model.sample(40, seed=3), model.sample(40, seed=3, weight=tempered(memory, 1)))
    alone = torch.zeros(32).index_fill(0, torch.tensor([7]), 1.0)
    assert model.latents(9, weight=alone).slot is not None and (model.latents(9, weight=alone).slot == 7).all()
    part = model.sample(5, seed=3, start=10, weight=tempered(memory, 0.5))
    assert torch.allclose(part, model.sample(40, seed=3, weight=tempered(memory, 0.5))[10:15], atol=1e-6), "image i depends on the seed and i alone"
    with pytest.raises(InputError, match="give one of both"):
        model.latents(3, slot=1, weight=alone)


def test_tempers_and_rare_slots(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("--out plain.png", "--temper 1 --out one.png", "--temper 0 --out flat.png", "--temper-density 0 --out even.png"):
        code, _, err = run(f"sample m --num 16 {words}", capsys)
        assert code == 0, err
    plain, one, flat, even = ((here / f"{name}.png").read_bytes() for name in ("plain", "one", "flat", "even"))
    assert plain == one and plain != flat and flat != even != plain
    code, out, err = run("sample m --num 4 --rare 0.5 --data digits --out rare", capsys)
    assert code == 0 and "rarest slots that held-out images confirm" in err and "rare: 4 images" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample m --temper -1", "too small"),
        ("sample m --temper 1e999", "finite"),
        ("sample m --temper warm", "temper"),
        ("sample m --rare 0 --data digits", "not a share"),
        ("sample m --rare 1.5 --data digits", "not a share"),
        ("sample m --rare 0.1", "--data: m is not a run folder"),
        ("sample m --rare 0.1 --data nowhere", "no such data set"),
        ("sample m --temper 0.5 --rare 0.1", "give one of them"),
        ("sample m --temper 0.5 --slot 3", "give one of them"),
        ("sample m --temper-density 0.5 --label 3", "give one of them"),
        ("sample m --temper-density 1e999", "finite"),
        ("sample m --rare 0.1 --data m.npz", "has no held-out images"),
        ("sample m --data digits", "only --rare asks data"),
        ("sample digits-vae --temper 0.5", "no memory of slots"),
    ],
)
def test_bad_input_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    code, out, err = run(f"{words} --out x.png", capsys)
    assert code == 2 and said in err and err.startswith("memogen:") and err.count("\n") == 1 and not out
    assert not (here / "x.png").exists()
