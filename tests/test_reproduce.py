"""A table from its plan to its rows: what is done is skipped, what was stopped is taken up again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memogen import runs
from memogen.recipes import Claim
from memogen.recipes.tables import Budget, Table, TableRow
from memogen.runs import reproduce
from memogen.training import NonFiniteLoss
from memogen.types import InputError

ROWS = tuple(TableRow("memory_gan/digits", variant, Claim("inception_score", 9.0, 0.5, "made up")) for variant in ("memory_gan", "no_memory"))
BUDGETS = {"memory_gan/digits": {"smoke": Budget(3, 150, 0.01, seeds=2, curves=False), "paper": Budget(900, 150, None)}}
TABLE = Table("own/table", "digits, for the tests", (*ROWS, TableRow("", "another method", ROWS[0].claim)), BUDGETS)


def planned(out: Path, table: Table = TABLE, **changes: Any) -> reproduce.Plan:
    return reproduce.plan(table, out=out, **{"budget": "smoke", **changes})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings and scores are replaced by rows of one number; the names of the runs that were asked for."""
    asked: list[str] = []

    def train(recipe: Any, *, out: Path, budget: str, console: bool) -> Path:
        asked.append(out.name)
        path, context = (
            out / "results.jsonl",
            {"recipe": recipe.recipe, "config": runs.config_hash(recipe), "budget": budget, "seed": recipe.training.seed},
        )
        rows = [{**context, "variant": variant, "metric": "fid", "value": 1.0, "steps": 3} for variant in (recipe.variant, "real")]
        runs.append_rows(path, [*rows, {**rows[0], "config": "another"}])
        return out

    monkeypatch.setattr(reproduce, "train", train)
    return asked


def read(path: Path) -> list[tuple[object, ...]]:
    return [(row["variant"], row["seed"], row["budget"]) for row in map(json.loads, path.read_text().splitlines())]


RUNS = ["digits-memory_gan-0", "digits-memory_gan-1", "digits-no_memory-0", "digits-no_memory-1"]


def test_the_plan_names_every_run_and_writes_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path / "new")
    assert [job.folder.relative_to(tmp_path / "new/own/table/smoke").name for job in plan.jobs] == RUNS
    assert {(job.recipe.training.steps, job.recipe.scoring.num_samples, job.recipe.scoring.extractor) for job in plan.jobs} == {(3, 150, "digits")}
    assert [job.recipe.training.seed for job in plan.jobs] == [0, 1, 0, 1]
    assert len(planned(tmp_path, seeds=1, variants=["no_memory"]).jobs) == 1
    assert not list(tmp_path.iterdir())


def test_every_run_is_done_once(tmp_path: Path, trained: list[str]) -> None:
    results = reproduce.run(planned(tmp_path), console=False)
    assert trained == RUNS
    rows = read(tmp_path / "own/table.jsonl")
    assert rows == [
        ("memory_gan", 0, "smoke"),
        ("real", 0, "smoke"),
        ("memory_gan", 1, "smoke"),
        ("no_memory", 0, "smoke"),
        ("no_memory", 1, "smoke"),
    ]
    assert {line.variant: line.seeds for line in results.lines if line.variant != "real"} == {"memory_gan": 2, "no_memory": 2}
    assert "memory_gan/digits" in (tmp_path / "own/table.html").read_text(encoding="utf-8")
    reproduce.run(planned(tmp_path), console=False)
    assert trained == RUNS and read(tmp_path / "own/table.jsonl") == rows


def test_rows_that_a_kill_cut_off_are_made_whole(tmp_path: Path, trained: list[str]) -> None:
    """A run of two numbers, of which the table's file holds one and the beginning of the other."""
    plan = planned(tmp_path, seeds=1, variants=["memory_gan"])
    reproduce.run(plan, console=False)
    (job,), table = plan.jobs, tmp_path / "own/table.jsonl"
    first = json.loads((job.folder / "results.jsonl").read_text().splitlines()[0])
    with (job.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps({**first, "metric": "recall"}) + "\n")
    with table.open("a") as file:
        file.write('{"variant": "memory_gan", "met')
    assert plan.open_jobs() == (job,)
    reproduce.run(plan, console=False)
    whole = [row["metric"] for row in runs.read_rows(table) if row["variant"] == "memory_gan"]
    assert whole == ["fid", "recall"] and not plan.open_jobs()


def test_another_budget_seed_or_configuration_is_another_run(tmp_path: Path, trained: list[str]) -> None:
    reproduce.run(planned(tmp_path, seeds=1), console=False)
    assert [job.folder.name for job in planned(tmp_path).open_jobs()] == ["digits-memory_gan-1", "digits-no_memory-1"]
    assert len(planned(tmp_path, budget="paper").open_jobs()) == 2
    longer = replace(TABLE, budgets={"memory_gan/digits": {"smoke": replace(BUDGETS["memory_gan/digits"]["smoke"], steps=4)}})
    assert len(planned(tmp_path, longer, seeds=1).open_jobs()) == 2


