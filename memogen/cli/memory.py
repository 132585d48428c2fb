"""The commands that look inside a memory: usage, slots, posterior, clusters, query, graph, disable, course and signs.

A memory is either a mixture over slots (memoryGAN) or has trainable slots that the layers of a decoder address (MEM-VAE). Commands for both ask the
model which one it has.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from memogen.cli.files import DataChoice, check_picture, choose_data, look_at_slots, open_model, open_slots, read_picture, recipe_of, write_picture
from memogen.cli.options import KINDS, Folder, LabelledData, Model, Picture, SampleSeed, whole_numbers
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.metrics.life_signs import LifeSign
    from memogen.metrics.memory_use import MemoryUse
    from memogen.metrics.slot_contents import Preferences, ShowsSlots
    from memogen.metrics.slots import SlotNames
    from memogen.types import SlotModel

Asked = Annotated[Path, "a picture file, converted to the model's size and colours as in its run"]


def usage(
    model: Model,
    *,
    top: Annotated[int | None, "number of heaviest slots to list; default: 10, or for a MEM-VAE 3 for each class", 1] = None,
    data: LabelledData = None,
    folder: Folder = None,
    out: Annotated[Path | None, "for a MEM-VAE: a picture of all shares, one layer below the other (Fig. 3a-b)"] = None,
) -> None:
    """Print how much of the memory is in use, and its heaviest slots; for a MEM-VAE, the slots that each class uses most.

    The use of a MEM-VAE's slots is measured on images: each class's mean share of every slot, or that of all images if they have no labels.
    """
    if (attentive := _open_attentive(model)) is not None:
        return _print_preferences(attentive, choose_data(data, model=model, folder=folder), top=top or 3, out=out)
    _only_attentive(model, data=data, out=out)
    opened = open_slots(model)
    from memogen.memory import inspect
    from memogen.report.figures import memory_of

    memory = memory_of(opened)
    found = inspect.usage(memory)
    real = round(found.real_share * found.num_slots)
    print(f"{found.effective_real:.0f} of {real} real and {found.effective_fake:.0f} of {found.num_slots - real} fake slots share the data")
    print("(exp of the entropy of their masses); quantiles at " + " ".join(f"{level:g}" for level in inspect.LEVELS) + "\n")
    for name, value in dataclasses.asdict(found).items():
        values = value if isinstance(value, tuple) else (value,)
        print(f"{name:<18} " + "  ".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in values))
    for kind, title in ((1, "real"), (0, "fake")):
        print(f"\nheaviest {title} slots, with their share of the {title} mass\n  slot       mass    age   prior")
        for row in inspect.top_slots(memory, top or 10, value=kind):
            print(f"{row.slot:>6}  {row.mass:>9.4g}  {row.age:>5}  {row.prior:>6.2%}")


def _print_preferences(model: ShowsSlots, choice: DataChoice, *, top: int, out: Path | None) -> None:
    """For every layer, each class's most wanted slots with their mean shares (Table 4); in ``out`` a picture of all shares."""
    if out is not None:
        check_picture(out)
    from memogen.metrics.memory_use import effective_slots
    from memogen.report.mem_vae import preference_maps
    from memogen.report.text import in_columns

    found = _preferences(model, choice)
    print(f"{_use(model, choice)}\n")
    for layer, slots in enumerate(model.slot_counts):
        whole, by_class = effective_slots(found, layer)
        within = f", {min(by_class):.1f} to {max(by_class):.1f} within a class" if len(by_class) > 1 else ""
        in_use = f"{whole:.1f} share the weight (exp of the entropy){within}, {found.unused(layer)} get less than 0.001 of it"
        print(f"{_layer_title(layer)}: {slots} slots, {in_use}")
        table = [["class", *(text for rank in range(1, min(top, slots) + 1) for text in (f"slot {rank}", "share"))]]
        for name, best in zip(found.classes, found.top(layer, top), strict=True):
            table.append([name, *(text for slot, value in best for text in (str(slot), f"{value:.3f}"))])
        print(in_columns(table, right=1))
    if out is not None:
        write_picture(preference_maps(found), out)


def _layer_title(layer: int) -> str:
    return f"layer {layer} (next to the data)" if layer == 0 else f"\nlayer {layer}"


