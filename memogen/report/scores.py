"""Metrics by name, and the table of a run's scores: what results.jsonl holds, one line per variant and reference, one column per metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memogen.evaluation.model_scores import measured

from .history import Row, cut_short, is_number, protocol_of
from .parts import Better, Cell, Column, Listing, Part, Table, Text


@dataclass(frozen=True)
class Metric:
    """How a metric is called, which way it improves, and whether it has a column in tables of results."""

    title: str
    better: Better = ""
    tabled: bool = True


METRICS = {
    "inception_score": Metric("inception score", "higher"),
    "fid": Metric("Fréchet distance", "lower"),
    "kid": Metric("KID", "lower"),
    "precision": Metric("precision", "higher"),
    "recall": Metric("recall", "higher"),
    "density": Metric("density", "higher"),
    "coverage": Metric("coverage", "higher"),
    "accuracy": Metric("accuracy", "higher"),
    **{f"accuracy {count}": Metric(f"accuracy, {count} classes", "higher") for count in range(1, 101)},
    "average_accuracy": Metric("average accuracy", "higher", tabled=False),
    "reverse_accuracy": Metric("reverse accuracy", "higher"),
    "backward_transfer": Metric("backward transfer", "higher"),
    "forgetting": Metric("forgetting", "lower"),
    "log_likelihood": Metric("log-likelihood", "higher"),
    "elbo": Metric("lower bound", "higher"),
    **{f"imputation_mse {mask}{by}": Metric(f"error {mask}{by}", "lower") for mask in ("rect-12", "rand-0.6", "half") for by in (" by batch", "")},
    "svm_accuracy": Metric("SVM accuracy", "higher"),
    **{f"slot_preference {rank}": Metric(f"preference {rank}") for rank in (1, 2, 3)},
    "parameters": Metric("parameters"),
    "copies_pixels": Metric("copies by pixels", "lower"),
    "copies_features": Metric("copies by features", "lower"),
    "modes_reached": Metric("modes", "higher"),
    "mode_divergence": Metric("divergence of modes", "lower"),
    "rare_share": Metric("rare share"),
    "rare_recall": Metric("rare recall", "higher"),
    "rare_coverage": Metric("rare coverage", "higher"),
    "rare_fid": Metric("rare distance", "lower"),
    "path_ends": Metric("samples off the data", "lower"),
    "path_z": Metric("off on lines in z", "lower"),
    "path_z_left": Metric("ways off on lines in z", "lower"),
    "path_keys": Metric("off between conditions", "lower"),
    "path_keys_left": Metric("ways off between conditions", "lower"),
    "path_snapped": Metric("off through slots", "lower"),
    "path_snapped_left": Metric("ways off through slots", "lower"),
    "path_within": Metric("off within a slot", "lower"),
    "path_within_left": Metric("ways off within a slot", "lower"),
    "critic_past_fakes": Metric("D knows past fakes", "higher"),
    "critic_held_out": Metric("D knows real images", "higher"),
    "critic_balanced": Metric("D balanced", "higher"),
    "critic_ranked": Metric("D ranks past fakes", "higher"),
    "critic_forgetting": Metric("D forgets", "lower"),
    "class_divergence": Metric("divergence of classes", "lower"),
    "slot_recall": Metric("slots recalled", "higher"),
    "slot_recognition": Metric("slots recognised", "higher"),
    "generated_images": Metric("images drawn in training"),
    "kept_megabytes": Metric("MB kept"),
}
"""What is known of metrics, as :func:`measured` tells them apart, in the order of their columns."""

NAMES = {
    "vae": "VAE",
    "mem_vae": "MEM-VAE",
    "vis_mem_vae": "VIS-MEM-VAE",
    "memory_gan": "memoryGAN",
    "real": "real images",
    "no_memory": "without memory",
    "no_em": "without EM",
    "no_mcgn": "generator without slots",
}


ABOUT = ("Model", "Against", "Steps", "Seed")
"""The columns that say whose scores they are."""


@dataclass(frozen=True)
class Line:
    """One line of the table: a model (or real images) against one part of the data."""

    variant: str
    split: str
    steps: int | None
    seed: str
    cells: Mapping[str, Row]


def score_lines(results: Sequence[Row], own: str = "") -> list[Line]:
    """Rows gathered into lines: the ``own`` variant first, real images last; a row that was written again counts in its newest form, but one of a
    scoring that was stopped only where there is no whole one.

    Rows of a single class stay in the rows: the section on tasks shows them.
    """
    lines: dict[tuple[str, str, int | None, str], dict[str, Row]] = {}
    for row in results:
        if "metric" in row and is_number(row.get("value")) and row.get("class") is None:
            line, column = lines.setdefault(_line_of(row, own), {}), measured(str(row["metric"]), row.get("protocol"))
            if column not in line or cut_short(line[column]) or not cut_short(row):
                line[column] = row
    found = [Line(variant, split, steps, seed, cells) for (variant, split, steps, seed), cells in lines.items()]
    return sorted(found, key=lambda line: _rank(line, own))


def _line_of(row: Row, own: str) -> tuple[str, str, int | None, str]:
    """Variant, split, steps and seed."""
    variant, split, steps, seed = (row.get(key) for key in ("variant", "split", "steps", "seed"))
    return str(variant or own or "this run"), str(split or ""), int(steps) if is_number(steps) else None, "" if seed is None else str(seed)


def _rank(line: Line, own: str) -> tuple[int, str, str, int]:
    return (0 if line.variant in (own, "this run") else 2 if line.variant == "real" else 1, line.variant, line.split, line.steps or 0)


def metrics_of(lines: Sequence[Line]) -> list[str]:
    """All metrics of the lines, the known ones first and in their order."""
    places = {metric: place for place, metric in enumerate(METRICS)}
    found = {metric for line in lines for metric in line.cells}
    return sorted(found, key=lambda metric: (places.get(metric, len(places)), metric))


def number(value: float) -> str:
    """Two decimals in the range of scores, none for large numbers, three for shares, three significant digits below."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def column(metric: str) -> Column:
    """A metric as the head of a column; of one that nobody knows the name in words."""
    known = METRICS.get(metric, Metric(metric.replace("_", " ")))
    return Column(known.title[:1].upper() + known.title[1:], known.better)


