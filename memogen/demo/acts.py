"""The three acts of the demo. Each trains or opens a model, draws samples and measures it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import nn

from .. import runs, shipped
from ..data import load as load_data
from ..metrics.imputation import Completed, Refinement, complete
from ..metrics.rows import ResultRow
from ..metrics.samples import Work
from ..metrics.slots import Estimate, name_slots, placed, share, share_difference, slots_beside_pixels
from ..models import MemoryGANObjective
from ..pretrained import from_pretrained
from ..progress import Bar
from ..recipes import RECIPES, Recipe, ScoringConfig
from ..report import figures, grid, memory_gan
from ..report.grid import Theme
from ..report.history import read_rows, task_folders
from ..runs import config_hash
from ..training.fit import Watch
from ..types import ImageData, InputError, to_uint8
from .sentences import CLUSTERED, FILLED, KEPT, NAMED, VARIED, Comparison, Question, apart

ACROSS = 16  # pictures in a row
HIDDEN: grid.Colour = (108, 158, 235)  # of hidden pixels

Arm = Literal["slot_replay", "fine_tuning"]
ARMS: dict[Arm, str] = {"slot_replay": "with replay", "fine_tuning": "without replay"}


@dataclass(frozen=True)
class Plan:
    """How long the demo trains: ``task_steps`` for each of five pairs of digits, ``steps`` for all ten at once.

    ``samples`` are scored after each pair. ``learning_rate`` is twice that of the recipes, as these trainings are short. The shipped model ``filler``
    fills in what ``mask`` hides of the pictures that ship with it.
    """

    seed: int = 0
    task_steps: int = 200
    steps: int = 1500
    samples: int = 2000
    learning_rate: float = 1e-3
    filler: str = "mnist-vae"
    mask: str = "rect-12"

    def stream(self, arm: Arm) -> Recipe:
        """The recipe for ten digits, two at a time."""
        recipe = RECIPES["memory_gan/digits_stream"](variant=arm)
        return self._short(recipe, self.task_steps, replace(recipe.scoring, num_samples=self.samples))

    def digits(self) -> Recipe:
        """The recipe for ten digits at once."""
        return self._short(RECIPES["memory_gan/digits"](), self.steps, ScoringConfig("digits", ("is", "fid"), self.samples, likelihood_every=0))

    def named(self) -> dict[str, Any]:
        """The plan, and the hashes of the complete configurations that it leads to."""
        recipes = {arm: self.stream(arm) for arm in ARMS} | {"digits": self.digits()}
        return asdict(self) | {name: config_hash(recipe) for name, recipe in recipes.items()}

    def _short(self, recipe: Recipe, steps: int, scoring: ScoringConfig) -> Recipe:
        assert isinstance(recipe.objective, MemoryGANObjective)
        critic, generator = (replace(one, learning_rate=self.learning_rate) for one in (recipe.objective.critic, recipe.objective.generator))
        training = replace(recipe.training, steps=steps, seed=self.seed, checkpoint_every=500, sample_every=0, device="cpu")
        return replace(recipe, objective=replace(recipe.objective, critic=critic, generator=generator), training=training, scoring=scoring)


@dataclass(frozen=True)
class Answer:
    """A question, the numbers of this run, and the sentence that answers it."""

    question: Question
    found: Comparison
    sentence: str

    @property
    def numbers(self) -> tuple[str, str, str]:
        """The number of this run, the one it is compared with, and their difference, as texts."""
        here, beside, difference = self.found.here, self.found.beside, self.found.difference
        return self.question.number(here), self.question.number(beside), self.question.number(difference, signed=True)


@dataclass(frozen=True)
class Picture:
    """A picture: its file under the demo's folder, its caption, and the function that draws it."""

    file: str
    caption: str
    draw: Callable[[Theme], Image.Image]


