"""Models that come with memogen: they work by name, are what their cards say, and stay small."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import memogen
from memogen import shipped
from memogen.data import load
from memogen.metrics.slots import name_slots, placed
from memogen.models.memory_gan import MemoryConfig, MemoryGANConfig
from memogen.pretrained import RUN_MODEL, WEIGHTS
from memogen.report.history import read_rows
from memogen.runs import recipe_of
from memogen.types import InputError
from tests.command import run

NAMES = tuple(shipped.shipped_models())
MIB = 2**20


def test_all_of_them_weigh_little() -> None:
    assert sum(path.stat().st_size for name in NAMES for path in (shipped.HERE / name).rglob("*")) <= 12 * MIB
    assert {"digits", "digits-vae"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_draws_and_belongs_to_its_recipe(name: str) -> None:
    model, folder = memogen.from_pretrained(name), shipped.place(name)
    images = model.sample(5, seed=3)
    low, high = model.image_range
    assert images.shape == (5, *model.config.image_shape) and bool(
        ((low <= images) & (images <= high + 0.01)).all()
    )  # a VAE's means may pass 255/256
    assert all(float((one - other).abs().max()) > 0.1 * (high - low) for one, other in pairwise(images))  # different ones
    recipe = recipe_of(name)
    assert recipe is not None and recipe.model == model.config and recipe.data.folder is None
    shown = shipped.examples(folder, model.config.image_shape)
    assert shown is not None and shown.shape[1:] == model.config.image_shape


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_where_it_comes_from(name: str) -> None:
    folder = shipped.place(name)
    card, rows = (folder / RUN_MODEL / "README.md").read_text(), read_rows(folder / "results.jsonl")
    for told in (f"`memogen train {recipe_of(name).recipe}", str(rows[0].commit), "licence of the data", "SHA-256", "Known faults"):  # type: ignore[union-attr]
        assert told in card
    assert {str(row.variant) for row in rows} - {"real"} == {recipe_of(name).variant}  # type: ignore[union-attr]


def test_names_of_slots_are_those_of_the_training_images() -> None:
    stored, model = shipped.stored_names(shipped.place("digits")), memogen.from_pretrained("digits")
    assert stored is not None
    found = name_slots(placed(model, load("digits")), model.memory.num_slots)
    assert stored.classes == found.classes and stored.label == tuple(found.label.tolist())
    assert torch.tensor(stored.share).allclose(found.share.float().nan_to_num(), atol=1e-3)


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = MemoryGANConfig((1, 8, 8), width=4, memory=MemoryConfig(8, 4, top_k=4)).build()
    assert shipped.place("digits").parent == shipped.HERE
    memogen.save_pretrained(model, "digits")
    assert memogen.from_pretrained("digits").memory.num_slots == 8 and shipped.place("digits") == Path("digits")
    assert shipped.place("./digits-vae") == Path("digits-vae")  # a path, not a name


def test_half_precision_rounds_parameters_alone(tmp_path: Path) -> None:
    model = MemoryGANConfig((1, 8, 8), width=4, memory=MemoryConfig(8, 4, top_k=4)).build()
    model.memory.mass.copy_(torch.linspace(1, 1e6, 8))  # beyond the range of half precision
    memogen.save_pretrained(model, tmp_path, half=True)
    again, parameters = memogen.from_pretrained(tmp_path), dict(model.named_parameters())
    for name, tensor in again.state_dict().items():
        kept = model.state_dict()[name]
        assert tensor.dtype == kept.dtype and torch.equal(tensor, kept.half().float() if name in parameters else kept), name
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = 1e5
    with pytest.raises(InputError, match="half precision"):
        memogen.save_pretrained(model, tmp_path / "large", half=True)
    assert not (tmp_path / "large" / WEIGHTS).exists()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        '{"classes": ["a"], "label": [1], "share": [0.5]}',
        '{"classes": ["a"], "label": [0], "share": []}',
        '{"classes": ["a"], "label": [0], "share": [NaN]}',
    ],
)
def test_damaged_names_are_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / shipped.SLOTS).write_text(damage)
    with pytest.raises(InputError, match=shipped.SLOTS):
        shipped.stored_names(tmp_path)


def test_commands_take_them_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, listed, _ = run("models", capsys)
    assert code == 0
    assert all(name in listed and json.loads((shipped.HERE / name / shipped.ABOUT).read_text())["about"] in listed for name in NAMES)
    out = tmp_path / "grid.png"
    assert run(f"sample digits --num 4 --out {out}", capsys)[0] == 0 and out.stat().st_size > 100
    assert run("memory usage digits", capsys)[0] == 0 and run("models digits", capsys)[0] == 0
    assert run("models digts", capsys)[0] == 2 and run(f"sample digts --out {out}", capsys)[0] == 2


def test_scoring_one_leaves_the_package_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    stored = shipped.place("digits") / "results.jsonl"
    before = stored.read_bytes()
    words = "evaluate digits --data digits --metrics kid --num-samples 20"
    try:
        assert run(words, capsys)[0] == 0 and stored.read_bytes() == before
    finally:
        stored.write_bytes(before)
    assert run(f"{words} --out rows.jsonl", capsys)[0] == 0 and len(read_rows(tmp_path / "rows.jsonl")) == 1
