"""Result rows as tables: means and spreads, the printed numbers, Markdown, text, HTML, and the documents' copy."""

from __future__ import annotations

import html
import json
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.registry import numbers
from memogen.recipes.tables import TABLES
from memogen.report import page
from memogen.report.results import LEGEND, Line, Results, gather, read_results, shortened
from memogen.report.text import BEGIN, END, in_columns, in_markdown, results_table, results_text, terminal_table, terminal_text, write_results
from memogen.types import InputError

ROOT = Path(__file__).parents[2]
BASE = {"recipe": "memory_gan/digits", "steps": 10, "training_seconds": 3600, "command": "memogen train X", "paper": None, "budget": "short"}


def row(variant: str, metric: str, value: float, seed: int = 0, **more: object) -> dict[str, object]:
    return {**BASE, "variant": variant, "metric": metric, "value": value, "seed": seed, **more}


def only(*rows: dict[str, object]) -> Line:
    (line,) = gather("some/table", rows).lines
    return line


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=5))
def test_several_seeds_give_their_mean_and_deviation(values: list[float]) -> None:
    line = only(*(row("memory_gan", "fid", value, seed, spread=77.0) for seed, value in enumerate(values)))
    cell = line.cells["fid"]
    assert cell.value == pytest.approx(statistics.fmean(values))
    assert cell.spread == pytest.approx(statistics.stdev(values))
    assert (line.seeds, line.hours) == (len(values), pytest.approx(len(values)))


def test_one_seed_shows_the_spread_over_its_splits() -> None:
    assert only(row("memory_gan", "inception_score", 5.0, spread=0.25)).cells["inception_score"].ours() == "5.00 ± 0.25"
    assert only(row("memory_gan", "fid", 0.5, spread=None)).cells["fid"].ours() == "0.500"


def test_a_row_written_again_counts_in_its_newest_form() -> None:
    line = only(row("memory_gan", "fid", 5.0), row("memory_gan", "fid", 0.25))
    assert (line.cells["fid"].ours(), line.seeds) == ("0.250", 1)


def test_the_printed_number_stands_beside_ours_with_its_spread() -> None:
    found = gather("memory_gan/x", [row("no_em", "inception_score", 6.0, recipe="memory_gan/fashion_mnist"), row("no_em", "fid", 2.0)])
    assert found.head[2:5] == ["paper: inception score", "ours: inception score", "Fréchet distance"]
    assert found.row(next(line for line in found.lines if line.recipe == "memory_gan/fashion_mnist"))[2:5] == ["6.05 ± 0.28", "6.00", "-"]


def test_a_number_printed_in_no_table_of_ours_comes_from_the_row() -> None:
    assert only(row("x", "fid", 1.0, recipe="own/data", paper=0.75)).cells["fid"].paper == "0.750"


def test_runs_of_other_steps_or_budgets_are_other_lines() -> None:
    lines = gather("t", [row("a", "fid", 1.0), row("a", "fid", 2.0, steps=20), row("a", "fid", 3.0, budget="smoke")]).lines
    assert sorted(line.cells["fid"].value for line in lines) == [1.0, 2.0, 3.0]


def test_scores_by_different_extractors_are_never_averaged() -> None:
    by = [row("a", "fid", value, seed, protocol={"extractor": name}) for seed, (name, value) in enumerate((("x", 1.0), ("y", 3.0)))]
    found = gather("t", [*by, row("a", "log_likelihood", -80.0)])
    assert [found.row(line)[2:5] for line in found.lines] == [["x", "1.00", "-80.00"], ["y", "3.00", "-"]]
    assert found.head[2] == "scored by"
    assert "scored by" not in gather("t", [by[0], row("a", "log_likelihood", -80.0)]).head


def test_every_recipe_may_have_an_extractor_of_its_own() -> None:
    """Only where lines of one recipe cannot be compared, the table says by what they were scored."""
    rows = [row("a", "fid", 1.0, recipe=f"memory_gan/{name}", protocol={"extractor": name}) for name in ("x", "y")]
    assert "scored by" not in gather("t", rows).head
    assert "scored by" in gather("t", [*rows, row("b", "fid", 1.0, recipe="memory_gan/x", protocol={"extractor": "y"})]).head


