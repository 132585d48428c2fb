"""The three acts of the demo. Each trains or opens a model, draws it and measures it; what is told is of this run alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .. import runs, shipped
from ..data import load as load_data
from ..metrics.imputation import Completed, Refinement, complete
from ..metrics.rows import ResultRow
from ..metrics.slots import Estimate, name_slots, placed, share, share_difference, slots_beside_pixels
from ..metrics.work import Work
from ..pretrained import from_pretrained
from ..progress import Bar
from ..recipes import Recipe
from ..report import figures, grid, memory_gan
from ..report.grid import Theme
from ..report.history import read_rows, task_folders
from ..runs.recipe import config_hash
from ..training.fit import Watch
from ..types import ImageData, InputError, to_uint8
from .plan import ARMS, Arm, Plan
from .sentences import CLUSTERED, FILLED, KEPT, NAMED, VARIED, Comparison, Question, apart

ACROSS = 16  # pictures in a row
HIDDEN: grid.Colour = (108, 158, 235)  # of hidden pixels


@dataclass(frozen=True)
class Answer:
    """A question, what this run found, and the sentence that says it."""

    question: Question
    found: Comparison
    sentence: str

    @property
    def numbers(self) -> tuple[str, str, str]:
        """Of this run, what it is held against, and the difference, as texts."""
        here, beside, difference = self.found.here, self.found.beside, self.found.difference
        return self.question.number(here), self.question.number(beside), self.question.number(difference, signed=True)


@dataclass(frozen=True)
class Picture:
    """A picture's file under the demo's folder, what is to be seen in it, and how it is drawn."""

    file: str
    caption: str
    draw: Callable[[Theme], Image.Image]


@dataclass(frozen=True)
class Outcome:
    """What an act leaves."""

    answers: tuple[Answer, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Act:
    """``title`` and ``told`` announce it; ``play`` is given the plan, the demo's folder and a bar. ``files`` are those of its pictures."""

    title: str
    told: str
    play: Callable[[Plan, Path, Bar], Outcome]


# --- one: learn on without forgetting ---


