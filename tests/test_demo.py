"""The demo: sentences that follow from numbers, and the whole of it at a few steps: played, played again, stopped and continued."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from memogen.demo import Plan, acts, demo, sentences
from memogen.demo.sentences import Comparison, Question, apart
from memogen.metrics import classifier
from memogen.metrics.imputation import Completed
from memogen.metrics.slots import Estimate
from memogen.pretrained import from_pretrained
from memogen.runs import run
from memogen.training import Stopped
from memogen.types import InputError, to_uint8

PLAN = Plan(task_steps=2, steps=2, samples=200)
QUESTIONS = (sentences.KEPT, sentences.VARIED, sentences.NAMED, sentences.CLUSTERED, sentences.FILLED)
ABOUT = {"earlier": 8, "most": 10, "asked": 360, "clusters": 200}


def compared(difference: float, error: float) -> Comparison:
    return Comparison(Estimate(0.5 + difference, 0.01), Estimate(0.5, 0.02), Estimate(difference, error))


def plain(words: str) -> str:
    """With single spaces, which break lines or not."""
    return " ".join(words.split())


@pytest.mark.parametrize(
    ("difference", "error", "verdict"),
    [
        (0.21, 0.1, "larger"),
        (-0.21, 0.1, "smaller"),
        (0.19, 0.1, "alike"),
        (-0.19, 0.1, "alike"),
        (0.0, 0.0, "alike"),
        (0.2, 0.0, "larger"),
        (0.4, math.nan, "alike"),
    ],
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_two_standard_errors_choose_the_ending(question: Question, difference: float, error: float, verdict: str) -> None:
    found = compared(difference, error)
    words = question.answer(found, **ABOUT)
    endings = {"larger": question.larger, "alike": question.alike, "smaller": question.smaller}
    assert found.verdict == verdict
    assert [name for name, ending in endings.items() if words.endswith(ending)] == [verdict], "one ending, and no other one's"
    assert question.number(found.here) in words and question.number(found.beside) in words


def test_errors_of_different_samples_add_in_squares() -> None:
    found = apart(Estimate(7.0, 0.3), Estimate(2.0, 0.4)).difference
    assert (found.value, found.error) == pytest.approx((5.0, 0.5))


def test_a_spread_that_nobody_knows_is_not_told() -> None:
    assert sentences.VARIED.number(Estimate(7.0, math.nan)) == "7.00"
    assert plain(sentences.KEPT.number(Estimate(0.25, 0.01), signed=True)) == "+25.0 ± 1.0 %"


def test_filling_is_compared_with_the_mean_of_the_other_pictures() -> None:
    """Three pictures of 0, 0 and 3 in their one hidden pixel; the model fills in 1 everywhere."""
    image = torch.tensor([[[[0.0, 9.0]]], [[[0.0, 9.0]]], [[[3.0, 9.0]]]])
    missing = torch.tensor([[[True, False]]]).expand(3, 1, 1, 2)
    found = acts.filling(Completed(image, missing, ((1, torch.where(missing, 1.0, image)),)))
    assert found.here.value == pytest.approx((1 + 1 + 4) / 3)
    assert found.beside.value == pytest.approx((1.5**2 + 1.5**2 + 9) / 3)
    assert found.difference.value == pytest.approx(found.here.value - found.beside.value)
    assert found.here.error == pytest.approx(np.std([1, 1, 4], ddof=1) / math.sqrt(3))


# --- the whole ---


def played(folder: Path, plan: Plan = PLAN) -> str:
    """What the demo prints."""
    with redirect_stdout(StringIO()) as out:
        assert demo(folder, plan=plan, console=False) == folder
    return out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def no_reports() -> Iterator[None]:
    """The runs' own pages, which take longest, are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "write_report", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("demo") / "demo"
    threads = torch.get_num_threads()
    told = played(place)
    assert torch.get_num_threads() == threads
    (place.parent / "told.txt").write_text(told)
    return place


def outcome(folder: Path) -> dict[str, object]:
    found = json.loads((folder / "demo.json").read_text())
    return {name: found[name] for name in ("plan", "sentences", "numbers", "pictures")}


def test_five_sentences_are_told_on_the_terminal_and_on_the_page(folder: Path) -> None:
    told, page = (folder.parent / "told.txt").read_text(), (folder / "demo.html").read_text()
    found = outcome(folder)
    assert len(found["sentences"]) == 5
    for sentence in found["sentences"]:
        assert plain(sentence) in plain(told) and sentence in page
    for file in found["pictures"]:
        assert str(folder / file) in told and min(Image.open(folder / file).size) > 50
    assert str(folder / "demo.html") in told
    assert page.count("data:image/png") == len(found["pictures"]) and 'src="http' not in page


def test_the_numbers_are_those_of_the_saved_models(folder: Path) -> None:
    """The share of samples of earlier digits, counted anew."""
    kept, _, named, *_ = outcome(folder)["numbers"]
    for name, told in zip(("with_replay", "without_replay"), kept[1:3], strict=True):
        model = from_pretrained(folder / name)
        judge = classifier("digits")
        digits = judge.logits(judge.features(to_uint8(model.sample(PLAN.samples, seed=0), model.image_range))).argmax(1)
        share = float((digits < 8).double().mean())
        assert float(told.split("±")[0]) == pytest.approx(100 * share, abs=0.06)
    assert named[2].startswith("10.0"), "36 of 360 test images are of any one digit, give or take one"


def test_played_again_it_shows_what_is_there(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    told = played(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert all(plain(sentence) in plain(told) for sentence in outcome(folder)["sentences"])


def test_stopped_in_the_middle_it_continues_to_the_same_end(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(folder, tmp_path / "demo")
    (copy / "demo.json").unlink()
    shutil.rmtree(copy / "digits")

    def stopping(*_: object) -> object:
        def watch(step: int, model: nn.Module) -> None:
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        return watch

    with monkeypatch.context() as patched:
        patched.setattr(acts, "_shown", stopping)
        with pytest.raises(Stopped):
            played(copy)
    assert not (copy / "demo.json").exists()
    played(copy)
    assert outcome(copy) == outcome(folder)
    assert torch.equal(from_pretrained(copy / "digits").memory.keys, from_pretrained(folder / "digits").memory.keys)


def test_another_seed_wants_another_folder(folder: Path) -> None:
    before = outcome(folder)
    with pytest.raises(InputError, match="seed"):
        played(folder, Plan(seed=1, task_steps=2, steps=2, samples=200))
    assert outcome(folder) == before
