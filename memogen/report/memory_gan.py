"""The page of a memoryGAN's run, and its memory in pictures and tables.

Fig. 3b of Kim, Kim and Kim (ICLR 2018) is :func:`posterior`; Figs. 3a and 3c are drawn in :mod:`memogen.report.life_signs`. Every picture leaves
the model unchanged, and raises InputError for a model without memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from memogen.memory.inspect import SlotRow, mean_cosine, prior, slot_posterior, spread_slots, top_slots, usage, written
from memogen.memory.protocol import MixtureMemory, Slots
from memogen.metrics.life_signs import knowing
from memogen.metrics.slot_contents import Contents
from memogen.metrics.slots import Estimate, Knowledge, Placed, SlotNames, effective_rank, lead, name_slots, placed, share
from memogen.types import ImageData, InputError, Latents, SlotModel

from . import charts, figures, grid, life_signs
from .figures import Model, by_likeness, by_meaning, draw, draw_samples, memory_of
from .grid import CLEAR, LIGHT, Theme
from .history import Run, saved_memories
from .parts import Group, Heading, Section, Table, Text
from .scores import number
from .sections import FamilyPart, PageContext, picture, themed

COLUMNS, ROWS = 16, 12  # of the wall of slots
WALK = "Four drawn corners, framed, and the points between them"


def sections(page: PageContext) -> FamilyPart:
    """Signs of life, and what the memory holds, its slots named by their classes; of a model without memory, images between points of its noise."""
    run, model = page.run, page.model
    walk = ("walk through the latent space", f"memogen interpolate {page.folder} --out walk.gif")
    look = ("look into the memory", f"memogen memory usage {page.folder}")
    if not isinstance(model, SlotModel):
        saved = saved_memories(run.path)[-1:]
        kept = (Section("Memory", (Text(page.reason, soft=True), *_state(run, saved[0][1]))),) if saved else ()
        return FamilyPart("memoryGAN", (*life_signs.section(run), *kept), sign=life_signs.sign(run), commands=(walk, look))
    if model.memory is None:
        baseline = Text("This model has no memory: the baseline. Below, its noise between four drawn corners.")
        drawn = picture(lambda: figures.interpolation(model, theme=CLEAR), "Interpolation in noise", f"{WALK}, in noise.")
        return FamilyPart("GAN without memory", (Section("Latent space", (baseline, drawn)),), commands=(walk,))
    names = knows = None
    if page.data is not None and page.data.label is not None:
        try:
            known = placed(model, page.data)
            names = name_slots(known, model.memory.num_slots)
            knows = knowing(known, placed(model, page.held_out)) if page.held_out is not None else None
        except InputError:  # a memory that holds nothing yet, or images of another shape
            names = knows = None
    shown = (*life_signs.section(run, knows), _memory(run, model, page.data, names))
    return FamilyPart("memoryGAN", shown, sign=life_signs.sign(run, knows), commands=(walk, look))


def _memory(run: Run, model: SlotModel, data: ImageData | None, names: SlotNames | None) -> Section:
    memory = memory_of(model)
    heaviest = [[str(row.slot), number(row.mass), f"{row.age:,}", f"{row.prior:.3%}"] for row in top_slots(memory, 12, value=1)]
    listed = Table(["Slot", "Mass", "Age", "Prior"], heaviest, "The heaviest real slots; age in writes since last touched.")
    sheet = picture(
        lambda: slot_sheet(model, names=names, theme=CLEAR),
        "Images of ten slots",
        "Ten real slots, evenly spaced from the heaviest to the lightest; slots that are alike stand side by side.",
        scrolls=True,
    )
    wall = "One image from the key of each of the heaviest real slots, with the same noise, in an order in which keys that are alike are neighbours."
    wall += " A row holds slots whose training images are most of one class, which training was never told." if names else ""
    between = f"{WALK}: along great circles of the sphere of keys, and straight in noise."
    inside = "The same inside one slot: what a slot leaves open."

    def belongs() -> Image.Image:
        image = torch.from_numpy(data.image[0].copy()) if data is not None else draw_samples(model, 1)[0]
        return posterior(model, image, names=names, theme=CLEAR)

    source = f"the first image of {data.name}, {data.split}" if data is not None else "a sample of the model"
    told = f"p(c | x) for {source} (red), the best real slots first; under each bar an image drawn from that slot."
    return Section(
        "Memory",
        (
            *_state(run, memory),
            Heading("Each row one slot, each column one noise"),
            Group([sheet, *([listed] if heaviest else [])], "pair"),
            Heading("Slots by meaning"),
            picture(lambda: slot_wall(model, names, theme=CLEAR), "A wall of slots", wall, scrolls=True),
            Heading("Between slots, and inside one"),
            Group(
                [
                    picture(lambda: figures.interpolation(model, theme=CLEAR), "Interpolation between keys", between),
                    picture(lambda: figures.interpolation(model, where="noise", theme=CLEAR), "Interpolation inside a slot", inside),
                ],
                "pair",
            ),
            Heading("Which slots an image belongs to"),
            picture(belongs, "Posterior over slots of one image", told, scrolls=True),
        ),
    )


def _state(run: Run, memory: Slots) -> tuple[Text, Group]:
    """The numbers of a memory, its histograms, and its sorted prior over training (Fig. 3c)."""
    found = usage(memory)
    words = (
        f"{found.num_slots:,} slots, {found.real_share:.0%} of them real, {found.unwritten:,} unwritten. By the entropy of the prior, "
        f"{found.effective_real:,.0f} real and {found.effective_fake:,.0f} fake slots are in use."
    )
    if math.isfinite(found.mean_cosine_real):
        words += f" Real keys have a mean cosine of {found.mean_cosine_real:.3f} to one another."
    logged = life_signs.prior_states(run)
    states = (
        logged or [(f"step {step:,}", charts.by_rank(saved)) for step, saved in saved_memories(run.path)] or [("saved model", charts.by_rank(memory))]
    )
    caption = "A flat line: all slots are used alike. A steep one: few slots hold nearly all the mass."
    caption += " Points mark the ranks that were logged." if logged else ""
    shown = [
        *themed(lambda theme: charts.masses(memory, theme=theme), "Histogram of the mass of the slots", "How often the slots were chosen of late."),
        *themed(lambda theme: charts.ages(memory, theme=theme), "Histogram of the age of the slots", "Old slots are the first to be overwritten."),
        *themed(lambda theme: charts.priors(states, theme=theme), "Sorted prior of the real slots", caption),
    ]
    return Text(words), Group(shown)


def slot_sheet(
    model: Model,
    slots: Sequence[int] | None = None,
    *,
    names: SlotNames | None = None,
    num_slots: int = 10,
    num_noises: int = 8,
    seed: int = 0,
    theme: Theme = LIGHT,
) -> Image.Image:
    """Each row one slot, each column one noise: does the slot fix what is drawn, and the noise how?

    Without ``slots``, ``num_slots`` real slots evenly spaced from the heaviest to the lightest, ordered by meaning. Captions: number, name from
    ``names``, mass, age in writes, share of the prior.
    """
    memory = memory_of(model)
    if slots is None:
        rows = list(spread_slots(memory, num_slots))
        numbers = torch.tensor([row.slot for row in rows], dtype=torch.long)
        label = torch.zeros_like(numbers) if names is None else names.label[numbers]
        rows = [rows[place] for place in by_meaning(memory.keys.cpu()[numbers], label).tolist()]
    else:
        rows = [_row(memory, slot) for slot in slots]
    if not rows:
        raise InputError("slot sheet: the memory has no real slots yet: train the model first")
    images = [draw_samples(model, num_noises, seed=seed, slot=row.slot) for row in rows]
    captions = []
    for row in rows:
        kind = "" if row.value else " (fake)"
        name = f"   {names[row.slot]}" if names and names[row.slot] else ""
        captions.append(f"slot {row.slot}{kind}{name}   mass {row.mass:.3g}   age {row.age}   prior {row.prior:.2%}")
    return grid.sheet(images, captions, theme=theme)


def _row(memory: MixtureMemory, slot: int) -> SlotRow:
    if not 0 <= slot < len(memory.values):
        raise InputError(f"slot {slot}: the memory has {len(memory.values)} slots: name one of 0 to {len(memory.values) - 1}")
    value = int(memory.values[slot] > 0.5)
    return SlotRow(slot, value, float(memory.mass[slot]), int(memory.age[slot]), float(prior(memory, value=value)[slot]))


@torch.no_grad()
def posterior(
    model: Model, image: UInt8[Tensor, "c h w"], *, names: SlotNames | None = None, num: int = 9, seed: int = 0, theme: Theme = LIGHT
) -> Image.Image:
    """p(c | image) of the ``num`` best real slots as bars, each over its name and an image drawn from its slot with the same noise (Fig. 3b)."""
    memory = memory_of(model)
    found = slot_posterior(memory, model.encode(image[None].to(memory.keys.device)), num)
    if not found.slots:
        raise InputError("posterior: the memory has no real slots yet: train the model first")
    images = torch.cat([draw_samples(model, 1, seed=seed, slot=slot) for slot in found.slots])
    notes = (f"other real slots {found.other_real:.1%}", f"fake slots {found.fake:.1%}")
    captions = [f"slot {slot}\n{names[slot]}" if names else f"slot {slot}" for slot in found.slots]
    return grid.bars(images, found.probability, captions, lead=image, notes=notes, theme=theme)


def slot_wall(model: Model, names: SlotNames | None = None, *, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """An image from the key of each of the heaviest real slots, all with the same noise, ordered by meaning.

    With ``names`` a row holds the :data:`COLUMNS` heaviest slots of one of the :data:`ROWS` heaviest classes; the caption gives its name, the number
    of its slots and their share of the prior. Slots without a name are left out. Raises InputError for a memory without real slots.
    """
    memory = memory_of(model)
    weight = prior(memory).cpu()
    real = ((memory.values > 0.5) & written(memory)).cpu()
    heavy = weight.masked_fill(~real, -1.0).sort(descending=True, stable=True).indices[: int(real.sum())]
    if not len(heavy):
        raise InputError("slot wall: the memory has no real slots yet: train the model first")
    keys, noise = memory.keys.cpu(), model.latents(1, seed=seed).noise

    def images(slots: Int[Tensor, " n"]) -> Tensor:
        slots = slots[by_likeness(keys[slots])].to(noise.device)
        return draw(model, Latents(noise.expand(len(slots), -1), memory.keys[slots], slots))

    label = names.label[heavy] if names else torch.full_like(heavy, -1)
    rows = [heavy[label == each] for each in label.unique() if each >= 0]
    if not names or not rows:
        return grid.grid(images(heavy[: COLUMNS * ROWS]), COLUMNS, theme=theme)
    rows = sorted(rows, key=lambda slots: -float(weight[slots].sum()))[:ROWS]
    middle = torch.stack([keys[slots].mean(0) for slots in rows])
    rows = [rows[place] for place in by_likeness(middle).tolist()]
    captions = [f"{names.class_name(int(names.label[slots[0]]))}   slots {len(slots):,}   prior {float(weight[slots].sum()):.1%}" for slots in rows]
    return grid.sheet([images(slots[:COLUMNS]) for slots in rows], captions, theme=theme)


def contents_table(images: Contents, samples: Contents | None) -> list[list[str]]:
    """The numbers of images and slots, and the shares of variance between slots: a column for images and one for samples."""
    groups = {"images": images} | ({"samples": samples} if samples else {})
    shares = [group.between() for group in groups.values()]
    counts = [
        ["number", *(f"{len(group.slot):,}" for group in groups.values())],
        ["different slots", *(f"{group.num_slots:,}" for group in groups.values())],
    ]
    between = ([f"variance of {name} between slots", *(_three_digits(each[name]) for each in shares)] for name in shares[0])
    return [["", *groups], *counts, *between]


def about(known: Placed, asked: Placed) -> str:
    """How many images decide on the classes of slots, in words."""
    evidence = f"{len(known.slot):,} of {known.of:,} training images say which class a slot holds"
    return f"{asked.images.name}: {evidence}, {len(asked.slot):,} of {asked.of:,} test images ask; ± is one standard error over these."


def knowledge_table(found: Knowledge) -> list[list[str]]:
    """A line for the memory's slots and for each other clustering: clusters, starts, accuracy, the slots' lead, mutual information."""
    slots, *marks = found.sortings
    rest = [["", ""], *([f"{len(mark.known)}", _estimate(lead(slots, mark), signed=True)] for mark in marks)]
    lines = (
        [each.name, f"{each.clusters:,}", starts, _estimate(each.told), ahead, _estimate(each.agreement)]
        for each, (starts, ahead) in zip(found.sortings, rest, strict=True)
    )
    return [["sorted by", "clusters", "starts", "tell the class", "slots lead by", "adjusted mutual information"], *lines]


def neighbours_table(found: Knowledge) -> list[list[str]]:
    """How often the five nearest training images tell the class, by the space they are nearest in."""
    return [["nearest by", "five tell the class"], *([name, _estimate(share(right))] for name, right in found.neighbours.items())]


def spread(asked: Placed) -> str:
    """The effective rank and the mean cosine of the queries, in words."""
    rank = f"effective rank of the queries {effective_rank(asked.query):.1f} of {asked.query.shape[1]}"
    return f"{rank}, mean cosine of two {_three_digits(mean_cosine(asked.query))}"


def _estimate(found: Estimate, *, signed: bool = False) -> str:
    if math.isnan(found.value):
        return "-"
    return f"{found.value:{'+' if signed else ''}.3f} ± {_three_digits(found.error)}"


def _three_digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
