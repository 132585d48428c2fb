"""One registry: a metric that is added to it has its rows, its title in tables and on pages, its help and its place in messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memogen.cli import main
from memogen.cli.scoring import spelled_metrics
from memogen.metrics import METRICS, Asked, Metric, Number, Result, ScoreConfig, evaluate, score_model
from memogen.metrics.metric import Score, needs
from memogen.metrics.registry import in_order, measured, number_of, numbers, title
from memogen.metrics.rows import ResultRow
from memogen.metrics.samples import Seen
from memogen.report.parts import Column, Table
from memogen.report.results import gather
from memogen.report.scores import score_table
from memogen.report.text import results_text
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments, ToyGenerator


class Brightness:
    """The mean pixel of the samples."""

    def __init__(self, asked: Asked) -> None:
        self.needed, self.total, self.count = asked.num_samples, 0.0, 0

    def update(self, seen: Seen) -> None:
        self.total += float(seen.image.double().mean((1, 2, 3)).sum())
        self.count += len(seen)

    def results(self) -> list[Result]:
        return [Result("brightness", self.total / self.count)]


def layers(asked: Asked) -> Iterator[Result]:
    yield Result("layers", len(list(asked.subject.modules())), None, {"num_samples": 0})


TOY = Metric("toy", "how bright samples are", (Number("brightness", "mean brightness", "higher"),), needs("samples", "extractor"), Brightness)
LAYERS = Metric("layers", "modules of the network", (Number("layers", "layers", counted=True),), needs("model"), layers)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for metric in (TOY, LAYERS):
        monkeypatch.setitem(METRICS, metric.name, metric)


@pytest.mark.usefixtures("added")
def test_a_new_metric_is_one_entry(tiny: ImageData, extractor: Moments, capsys: pytest.CaptureFixture[str]) -> None:
    """Its row beside those of another that shares the stream, its title in a table and on a page, its name in the help and in messages."""
    rows = evaluate(ToyGenerator(), tiny, extractor=extractor, metrics=("toy", "fid"), num_samples=50)
    assert [row.metric for row in rows] == ["brightness", "fid"] and 0 < float(str(rows[0].value)) < 255
    made = [ResultRow.read({"recipe": "some/recipe", "variant": "own", "seed": 0, **row}) for row in rows]
    table = results_text([gather("some/table", made)])
    assert "Fréchet distance | mean brightness" in table
    shown = score_table(made)[0]
    assert isinstance(shown, Table) and Column("Mean brightness", "higher") in shown.columns
    assert main(["evaluate", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "toy (how bright samples are)" in told and "layers (modules of the network)" in told
    with pytest.raises(InputError, match=r"choose from is, fid, .*toy"):
        ScoreConfig(("fjd",))


def test_numbers_follow_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before, with, in place of another metric, and after it was taken out again."""
    before = dict(numbers())
    assert "brightness" not in before
    with monkeypatch.context() as patch:
        patch.setitem(METRICS, "toy", TOY)
        assert set(numbers()) - set(before) == {"brightness"} and title("brightness") == "mean brightness"
        patch.setitem(METRICS, "toy", LAYERS)
        assert set(numbers()) - set(before) == {"layers"} and not number_of("brightness").tabled
    assert numbers() == before


@pytest.mark.usefixtures("added")
def test_a_new_metric_of_the_model_itself(tiny: ImageData) -> None:
    (row,) = score_model(ToyGenerator(), tiny, metrics=("layers",), progress=False)
    assert (row.metric, row.value) == ("layers", 4)


def test_every_metric_tells_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name and metric.about and metric.numbers and metric.needs & {"extractor", "model"}
        assert metric.judged or not metric.batched
    names = [number.name for metric in METRICS.values() for number in metric.numbers]
    assert len(names) == len(set(names)) and set(names) < set(numbers())


def test_the_documents_name_every_metric_and_its_direction() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(METRICS) <= set(lines)
    for name, metric in METRICS.items():
        _, _, rows, better, *_ = lines[name].split("|")
        assert all(number.name.removesuffix("_left") in rows for number in metric.numbers)
        assert {number.better for number in metric.numbers} - {None} == {word for word in ("higher", "lower") if word in better}


def test_help_reads_the_registry_before_it_is_loaded() -> None:
    assert spelled_metrics() == [(metric.name, metric.about, metric.judged) for metric in METRICS.values()]


def test_what_needs_the_stream_is_a_score(tiny: ImageData, extractor: Moments) -> None:
    asked = Asked(ToyGenerator(), tiny, num_samples=50)
    assert isinstance(TOY.compute(asked), Score) and isinstance(METRICS["is"].compute(asked), Score)


def test_numbers_are_told_apart_by_their_protocol() -> None:
    assert measured("fid", {"num_samples": 10}) == measured("fid", None) == "fid"
    assert measured("accuracy", {"learned": 5}) == "accuracy 5" and title("accuracy 5") == "accuracy, 5 classes"
    assert measured("imputation_mse", {"mask": "half", "statistics": "batch"}) == "imputation_mse half by batch"
    assert title("imputation_mse half by batch") == "error half by batch"
    assert measured("slot_preference", {"rank": 2}) == "slot_preference 2" and title("slot_preference 2") == "preference 2"
    assert measured("step_seconds", {}) == "step_seconds" and title("step_seconds") == "step seconds"


def test_numbers_stand_in_the_order_of_the_registry() -> None:
    mixed = ["step_seconds", "accuracy 10", "accuracy", "fid", "imputation_mse half", "accuracy 5", "imputation_mse half by batch", "inception_score"]
    ordered = [
        "inception_score",
        "fid",
        "accuracy",
        "accuracy 5",
        "accuracy 10",
        "imputation_mse half by batch",
        "imputation_mse half",
        "step_seconds",
    ]
    assert in_order(mixed) == ordered
