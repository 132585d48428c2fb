"""The command that shows a model and its memory on a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.data import KINDS
from memogen.cli.files import choose_data, find_model, recipe_of
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from memogen.data import DataOptions
    from memogen.explorer.session import Session
    from memogen.types import ImageData

MOST_PORT = 65535


def explore(
    model: Model,
    *,
    data: Annotated[str | None, f"images to compare with: {KINDS}; without it the run's own, where they are at hand; none: no data"] = None,
    host: Annotated[str, "the address to listen on; 0.0.0.0 shows the page to others"] = "127.0.0.1",
    port: Annotated[int, "the port to listen on; 0 takes a free one", 0] = 0,
    out: Annotated[Path | None, "a folder where the page may save the edited model; it is made"] = None,
    open_: Annotated[bool, "open the page in a browser"] = False,
) -> None:
    """Show a model and its memory on a page: slots, pictures that belong to them, ways between, edits.

    The page is served on this machine alone, until Ctrl-C.
    """
    if port > MOST_PORT:
        raise UsageError(f"--port {port}: too large; give a port up to {MOST_PORT}, or 0 for a free one")
    if out is not None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise UsageError(f"--out {out}: is a file or holds files; name a new or an empty folder")
    folder = find_model(model)
    images = _images(model, data)
    from memogen.explorer.server import bind, serve
    from memogen.explorer.sheets import preview
    from memogen.shipped import run_of

    listening = bind(host, port)

    def opening() -> Session:
        from memogen.explorer.loaded import open_model
        from memogen.explorer.pictures import Pictures
        from memogen.explorer.session import Session

        loaded = open_model(model, folder)
        loaded.data, loaded.out = images if data is None or images is None else _loaded(images(), data, loaded.shape), out

        def reading() -> DataOptions:
            from memogen.runs import reading

            return reading(model, loaded.shape, otherwise="resize")

        return Session(loaded, Pictures(loaded.shape, reading))

    run = run_of(model)
    serve(Path(model).name or model, opening, listening, host=host, preview=None if run is None else preview(run), opened=open_)


def _images(model: str, data: str | None) -> Callable[[], ImageData | None] | None:
    """How to load the training images when they are asked for: those named, or the run's own, None where these are not at hand.

    Nothing is downloaded unasked. Data that are named and cannot be there are refused at once.
    """
    if data == "none":
        return None
    if data is not None:
        choice = choose_data(data, model=model)
        choice.known  # noqa: B018  refuses what cannot be read
        return lambda: choice.load("train" if "train" in choice.known else None)

    def own() -> ImageData | None:
        if not _at_hand(model):
            return None
        choice = choose_data(None, model=model)
        return choice.load("train" if "train" in choice.known else None)

    return own


def _loaded(found: ImageData | None, data: str, shape: tuple[int, int, int]) -> Callable[[], ImageData | None]:
    """Data that were named, read before the page opens. UsageError where the model draws images of another shape."""
    if found is not None and found.image_shape != shape:
        theirs, ours = (" x ".join(map(str, each)) for each in (found.image_shape, shape))
        raise UsageError(f"--data {data}: its images are {theirs} (channels x height x width), the model's {ours}: name images of that shape")
    return lambda: found


def _at_hand(model: str) -> bool:
    """Whether the images of the model's run lie on this machine: embedded, in a folder that is there, or downloaded before."""
    from memogen.data import DATASETS
    from memogen.data.cache import cache_root
    from memogen.types import InputError

    try:
        recipe = recipe_of(model)
    except InputError:
        return False
    if recipe is None:
        return False
    own = recipe.data
    if own.folder is not None:
        return Path(own.folder).expanduser().exists()
    known = DATASETS.get(own.name)
    downloads = cache_root() / "downloads" / own.name
    return known is not None and (known.embedded or (downloads.is_dir() and any(downloads.glob("[!.]*"))))
