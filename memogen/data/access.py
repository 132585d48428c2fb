"""The ways to a data set: load it, prepare it for later, check it, ask for its splits."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from memogen.data.cache import cache_root, cached, damaged_caches
from memogen.data.datasets import DATASETS
from memogen.data.derived import long_tailed
from memogen.data.findings import DataReport, Tally
from memogen.data.images import DataOptions
from memogen.data.own import is_npz, own_splits
from memogen.data.published import LAYOUTS, recognised
from memogen.data.shards import is_shard, is_there
from memogen.data.source import Request, counted
from memogen.types import ImageData, InputError


def load(
    name: str,
    *,
    folder: str | Path | None = None,
    split: str = "train",
    options: DataOptions = DataOptions(),  # noqa: B008  frozen
    cache: Path | None = None,
    progress: bool = True,
) -> ImageData:
    """A data set by its name in DATASETS, or any place as :func:`named` reads it: published files, or a folder, zip, shards or npz of images.

    ``folder`` holds the published files of a name; without it they are downloaded. ``cache`` overrides $MEMOGEN_CACHE.
    Raises InputError where something is missing.
    """
    asked = _request(name, folder, split, replace(options, long_tail=1.0), cache, progress)
    whole = cached(DATASETS[asked.name].source(asked), asked.root, progress=progress)
    return long_tailed(whole, options.long_tail) if split == "train" else whole


def prepare(name: str, *, folder: str | Path | None = None, options: DataOptions | None = None, progress: bool = True) -> tuple[ImageData, ...]:
    """Downloads and caches every split that there is, so that later runs start at once and offline."""
    options = options or DataOptions()
    parts = splits(name, folder=folder, options=options)
    return tuple(load(name, folder=folder, split=split, options=options, progress=progress) for split in parts)


def check(
    name: str, *, folder: str | Path | None = None, split: str = "train", options: DataOptions | None = None, progress: bool = True
) -> DataReport:
    """Reads every image of a data set and reports counts, sizes, modes, labels, broken files and problems, without caching.

    Existing caches of these images are read to the end too; a damaged one is removed, and the report says so.
    Different sizes, and a size other than that in ``options``, are a problem only where ``options.fit`` does not say what to do about them.
    Without problems, the report says how many images of which size a training would get.
    """
    asked = _request(name, folder, split, options or DataOptions(), None, progress)
    source, tally = DATASETS[asked.name].source(asked), Tally()
    trained: tuple[int, int] | None = None
    options = source.options  # a data set may have its own
    one_array = asked.folder is not None and is_npz(asked.folder)  # of one size, which reading compares with the one in the options
    any_size = options.fit == "error" and not one_array
    if any_size:  # differing sizes are reported below and do not end the reading
        source = DATASETS[asked.name].source(replace(asked, options=replace(options, size=2, fit="resize")))
    try:
        contents = source.open(tally, progress)
        trained = contents.shape[1:]
        for _ in counted(contents, tally):
            pass
    except InputError as error:
        tally.problems.append(str(error))
    if any_size:
        tally.problems += _size_problems(tally, options)
    report = replace(tally.report(source.place), cache=damaged_caches(asked.root, source.place, asked.split))
    if report.problems:
        return report
    if any_size:
        height, width = map(int, next(iter(tally.sizes)).split(" x "))
        most = options.centre or max(height, width)
        trained = min(height, most), min(width, most)
    return replace(report, trained=trained)


def _size_problems(tally: Tally, options: DataOptions) -> list[str]:
    """What a training would say of the sizes."""
    mend = "say what to do with them: --size 32 with --fit crop or resize (of a training --data.options.size and --data.options.fit)"
    if len(tally.sizes) > 1:
        return [f"images of several sizes: {mend}"]
    if options.target is None or options.centre:  # what a centre cut leaves is not known here
        return []
    asked = "{} x {}".format(*options.target)
    return [f"images are {size}, but the size asked for is {asked}: {mend}" for size in tally.sizes if size != asked]


def splits(name: str, *, folder: str | Path | None = None, options: DataOptions = DataOptions()) -> tuple[str, ...]:  # noqa: B008  frozen
    """The splits of a data set; of a user's folder or file, those found there, and "test" where ``options.test_share`` holds some out."""
    asked = _request(name, folder, "train", options, None, False)
    return own_splits(asked) if asked.name == "folder" else DATASETS[asked.name].splits


def named(given: str | Path) -> tuple[str, Path | None]:
    """(name in DATASETS, the place of its files) of one word that says which images: every ``--data`` goes through here.

    The word is a data set's name (no place: its files are downloaded), the folder of its published files, FOLDER/NAME where a folder holds those of
    several sets, or a folder, zip, npz or shards (a tar file or a pattern of such) of the user's own images (name "folder"). Raises InputError for
    any other.
    """
    place = Path(given).expanduser()
    if str(given) in DATASETS:
        return str(given), None
    if is_there(place):
        found = recognised(place)
        if len(found) > 1:
            raise InputError(f"data: {place}: holds {', '.join(found)}: name one of them, as {place / found[0]}")
        return found[0] if found else "folder", place
    if place.name in DATASETS and place.name != "folder" and place.parent.is_dir():
        return place.name, place.parent
    if is_shard(place):
        hint = "check it; in a pattern, * and ? stand for letters in the name of the file, not of a folder"
        raise InputError(f"data: {given}: no tar file has such a name: {hint}")
    near = difflib.get_close_matches(str(given), DATASETS, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(DATASETS)}, or give the path of a folder, zip, tar or npz"
    raise InputError(f"data: {given}: no such data set or path: {hint}")


def may_hold(folder: Path, name: str) -> bool:
    """Whether the folder may hold the data set ``name``.

    It cannot if the set is embedded and has no files, or if the set has a known layout and the folder holds the files of no published set.
    """
    return not DATASETS[name].embedded and (name not in LAYOUTS or bool(recognised(folder)))


def _request(name: str, folder: str | Path | None, split: str, options: DataOptions, cache: Path | None, progress: bool) -> Request:
    if folder is None:
        name, folder = named(name)
    elif name not in DATASETS:
        raise InputError(f"data: {name}: no such data set: choose {', '.join(DATASETS)}, or give a path without a folder beside it")
    if split not in DATASETS[name].splits:
        raise InputError(f"split: {split}: {name} has {', '.join(DATASETS[name].splits)}: choose one of these")
    if options.test_share and name != "folder":
        raise InputError(f"test_share: {options.test_share}: {name} is split as it was published: leave the share at 0")
    place = None if folder is None else Path(folder).expanduser()
    if place is not None and not is_there(place):
        raise InputError(f"data: {place}: there is no such folder or file: check the path")
    return Request(name, place, split, options, cache_root(cache), progress)