def slots(
    model: Model,
    *,
    slots: Annotated[str, "the slots to draw, as 0,17,250; default: some from the heaviest to the lightest"] = "",
    num: Annotated[int | None, "number of slots if none are named; default: 10, or for a MEM-VAE 3 for each class", 1] = None,
    seed: Annotated[int, "seed of the noise", 0] = 0,
    layer: Annotated[int, "for a MEM-VAE: the layer, 0 is next to the data", 0] = 0,
    data: Annotated[
        str | None,
        f"labelled images whose classes name the slots, or for a MEM-VAE choose the slots to draw (Fig. 7): {KINDS}; none: no names, or for a "
        "MEM-VAE all slots; default: the run's own data",
    ] = None,
    folder: Folder = None,
    stretched: Annotated[bool, "for a MEM-VAE: stretch the contrast of every picture from black to white"] = False,
    out: Picture = Path("slots.png"),
) -> None:
    """Draw a row of images from each of some memory slots, named by what they hold; for a MEM-VAE, a picture of each slot alone."""
    check_picture(out)
    chosen = whole_numbers("--slots", slots) or None
    if (attentive := _open_attentive(model)) is not None:
        from memogen.report import mem_vae

        if chosen is not None or data == "none":
            return write_picture(mem_vae.slot_grid(attentive, chosen, layer=layer, stretched=stretched), out)
        found = _preferences(attentive, choose_data(data, model=model, folder=folder))
        return write_picture(mem_vae.slot_sheet(attentive, found, layer=layer, num=num or 3, stretched=stretched), out)
    _only_attentive(model, layer=layer or None, stretched=stretched or None)
    opened = open_slots(model)
    look_at_slots(opened, chosen or ())
    from memogen.report import memory_gan

    names = _names(opened, model, data, folder)
    write_picture(memory_gan.slot_sheet(opened, chosen, names=names, num_slots=num or 10, seed=seed), out)


def posterior(
    model: Model,
    image: Asked,
    *,
    num: Annotated[int, "number of slots", 1] = 9,
    seed: Annotated[int, "seed of the noise that the slots' images are drawn from", 0] = 0,
    data: Annotated[str | None, f"labelled images whose classes name the slots: {KINDS}; none: no names; default: the run's own data"] = None,
    folder: Folder = None,
    out: Picture = Path("posterior.png"),
) -> None:
    """Draw the posterior over memory slots for an image, each slot with an image drawn from it."""
    check_picture(out)
    opened = open_slots(model)
    from memogen.report import memory_gan

    names = _names(opened, model, data, folder)
    write_picture(memory_gan.posterior(opened, read_picture(image, opened.config.image_shape, model=model), names=names, num=num, seed=seed), out)


def clusters(
    model: Model,
    *,
    data: LabelledData = None,
    folder: Folder = None,
    extractor: Annotated[str | None, "the network whose features are used, as for evaluate; default: the data's own classifier, if any"] = None,
    num: Annotated[int, "number of training images, and of test images, at most", 1] = 10_000,
    seed: Annotated[int, "seed of the random keys, of k-means and of the samples", 0] = 0,
) -> None:
    """Print how well a slot predicts an image's class, beside k-means on pixels and an untrained critic; and its colours, pixels and features."""
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
    image: Asked,
    *,
    num: Annotated[int, "number of slots to list", 1] = 10,
    label: Annotated[int | None, "the picture's class, for a conditional MEM-VAE", 0] = None,
) -> None:
    """Print the memory slots that an image belongs to, and the probability that it is real; for a MEM-VAE, the slots that it addresses."""
    if (attentive := _open_attentive(model)) is not None:
        import torch

        told = {} if label is None else {"label": torch.tensor([label])}
        attended: Any = attentive
        weights = attended.addresses(read_picture(image, attended.config.image_shape, model=model)[None], seed=0, start=0, **told)
        for layer, weight in enumerate(weights):
            print(f"{_layer_title(layer)}\n  slot  weight   share")
            best = weight[0].topk(min(num, weight.shape[1]))
            for slot, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                print(f"{slot:>6}  {value:>6.4f}  {value / float(weight[0].sum()):>6.4f}")
        return
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
    of: Annotated[str, "a layer, 0 is next to the data, or pixels"] = "0",
    data: LabelledData = None,
    folder: Folder = None,
    out: Picture = Path("graph.png"),
) -> None:
    """Draw how similar the classes are in the MEM-VAE's slots that they use (Fig. 3c-d), and print the most similar pairs."""
    check_picture(out)
    attentive, choice = _need_attentive(model), choose_data(data, model=model, folder=folder)
    layers = [str(layer) for layer in range(len(attentive.slot_counts))]
    if of not in (*layers, "pixels"):
        raise InputError(f"--of {of}: neither a layer nor pixels; write one of {', '.join(layers)}, pixels")
    from memogen.metrics.slot_contents import class_correlation, strongest
    from memogen.report import mem_vae

    found = _preferences(attentive, choice, by_class=True)
    correlation = class_correlation(found.pixels if of == "pixels" else found.layer(int(of)))
    write_picture(mem_vae.class_graph(correlation, found.classes), out)
    for one, other, value in strongest(correlation):
        print(f"{found.classes[one]} and {found.classes[other]}: {value:.3f}")