def learn_on(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """Ten digits, two at a time, with replay and without; what is left of the first eight."""
    rows: dict[Arm, list[ResultRow]] = {}
    for arm in ARMS:
        recipe, place = plan.stream(arm), arm_folder(folder, arm)
        trained(recipe, place, bar, ARMS[arm], len(_tasks(recipe)) * plan.task_steps)
        own = config_hash(recipe)
        rows[arm] = [row for row in read_rows(place / "results.jsonl") if row.config == own]
    tasks = _tasks(plan.stream("slot_replay"))
    earlier = tuple(chain.from_iterable(tasks[:-1]))
    kept = apart(*(_share_of(found, earlier, len(tasks) - 1, plan.samples) for found in rows.values()))
    varied = apart(*(_inception_score(found, len(tasks) - 1) for found in rows.values()))
    answers = (
        Answer(KEPT, kept, KEPT.answer(kept, earlier=len(earlier))),
        Answer(VARIED, varied, VARIED.answer(varied, most=len(earlier) + len(tasks[-1]))),
    )
    caption = "Samples after each pair of digits, above with replay, below without. None are picked."
    return Outcome(answers, (Picture("1_learned_on.png", caption, lambda theme: _after_each(folder, tasks, theme)),))


def arm_folder(folder: Path, arm: Arm) -> Path:
    """The run of an arm."""
    return folder / ARMS[arm].replace(" ", "_")


def _tasks(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    assert recipe.succession is not None, "it learns tasks"
    return recipe.succession.tasks.tasks(10)


def _share_of(rows: Sequence[ResultRow], classes: Sequence[int], task: int, num: int) -> Estimate:
    """Of the samples after ``task``, how many are taken for one of these classes."""
    value = sum(_last(rows, "class_share", task, label).value or 0.0 for label in classes)
    return Estimate(value, math.sqrt(max(value * (1 - value), 0.0) / num))


def _inception_score(rows: Sequence[ResultRow], task: int) -> Estimate:
    """The mean over parts of the samples, and its standard error; nan where there is one part alone."""
    row = _last(rows, "inception_score", task, None)
    assert row.value is not None and row.protocol is not None
    parts = int(row.protocol["splits"])
    return Estimate(row.value, math.nan if row.spread is None or parts < 2 else row.spread / math.sqrt(parts - 1))  # the spread divides by parts


def _last(rows: Sequence[ResultRow], metric: str, task: int, label: int | None) -> ResultRow:
    return [row for row in rows if (row.metric, row.task, row.class_) == (metric, task, label)][-1]


def _after_each(folder: Path, tasks: Sequence[Sequence[int]], theme: Theme) -> Image.Image:
    """A row of samples after each task, the arms below each other."""
    sheets = list[Image.Image]()
    for arm, name in ARMS.items():
        models: list[Any] = [from_pretrained(place / "model") for place in task_folders(arm_folder(folder, arm))]
        captions = [f"{name}, after {' and '.join(map(str, classes))}" for classes in tasks]
        sheets.append(grid.sheet([figures.draw_samples(model, ACROSS, seed=1) for model in models], captions, theme=theme))
    return grid.stacked([sheets[0], grid.blank(1, grid.CAPTION, theme), sheets[1]], theme=theme)


# --- two: know without being told ---


def know(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """A memoryGAN of ten digits without labels; which digits its slots hold."""
    place = folder / "digits"
    trained(plan.digits(), place, bar, "without labels", plan.steps)
    model: Any = from_pretrained(place / "model")
    work, test = Work(bar=bar), load_data("digits", split="test")
    known, asked = placed(model, load_data("digits"), work=work), placed(model, test, work=work)
    bar.stage("k-means on pixels", None)
    slots, pixels = slots_beside_pixels(known, asked, seed=plan.seed)
    commonest = asked.label == known.label.mode().values
    named = Comparison(slots.told, share(commonest), share_difference(slots.right, commonest))
    clustered = Comparison(slots.told, pixels.told, share_difference(slots.right, pixels.right))
    answers = (
        Answer(NAMED, named, NAMED.answer(named, asked=len(asked.slot))),
        Answer(CLUSTERED, clustered, CLUSTERED.answer(clustered, clusters=slots.clusters)),
    )
    names, image = name_slots(known, model.memory.num_slots), torch.tensor(test.image[0])
    wall = "One picture from each of the heaviest slots, by the digit that the slot mostly holds; names were given afterwards."
    bars = f"A held-out {names.class_name(int(asked.label[0]))} (red) and the slots that it most probably belongs to, each with a picture of its own."
    return Outcome(
        answers,
        (
            Picture("2_slots.png", wall, lambda theme: memory_gan.slot_wall(model, names, theme=theme)),
            Picture("2_posterior.png", bars, lambda theme: memory_gan.posterior(model, image, names=names, theme=theme)),
        ),
    )


# --- three: fill in what is missing ---


def fill_in(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """A shipped MEM-VAE completes held-out pictures that came with it."""
    model: Any = from_pretrained(plan.filler)
    pictures = shipped.examples(shipped.place(plan.filler), model.config.image_shape)
    if pictures is None:
        raise InputError(f"{plan.filler}: came without pictures to try: install memogen again")
    found = complete(model, ImageData(pictures, name=plan.filler, split="examples"), plan.mask, Refinement(seed=plan.seed), work=Work(bar=bar))
    filled = filling(found)
    caption = "Held-out pictures, the same with a part hidden, and as the model fills it in from noise."
    answer = Answer(FILLED, filled, FILLED.answer(filled, asked=len(found.image)))
    return Outcome((answer,), (Picture("3_filled_in.png", caption, lambda theme: _filled_sheet(found, model.image_range, theme)),))


def filling(found: Completed) -> Comparison:
    """The mean squared error of hidden pixels, picture by picture, of the model's filling and of the mean of the other pictures."""
    num = len(found.image)
    others = (found.image.sum(0, keepdim=True) - found.image) / max(num - 1, 1)
    ours, theirs = (_errors(each, found) for each in (found.images, others))
    return Comparison(share(ours), share(theirs), share_difference(ours, theirs))


def _errors(filled: Tensor, found: Completed) -> Tensor:
    where = found.missing.expand(found.image.shape).flatten(1).double()
    return ((filled - found.image).flatten(1).double().square() * where).sum(1) / where.sum(1)


def _filled_sheet(found: Completed, image_range: tuple[float, float], theme: Theme) -> Image.Image:
    """The first pictures as they are, with what is hidden in blue, and filled in."""
    real, filled = (to_uint8(each[:ACROSS], image_range).expand(-1, 3, -1, -1) for each in (found.image, found.images))
    hidden = torch.where(found.missing[:ACROSS], torch.tensor(HIDDEN, dtype=torch.uint8).view(3, 1, 1), real)
    return grid.sheet([real, hidden, filled], ["held-out pictures", "with a part hidden", "filled in"], theme=theme)


# --- training, and the acts in their order ---


def trained(recipe: Recipe, place: Path, bar: Bar, name: str, steps: int) -> None:
    """The run folder ``place``, trained to its end under a bar over all its ``steps``; one that is finished stays as it is."""
    runs.train(recipe, out=place, console=False, watch=_shown(bar, name, steps, recipe.training.batch_size))


def _shown(bar: Bar, name: str, steps: int, batch_size: int) -> Watch:
    """Moves the bar on with every step, from where the training begins."""
    seen: int | None = None

    def watch(step: int, model: nn.Module) -> None:
        nonlocal seen
        if seen is None:
            bar.stage(name, steps, done=step, unit="steps", rate=(batch_size, " images"))
        else:
            bar.advance(step - seen)
        seen = step
        if step == steps:
            bar.stage(f"{name}: scores and report", None)

    return watch


ACTS = (
    Act(
        "Learn on without forgetting",
        "Ten digits come two at a time, without labels. One memory replays what it holds of the past, one does not.",
        learn_on,
    ),
    Act("Know without being told", "A memoryGAN sees all ten digits, without labels. Which digit does each of its slots hold?", know),
    Act("Fill in what is missing", "A MEM-VAE that comes with memogen completes pictures that it has never seen.", fill_in),
)
