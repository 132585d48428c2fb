"""The section of the page about a category that was added to a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memogen.metrics.rows import ResultRow

from .history import Run, is_number
from .html import Html, element, escape, paragraph, section, table

EXTENDED = "replay_gan/extend"
"""The recipe that rows of such a run name; their ``task`` is 0 before and 1 after."""


def extension_section(run: Run) -> Html:
    """Accuracy and Fréchet distance of every category before and after; nothing for another run."""
    rows = [row for row in run.results if row.recipe == EXTENDED and row.class_ is not None]
    if not rows:
        return Html("")
    newest = {(row.class_, row.metric, row.task): row for row in rows}
    names = {row.class_: str(row.get("class_name")) for row in rows}
    head = ["category", "accuracy before", "after", "Fréchet distance before", "after"]
    lines = [[escape(name), *(_cell(newest.get((label, *column))) for column in COLUMNS)] for label, name in names.items()]
    return section("Categories", table(head, lines), *(paragraph(text, "soft") for text in _told(rows[-1])))


COLUMNS = (("accuracy", 0), ("accuracy", 1), ("fid", 0), ("fid", 1))


def _cell(row: ResultRow | None) -> Html:
    return element("span", escape("-" if row is None else f"{row.value:.3f}"))


def _told(row: ResultRow) -> list[str]:
    protocol = row.protocol or {}
    known, new = protocol.get("known"), protocol.get("new")
    compared = f"{protocol.get('num_samples'):,} samples of each category. The known ones are {known}, the new one is {new}."
    return [f"{_judge(protocol)} {compared}", f"Learned by {row.variant}, from {row.get('model')}."]


def _judge(protocol: Mapping[str, Any]) -> str:
    """Who judged; of one that was trained for it, on what, and how well it knows that."""
    how, accuracy = protocol.get("judge", "given"), protocol.get("extractor_accuracy")
    if how == "given":
        return f"Judged by {protocol.get('extractor')}" + (f", right on {accuracy:.1%} of its test images." if is_number(accuracy) else ".")
    sure = f" It is right on {accuracy:.1%} of other replays and of held-out images." if is_number(accuracy) else ""
    return f"Judged by a classifier {how}, which takes the model's word for the known ones: the replays are its own.{sure}"
