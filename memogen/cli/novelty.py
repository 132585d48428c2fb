"""The command that asks whether images are of a kind that a model knows."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from memogen.cli.data import KINDS, Folder
from memogen.cli.files import PICTURES, DataChoice, choose_data, open_model, write_picture
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from memogen.metrics.novelty import NoveltyScore
    from memogen.types import ImageData

REFERENCE = 10_000  # training images among which neighbours are looked for
OUT = "a .csv file: the scores of every image of --against; a picture: the strangest; a .jsonl file to append result rows to"


def novelty(
    model: Model,
    *,
    data: Annotated[str | None, f"the known images: {KINDS}; without it the run's own"] = None,
    folder: Folder = None,
    against: Annotated[str, f"the images in question: a picture, {KINDS}; brought to the model's size and colours"],
    num: Annotated[int, "images of each set at most; pictures in a folder are all scored", 1] = 2000,
    neighbours: Annotated[int, "which nearest training image a distance is taken to", 1] = 5,
    importance_samples: Annotated[int | None, "of a MEM-VAE: samples of the bound of each image, 50 unless told", 1] = None,
    seed: Annotated[int | None, "of a MEM-VAE: seed of these samples, 0 unless told"] = None,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Score how strange images are to a model: by its memory or its bound, and by the distance to its training images.

    AUROC is how often a held-out known image scores above one of the others: 1 where a score tells all of them apart, 0.5 where it guesses.
    """
    kind = "" if out is None else _kind(out)
    opened = open_model(model)
    from memogen.metrics.novelty import check_model
    from memogen.types import LikelihoodModel

    check_model(opened)
    bound = {name: value for name, value in (("importance_samples", importance_samples), ("seed", seed)) if value is not None}
    if bound and not isinstance(opened, LikelihoodModel):
        name, value = next(iter(bound.items()))
        raise UsageError(f"--{name.replace('_', '-')} {value}: is of a bound, and {model} is asked by its memory; leave it out")
    choice = choose_data(data, model=model, folder=folder)
    from memogen.metrics.samples import part_of
    from memogen.training.runtime import choose_device

    known, training = part_of(choice.load_held_out(), num), part_of(choice.load("train"), REFERENCE)
    others = _in_question(against, opened, model, num)
    found = _scored(opened.to(choose_device("auto")), known, others.images, training, neighbours, bound)  # type: ignore[attr-defined]
    print(f"known: {_told(known)}; against: {_told(others.images)}; neighbours among {_told(training)}")
    _print_scores(found)
    if out is None:
        return None
    if kind == "picture":
        from memogen.report.figures import novelty_sheet

        return write_picture(novelty_sheet(found[0], known, others.images), out)
    return _write_scores(found, others.names, out) if kind == "scores" else _append_rows(found, known, others.images, training, model, opened, out)


@dataclass(frozen=True)
class _Question:
    """Images, and what each is called: its file, or its number in the split."""

    images: ImageData
    names: list[str]


def _kind(out: Path) -> str:
    """What is to be written. Refuses any other name before work is done."""
    kinds = {".csv": "scores", ".jsonl": "rows"} | dict.fromkeys(PICTURES, "picture")
    if out.suffix.lower() not in kinds or out.suffix.lower() == ".gif":
        raise UsageError(f"--out {out}: cannot write a file of this kind; end the name with .csv, .jsonl or .png")
    return kinds[out.suffix.lower()]


def _in_question(against: str, opened: Any, model: str, num: int) -> _Question:
    """Pictures with their names; of a data set at most ``num`` images of its held-out split, the same ones always."""
    from memogen.data import named, splits
    from memogen.runs import reading

    path = Path(against).expanduser()
    picture = path.is_file() and path.suffix.lower() not in (".zip", ".npz")
    name, place = ("folder", path) if picture else named(against)
    shape = opened.config.image_shape
    if name == "folder" and place is not None and place.suffix.lower() not in (".zip", ".npz"):
        return _pictures(place, shape, model)
    import numpy as np

    from memogen.data.arrays import in_channels
    from memogen.metrics.samples import part_of, shuffled

    options = replace(reading(model, shape, otherwise="resize"), long_tail=1.0, test_share=0.0)
    known = splits(name, folder=place, options=options)
    data = DataChoice(name, place, options).load("test" if "test" in known else known[0])
    part = in_channels(part_of(data, num), shape[0])
    return _Question(part, [str(row) for row in np.sort(shuffled(len(data), 0)[:num])])


