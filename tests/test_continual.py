"""The continual benchmark: one way of scoring for every method, what is carried from task to task, and a method of somebody's own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from memogen import cli, continual
from memogen.data import load
from memogen.data.task_sequence import TaskConfig
from memogen.metrics.exam import Exam
from memogen.metrics.extractors import extractor
from memogen.metrics.rows import ResultRow
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, MemVAEConfig, MemVAEObjective
from memogen.models.mem_vae import AttentionConfig
from memogen.models.replayed import state_bytes
from memogen.recipes import RECIPES
from memogen.recipes.table import Criterion
from memogen.recipes.tables import TABLES, find_table, table_of
from memogen.report.notes import judged
from memogen.report.results import Cell, Line, gather
from memogen.runs import reproduce
from memogen.types import ImageData, InputError

PAGE = Path(__file__).parents[1] / "docs" / "results" / "continual.md"
PAIRS = tuple((first, first + 1) for first in range(0, 10, 2))


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))


def example() -> dict[str, Any]:
    """The functions of the example on the page."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # the page's own words
    return names


# --- a method of one's own ---


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean and a deviation of every pixel for each class: nothing is forgotten, and when the last task begins eight classes are carried."""
    monkeypatch.chdir(tmp_path)
    names = example()
    rows = names["rows"]
    end = {row.metric: row for row in rows if row.task is None and row.variant == "pixel_gaussians"}
    assert {"fid", "accuracy", "class_divergence", "reverse_accuracy", "forgetting", "reverse_forgetting", "carried_megabytes"} <= set(end)
    assert end["carried_megabytes"].value == 8 * (8 + 2 * 64 * 4) / 1e6, "of each class its number, and two floats for each pixel"
    assert end["accuracy"].value > 0.5 and abs(end["forgetting"].value) < 0.1
    assert {row.task for row in rows} == {None, 0, 1, 2, 3, 4}
    read = [ResultRow.read(json.loads(line)) for line in (tmp_path / "own.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row.to_json() for row in read] == json.loads(json.dumps([row.to_json() for row in rows]))
    assert {line.variant for line in gather("own", read).lines} == {"pixel_gaussians", "real"}


@dataclass(frozen=True)
class Replays:
    """A method that draws what it was shown: all images so far, or those of the newest task."""

    everything: bool
    labels: bool = True

    def learn(self, images: torch.Tensor, labels: torch.Tensor, state: Any) -> Any:
        return (images, labels) if state is None or not self.everything else tuple(map(torch.cat, zip(state, (images, labels), strict=True)))

    def draw(self, state: Any, num: int, seed: int) -> Any:
        chosen = torch.randint(len(state[0]), (num,), generator=torch.Generator().manual_seed(seed))
        images, labels = (part[chosen] for part in state)
        return (images, labels) if self.labels else images


def ends(method: Replays) -> dict[str, float]:
    rows = continual.evaluate(method.learn, method.draw, num_samples=640)
    return {str(row.metric): float(row.value or 0) for row in rows if row.task is None and row.variant == "own"}


def test_keeping_every_image_is_the_upper_bound_and_keeping_the_newest_the_floor() -> None:
    train = load("digits", split="train", progress=False)
    whole, newest = ends(Replays(everything=True)), ends(Replays(everything=False))
    before, last = (int(np.isin(train.label, labels).sum()) for labels in (range(8), (6, 7)))
    each = 64 + 8  # bytes of an image and its class
    assert (whole["carried_megabytes"], newest["carried_megabytes"]) == (before * each / 1e6, last * each / 1e6)
    assert whole["accuracy"] == 1.0 and newest["accuracy"] == 0.2, "two classes of ten"
    assert whole["fid"] < 1 < newest["fid"]
    assert whole["class_divergence"] < 0.05 and newest["class_divergence"] == pytest.approx(np.log(5), abs=0.05)
    assert whole["reverse_accuracy"] > 0.9 and newest["reverse_accuracy"] < 0.21
    assert whole["forgetting"] == 0 and newest["forgetting"] == 1.0
    assert whole["reverse_forgetting"] < 0.1 and newest["reverse_forgetting"] > 0.9


def test_a_method_without_labels_is_scored_by_the_judges() -> None:
    found = ends(Replays(everything=True, labels=False))
    assert found["reverse_accuracy"] > 0.9 and "reverse_forgetting" in found
    assert not {"accuracy", "forgetting"} & set(found)


def test_the_seed_decides_what_a_method_draws_at_random_and_drawing_leaves_its_numbers_alone() -> None:
    def drawn(method_draws: int) -> list[float]:
        seen = []

        def learn(images: torch.Tensor, labels: torch.Tensor, state: Any) -> Any:
            seen.append(float(torch.rand(())))
            return images[:4]

        def draw(state: Any, num: int, seed: int) -> torch.Tensor:
            torch.rand(method_draws)
            return state.repeat(-(-num // 4), 1, 1, 1)[:num]

        continual.evaluate(learn, draw, num_samples=64, seed=3, tasks=TaskConfig(classes_per_task=5))
        return seen

    assert drawn(1) == drawn(7) and len(set(drawn(1))) == 2


# --- bytes ---


def test_bytes_of_a_small_model_are_those_of_its_numbers() -> None:
    """3 * 2 weights and 2 biases of 4 bytes; batch norm of 2 channels has 2 * 4 floats and a count of 8 bytes."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    names = sum(len(name) for name in model.state_dict())
    assert continual.bytes_of(model) == 4 * 8 + 4 * 8 + 8 + names
    assert state_bytes(model) == 4 * 8 + 4 * 8 + 8


