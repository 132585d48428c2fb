"""The command that asks whether images are of a kind that a model knows."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from memogen.cli.files import ARCHIVES, PICTURES, DataChoice, choose_data, open_model, read_picture, write_picture
from memogen.cli.options import KINDS, Folder, Model
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.metrics.novelty import NoveltyScore
    from memogen.types import ImageData

REFERENCE = 10_000  # training images among which neighbours are looked for


def novelty(
    model: Model,
    *,
    data: Annotated[str | None, f"the known images: {KINDS}; default: the run's own data"] = None,
    folder: Folder = None,
    against: Annotated[str, f"the images in question: a picture, {KINDS}; brought to the model's size and colours"],
    num: Annotated[int, "images of each set at most; pictures in a folder are all scored", 1] = 2000,
    neighbours: Annotated[int, "k: a distance is that to the k-th nearest training image", 1] = 5,
    importance_samples: Annotated[int | None, "for a MEM-VAE: importance samples of the bound of each image; default: 50", 1] = None,
    seed: Annotated[int | None, "for a MEM-VAE: seed of these samples; default: 0", 0] = None,
    out: Annotated[
        Path | None, "a .csv file for the scores of every image of --against; a picture of the strangest ones; or a .jsonl file for result rows"
    ] = None,
) -> None:
    """Score how strange images are to a model: by its memory or its bound, and by the distance to its training images.

    AUROC is the probability that a known held-out image scores above one of the others: 1 if a score separates them, 0.5 for a guess.
    """
    suffix = "" if out is None else out.suffix.lower()
    if out is not None and (suffix not in (".csv", ".jsonl", *PICTURES) or suffix == ".gif"):
        raise InputError(f"--out {out}: cannot write a file of this kind; end the name with .csv, .jsonl or .png")
    opened: Any = open_model(model)
    from memogen.metrics.novelty import check_model
    from memogen.metrics.novelty import novelty as scored
    from memogen.metrics.samples import Work, part_of
    from memogen.progress import Bar
    from memogen.report.text import in_columns
    from memogen.training.runtime import choose_device
    from memogen.types import LikelihoodModel

    check_model(opened)
    bound = {name: value for name, value in (("importance_samples", importance_samples), ("seed", seed)) if value is not None}
    if bound and not isinstance(opened, LikelihoodModel):
        name, value = next(iter(bound.items()))
        raise InputError(f"--{name.replace('_', '-')} {value}: is for a bound, and {model} is asked by its memory; leave it out")
    choice = choose_data(data, model=model, folder=folder)
    known, training = part_of(choice.load_held_out(), num), part_of(choice.load("train"), REFERENCE)
    others, names = _in_question(against, opened.config.image_shape, model, num)
    with Bar() as bar:
        found = scored(opened.to(choose_device("auto")), known, others, training, k=neighbours, work=Work(bar=bar), **bound)
    sizes = [f"{len(images):,} image{'s' * (len(images) > 1)} of {images.name} {images.split}" for images in (known, others, training)]
    print("known: {}; against: {}; neighbours among {}".format(*sizes))
    rows = [(score.name, f"{score.auroc:.4f}", "-" if math.isnan(score.error) else f"{score.error:.4f}") for score in found]
    print(in_columns([("score", "AUROC", "±"), *rows], right=1))
    if isinstance(cosine := found[0].protocol.get("cosine"), dict):
        print(f"mean cosine to the key of the best real slot: {cosine['known']:.3f} of known images, {cosine['others']:.3f} of the others")
    own, best = found[0], max(found[1:], key=lambda score: score.auroc)
    if math.isnan(own.error):
        print("too few images for a standard error: compare two or more of each kind")
    elif not any(score.auroc - 2 * score.error > 0.5 for score in found):
        print("no score tells these images from known ones; smooth ones often lie nearer to all images than real ones do")
    elif best.auroc - own.auroc > 2 * math.hypot(own.error, best.error):
        print(f"the {own.name} tells less here than the {best.name}: go by these")
    if out is None:
        return
    if suffix == ".csv":
        _write_scores(found, names, out)
    elif suffix == ".jsonl":
        _append_rows(found, {"data": known, "against": others, "training": training}, model, opened, out)
    else:
        from memogen.report.figures import novelty_sheet

        write_picture(novelty_sheet(found[0], known, others), out)


def _in_question(against: str, shape: tuple[int, int, int], model: str, num: int) -> tuple[ImageData, list[str]]:
    """The images and what each is called: all pictures of a folder by their file names, or at most ``num`` images of the held-out split of a data set
    by their numbers there, always the same ones.
    """
    import numpy as np

    from memogen.data import named, splits
    from memogen.data.arrays import digest, in_channels
    from memogen.data.listing import find_pictures
    from memogen.metrics.samples import part_of, shuffled
    from memogen.runs import reading
    from memogen.types import ImageData

    path = Path(against).expanduser()
    picture = path.is_file() and path.suffix.lower() not in ARCHIVES
    name, place = ("folder", path) if picture else named(against)
    if not picture and (name != "folder" or place is None or place.suffix.lower() in ARCHIVES or find_pictures(place).packed):
        options = replace(reading(model, shape, otherwise="resize"), long_tail=1.0, test_share=0.0)
        known = splits(name, folder=place, options=options)
        data = DataChoice(name, place, options).load("test" if "test" in known else known[0])
        return in_channels(part_of(data, num), shape[0]), [str(row) for row in np.sort(shuffled(len(data), 0)[:num])]
    assert place is not None, "a picture, or a folder of pictures"
    files = {entry.name: place / entry.key for entry in find_pictures(place).entries} if place.is_dir() else {place.name: place}
    read: dict[str, Any] = {}
    for name, file in files.items():
        try:
            read[name] = read_picture(file, shape, model=model).numpy()
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not read:
        raise InputError(f"--against {place}: holds no picture that can be read; name a folder of pictures, a picture or a data set")
    image = np.stack(list(read.values()))
    return ImageData(image, name=place.resolve().stem, split="pictures", digest=digest(image, None)), list(read)


def _write_scores(found: list[NoveltyScore], names: list[str], out: Path) -> None:
    """One line for each image: each score, and its percentile among the held-out known images."""
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = [column for score in found for column in (score.others.tolist(), score.percentiles.tolist())]
    with out.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        titles = [score.name.replace(" ", "_") for score in found]
        lines.writerow(["image", *(title for name in titles for title in (name, f"{name}_percentile"))])
        lines.writerows([name, *(f"{value:.6g}" for value in values)] for name, *values in zip(names, *columns, strict=True))
    print(f"{out}: {len(names)} image{'s' * (len(names) > 1)}")


def _append_rows(found: list[NoveltyScore], sets: dict[str, ImageData], model: str, opened: Any, out: Path) -> None:
    """A result row for each score."""
    from memogen.cli.scoring import origin
    from memogen.metrics.novelty import AUROC
    from memogen.metrics.rows import ResultRow, append_rows, made
    from memogen.metrics.samples import device_of

    shared = {name: {"data": data.name, "split": data.split, "digest": data.digest, "num": len(data)} for name, data in sets.items()}
    whose, about, rows = origin(model), made(device_of(opened)), []
    for score in found:
        spread = None if math.isnan(score.error) else score.error
        protocol = {"score": score.name, **shared, **score.protocol, "num_samples": len(sets["against"])}
        rows.append(ResultRow.read({**whose, "metric": AUROC.name, "value": score.auroc, "spread": spread, "protocol": protocol, **about}))
    append_rows(out, rows)
    print(f"appended to {out}")
