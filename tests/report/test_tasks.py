"""Tables and pictures of a sequence of tasks, from rows and files made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.rows import ResultRow
from memogen.report import replay_gan, tasks
from memogen.report.grid import Theme
from memogen.report.history import Run
from memogen.report.replay_gan import EXTENDED, categories
from memogen.report.sections import PageContext
from memogen.training.grid import Evolution
from memogen.types import InputError
from tests.report.pages import html_of


def row(task: int | None, label: int | None, value: float, metric: str = "accuracy", **more: object) -> dict[str, Any]:
    return {"metric": metric, "value": value, "task": task, "class": label, "variant": "joint_replay", **more}


def run(path: Path, rows: tuple[dict[str, Any], ...] = (), **config: Any) -> Run:
    return Run(
        path,
        {"variant": "joint_replay", "model": {"image_shape": [1, 3, 4], "classes": ["a", "b", "c"]}, **config},
        (),
        tuple(map(ResultRow.read, rows)),
        (),
    )


def section_of(of: Run) -> str:
    section = tasks.section(of)
    assert section is not None
    return html_of(section)


def shown(of: Run) -> str:
    section = categories(of)
    assert section is not None
    return html_of(section)


ROWS = (row(0, 2, 0.9), row(1, 2, 0.1), row(1, 2, 0.4), row(1, 0, 0.8), row(1, None, 0.6), row(None, None, 0.6), row(1, 0, 3.0, "fid"))


def test_a_matrix_holds_the_newest_number_of_each_task_and_class(tmp_path: Path) -> None:
    """Columns stand in the order in which the classes were learned; what was not learned yet is no number."""
    found = tasks.class_matrix(run(tmp_path, ROWS))
    assert (found.labels, found.names) == ((2, 0), ("c", "a"))
    np.testing.assert_array_equal(found.values, [[0.9, np.nan], [0.4, 0.8]])
    assert tasks.matrix_rows(found) == [["after task", "c", "a", "mean"], ["1", "0.900", "", "0.900"], ["2", "0.400", "0.800", "0.600"]]
    distances = tasks.class_matrix(run(tmp_path, ROWS), "fid")
    assert tasks.matrix_rows(distances)[2] == ["2", "3.00", "3.00"]
    for matrix in (found, distances):
        assert tasks.matrix_chart(matrix).width > 100
    added = tasks.class_matrix(run(tmp_path, (*ROWS, row(1, 3, 0.5, class_name="a shoe"))))
    assert added.names == ("c", "a", "a shoe"), "what the configuration does not name, the rows do"


@pytest.mark.parametrize(
    ("kept", "metric", "told"),
    [
        ((), "fid", "no scores by task and class: name a run of a sequence of tasks that was scored"),
        (("accuracy",), "fid", "no fid by task and class, as a class has too few samples or test images .*: see --metric accuracy"),
        (("accuracy", "fid"), "class_share", "as its model is told which class to draw: see --metric accuracy"),
        (("fid",), "accuracy", "as its extractor tells no classes apart: see --metric fid"),
        (("class_share",), "accuracy", "as its model is told no class to draw: see --metric class_share"),
        (("class_share",), "fid", "as its model is told no class to draw: see --metric class_share"),
    ],
)
def test_a_matrix_that_is_not_there_has_a_reason(tmp_path: Path, kept: tuple[str, ...], metric: str, told: str) -> None:
    rows = (row(None, None, 0.5), *(row(0, 1, 0.5, name) for name in kept))
    with pytest.raises(InputError, match=told):
        tasks.class_matrix(run(tmp_path, rows), metric)


def kept(path: Path, number: int, labels: tuple[int, ...], steps: int = 2) -> None:
    """Panels of a task, of images as dark as 50 times their class plus ten times the task plus the step."""
    folder = path / "tasks" / f"task-{number:02d}"
    for step in range(steps + 1):
        shade = torch.tensor([50 * label + 10 * number + step for label in labels] or [100 + step], dtype=torch.uint8)
        panel = shade.view(-1, 1, 1, 1, 1).expand(-1, 5, 1, 3, 4)
        Evolution(folder, steps, lambda model, panel=panel: (labels, panel))(step, nn.Identity())


def test_a_sheet_follows_one_class_through_the_tasks_that_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, 0, (2,))
    kept(tmp_path, 1, (0, 2))
    shown, titles, drawn = list[tuple[list[str], list[int]]](), list[str](), tasks.grid.sheet

    def sheet(rows: list[torch.Tensor], captions: list[str], *, title: str, theme: Theme) -> Image.Image:
        shown.append((captions, [int(images[0, 0, 0, 0]) for images in rows]))
        titles.append(title)
        return drawn(rows, captions, title=title, theme=theme)

    monkeypatch.setattr(tasks.grid, "sheet", sheet)
    tasks.evolution_sheet(run(tmp_path))
    assert shown[-1][0] == [f"task {task}, step {step}" for task in (1, 2) for step in range(3)], "the class that was learned first"
    assert shown[-1][1] == [100, 101, 102, 110, 111, 112]
    tasks.evolution_sheet(run(tmp_path), 0, ends=True)
    assert shown[-1] == (["task 2"], [12])
    assert titles == [f"Class {told}, always from the same latents" for told in ("2 (c)", "0 (a)")]
    with pytest.raises(InputError, match=r"no images of class 1 \(b\)"):
        tasks.evolution_sheet(run(tmp_path), 1)
    with pytest.raises(InputError, match="learned no sequence"):
        tasks.evolution_sheet(run(tmp_path / "elsewhere"))


def test_several_runs_stand_below_each_other(tmp_path: Path) -> None:
    kept(tmp_path, 0, ())
    one = tasks.evolution_sheet(run(tmp_path), named=True)
    both = tasks.grid.stacked([one, one])
    assert both.size == (one.width, 2 * one.height) and tasks.grid.stacked([one]) is one
    assert both.crop((0, one.height, one.width, 2 * one.height)).tobytes() == one.convert("RGB").tobytes()


def test_images_of_no_class_are_shown_as_they_are(tmp_path: Path) -> None:
    kept(tmp_path, 0, ())
    assert tasks.evolution_sheet(run(tmp_path)).height > 3 * 3
    page = section_of(run(tmp_path, (row(0, 1, 0.5, "class_share"),), recipe="memory_gan/digits_stream"))
    assert "What becomes of an image" in page
    assert "Share of samples by class" in page and "Of all samples, the share" in page
    assert ">variant<" not in page, "the head of the page names it"


def test_a_model_that_is_told_its_classes_shows_the_first_one(tmp_path: Path) -> None:
    kept(tmp_path, 0, (2,))
    assert "What becomes of the first class" in section_of(run(tmp_path, ROWS))


def test_nothing_stands_over_a_matrix_that_is_not_there(tmp_path: Path) -> None:
    """Nor over pictures that were not kept; of a stream of which nothing is known there is no section."""
    kept(tmp_path, 0, ())
    assert "Rows: after each task" not in section_of(run(tmp_path))
    (tmp_path / "other" / "tasks" / "task-00").mkdir(parents=True)
    assert tasks.section(run(tmp_path / "other")) is None
    page = section_of(run(tmp_path / "other", ROWS))
    assert "Rows: after each task" in page and "What becomes of" not in page and "<table>" not in page
    costs = section_of(run(tmp_path / "other", (row(None, None, 5.0, "generated_images"),)))
    assert "<table>" in costs and "<img" not in costs


def test_many_images_are_cut_down_to_the_ends_of_the_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[bool]()
    monkeypatch.setattr(tasks, "evolution_sheet", lambda run, ends, theme: asked.append(ends) or Image.new("RGB", (1, 1)))
    for number in range(5):
        kept(tmp_path, number, (number,), steps=12)
        section_of(run(tmp_path))
    assert asked == [False] * 4 + [True], "six of a task"


@pytest.mark.parametrize(("value", "alive"), [(0.3, False), (0.5, True)])
def test_samples_live_that_are_taken_for_their_class_and_not_by_chance(tmp_path: Path, value: float, alive: bool) -> None:
    """Of four classes, a quarter would be right by chance."""
    rows = (row(None, None, value, protocol={"learned": 4}), row(None, None, 1.0, protocol={"learned": 4}) | {"variant": "real"})
    sign = replay_gan.sections(PageContext(run(tmp_path, rows), None)).sign
    assert sign is not None and sign.alive == alive and "25.0% would be by chance" in sign.words
    assert replay_gan.sections(PageContext(run(tmp_path, ROWS), None)).sign is None


def test_distances_are_to_the_first_group_where_there_are_images_enough() -> None:
    rng = torch.Generator().manual_seed(0)
    groups = {"real": torch.randn(40, 3, generator=rng), "near": torch.randn(40, 3, generator=rng), "few": torch.randn(3, 3, generator=rng)}
    statistics = {name: FeatureStatistics(3) for name in groups}
    for name, rows in groups.items():
        statistics[name].update(rows)
    found = replay_gan.distances(groups)
    assert found == {"near": frechet_distance(statistics["near"], statistics["real"]), "few": None, "real": None}
    assert replay_gan.embedding(groups).width > 400
    with pytest.raises(InputError, match="give more images"):
        replay_gan.embedding({"real": torch.zeros(3, 3)})


def test_cost_is_that_of_the_runs_end(tmp_path: Path) -> None:
    rows = tuple(row(task, None, 0.5, training_seconds=1800 * (task + 1), images=1000 * (task + 1)) for task in (0, 1))
    rows += (row(None, None, 12345.0, "generated_images"), row(None, None, 0.9, training_seconds=0, images=0) | {"variant": "real"})
    (_, line) = tasks.cost_rows([run(tmp_path, rows)])
    assert line == [tmp_path.name, "joint_replay", "1.00", "2,000", "12,345", "-"]
    assert tasks.cost_rows([Run(tmp_path, {}, (), tuple(map(ResultRow.read, rows)), ())])[1][1] == "joint_replay", (
        "where there is no configuration, its rows say it"
    )
    (_, short) = tasks.cost_rows([run(tmp_path, (row(None, None, 0.9, training_seconds=9),))])
    assert short[2] == "0.0025", "seconds are no hours, and not nothing"


def test_an_extension_shows_each_category_before_and_after(tmp_path: Path) -> None:
    about = {"recipe": EXTENDED, "model": "deployed", "protocol": {"extractor": "judge", "num_samples": 1000, "known": "old", "new": "held out"}}
    values = {(0, 0): 0.9, (1, 0): 0.8, (1, 3): 0.7}
    rows = tuple(row(task, label, value, class_name=f"<{label}>", **about) for (task, label), value in values.items())

    def judged(**more: object) -> Run:
        return run(tmp_path, tuple({**each, "protocol": {**each["protocol"], **more}} for each in rows))

    page = shown(judged())
    assert "&lt;3&gt;" in page
    assert [page.count(f">{value}<") for value in ("0.900", "0.800", "0.700", "-")] == [1, 1, 1, 5] and page.count("lower is better</small>") == 2
    assert "Judged by judge. 1,000 samples of each category. The known ones are old, the new one is held out." in page
    own = shown(judged(judge="trained on replays", extractor_accuracy=0.875))
    assert "a classifier trained on replays, which takes the model&#39;s word for the known ones: the replays are its own." in own
    assert "right on 87.5% of other replays and of held-out images" in own
    assert "Judged by judge, right on 87.5% of its test images." in shown(judged(judge="given", extractor_accuracy=0.875))
    assert categories(run(tmp_path, ROWS)) is None