def test_a_view_counts_as_what_it_is_a_view_of_and_nothing_counts_twice() -> None:
    whole, array = torch.zeros(1000), np.zeros(500)
    assert continual.bytes_of([whole[:1], whole, whole.view(10, 100)]) == 4000
    assert continual.bytes_of({1: array[3:5], 2: array}) == 4000 + 16
    assert continual.bytes_of(None) == 0 and continual.bytes_of((1, 2.5, True, "abc", b"de")) == 24 + 5


def test_what_cannot_be_counted_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"state\['kept'\]\[1\]: a function cannot be counted"):
        continual.bytes_of({"kept": [1, lambda: None]})


@pytest.mark.parametrize("memory", [(), (6, 4)])
def test_what_a_mem_vae_keeps_is_its_decoder(memory: tuple[int, ...]) -> None:
    """Dense layers 3 -> 5 -> 7 and 7 -> 64 pixels, in floats of 4 bytes: weights, biases, and of each norm four numbers a channel; and the slots."""
    config = MemVAEConfig((1, 8, 8), hidden=(7, 5), latent_dim=3, memory=AttentionConfig(memory))
    model = config.build()
    teacher = MemVAEObjective(replay=True).teacher(model)
    assert teacher is not None and not any(name.startswith("model.encoder") for name in teacher.state_dict())
    layers = sum(below * above + above + 4 * above for below, above in pairwise((3, 5, 7))) + 7 * 64 + 64
    slots = sum(tensor.numel() for layer in model.decoder.stack if layer.memory is not None for tensor in layer.memory.state_dict().values())
    assert state_bytes(teacher) == 4 * (layers + slots) + 8, "and the number of tasks"
    cost = MemVAEObjective(replay=True).cost(model, [2, 2, 2], steps=10, batch_size=8)
    assert cost == {"generated_images": 2 * 10 * 8, "kept_megabytes": state_bytes(teacher) / 1e6}
    assert MemVAEObjective().cost(model, [2, 2], steps=10, batch_size=8) == {"generated_images": 0, "kept_megabytes": 0}


def test_what_a_memory_gan_keeps_is_its_generator_and_its_memory() -> None:
    config = MemoryGANConfig((1, 8, 8), width=4, memory=MemoryConfig(48, 16, top_k=8))
    model, replaying = config.build(), MemoryGANObjective(replay=True)
    assert model.memory is not None
    kept = replaying.cost(model, [2, 2], steps=10, batch_size=8)["kept_megabytes"]
    assert kept == (state_bytes(model.generator) + state_bytes(model.memory) + 8) / 1e6
    assert replaying.cost(model, [2, 2], steps=10, batch_size=8)["generated_images"] == 10 * 8 * (2 + 3), "and the copy's in the second task"


