"""The commands that look inside a memory: usage, slots, posterior, clusters, query, graph, disable, course (of its training) and signs (of life).

A memory is either a mixture over slots (memoryGAN) or trainable slots that a decoder's layers ask (MEM-VAE): a model says itself which it has.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from memogen.cli.attention import draw_graph, draw_slots, need_attentive, open_attentive, print_addresses, print_preferences
from memogen.cli.data import KINDS, Folder
from memogen.cli.files import check_picture, choose_data, look_at_slots, open_slots, read_picture, recipe_of, write_picture
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from memogen.metrics.life_signs import LifeSign
    from memogen.metrics.slots import SlotNames
    from memogen.types import SlotModel

OF_DATA = f"images, best with labels: {KINDS}; without it the run's own"
Picture = Annotated[Path, "a picture file, converted to the model's size and colours as in its run"]


def usage(
    model: Model,
    *,
    top: Annotated[int | None, "number of heaviest slots to list, 10; of a MEM-VAE, of slots for each class, 3", 1] = None,
    data: Annotated[str | None, OF_DATA] = None,
    folder: Folder = None,
    out: Annotated[Path | None, "of a MEM-VAE: a picture of all shares, layer under layer (Fig. 3a-b)"] = None,
) -> None:
    """Print how much of the memory is in use, and its heaviest slots, or those that each class wants most.

    What a MEM-VAE uses is told by images: each class's mean share of every slot, or that of all images where they have no labels.
    """
    if (attentive := open_attentive(model)) is not None:
        return print_preferences(attentive, choose_data(data, model=model, folder=folder), top=top or 3, out=out)
    opened = open_slots(model)
    top = top or 10
    from memogen.memory import inspect
    from memogen.report.figures import memory_of

    memory = memory_of(opened)
    found = inspect.usage(memory)
    real = round(found.real_share * found.num_slots)
    print(f"{found.effective_real:.0f} of {real} real and {found.effective_fake:.0f} of {found.num_slots - real} fake slots share the data")
    print("(exp of the entropy of their masses); quantiles at " + " ".join(f"{level:g}" for level in inspect.LEVELS) + "\n")
    for name, value in dataclasses.asdict(found).items():
        print(f"{name:<18} {_numbers(value)}")
    for value, title in ((1, "real"), (0, "fake")):
        print(f"\nheaviest {title} slots, with their share of the {title} mass\n  slot       mass    age   prior")
        for row in inspect.top_slots(memory, top, value=value):
            print(f"{row.slot:>6}  {row.mass:>9.4g}  {row.age:>5}  {row.prior:>6.2%}")


def slots(
    model: Model,
    *,
    slots: Annotated[str, "the slots to draw, as 0,17,250; without it some from the heaviest to the lightest"] = "",
    num: Annotated[int | None, "number of slots, where none are named: 10; of a MEM-VAE, for each class, 3", 1] = None,
    seed: Annotated[int, "seed of the noise"] = 0,
    layer: Annotated[int, "of a MEM-VAE: the layer, counted from the data"] = 0,
    data: Annotated[
        str | None,
        f"{OF_DATA}; their classes name the slots, or, of a MEM-VAE, want the slots that are drawn (Fig. 7); none: no names, and all slots",
    ] = None,
    folder: Folder = None,
    stretched: Annotated[bool, "of a MEM-VAE: bring every picture from black to white"] = False,
    out: Annotated[Path, "the picture"] = Path("slots.png"),
) -> None:
    """Draw a row of images for each of some memory slots, named by what they hold; of a MEM-VAE, what slots look like by themselves."""
    check_picture(out)
    chosen = _slot_numbers(slots)
    if (attentive := open_attentive(model)) is not None:
        choice = None if data == "none" or chosen else choose_data(data, model=model, folder=folder)
        return draw_slots(attentive, chosen, choice, layer=layer, num=num or 3, stretched=stretched, out=out)
    num = num or 10
    opened = open_slots(model)
    look_at_slots(opened, chosen or ())
    from memogen.report import memory_gan

    names = _names(opened, model, data, folder)
    write_picture(memory_gan.slot_sheet(opened, chosen, names=names, num_slots=num, seed=seed), out)


def posterior(
    model: Model,
    image: Picture,
    *,
    num: Annotated[int, "number of slots", 1] = 9,
    seed: Annotated[int, "seed of the noise under the bars"] = 0,
    data: Annotated[str | None, f"{OF_DATA}; their classes name the slots; none: no names"] = None,
    folder: Folder = None,
    out: Annotated[Path, "the picture"] = Path("posterior.png"),
) -> None:
    """Draw which memory slots an image belongs to, each with an image of its own."""
    check_picture(out)
    opened = open_slots(model)
    from memogen.report import memory_gan

    names = _names(opened, model, data, folder)
    write_picture(memory_gan.posterior(opened, read_picture(image, opened.config.image_shape, model=model), names=names, num=num, seed=seed), out)


def clusters(
    model: Model,
    *,
    data: Annotated[str | None, OF_DATA] = None,
    folder: Folder = None,
    extractor: Annotated[str | None, "the network whose features are used, as for evaluate; by default the classifier of the data, or none"] = None,
    num: Annotated[int, "number of training images, and of test images, at most", 1] = 10_000,
    seed: Annotated[int, "seed of the random keys, of k-means and of the samples"] = 0,
) -> None:
    """Print what a slot tells of an image: its class, beside k-means on pixels and an untrained critic, and its colours, pixels and features."""
    opened, choice = open_slots(model), choose_data(data, model=model, folder=folder)
    from memogen.metrics import extractors, slot_contents, slots
    from memogen.metrics.samples import Work
    from memogen.progress import Bar
    from memogen.report import memory_gan as tables
    from memogen.report.text import in_columns
    from memogen.training.runtime import choose_device

    images, device = choice.load(), choose_device("auto")
    named = extractor or (images.name if images.name in extractors.readers(images.image_shape) else None)
    judge = None if named is None else extractors.extractor(named, device=device, image_shape=images.image_shape)
    trained = choice.load("train") if images.label is not None and images.split == "test" else None
    recipe, opened = recipe_of(model), opened.to(device)
    fresh_seed = recipe.training.seed if recipe else 0
    with Bar() as bar:
        work = Work(bar=bar)
        asked = slots.placed(opened, images, num=num, work=work)
        shown = min(num, slot_contents.SHOWN, len(images))
        own = slot_contents.image_contents(asked, judge=judge, num=shown, work=work)
        drawn = slot_contents.sample_contents(opened, judge=judge, num=shown, seed=seed, work=work)
        known = trained and slots.placed(opened, trained, num=num, work=work)
        found = known and slots.knowledge(opened, known, asked, seed=seed, fresh_seed=fresh_seed, work=work)
    if known and found:
        print(tables.about(known, asked), f"The untrained critic has the weights of seed {fresh_seed}.\n")
        print(f"{in_columns(tables.knowledge_table(found), right=1)}\n\n{in_columns(tables.neighbours_table(found), right=1)}\n")
    else:
        lacking = "labels" if images.label is None else "training and test images apart"
        print(f"{images.name} has no {lacking}, so what slots tell of classes is left out.\n")
    told = "no classifier" if judge is None else f"the classifier {judge.name}"
    print(f"images of {images.name}, {images.split}; {told}\n\n{in_columns(tables.contents_table(own, drawn), right=1)}\n\n{tables.spread(asked)}")


def query(
    model: Model,
    image: Picture,
    *,
    num: Annotated[int, "number of slots to list", 1] = 10,
    label: Annotated[int | None, "the picture's class, for a conditional MEM-VAE", 0] = None,
) -> None:
    """Print the memory slots that an image belongs to, and whether the memory takes it for real; of a MEM-VAE, the slots that it asks for."""
    if (attentive := open_attentive(model)) is not None:
        return print_addresses(attentive, model, image, num, label)
    opened = open_slots(model)
    from memogen.memory import inspect
    from memogen.report.figures import memory_of

    memory = memory_of(opened)
    queries = opened.encode(read_picture(image, opened.config.image_shape, model=model)[None])
    print(f"p(real) {float(memory(queries).value[0]):.4f}   log p(image | real) {float(memory.log_likelihood(queries)[0]):.4g}\n")
    found = inspect.slot_posterior(memory, queries, num)
    print("  slot  posterior")
    for slot, share in zip(found.slots, found.probability, strict=True):
        print(f"{slot:>6}  {share:>9.4f}")
    print(f"other real slots {found.other_real:.4f}, fake slots {found.fake:.4f}")


def graph(
    model: Model,
    *,
    of: Annotated[str, "a layer, counted from the data, or pixels"] = "0",
    data: Annotated[str | None, OF_DATA] = None,
    folder: Folder = None,
    out: Annotated[Path, "the picture"] = Path("graph.png"),
) -> None:
    """Draw how alike the classes are in the slots of a MEM-VAE that they ask for (Fig. 3c-d), and print the most alike."""
    check_picture(out)
    draw_graph(need_attentive(model), choose_data(data, model=model, folder=folder), of, out)


def disable(
    model: Model,
    *,
    num: Annotated[int, "number of samples", 1] = 20,
    seed: Annotated[int, "image i depends on the seed and i alone"] = 0,
    out: Annotated[Path, "the picture"] = Path("disabled.png"),
) -> None:
    """Draw samples of a MEM-VAE with its memories taken away layer by layer (Fig. 6)."""
    check_picture(out)
    attentive = need_attentive(model)
    from memogen.report import mem_vae

    write_picture(mem_vae.disabled_sheet(attentive, num, seed=seed), out)


def course(
    run: Annotated[Path, "a run folder"],
    *,
    of: Annotated[
        Literal["likelihood", "prior", "gradient"],
        "the likelihood of held-out images (Fig. 3a), the sorted prior of the slots (Fig. 3c), or the gradient that reaches a query",
    ] = "likelihood",
    out: Annotated[Path, "the picture"] = Path("course.png"),
) -> None:
    """Draw a curve of a run's memory over training."""
    check_picture(out)
    from memogen.report.history import read_run
    from memogen.report.life_signs import course as drawn

    write_picture(drawn(read_run(run), of), out)