def _pictures(place: Path, shape: tuple[int, int, int], model: str) -> _Question:
    """Every picture of a folder that can be read, by its name there."""
    import numpy as np

    from memogen.cli.files import read_picture
    from memogen.data.arrays import digest
    from memogen.data.pictures import find_pictures
    from memogen.types import ImageData, InputError

    files = {entry.name: place / entry.key for entry in find_pictures(place).entries} if place.is_dir() else {place.name: place}
    read: dict[str, Any] = {}
    for name, file in files.items():
        try:
            read[name] = read_picture(file, shape, model=model).numpy()
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not read:
        raise UsageError(f"--against {place}: holds no picture that can be read; name a folder of pictures, a picture or a data set")
    image = np.stack(list(read.values()))
    return _Question(ImageData(image, name=place.resolve().stem, split="pictures", digest=digest(image, None)), list(read))


def _scored(model: Any, known: ImageData, others: ImageData, training: ImageData, neighbours: int, bound: Mapping[str, int]) -> list[NoveltyScore]:
    from memogen.metrics.novelty import novelty as asked
    from memogen.metrics.work import Work
    from memogen.progress import Bar

    with Bar() as bar:
        return asked(model, known, others, training, k=neighbours, work=Work(bar=bar), **bound)


def _told(data: ImageData) -> str:
    return f"{len(data):,} image{'s' * (len(data) > 1)} of {data.name} {data.split}"


def _print_scores(found: list[NoveltyScore]) -> None:
    """AUROCs as a table; and what to make of them, where the model's own score tells less than its neighbours, or none tells anything."""
    from memogen.report.text import in_columns

    table = [("score", "AUROC", "±")]
    table += [(score.name, f"{score.auroc:.4f}", "-" if math.isnan(score.error) else f"{score.error:.4f}") for score in found]
    print(in_columns(table, right=1))
    if isinstance(cosine := found[0].protocol.get("cosine"), dict):
        print(f"mean cosine to the key of the best real slot: {cosine['known']:.3f} of known images, {cosine['others']:.3f} of the others")
    own, best = found[0], max(found[1:], key=lambda score: score.auroc)
    if not any(score.auroc - 2 * score.error > 0.5 for score in found):
        print("no score tells these images from known ones; smooth ones often lie nearer to all images than real ones do")
    elif best.auroc - own.auroc > 2 * math.hypot(own.error, best.error):
        print(f"the {own.name} tells less here than the {best.name}: go by these")


def _write_scores(found: list[NoveltyScore], names: list[str], out: Path) -> None:
    """One line an image, in the order of the images: each score, and its percentile among the held-out known images."""
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = [column for score in found for column in (score.others.tolist(), score.percentiles.tolist())]
    with out.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        titles = [score.name.replace(" ", "_") for score in found]
        lines.writerow(["image", *(title for name in titles for title in (name, f"{name}_percentile"))])
        lines.writerows([name, *(f"{value:.6g}" for value in values)] for name, *values in zip(names, *columns, strict=True))
    print(f"{out}: {len(names)} image{'s' * (len(names) > 1)}")


def _append_rows(found: list[NoveltyScore], known: ImageData, others: ImageData, training: ImageData, model: str, opened: Any, out: Path) -> None:
    """A result row for each score."""
    from memogen.cli.scoring import origin
    from memogen.metrics.novelty import AUROC
    from memogen.metrics.rows import ResultRow, append_rows, made
    from memogen.metrics.samples import device_of

    sets = (("data", known), ("against", others), ("training", training))
    shared = {name: {"data": data.name, "split": data.split, "digest": data.digest, "num": len(data)} for name, data in sets}
    whose, about = origin(model), made(device_of(opened))
    rows = [
        ResultRow.read(
            {
                **whose,
                "metric": AUROC.name,
                "value": score.auroc,
                "spread": None if math.isnan(score.error) else score.error,
                "protocol": {"score": score.name, **shared, **score.protocol, "num_samples": len(others)},
                **about,
            }
        )
        for score in found
    ]
    append_rows(out, rows)
    print(f"appended to {out}")