# --- what is refused ---


def refused(images: Any, match: str, labels: Any = None) -> None:
    with pytest.raises(InputError, match=match):
        continual.evaluate(lambda *_: None, lambda *_: images if labels is None else (images, labels), num_samples=64)


def test_wrong_draws_are_one_line() -> None:
    good = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    refused(good[:3], r"draw: its images have the shape \(3, 1, 8, 8\): give \(64, 1, 8, 8\)")
    refused(good.long(), "draw: its images are torch.int64")
    refused(good.float() - 1, r"draw: its images reach from -1 to -1: give floats in \[0, 1\]")
    refused(good.float() * torch.nan, "draw: its images reach from nan")
    refused(good, "draw: class 5 has not been learned: draw of 0, 1", torch.full((64,), 5))
    refused(good, r"draw: its classes are torch.float32 of shape \(64,\)", torch.zeros(64))
    with pytest.raises(InputError, match="images make no batch"):
        continual.evaluate(lambda *_: None, lambda *_: good, num_samples=3)


# --- the table ---


def test_parts_of_the_table_hold_every_family_of_a_data_set() -> None:
    table = TABLES["continual"]
    assert set(table.parts) == {"digits", "mnist", "fashion_mnist", "cifar10"}
    assert find_table("continual/digits").recipes == ("replay_gan/digits_stream", "memory_gan/digits_stream", "mem_vae/digits_stream")
    assert find_table("continual/mem_vae/digits_stream").recipes == ("mem_vae/digits_stream",)
    with pytest.raises(InputError, match="did you mean 'digits'"):
        find_table("continual/digit")
    assert table_of("continual/digits") is table_of("continual") is table and table_of("own/digits") is None


def test_all_methods_see_as_many_real_images_of_the_same_tasks() -> None:
    table = TABLES["continual"]
    for part, recipes in table.parts.items():
        seen, tasks = set(), set()
        for recipe in recipes:
            spent = table.budget(recipe, "short").spent_on(table.scored(RECIPES[recipe]()), seed=0)
            repeats = 5 if recipe.startswith("replay_gan") else 1
            seen.add(spent.training.steps * spent.training.batch_size * repeats)
            assert spent.succession is not None and spent.scoring.metrics == ("continual",)
            tasks.add((spent.succession.tasks.tasks(10), spent.scoring.num_samples, spent.scoring.extractor))
        assert len(seen) == len(tasks) == 1, part
        assert next(iter(tasks))[0] == PAIRS