@dataclass(frozen=True)
class Outcome:
    """The answers and pictures of an act."""

    answers: tuple[Answer, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Act:
    """``title`` and ``told`` announce the act; ``play`` plays it in the demo's folder."""

    title: str
    told: str
    play: Callable[[Plan, Path, Bar], Outcome]


def learn_on(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """Ten digits, two at a time, with and without replay; what is left of the first eight."""
    recipes = {arm: plan.stream(arm) for arm in ARMS}
    succession = recipes["slot_replay"].succession
    assert succession is not None
    tasks = succession.tasks.tasks(10)
    earlier, last = tuple(chain.from_iterable(tasks[:-1])), len(tasks) - 1
    shares, scores = list[Estimate](), list[Estimate]()
    for arm, recipe in recipes.items():
        place = arm_folder(folder, arm)
        trained(recipe, place, bar, ARMS[arm], len(tasks) * plan.task_steps)
        own = config_hash(recipe)
        rows = [row for row in read_rows(place / "results.jsonl") if row.config == own]
        value = sum(_last(rows, "class_share", last, label).value or 0.0 for label in earlier)
        shares.append(Estimate(value, math.sqrt(max(value * (1 - value), 0.0) / plan.samples)))
        row = _last(rows, "inception_score", last, None)
        assert row.value is not None and row.protocol is not None
        parts = int(row.protocol["splits"])
        error = math.nan if row.spread is None or parts < 2 else row.spread / math.sqrt(parts - 1)  # the spread divides by parts
        scores.append(Estimate(row.value, error))
    kept, varied = apart(*shares), apart(*scores)
    answers = (
        Answer(KEPT, kept, KEPT.answer(kept, earlier=len(earlier))),
        Answer(VARIED, varied, VARIED.answer(varied, most=len(earlier) + len(tasks[-1]))),
    )
    caption = "Samples after each pair of digits, above with replay, below without. None are picked."
    return Outcome(answers, (Picture("1_learned_on.png", caption, lambda theme: _after_each(folder, tasks, theme)),))


def arm_folder(folder: Path, arm: Arm) -> Path:
    """The folder of an arm's run."""
    return folder / ARMS[arm].replace(" ", "_")


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


def know(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """A memoryGAN of ten digits, trained without labels; which digits its slots hold."""
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


def fill_in(plan: Plan, folder: Path, bar: Bar) -> Outcome:
    """A shipped MEM-VAE fills in held-out pictures that ship with it."""
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
    """The mean squared error of hidden pixels as the model fills them in, beside that of the mean of the other pictures."""
    others = (found.image.sum(0, keepdim=True) - found.image) / max(len(found.image) - 1, 1)
    where = found.missing.expand(found.image.shape).flatten(1).double()
    ours, theirs = (((each - found.image).flatten(1).double().square() * where).sum(1) / where.sum(1) for each in (found.images, others))
    return Comparison(share(ours), share(theirs), share_difference(ours, theirs))


def _filled_sheet(found: Completed, image_range: tuple[float, float], theme: Theme) -> Image.Image:
    """The first pictures as they are, with hidden pixels in blue, and filled in."""
    real, filled = (to_uint8(each[:ACROSS], image_range).expand(-1, 3, -1, -1) for each in (found.image, found.images))
    hidden = torch.where(found.missing[:ACROSS], torch.tensor(HIDDEN, dtype=torch.uint8).view(3, 1, 1), real)
    return grid.sheet([real, hidden, filled], ["held-out pictures", "with a part hidden", "filled in"], theme=theme)


def trained(recipe: Recipe, place: Path, bar: Bar, name: str, steps: int) -> None:
    """Train the run folder ``place`` to its end, under a bar over all its ``steps``; a finished run stays as it is."""
    runs.train(recipe, out=place, console=False, watch=_shown(bar, name, steps, recipe.training.batch_size))


def _shown(bar: Bar, name: str, steps: int, batch_size: int) -> Watch:
    """Advances the bar with every step, from the step at which the training begins."""
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