def test_a_number_of_fewer_seeds_than_its_line_says_so() -> None:
    rows = [row("a", "fid", value, seed) for seed, value in enumerate((1.0, 2.0, 3.0))]
    found = gather("t", [*rows, row("a", "kid", 0.004, 1, spread=0.002), *(row("a", "recall", 0.5, seed) for seed in (0, 1))])
    assert found.row(found.lines[0])[2:5] == ["2.00 ± 1.00", "0.0040 ± 0.0020 (1 seed)", "0.500 ± 0.000 (2 seeds)"]


def test_what_is_counted_has_no_spread() -> None:
    rows = [row("a", metric, 2.0, seed) for metric in ("kept_megabytes", "fid") for seed in (0, 1)]
    found = gather("t", rows)
    assert [found.lines[0].cells[metric].ours() for metric in ("kept_megabytes", "fid")] == ["2.00", "2.00 ± 0.00"]


def test_rows_that_name_no_budget_stand_with_those_that_name_one() -> None:
    """Rows of train and of evaluate beside those of reproduce; but not where two budgets are named, and not with other steps."""
    by_reproduce, by_train, by_evaluate = row("a", "fid", 1.0, 0), row("a", "fid", 3.0, 1, budget=None), row("a", "kid", 0.5, 0)
    del by_evaluate["budget"]
    (line,) = gather("t", [by_reproduce, by_train, by_evaluate]).lines
    assert (line.budget, line.seeds, line.cells["fid"].value, set(line.cells)) == ("short", 2, 2.0, {"fid", "kid"})
    assert len(gather("t", [by_reproduce, by_train, row("a", "fid", 1.0, budget="smoke")]).lines) == 3
    assert len(gather("t", [by_reproduce, {**by_train, "steps": 11}]).lines) == 2
    assert {line.budget for line in gather("t", [by_train]).lines} == {""}


def test_a_line_shows_the_command_that_trained_without_seeds_and_places() -> None:
    trained = "memogen train X --data d --training.seed 2 --out 'my runs/a' --training.steps=5 --training.seed=2"
    line = only(row("a", "fid", 1.0, command="memogen evaluate runs/a --metrics fid"), row("a", "kid", 1.0, command=trained))
    assert line.command == trained and line.shown_command == "memogen train X --data d --training.steps=5"
    assert shortened("memogen reproduce t --budget short --variants a --seeds 3 --out runs") == "memogen reproduce t --budget short --variants a"
    assert shortened("memogen 'x") == "memogen 'x"
    assert only(row("real", "fid", 1.0, steps=0)).shown_command == ""


def test_images_and_bare_models_have_neither_steps_nor_hours() -> None:
    images = {"metric": "fid", "value": 2.0, "model": "a.zip", "variant": "images", "seed": None}
    assert only(images).cost == ["-", "-", "-", "-"]
    assert only(row("a", "fid", 1.0, training_seconds=1)).cost == ["short", "1", "10", "<0.01"]


def test_scores_of_a_task_or_a_class_are_no_scores_of_the_model() -> None:
    assert gather("t", [row("a", "fid", 1.0, task=2), row("a", "accuracy", 1.0, **{"class": 3})]).lines == ()


def test_lines_stand_in_the_papers_order_and_real_images_last() -> None:
    rows = [row("real", "fid", 0.1, steps=0), row("no_memory", "fid", 1.0), row("memory_gan", "fid", 1.0), row("zeta", "fid", 1.0)]
    found = gather("t", rows)
    assert [found.row(line)[1] for line in found.lines] == ["memory_gan", "no_memory", "zeta", "real images"]
    assert found.row(found.lines[-1])[-4:] == ["-"] * 4