def signs(
    *run: Annotated[Path, "run folders; several stand side by side"],
    data: Annotated[str | None, OF_DATA] = None,
    markdown: Annotated[bool, "print the table as Markdown"] = False,
) -> None:
    """Print the life signs of a run's memory: its last tenth against its middle, the limits that a living memory keeps, and what its slots know."""
    from memogen.report.history import read_run
    from memogen.report.life_signs import run_signs, signs_table
    from memogen.report.text import in_columns, in_markdown

    for path in run:
        run_signs(read_run(path))  # a run without verdict is refused before the others' slots are looked at
    print((in_markdown if markdown else in_columns)(signs_table(run, [_what_slots_know(path, data) for path in run])))


def _what_slots_know(run: Path, data: str | None) -> LifeSign | None:
    """Asked with labelled images, those of the run where none are named; None where there are none, or no saved model."""
    from memogen.metrics.life_signs import knowing
    from memogen.metrics.slots import placed
    from memogen.types import InputError

    if not (run / "model" / "config.json").is_file():
        return None
    try:
        opened, choice = open_slots(str(run)), choose_data(data, model=str(run))
        known, asked = choice.load("train"), choice.load()
        return knowing(placed(opened, known), placed(opened, asked)) if asked.split == "test" and asked.label is not None else None
    except InputError as error:
        if data is not None:
            raise
        print(f"memogen: {run}: what its slots know of classes is left out ({error})", file=sys.stderr)
        return None


def _names(opened: SlotModel, model: str, data: str | None, folder: Path | None) -> SlotNames | None:
    """What the slots hold, by labelled training images; None where there are none, and for ``data`` "none"."""
    from memogen.metrics.slots import name_slots, placed
    from memogen.types import InputError

    try:
        if opened.memory is None or data == "none" or (data is None and recipe_of(model) is None):
            return None
        known = choose_data(data, model=model, folder=folder).load("train")
        return name_slots(placed(opened, known), opened.memory.num_slots) if known.label is not None else None
    except InputError as error:
        if data is not None:
            raise
        print(f"memogen: slots have no names here ({error})", file=sys.stderr)
        return None


def _numbers(value: object) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return "  ".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in values)


def _slot_numbers(text: str) -> list[int] | None:
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError as error:
        raise UsageError(f"--slots {text}: not a list of whole numbers; write it as 0,17,250") from error