def test_what_was_stopped_is_taken_up_again(tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    train = reproduce.train

    def stopping(recipe: Any, **options: Any) -> Path:
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(recipe, **options)

    monkeypatch.setattr(reproduce, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        reproduce.run(planned(tmp_path), console=False)
    assert "memory_gan" in (tmp_path / "own/table.html").read_text(encoding="utf-8"), "the page shows what was done until then"
    monkeypatch.setattr(reproduce, "train", train)
    reproduce.run(planned(tmp_path), console=False)
    assert trained == RUNS
    assert len(read(tmp_path / "own/table.jsonl")) == 5


def test_a_run_that_diverges_does_not_hold_up_the_others(tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    train = reproduce.train

    def diverging(recipe: Any, **options: Any) -> Path:
        if recipe.variant == "memory_gan":
            raise NonFiniteLoss(2, "critic/loss")
        return train(recipe, **options)

    monkeypatch.setattr(reproduce, "train", diverging)
    with pytest.raises(NonFiniteLoss, match="step 2"):
        reproduce.run(planned(tmp_path, seeds=1), console=False)
    assert trained == ["digits-no_memory-0"]
    assert [job.recipe.variant for job in planned(tmp_path, seeds=1).open_jobs()] == ["memory_gan"]


def test_progress_says_which_of_how_many(tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    reproduce.run(planned(tmp_path, seeds=1), console=True)
    told = capsys.readouterr().err
    assert "0 of 2 runs are done" in told and "[2 of 2] memory_gan/digits no_memory, seed 0: 3 steps" in told and "left" in told
    reproduce.run(planned(tmp_path, seeds=1), console=True)
    assert "2 of 2 runs are done" in capsys.readouterr().err


def test_a_recipe_that_nothing_can_score_is_left_out_with_its_reason(tmp_path: Path) -> None:
    rows = (TableRow("memory_gan/chairs", "memory_gan", None), TableRow("memory_gan/chairs", "no_em", None))
    plan = planned(tmp_path, replace(TABLE, rows=rows, budgets={"memory_gan/chairs": BUDGETS["memory_gan/digits"]}))
    assert plan.jobs == () and len(plan.left_out) == 1 and "no classifier of chairs" in plan.left_out[0]


def test_another_extractor_scores_every_row(tmp_path: Path) -> None:
    assert {job.recipe.scoring.extractor for job in planned(tmp_path, extractor="inception-v3").jobs} == {"inception-v3"}


def test_missing_data_stop_everything_before_the_first_run(tmp_path: Path, trained: list[str]) -> None:
    with pytest.raises(InputError, match="no such folder"):
        planned(tmp_path, data=tmp_path / "nowhere")
    mixed = replace(TABLE, rows=(*ROWS, TableRow("memory_gan/fashion_mnist", "memory_gan", None)))
    mixed = replace(mixed, budgets={**BUDGETS, "memory_gan/fashion_mnist": BUDGETS["memory_gan/digits"]})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        reproduce.run(planned(tmp_path, mixed, data=tmp_path / "empty"), console=False)
    assert trained == []


def test_a_real_run_and_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing replaced: three steps, scores, rows, page. A run that ended just before its rows were collected is only collected."""
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    plan = planned(tmp_path, seeds=1, variants=["no_memory"])
    results = reproduce.run(plan, console=False)
    (line,) = (line for line in results.lines if line.variant == "no_memory")
    assert (line.budget, line.steps, line.seeds) == ("smoke", 3, 1) and line.cells["inception_score"].claim is None
    rows = plan.rows_file.read_text()
    assert {(row["budget"], row["seed"]) for row in map(json.loads, rows.splitlines())} == {("smoke", 0)}
    plan.rows_file.unlink()
    reproduce.run(plan, console=False)
    assert plan.rows_file.read_text() == rows, "with the seconds it took: nothing was measured again"
    _scores_again_what_was_trained(plan, rows)


def _scores_again_what_was_trained(plan: reproduce.Plan, rows: str) -> None:
    """A run that was stopped while it was scored: its model stays as it is, and its scores are the same."""
    folder = plan.jobs[0].folder
    model, logged = (folder / "model/model.safetensors").read_bytes(), (folder / "metrics.jsonl").read_text()
    for path in (plan.rows_file, folder / "results.jsonl"):
        path.unlink()
    reproduce.run(plan, console=False)
    assert (folder / "model/model.safetensors").read_bytes() == model and (folder / "metrics.jsonl").read_text() == logged
    again, before = (
        [(row["variant"], row["metric"], row["value"]) for row in map(json.loads, text.splitlines())] for text in (plan.rows_file.read_text(), rows)
    )
    assert again == before


@pytest.mark.parametrize(("hours", "told"), [(0.001, "1 min"), (0.5, "30 min"), (1.0, "1.0 h"), (12.34, "12.3 h")])
def test_hours_in_words(hours: float, told: str) -> None:
    assert reproduce.in_words(hours) == told


def test_hours_are_unknown_as_soon_as_one_is(tmp_path: Path) -> None:
    jobs: Sequence[reproduce.Job] = planned(tmp_path).jobs
    assert reproduce.hours_of(jobs) == pytest.approx(0.04)
    assert reproduce.hours_of([*jobs, *planned(tmp_path, budget="paper").jobs]) is None