def test_table_1_shows_the_methods_of_others() -> None:
    found = gather("memory_gan/table1", [row("memory_gan", "inception_score", 7.0, recipe="memory_gan/cifar10")])
    printed = [line.cells["inception_score"].claim.value for line in found.lines]
    assert printed == sorted(printed) and len(printed) == len(TABLES["memory_gan/table1"].rows) == 9
    assert [found.row(line)[0] for line in found.lines] == ["others"] * 8 + ["memory_gan/cifar10"]
    assert "nverified" in results_text([found])
    assert gather("memory_gan/table1", []).lines == ()


def test_rows_of_a_bare_model_have_a_line_too() -> None:
    assert only({"metric": "fid", "value": 2.0, "model": "some/model"}).about == ["some/model", "-"]


def test_every_file_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    for name in ("b", "a"):
        (tmp_path / "family" / f"{name}.jsonl").write_text(json.dumps(row(name, "fid", 1.0)) + "\n")
    (tmp_path / "empty.jsonl").write_text('{"metric": "fid", "val')
    assert [table.name for table in read_results(tmp_path)] == ["family/a", "family/b"]
    assert [table.name for table in read_results(tmp_path / "family" / "b.jsonl")] == ["b"]
    with pytest.raises(InputError, match="no result rows"):
        read_results(tmp_path / "empty.jsonl")


@pytest.mark.parametrize(("more", "told"), [({"class": 3, "task": 1}, "holds 1 result rows, all of single classes"), (None, "holds no result rows")])
def test_rows_that_make_no_table_are_told_from_none(tmp_path: Path, more: dict[str, object] | None, told: str) -> None:
    line: dict[str, object] = {"step": 1} if more is None else row("joint_replay", "accuracy", 0.5, **more)
    (tmp_path / "results.jsonl").write_text(json.dumps(line))
    with pytest.raises(InputError, match=told):
        read_results(tmp_path / "results.jsonl")


def test_what_lies_in_run_folders_is_told_once(tmp_path: Path) -> None:
    runs = tmp_path / "memory_gan" / "table2" / "smoke"
    for name, seed in (("a", 0), ("b", 1)):
        (runs / name).mkdir(parents=True)
        (runs / name / "config.yaml").write_text("")
        (runs / name / "results.jsonl").write_text(json.dumps(row("memory_gan", "fid", float(seed), seed)))
        (runs / name / "metrics.jsonl").write_text(json.dumps({"step": 1}))
    (alone,) = read_results(runs)
    assert (alone.name, alone.lines[0].seeds) == ("smoke", 2)
    (tmp_path / "memory_gan" / "table2.jsonl").write_text(json.dumps(row("memory_gan", "fid", 3.0)))
    for root in (tmp_path, tmp_path / "memory_gan", tmp_path / "memory_gan" / "table2.jsonl"):
        (table,) = read_results(root)
        assert (table.name, table.lines[0].cells["fid"].value) == ("memory_gan/table2", 3.0)
        assert table.title == TABLES["memory_gan/table2"].title


def test_a_table_says_how_its_numbers_were_scored() -> None:
    """By recipe: by what, of how many samples, on which split; and when and where, of the rows that tell."""
    by = {"extractor": "judge:1", "extractor_accuracy": 0.9325, "num_samples": 10_000}
    made = {"date": "2026-11-26", "hardware": "a CPU, 2 threads"}
    rows = [
        row("a", "fid", 1.0, protocol=by, split="test", **made),
        row("a", "recall", 0.5, protocol=by | {"num_samples": 5000}, split="test", **(made | {"date": "2026-11-24"})),
        row("real", "fid", 0.1, protocol=by | {"images": {"split": "train"}}, split="test"),
        row("b", "log_likelihood", -80.0, recipe="x/y", protocol={"extractor": None, "num_samples": 100, "importance_samples": 5000}, split="test"),
    ]
    table = gather("t", rows)
    scored = (
        "memory_gan/digits: Fréchet distance of 10,000 samples, recall of 5,000 samples, by judge:1 (93.2 % right), compared with the test split.",
        "x/y: log-likelihood of 100 images by 5,000 samples each, the test split.",
        "memory_gan/digits, real images of the train split: Fréchet distance of 10,000 samples, by judge:1 (93.2 % right), compared with "
        "the test split.",
        "Rows that tell it were made 2026-11-24 to 2026-11-26 on a CPU, 2 threads.",
    )
    assert table.notes == ("Scored: " + " ".join(scored),)
    for text in (results_text([table]), page.results_page([table]), " ".join(terminal_table(table).split())):
        assert all(html.escape(line) in text or line in text for line in scored)


