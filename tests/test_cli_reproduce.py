"""`memogen reproduce` as a user meets it: the table and where it is kept, also of what diverged or was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from memogen import cli, runs
from memogen.recipes import RECIPES, Recipe, tables
from memogen.runs import reproduce
from memogen.training import NonFiniteLoss, Stopped
from tests.test_reproduce import BUDGETS, TABLE

WORDS = ["reproduce", "own/table", "--budget", "smoke", "--seeds", "1", "--out", "out"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of two rows under its own name; its trainings only write rows, and what diverges or stops is named by ``ends``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(tables.TABLES, TABLE.name, TABLE)
    ending(monkeypatch, {})
    return tmp_path


def ending(monkeypatch: pytest.MonkeyPatch, ends: dict[str, BaseException]) -> None:
    """Trainings of these variants end so."""

    def train(recipe: Any, *, out: Path, budget: str, console: bool) -> Path:
        if recipe.variant in ends:
            raise ends[recipe.variant]
        row = {"recipe": recipe.recipe, "config": runs.config_hash(recipe), "budget": budget, "seed": 0, "variant": recipe.variant, "steps": 3}
        runs.append_rows(out / "results.jsonl", [{**row, "metric": "inception_score", "value": 1.25}])
        return out

    monkeypatch.setattr(reproduce, "train", train)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_and_its_places_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(WORDS, capsys)
    assert code == 0 and "[2 of 2] memory_gan/digits no_memory, seed 0" in err
    for part in ("memory_gan/digits", "1.25", "smoke", "another method", "9.00 ± 0.50", "rows  out/own/table.jsonl", "page  out/own/table.html"):
        assert part in out
    rows = (here / "out/own/table.jsonl").read_text()
    code, again, err = run(WORDS, capsys)
    assert (code, again) == (0, out) and "2 of 2 runs are done" in err and (here / "out/own/table.jsonl").read_text() == rows


def test_of_several_processes_one_tells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    code, out, err = run(WORDS, capsys)
    assert (code, out) == (0, "") and "runs are done" not in err


def test_a_table_with_a_run_that_diverged_is_shown_and_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, {"memory_gan": NonFiniteLoss(2, "critic/loss")})
    code, out, err = run(WORDS, capsys)
    assert code == 1 and "no_memory" in out and "1.25" in out
    assert err.splitlines()[-1] == "memogen: step 2: critic/loss is not finite" and "memory_gan, seed 0 diverged" in err


def test_a_table_that_was_stopped_keeps_its_rows(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for wish, told in ((Stopped(2, 3, Path("x")), "stopped after step 2 of 3"), (KeyboardInterrupt(), "stopped")):
        ending(monkeypatch, {"no_memory": wish})
        code, _, err = run(WORDS, capsys)
        assert code == 130 and told in err.splitlines()[-1]
        assert [json.loads(line)["variant"] for line in (here / "out/own/table.jsonl").read_text().splitlines()] == ["memory_gan"]
        assert (here / "out/own/table.html").is_file()
    ending(monkeypatch, {})
    code, _, err = run(WORDS, capsys)
    assert code == 0 and "1 of 2 runs are done" in err


def test_what_cannot_be_run_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    only = replace(
        TABLE, rows=(tables.TableRow("memory_gan/chairs", "memory_gan", None),), budgets={"memory_gan/chairs": BUDGETS["memory_gan/digits"]}
    )
    monkeypatch.setitem(tables.TABLES, TABLE.name, only)
    code, out, err = run(WORDS, capsys)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "nothing can be run: memory_gan/chairs: no classifier of chairs" in err and not (here / "out").exists()


def test_a_dry_run_counts_runs_whose_classes_the_images_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = RECIPES["replay_gan/digits"]()
    unnamed = replace(tasks, recipe="memory_gan/digits", model=replace(tasks.model, num_classes=1))  # type: ignore[type-var]  # of a Memory Replay GAN

    def of(variant: Literal["memory_gan", "no_memory"]) -> Recipe:
        return replace(unnamed, variant=variant)

    monkeypatch.setitem(RECIPES, "memory_gan/digits", of)
    assert run(WORDS, capsys)[0] == 0
    assert "0 of 2 runs are to be done" in run([*WORDS, "--dry-run"], capsys)[1]


def test_a_dry_run_tells_what_is_done_and_what_it_costs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "2 of 2 runs are to be done; about 1 min" in run([*WORDS, "--dry-run"], capsys)[1]
    assert not (here / "out").exists()
    assert run([*WORDS, "--variants", "memory_gan"], capsys)[0] == 0
    _, out, _ = run([*WORDS, "--dry-run"], capsys)
    assert "1 of 2 runs are to be done" in out and "memory_gan, seed 0: done" in out and "no_memory, seed 0: 3 steps, 150 samples" in out
    paper = reproduce.plan(TABLE, budget="paper", out="out")
    assert reproduce.hours_of(paper.jobs) is None and "never measured" in run([*WORDS[:3], "paper", "--dry-run"], capsys)[1]
