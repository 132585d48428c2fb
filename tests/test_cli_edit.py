"""The commands that edit a memory: each writes a model in which the edit is done, and leaves the former one as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import memogen
from memogen import shipped
from memogen.memory.inspect import prior, written
from memogen.metrics.samples import model_source
from tests.command import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(model_source(memogen.from_pretrained("digits"), seed=1)(0, 3)):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    return tmp_path


def emptied(folder: str) -> list[int]:
    memory = memogen.from_pretrained(folder).memory
    return (~written(memory)).nonzero()[:, 0].tolist()  # type: ignore[no-any-return]


def test_slots_are_forgotten_by_number_and_by_region(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("memory forget digits --slots 3,17 --near 40 --cosine 0.9 --out edited", capsys)
    memory = memogen.from_pretrained("digits").memory
    region = ((memory.keys @ memory.keys[40] >= 0.9) & (memory.values > 0.5)).nonzero()[:, 0].tolist()
    gone = sorted({3, 17, *region})
    assert code == 0 and 40 in region and emptied("edited") == sorted({*gone, *emptied("digits")})
    assert f"{float(prior(memory)[gone].sum()):.1%} of the prior" in out
    names = shipped.stored_names(here / "edited")
    assert names is not None and all(names.label[slot] == -1 for slot in gone) and max(names.label) == 9


def test_a_class_is_forgotten_by_what_labelled_images_tell(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("memory forget digits --classes 3 --out edited", capsys)[0] == 0
    names, gone = shipped.stored_names(shipped.place("digits")), set(emptied("edited"))
    assert names is not None
    threes = {slot for slot, (label, share) in enumerate(zip(names.label, names.share, strict=True)) if label == 3 and share > 0.6}
    assert threes <= gone and len(gone - set(emptied("digits"))) < 40


def test_a_picture_is_forgotten_by_the_slots_that_it_belongs_to(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("memory forget digits --pictures 0.png,1.png --out edited", capsys)[0] == 0
    model = memogen.from_pretrained("digits")
    image = torch.stack([torch.from_numpy(np.asarray(Image.open(f"{n}.png")).copy())[None] for n in range(2)])
    best = (model.memory.posterior(model.encode(image)) * (model.memory.values > 0.5)).argmax(1).tolist()
    assert set(best) <= set(emptied("edited"))


def test_pictures_are_added_with_their_share(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("memory add digits 0.png 1.png 2.png --share 0.25 --out edited", capsys)
    slots = [int(word) for word in out.split(" added")[0].removeprefix("slots ").split(", ")]
    model = memogen.from_pretrained("edited")
    assert code == 0 and len(slots) == 3 and float(prior(model.memory)[slots].sum()) == pytest.approx(0.25, rel=1e-4)


def test_slots_are_frozen_and_thawed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("memory freeze digits --slots 2,5,9 --out held", capsys)[0] == 0
    assert memogen.from_pretrained("held").memory.frozen.nonzero()[:, 0].tolist() == [2, 5, 9]
    assert "1 are frozen now" in run("memory freeze held --slots 2,9 --thaw --out free", capsys)[1]
    assert memogen.from_pretrained("free").memory.frozen.nonzero()[:, 0].tolist() == [5]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("forget digits --out new", "no slots are named"),
        ("forget digits --slots 3 --out full", "holds files"),
        ("forget digits --slots 3,x --out new", "not a list of whole numbers"),
        ("add digits 0.png 1.png 0.png --out new", "0.png: is named twice"),
        ("freeze digits --slots 3 --thaw --out new", "slot 3: none is frozen"),
        ("forget digits --slots 999 --out new", "holds slots 0 to 511"),
        ("forget digits --slots 3 --cosine 0.5 --out new", "--cosine 0.5: says how near"),
        ("forget digits --near 3 --cosine 1.5 --out new", "from -1 to 1"),
        ("forget digits --slots 3 --data digits --out new", "give --classes"),
        ("forget digits --classes ten --out new", "--classes ten: neither"),
        ("forget digits --near 0 --cosine -1 --out new", "all real slots would be gone"),
        ("forget digits-vae --slots 3 --out new", "no such memory"),
        ("add digits missing.png --out new", "missing.png"),
        ("add digits 0.png --share 1 --out new", "share is 1"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_leaves_nothing(words: str, told: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    code, _, error = run(f"memory {words}", capsys)
    assert code == 2 and told in error and len(error.splitlines()) == 1
    assert not (here / "new").exists()
