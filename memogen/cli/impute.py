"""The command that fills in missing pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from memogen.cli.data import KINDS, Folder, Word, one_of
from memogen.cli.files import PICTURES, choose_data, open_model, read_picture, write_folder, write_picture
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from torch import Tensor

    from memogen.metrics.imputation import Completed, Refinement
    from memogen.types import ImageData

IN_PICTURE = 16  # images in a picture, where no number is given
MASK = (
    "rect-12 (a square in the middle), rand-0.6 (each pixel with that probability), half (the left one), or a picture whose white pixels are missing"
)


def impute(
    model: Model,
    word: Word = None,
    *,
    data: Annotated[str | None, f"what is incomplete: a picture, {KINDS}; without it the run's own"] = None,
    mask: Annotated[str, MASK],
    folder: Folder = None,
    split: Annotated[str | None, "the part of the data; without it test, or what there is"] = None,
    num: Annotated[int | None, "number of images; without it 16 in a picture, and all otherwise", 1] = None,
    steps: Annotated[int, "number of times that the model fills in the missing pixels", 1] = 100,
    seed: Annotated[int, "seed of the noise that the missing pixels begin with, and of random masks"] = 0,
    label: Annotated[int | None, "the class of all these images, for a conditional model; by default the labels of the data", 0] = None,
    by_batch: Annotated[bool, "normalise by these images in place of the training data, as the authors' code does"] = False,
    out: Annotated[Path, "a picture of the way there, a folder for one PNG of each completed image, or an .npz file"] = Path("imputed.png"),
) -> None:
    """Fill in the missing pixels of images.

    The error that is printed takes the images for complete: it is that of the pixels that the mask takes away.
    """
    picture = out.suffix.lower() in PICTURES
    if out.suffix and not picture and out.suffix != ".npz":
        raise UsageError(f"--out {out}: cannot write a file of this kind; end it with {', '.join(PICTURES)} or .npz, or name a folder")
    opened = open_model(model)
    from memogen.metrics.imputation import Reconstructs, Refinement
    from memogen.metrics.samples import num_labels
    from memogen.types import to_uint8

    if not isinstance(opened, Reconstructs):
        raise UsageError(f"{model}: a {type(opened).__name__} reconstructs no images, so it cannot complete any; name a MEM-VAE")
    if label is not None and not num_labels(opened):
        raise UsageError(f"--label {label}: {model} was trained without labels; leave it out")
    given = _first(_images(opened, model, one_of(data, word), folder, split), num or (IN_PICTURE if picture else None), label)
    found = _completed(opened, given, mask, Refinement(steps, seed, by_batch))
    share = float(found.missing.float().mean())
    print(f"{len(given):,} image{'s' * (len(given) > 1)}, {share:.1%} of the pixels missing; mean squared error over these:")
    print("\n".join(f"{'noise' if step == 0 else f'step {step}':>9}  {error:.4f}" for step, error in found.errors))
    if picture:
        from memogen.report.mem_vae import imputation_sheet

        return write_picture(imputation_sheet(found, opened.image_range), out)
    return _write_npz(found.images, opened.image_range, given, out) if out.suffix else write_folder(to_uint8(found.images, opened.image_range), out)


def _completed(model: Any, data: ImageData, mask: str, how: Refinement) -> Completed:
    """On the best device there is, under a bar."""
    from memogen.metrics.imputation import complete
    from memogen.metrics.samples import Work
    from memogen.progress import Bar
    from memogen.training.runtime import choose_device

    with Bar() as bar:
        return complete(model.to(choose_device("auto")), data, mask, how, work=Work(bar=bar))


def _images(opened: Any, model: str, images: str | None, folder: Path | None, split: str | None) -> ImageData:
    """One picture brought to the model's size, or a data set, both as the run's own are read."""
    path = Path(images or "").expanduser()
    if path.is_file() and path.suffix.lower() not in (".zip", ".npz"):
        from memogen.types import ImageData

        return ImageData(read_picture(path, opened.config.image_shape, model=model).numpy()[None], name=path.name)
    return choose_data(images, model=model, folder=folder).load(split)


def _first(data: ImageData, num: int | None, label: int | None) -> ImageData:
    """The first ``num`` images, under their own labels or all under ``label``."""
    from dataclasses import replace

    import numpy as np

    own = np.full(len(data), label) if label is not None else data.label
    return replace(data, image=data.image[:num], label=None if own is None else own[:num])


def _write_npz(image: Tensor, image_range: tuple[float, float], data: ImageData, out: Path) -> None:
    """Vectors as numbers in [0, 1], (n, d); pictures as bytes, or numbers in [0, 1] where they were given so, (n, c, h, w)."""
    import numpy as np

    from memogen.types import to_uint8

    vectors = data.image_shape[:2] == (1, 1)
    whole = data.image.dtype == np.uint8 and not vectors
    plain = to_uint8(image, image_range).numpy() if whole else image.clamp(0, 1).numpy()
    plain = plain[:, 0, 0] if vectors else plain
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, x=plain)
    print(f"{out}: {len(plain)} {'vector' if vectors else 'image'}{'s' * (len(plain) > 1)}")
