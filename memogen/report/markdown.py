"""Result rows as a Markdown table: the paper's number beside ours, with spread, seeds, budget and the command. README's table is made here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .history import read_lines

Row = Mapping[str, Any]

COLUMNS = {"inception_score": "inception score", "fid": "Fréchet distance", "precision": "precision", "recall": "recall"}
"""Metrics in the table, by their name in a row."""

ORDER = ("memory_gan", "no_em", "no_mcgn", "no_memory", "real")


def read_rows(folder: Path) -> list[Row]:
    """All rows of the .jsonl files in a folder and below, in the order of the file names."""
    return [row for path in sorted(folder.rglob("*.jsonl")) for row in read_lines(path)]


def results_table(rows: Iterable[Row]) -> str:
    """One line per recipe, variant and number of steps; means over seeds, with the standard deviation between seeds where there are several."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        if row.get("metric") in COLUMNS:
            what = str(row.get("recipe") or row.get("model") or "-"), int(row.get("steps") or 0), str(row.get("variant") or "-")
            groups.setdefault(what, []).append(row)
    head = ["recipe", "variant", "paper: inception score", *COLUMNS.values(), "seeds", "steps", "hours", "command"]
    lines = [head, ["---"] * len(head)]
    lines += [_line(key, groups[key]) for key in sorted(groups, key=_rank)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rank(key: tuple[str, int, str]) -> tuple[str, bool, int, int]:
    """By recipe; real images last, then by steps and the paper's order of variants."""
    recipe, steps, variant = key
    return recipe, variant == "real", steps, ORDER.index(variant) if variant in ORDER else len(ORDER)


def _line(key: tuple[str, int, str], rows: Sequence[Row]) -> list[str]:
    recipe, steps, variant = key
    printed = [row["paper"] for row in rows if row.get("paper") is not None and row["metric"] == "inception_score"]
    seeds = {row.get("seed") for row in rows}
    hours = sum(by_seed.get("training_seconds") or 0 for by_seed in {row.get("seed"): row for row in rows}.values()) / 3600
    real = variant == "real"
    budget = ["-"] * 3 if real else [str(len(seeds)), f"{steps:,}", f"{hours:.2f}"]
    cells = [_cell([row for row in rows if row["metric"] == metric]) for metric in COLUMNS]
    command = "-" if real else f"`{min(str(row.get('command') or '-') for row in rows)}`"
    return [recipe, "real test images" if real else variant, f"{printed[0]:.2f}" if printed else "-", *cells, *budget, command]


def _cell(rows: Sequence[Row]) -> str:
    """Mean over seeds; the newest row of a seed counts."""
    values = list({row.get("seed"): float(row["value"]) for row in rows}.values())
    if not values:
        return "-"
    mean = _number(statistics.fmean(values))
    return f"{mean} ± {_number(statistics.stdev(values))}" if len(values) > 1 else mean


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