def test_runs_of_families_with_recipes_of_one_name_have_their_own_folders(tmp_path: Path) -> None:
    folders = [job.folder for job in reproduce.plan("continual/digits", out=tmp_path, budget="smoke").jobs]
    assert len(set(folders)) == len(folders) == 15


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps a task of a method of each kind."""
    out = tmp_path_factory.mktemp("smoke")
    for part, variants in (("replay_gan", ("joint_training", "joint_replay")), ("memory_gan", ("slot_replay",)), ("mem_vae", ("sample_replay",))):
        table = replace(TABLES["continual"], rows=tuple(row for row in TABLES["continual"].rows if row.recipe == f"{part}/digits_stream"))
        reproduce.run(reproduce.plan(table, out=out, budget="smoke", variants=variants), console=False)
    return out


def test_a_smoke_run_of_the_table(smoke: Path) -> None:
    results = gather("continual", reproduce.read_rows(smoke / "continual.jsonl"))
    lines = {(line.recipe.partition("/")[0], line.variant): line for line in results.lines}
    everywhere = {"fid", "reverse_accuracy", "kept_megabytes", "carried_megabytes"}
    assert all(everywhere <= set(line.cells) for line in lines.values() if line.variant != "real")
    assert "forgetting" in lines["replay_gan", "joint_replay"].cells and "accuracy" in lines["replay_gan", "joint_replay"].cells
    assert "accuracy" not in lines["memory_gan", "slot_replay"].cells and "reverse_forgetting" in lines["memory_gan", "slot_replay"].cells
    assert "forgetting" not in lines["replay_gan", "joint_training"].cells, "it learns one task"
    train = load("digits", split="train", progress=False)
    kept = lines["replay_gan", "joint_training"].cells["kept_megabytes"].value
    assert kept == int((train.label < 8).sum()) * 64 / 1e6, "the images of all tasks but the last"
    assert "fine_tuning has not been run" in results.notes[0] and "replay_gan/digits_stream, smoke" in results.notes[0]


def test_rows_of_every_task_and_class(smoke: Path) -> None:
    rows = [row for row in reproduce.read_rows(smoke / "continual.jsonl") if row.variant == "joint_replay"]
    asked = {(row.task, row.class_) for row in rows if row.metric == "accuracy"}
    assert asked == {(task, label) for task in range(5) for label in [None, *range(2 * task + 2)]} | {(None, None)}


def test_samples_of_several_runs_in_one_picture(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sorted(str(path) for path in (smoke / "continual" / "smoke").iterdir())
    assert cli.main(["tasks", "samples", *runs, "--out", str(tmp_path / "all.png")]) == 0
    one = cli.main(["tasks", "samples", runs[0], "--out", str(tmp_path / "one.png")])
    assert one == 0
    with Image.open(tmp_path / "all.png") as whole, Image.open(tmp_path / "one.png") as single:
        assert whole.height == len(runs) * single.height


# --- when a comparison counts ---


def line(variant: str, value: float, metric: str = "accuracy") -> Line:
    return Line("a/b", variant, "short", 5, {metric: Cell(value, None, None, 1)}, 1)


@pytest.mark.parametrize(
    ("upper", "floor", "told"),
    [
        (0.95, 0.2, "comparisons count ("),
        (0.85, 0.2, "do not count, as joint training is below 90% of real images ("),
        (0.95, 0.6, "do not count, as fine tuning keeps more than 50% of it ("),
        (0.5, 0.4, "below 90% of real images and fine tuning keeps"),
    ],
)
def test_a_comparison_counts_where_joint_training_works_and_fine_tuning_forgets(upper: float, floor: float, told: str) -> None:
    (found,) = judged(Criterion(), [line("joint_training", upper), line("fine_tuning", floor), line("real", 1.0)])
    assert told in found and found.startswith("a/b, short: ") and f"joint training {upper:.3f}" in found


def test_methods_without_labels_are_compared_by_what_a_student_learns() -> None:
    rows = [line(variant, value, "reverse_accuracy") for variant, value in (("joint_training", 0.9), ("fine_tuning", 0.1), ("real", 0.95))]
    assert "count (reverse accuracy: joint training 0.900, fine tuning 0.100, real images 0.950)" in next(judged(Criterion(), rows))
    assert "joint_training and real have not been run" in next(judged(Criterion(), rows[1:2]))


# --- the exam ---


def test_a_class_of_which_nothing_is_drawn_counts_as_wrong() -> None:
    train, test = (load("digits", split=split, progress=False) for split in ("train", "test"))
    exam = Exam(extractor("digits"), test, PAIRS, 64)
    assert train.label is not None
    zeros = np.flatnonzero(train.label == 0)[:64]
    found = exam.standing(ImageData(np.array(train.image[zeros]), np.array(train.label[zeros]), train.classes), 0)
    assert found.told == {0: 1.0, 1: 0.0} and found.accuracy == 0.5
    assert found.learned[1] == 0 and found.shares.divergence == pytest.approx(np.log(2))
    assert found.fid is None, "64 images have no covariance of 64 features"


def test_the_metric_scores_any_generator(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["evaluate", "digits", "--data", "digits", "--metrics", "continual", "--num_samples", "100", "--out", str(tmp_path / "s.jsonl")]
    assert cli.main(words) == 0
    found = {json.loads(row)["metric"] for row in (tmp_path / "s.jsonl").read_text().splitlines()}
    assert {"fid", "class_divergence", "reverse_accuracy"} <= found
