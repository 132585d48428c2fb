"""Ctrl-C and SIGTERM stop a scoring at once; it keeps what was computed, and says of how many samples."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from memogen.metrics import Interrupted, ScoreConfig, ScoreEvaluator, ScoringError, append_rows, evaluate
from memogen.metrics.fid import FeatureStatistics
from memogen.stopping import stopping
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments, ToyGenerator


@pytest.fixture(autouse=True)
def python_s_own_handlers() -> Iterator[None]:
    """Signals as at a terminal, also where the tests run in the background; afterwards each is as it was."""
    found = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in found.items()}
    yield
    assert {number: signal.signal(number, handler) for number, handler in before.items()} == found


class Impatient(ToyGenerator):
    """A model whose user presses Ctrl-C, or sends another signal, while image ``at`` is drawn."""

    def __init__(self, at: int, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__()
        self.at, self.number = at, number

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        if start <= self.at < start + num:
            signal.raise_signal(self.number)
        return super().sample(num, label=label, slot=slot, seed=seed, start=start)


class Watched(Moments):
    """An extractor whose user presses Ctrl-C once it has read so many images."""

    def __init__(self, patience: int, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__()
        self.patience, self.number = patience, number

    def features(self, image: Tensor) -> Tensor:
        self.patience -= len(image)
        if self.patience < 0:
            signal.raise_signal(self.number)
        return super().features(image)


def rows_of(stopped: pytest.ExceptionInfo[Interrupted]) -> dict[str, dict[str, object]]:
    return {str(row["metric"]): row for row in stopped.value.rows}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_scores_of_what_was_seen_are_those_of_so_many_samples(number: signal.Signals, tiny: ImageData, extractor: Moments) -> None:
    with pytest.raises(Interrupted, match=r"at samples, 1,200 of 2,000; 7 scores of what was seen") as stopped:
        evaluate(Impatient(1200, number), tiny, extractor=extractor, metrics=("is", "fid", "kid", "prdc"), num_samples=2000, batch_size=100)
    found = rows_of(stopped)
    whole = {row["metric"]: row for row in evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid", "kid", "prdc"), num_samples=1200)}
    for name in ("fid", "kid", "precision", "recall", "density", "coverage"):
        assert found[name]["value"] == pytest.approx(whole[name]["value"], abs=1e-9), name
        protocol = found[name]["protocol"]
        assert protocol["num_samples"] == 1200 and protocol["interrupted"] is True  # type: ignore[index]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_kept_of_what_is_compared_with(number: signal.Signals, tiny: ImageData, own_cache: Path) -> None:
    """In the second of three blocks of the training images, which follow the 120 of the reference."""
    training = ImageData(np.tile(tiny.image, (6, 1, 1, 1)), name="tiny", split="train", digest="tiny-6")
    reader = Watched(3 + 120 + 250, number)  # three looks at what is to be read
    with pytest.raises(Interrupted, match=r"at real data \(tiny train\), 250 of 720; no score was finished") as stopped:
        evaluate(Impatient(-1), tiny, train=training, extractor=reader, metrics=("fid", "mifid"), num_samples=200)
    assert stopped.value.rows == [] and reader.patience == -250, "not one image more was read"
    assert len(list((own_cache / "statistics").iterdir())) == 1, "statistics of what was read whole; none of a part"


def test_no_batch_is_counted_by_one_score_and_not_by_another(tiny: ImageData, extractor: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish while the first of two scores counts a batch waits for the second."""
    update = FeatureStatistics.update

    def press(self: FeatureStatistics, features: Tensor) -> None:
        if self.count == 300:
            signal.raise_signal(signal.SIGINT)
        update(self, features)

    evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid",), num_samples=10)  # the reference's statistics are known from here on
    monkeypatch.setattr(FeatureStatistics, "update", press)
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid", "kid"), num_samples=1000, batch_size=100)
    assert [row["protocol"]["num_samples"] for row in stopped.value.rows] == [400, 400]  # type: ignore[index]


def test_a_second_wish_does_not_wait() -> None:
    script = "import signal; from memogen.stopping import stopping\nwith stopping() as stop, stop.held():\n  "
    done = subprocess.run([sys.executable, "-c", script + "; ".join(["signal.raise_signal(15)"] * 2)], check=False)
    assert done.returncode == -signal.SIGTERM


