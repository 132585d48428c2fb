"""The command that shows a model and its memory on a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.files import check_new_folder, choose_data, find_model, recipe_of
from memogen.cli.options import KINDS, Model
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.data import DataOptions
    from memogen.explorer.session import Session
    from memogen.types import ImageData

MOST_PORT = 65535


def explore(
    model: Model,
    *,
    data: Annotated[str | None, f"images to compare with: {KINDS}; none: no data; default: the run's own data, if they are on this machine"] = None,
    host: Annotated[str, "the address to listen on; 0.0.0.0 shows the page to other machines"] = "127.0.0.1",
    port: Annotated[int, "the port to listen on; 0 takes a free one", 0] = 0,
    out: Annotated[Path | None, "a folder where the page may save the edited model; it is made"] = None,
    open_: Annotated[bool, "open the page in a browser"] = False,
) -> None:
    """Show a model and its memory on a page: slots, pictures that belong to them, interpolations, edits.

    The page is served until Ctrl-C, to this machine only unless --host says otherwise.
    """
    if port > MOST_PORT:
        raise InputError(f"--port {port}: too large; give a port up to {MOST_PORT}, or 0 for a free one")
    if out is not None:
        check_new_folder(out)
    folder = find_model(model)
    if data not in (None, "none"):
        choose_data(data, model=model).known  # noqa: B018  refuses what cannot be read, before the page opens
    from memogen.explorer.server import bind, serve
    from memogen.explorer.sheets import preview
    from memogen.shipped import run_of

    listening = bind(host, port)

    def images() -> ImageData | None:
        """The training images: those named, or the run's own if they are on this machine. Nothing is downloaded unasked."""
        if data is None and not _at_hand(model):
            return None
        choice = choose_data(data, model=model)
        return choice.load("train" if "train" in choice.known else None)

    def opening() -> Session:
        from memogen.explorer.loaded import open_model
        from memogen.explorer.pictures import Pictures
        from memogen.explorer.session import Session

        loaded = open_model(model, folder)
        loaded.out = out
        if data is None:
            loaded.data = images  # loaded when they are first asked for
        elif data == "none":
            loaded.data = None
        else:
            found = images()
            if found is not None and found.image_shape != loaded.shape:
                theirs, ours = (" x ".join(map(str, each)) for each in (found.image_shape, loaded.shape))
                raise InputError(f"--data {data}: its images are {theirs} (channels x height x width), the model's {ours}: name images of that shape")
            loaded.data = lambda: found

        def reading() -> DataOptions:
            from memogen.runs import reading

            return reading(model, loaded.shape, otherwise="resize")

        return Session(loaded, Pictures(loaded.shape, reading))

    run = run_of(model)
    serve(Path(model).name or model, opening, listening, host=host, preview=None if run is None else preview(run), opened=open_)


def _at_hand(model: str) -> bool:
    """Whether the images of the model's run are on this machine: embedded, in a folder that is there, or downloaded before."""
    from memogen.data import DATASETS
    from memogen.data.cache import cache_root
    from memogen.data.shards import is_there

    try:
        recipe = recipe_of(model)
    except InputError:
        return False
    if recipe is None:
        return False
    own = recipe.data
    if own.folder is not None:
        return is_there(Path(own.folder).expanduser())
    known = DATASETS.get(own.name)
    downloads = cache_root() / "downloads" / own.name
    return known is not None and (known.embedded or (downloads.is_dir() and any(downloads.glob("[!.]*"))))