def disable(
    model: Model,
    *,
    num: Annotated[int, "number of samples", 1] = 20,
    seed: SampleSeed = 0,
    out: Picture = Path("disabled.png"),
) -> None:
    """Draw samples of a MEM-VAE with its memories switched off layer by layer (Fig. 6)."""
    check_picture(out)
    attentive = _need_attentive(model)
    from memogen.report import mem_vae

    write_picture(mem_vae.disabled_sheet(attentive, num, seed=seed), out)


def course(
    run: Annotated[Path, "a run folder"],
    *,
    of: Annotated[
        Literal["likelihood", "prior", "gradient"],
        "likelihood: of held-out images (Fig. 3a); prior: of the slots, sorted (Fig. 3c); gradient: that reaches a query",
    ] = "likelihood",
    out: Picture = Path("course.png"),
) -> None:
    """Draw a curve of a run's memory over training."""
    check_picture(out)
    from memogen.report.history import read_run
    from memogen.report.life_signs import course as drawn

    write_picture(drawn(read_run(run), of), out)


def signs(
    *run: Annotated[Path, "a run folder; several give a column each"],
    data: LabelledData = None,
    markdown: Annotated[bool, "print the table as Markdown"] = False,
) -> None:
    """Print whether a run's memory works: signs of its last tenth against its middle third, their limits, and what its slots know of classes.

    For a MEM-VAE: what the memory's own answer to each test image is worth in nats.
    """
    from memogen.report.history import read_run
    from memogen.report.life_signs import run_signs, signs_table
    from memogen.report.text import in_columns, in_markdown

    mixtures = list[Path]()
    for path in run:
        attentive = _open_attentive(str(path)) if (path / "model" / "config.json").is_file() else None
        if attentive is not None:
            print(f"{path.resolve().name}: {_use(attentive, choose_data(data, model=str(path)))}")
            continue
        run_signs(read_run(path))  # an unusable run is refused before the slots of the others are looked at
        mixtures.append(path)
    if mixtures:
        print((in_markdown if markdown else in_columns)(signs_table(mixtures, [_what_slots_know(path, data) for path in mixtures])))


def _use(model: ShowsSlots, choice: DataChoice) -> MemoryUse:
    """What the memory is worth for 1,000 held-out images."""
    from memogen.metrics.log_likelihood import observable
    from memogen.metrics.memory_use import ReplacesAnswers, memory_use
    from memogen.metrics.samples import Work, part_of
    from memogen.progress import Bar

    if not isinstance(model, ReplacesAnswers):
        raise InputError(f"model: a {type(model).__name__} cannot replace its memory's answers; choose a MEM-VAE")
    images, _ = observable(model, part_of(choice.load(), 1000), seed=0)
    with Bar() as bar:
        return memory_use(model, images, work=Work(bar=bar))


def _what_slots_know(run: Path, data: str | None) -> LifeSign | None:
    """Whether slots tell classes apart, by labelled images; None if there are no such images, or no saved model."""
    from memogen.metrics.life_signs import knowing
    from memogen.metrics.slots import placed

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
    """What the slots hold, by labelled training images; None if there are none, or if ``data`` is "none"."""
    from memogen.metrics.slots import name_slots, placed

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


def _open_attentive(name: str) -> ShowsSlots | None:
    """A model whose decoder addresses memory slots (MEM-VAE); None for a model of another kind."""
    opened = open_model(name)
    from memogen.metrics.slot_contents import ShowsSlots

    if not isinstance(opened, ShowsSlots):
        return None
    if not opened.slot_counts:
        raise InputError(f"{name}: this model was built without a memory; name one of a variant with memory, such as mem_vae")
    return opened


def _only_attentive(name: str, **given: object) -> None:
    """Raises InputError for an option, given to another model, that only a MEM-VAE reads."""
    for option, value in given.items():
        if value is not None:
            raise InputError(f"--{option}: is for a MEM-VAE, and {name} has a memory of another kind; leave it out")


def _need_attentive(name: str) -> ShowsSlots:
    opened = _open_attentive(name)
    if opened is None:
        raise InputError(f"{name}: this command needs a memory that a decoder addresses, as in a MEM-VAE; this model has no such memory")
    return opened


def _preferences(model: ShowsSlots, choice: DataChoice, *, by_class: bool = False) -> Preferences:
    """Which slots the classes of the test images address. Images without labels count as one class, unless ``by_class``."""
    import numpy as np

    from memogen.metrics.samples import Work, num_labels
    from memogen.metrics.slot_contents import slot_preferences
    from memogen.progress import Bar

    data = choice.load()
    if data.label is None and not by_class and not num_labels(model):
        data = dataclasses.replace(data, label=np.zeros(len(data), np.int64), classes=("all",))
    with Bar() as bar:
        return slot_preferences(model, data, work=Work(bar=bar))