def test_a_fixed_set_of_images_has_no_seeds() -> None:
    """Scored with several seeds, it is still one set; the newest number counts."""
    about = {"metric": "fid", "model": "a.zip", "variant": "images", "seed": None}
    line = only(*({**about, "value": value, "protocol": {"seed": seed}} for seed, value in enumerate((2.0, 3.0))))
    assert (line.seeds, line.cells["fid"].ours(line.seeds), line.cost) == (0, "3.00", ["-"] * 4)


def small() -> Results:
    return gather("some/table", [row("a|b", "fid", 1.0, command="memogen x | y"), row("real", "fid", 2.0, steps=0)])


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = results_table(small()).replace("\\|", "").splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[-1].endswith("| - |"), "real images have no command"


def test_the_terminal_table_is_in_columns() -> None:
    """Words begin and numbers end where their titles do; titles are no wider than what stands below."""
    above, head, recipe, *lines = terminal_table(small()).splitlines()
    assert recipe == BASE["recipe"]
    assert above.split() == ["Fréchet"] and head.split()[:3] == ["variant", "distance", "budget"]
    assert all(line[head.index("variant")] != " " for line in lines if line.startswith("  "))
    for title in ("distance", "budget", "seeds"):
        end = head.index(title) + len(title)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines if line.startswith("  "))
    assert "memogen x" not in "".join(lines)


def test_a_terminal_sees_every_recipe_once_above_its_lines() -> None:
    variants = ["memory_gan", "no_em"]
    rows = [row(variant, "fid", 1.0, recipe=f"memory_gan/{data}") for variant in variants for data in ("affine_mnist", "fashion_mnist")]
    table = gather("memory_gan/table2", rows)
    lines = terminal_table(table).splitlines()
    assert [line.split()[0] for line in lines[2:8]] == ["memory_gan/fashion_mnist", *variants, "memory_gan/affine_mnist", *variants]
    assert table.notes[0] == TABLES["memory_gan/table2"].note and " ".join(lines[8:]) == " ".join(table.notes)
    assert terminal_table(gather("own", [])) == "own: no rows yet"


def test_a_terminal_sees_each_command_once_and_the_legend() -> None:
    rows = [row("memory_gan", "fid", 1.0, seed, command=f"memogen train X --training.seed {seed} --out runs/{seed}") for seed in (0, 1)]
    text = terminal_text([gather("own", rows)])
    assert text.count("memogen train X\n") == 1 and "--out" not in text
    assert " ".join(text.split("\n\n")[-1].split()) == LEGEND and max(map(len, text.splitlines())) <= 120


def test_only_rows_that_are_scored_alike_make_a_number() -> None:
    """A later row of another split or number of samples is left alone, an interrupted one too where a whole one is there."""

    def scored(value: float, **protocol: object) -> dict[str, object]:
        return row("memory_gan", "fid", value, protocol={"num_samples": 100, **protocol})

    own, again = scored(1.0), scored(2.0)
    other = [scored(3.0, num_samples=200), {**scored(4.0), "split": "train"}, scored(5.0, interrupted=True)]
    assert only(own, *other).cells["fid"].ours(1) == "1.00"
    assert only(own, *other, again).cells["fid"].ours(1) == "2.00", "the newest of those alike"
    assert only(other[-1]).cells["fid"].ours(1) == "5.00"