def score_table(results: Sequence[Row], own: str = "") -> tuple[Part, ...]:
    """The table, and under it the protocol of each number; a sentence when there are no scores. Columns that say nothing are left out."""
    lines = score_lines(results, own)
    if not lines:
        return (Text("There are no scores yet: memogen evaluate writes them to results.jsonl."),)
    metrics, protocols = metrics_of(lines), _protocols(lines)
    about = [list(texts) for texts in zip(*map(_about, lines), strict=True)]
    told = [place for place, texts in enumerate(about) if any(texts)]
    head: list[Column | str] = [*(ABOUT[place] for place in told), *map(column, metrics)]
    rows: list[list[Cell | str]] = [
        [*(about[place][number] for place in told), *(_cell(line.cells.get(metric), protocols) for metric in metrics)]
        for number, line in enumerate(lines)
    ]
    caption = "± is the spread over splits; the paper's number stands beside ours where it printed one; raised letters name the protocol."
    listed = Listing("Protocols of these scores", [(_mark(place), text) for place, text in enumerate(protocols)])
    return Table(head, rows, caption, "stack"), *([listed] if any(protocols) else [])


def _about(line: Line) -> tuple[str, str, str, str]:
    steps = f"{line.steps:,}" if line.steps is not None and line.variant != "real" else ""
    return NAMES.get(line.variant, line.variant.replace("_", " ")), line.split, steps, line.seed


def _cell(row: Row | None, protocols: Sequence[str]) -> Cell:
    if row is None:
        return Cell("")
    spread, paper = row.get("spread"), row.get("paper")
    small = f" ± {spread:.2g}" if is_number(spread) else ""
    small += f" (paper {number(paper)})" if is_number(paper) else ""
    return Cell(number(row["value"]), small, _mark(protocols.index(_protocol(row))) if len(protocols) > 1 else "")


def _mark(place: int) -> str:
    """a, b, ... z, aa, ab, ...: a raised number beside a score would look like an exponent."""
    letters = chr(ord("a") + place % 26)
    return letters if place < 26 else chr(ord("a") + place // 26 - 1) + letters


def _protocols(lines: Sequence[Line]) -> list[str]:
    """Every protocol once, in the order of the table."""
    return list(dict.fromkeys(_protocol(row) for line in lines for row in line.cells.values()))


def _protocol(row: Row) -> str:
    parts = {key: value for key, value in protocol_of(row).items() if key != "seed"}
    return ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)}" for key, value in parts.items())