def test_an_inception_score_keeps_its_finished_splits(tiny: ImageData, extractor: Moments) -> None:
    """2,000 samples make four splits of 500; of 1,200, two are finished: the same as the two of 1,000 samples."""
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(1200), tiny, extractor=extractor, metrics=("is",), num_samples=2000, batch_size=100)
    (row,) = evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("is",), num_samples=1000)
    found = rows_of(stopped)["inception_score"]
    assert (found["value"], found["spread"]) == pytest.approx((row["value"], row["spread"]), abs=1e-9)
    assert found["protocol"]["splits"] == 2 and found["protocol"]["num_samples"] == 1000  # type: ignore[index]


def test_a_score_that_had_all_its_samples_is_whole(tiny: ImageData, extractor: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision and its kind look at the first samples alone: a stream that is stopped later has not cut them short."""
    for name in ("prdc", "copies"):
        monkeypatch.setattr(sys.modules[f"memogen.metrics.{name}"], "PAIR_IMAGES", 500)
    train = ImageData(np.tile(tiny.image[::-1], (2, 1, 1, 1)), name="tiny", split="train", digest="other")
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(1200), tiny, train=train, extractor=extractor, metrics=("fid", "prdc", "copies"), num_samples=2000, batch_size=100)
    unhurried = evaluate(Impatient(-1), tiny, train=train, extractor=extractor, metrics=("prdc", "copies"), num_samples=500)
    whole = {row["metric"]: row for row in unhurried}
    found = rows_of(stopped)
    assert found["fid"]["protocol"]["interrupted"] is True  # type: ignore[index]
    for name, row in whole.items():
        assert found[str(name)]["protocol"] == row["protocol"] and found[str(name)]["value"] == pytest.approx(row["value"])


def test_too_few_samples_give_no_row(tiny: ImageData, extractor: Moments) -> None:
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(3), tiny, extractor=extractor, metrics=("is", "fid", "kid"), num_samples=2000, batch_size=3)
    assert set(rows_of(stopped)) == {"kid"}


def test_a_wish_in_the_last_batch_leaves_whole_scores_and_still_stops(tiny: ImageData, extractor: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    update = FeatureStatistics.update

    def press(self: FeatureStatistics, features: Tensor) -> None:
        update(self, features)
        if self.count == 300:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FeatureStatistics, "update", press)
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid", "accuracy"), num_samples=300, batch_size=100)
    (row,) = stopped.value.rows
    assert row["metric"] == "fid" and row["protocol"]["num_samples"] == 300 and "interrupted" not in row["protocol"]  # type: ignore[index, operator]


def test_scores_finished_before_are_kept_whole(tiny: ImageData, extractor: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*unused: object, k: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["memogen.metrics.prdc"], "prdc", press)
    with pytest.raises(Interrupted) as stopped:
        evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid", "prdc", "is"), num_samples=150)
    (row,) = stopped.value.rows
    assert row["metric"] == "fid" and "interrupted" not in row["protocol"]  # type: ignore[operator]


def test_what_was_computed_before_a_score_that_cannot_be_is_kept(tiny: ImageData, extractor: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*unused: object, k: int) -> None:
        raise InputError("features are no numbers: train the extractor")

    monkeypatch.setattr(sys.modules["memogen.metrics.prdc"], "prdc", refuse)
    with pytest.raises(ScoringError, match="no numbers: train the extractor") as found:
        evaluate(Impatient(-1), tiny, extractor=extractor, metrics=("fid", "prdc"), num_samples=150)
    assert [row["metric"] for row in found.value.rows] == ["fid"] and isinstance(found.value, InputError)


def test_who_does_not_care_sees_a_keyboard_interrupt(tiny: ImageData, extractor: Moments) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(Impatient(0), tiny, extractor=extractor, num_samples=2000)


def test_rows_of_what_was_seen_can_be_written(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    try:
        evaluate(Impatient(150), tiny, extractor=extractor, metrics=("fid",), num_samples=2000, batch_size=100)
    except Interrupted as stopped:
        append_rows(path, stopped.rows)
    assert len(path.read_text().splitlines()) == 1


def test_within_a_training_the_wish_is_the_training_s(tiny: ImageData, extractor: Moments) -> None:
    """The training stops after its step and saves; the scoring goes on to its end."""
    with stopping() as stop, stop.held():
        values = ScoreEvaluator(extractor, ScoreConfig(num_samples=300, progress=False))(Impatient(10), tiny, seed=0)
    assert stop.made and set(values) == {"inception_score", "fid"}