def test_markdown_and_page_show_the_same_cells() -> None:
    """Cell by cell, with the commands."""
    rows = [row("memory_gan", "inception_score", 7.0, seed, recipe="memory_gan/fashion_mnist", command="memogen 'a < b'") for seed in (0, 1)]
    table = gather("memory_gan/table2", [*rows, row("no_em", "fid", 2.0, recipe="memory_gan/fashion_mnist")])
    head, _, *lines = results_table(table).splitlines()
    shown = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in (head, *lines)]
    text = page.results_page([table])
    told = [re.findall(r'<th scope="col">(.*?)<', text), *(re.findall(r"<td .*?>(.*?)</td>", line) for line in text.split("<tr>")[2:])]
    assert re.findall(r'<th scope="col">[^<]*inception score(.*?)</th>', text) == ['<small class="direction">↑ higher is better</small>'] * 2
    assert [[html.unescape(cell) for cell in cells] for cells in told] == [cells[:-1] for cells in shown], "the page has its commands below"
    commands = html.unescape(re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)[0]).splitlines()
    assert commands == list(dict.fromkeys(cells[-1] for cells in shown[1:])) and commands[0] == "memogen 'a < b'"
    assert html.escape(table.title) in text and all(word in html.unescape(text) for word in (table.title, table.notes[0]))


def test_the_page_shows_every_number_and_escapes_the_rest(tmp_path: Path) -> None:
    hostile = gather("t", [row("<script>", "fid", 1.25, command="memogen <b>")])
    text = page.write_results([small(), hostile], tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "1.25" in text and "&lt;script&gt;" in text and "<b>" not in text
    assert not list((tmp_path / "new").glob(".page*"))


def test_only_what_stands_between_the_marks_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_results([small()], path)
    assert path.read_text() == f"before\n{BEGIN}\n{results_text([small()])}\n{END}\nafter\n"
    path.write_text("a text of one's own")
    with pytest.raises(InputError, match="add these lines"):
        write_results([small()], path)
    assert path.read_text() == "a text of one's own"
    write_results([small()], tmp_path / "new" / "page.md")
    assert (tmp_path / "new" / "page.md").read_text() == results_text([small()]) + "\n"


def test_the_documents_show_the_results_of_the_repository() -> None:
    """``memogen report results --out docs/results/tables.md`` mends it."""
    shown = f"{BEGIN}\n{results_text(read_results(ROOT / 'results'))}\n{END}"
    assert shown in (ROOT / "docs" / "results" / "tables.md").read_text(encoding="utf-8")


def test_a_table_too_wide_to_read_is_one_for_each_recipe() -> None:
    shown = [number.name for number in numbers().values() if number.tabled]
    first = [row("memory_gan", metric, 0.5, recipe="memory_gan/digits") for metric in shown[:12]]
    second = [row("memory_gan", metric, 0.5, recipe="memory_gan/cifar10") for metric in shown[15:27]]
    wide = gather("some/table", [*first, *second])
    parts = wide.parts
    assert {part.name for part in parts} == {"some/table/digits", "some/table/cifar10"} and [len(part.metrics) for part in parts] == [12, 12]
    assert [part.notes for part in parts] == [(), wide.notes] and sum(len(part.lines) for part in parts) == 2
    assert results_text([wide]).count("### some/table/") == 2
    assert gather("some/table", first).parts == (gather("some/table", first),)


CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
ROWS = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=4))


def test_tables_line_up_and_read_as_markdown() -> None:
    rows = [["sign", "x"], ["a longer one", "1"]]
    assert in_columns(rows) == "sign          x\na longer one  1"
    assert in_columns([["value", "x"], ["a", "1000"]], right=1) == "value     x\na      1000"
    assert in_markdown(rows) == "| sign | x |\n| --- | --- |\n| a longer one | 1 |"


@given(ROWS)
def test_every_cell_is_found_again(rows: list[list[str]]) -> None:
    assert [line.split() for line in in_columns(rows).splitlines()] == rows
    lines = in_markdown(rows).splitlines()
    cells = [[cell.replace("\\|", "|") for cell in line[2:-2].split(" | ")] for line in [lines[0], *lines[2:]]]
    assert cells == rows
