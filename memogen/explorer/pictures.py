"""Pictures for the page and from it: images as JSON, uploads in the model's shape, and the pictures at hand by number."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from memogen.data.images import DataOptions, UnusableImage, decode, shaped
from memogen.types import folded

from .asked import Refused

MOST_PIXELS = 40_000_000
KEPT = 400  # uploaded pictures; the oldest are dropped first


def as_json(images: UInt8[Tensor, "b c h w"] | UInt8[np.ndarray, "b c h w"]) -> dict[str, Any]:
    """Images as the page draws them: number, size, channels (1 or 3) and bytes in base64, row by row. Vectors are folded."""
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    pixels = folded(pixels).cpu()
    pixels = pixels if pixels.shape[1] in (1, 3) else pixels[:, :1]
    num, channels, height, width = pixels.shape
    words = base64.b64encode(pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).decode("ascii")
    return {"num": num, "channels": channels, "height": height, "width": width, "bytes": words}


def read_upload(body: bytes, options: DataOptions, image_shape: tuple[int, int, int]) -> UInt8[np.ndarray, "c h w"]:
    """The picture of a file's bytes in the model's shape, resized or cropped by ``options``. Raises Refused."""
    if image_shape[1] == 1:
        raise Refused(f"this model reads vectors of {image_shape[2]} numbers, not pictures", 415)
    try:
        with Image.open(BytesIO(body)) as header:
            if header.width * header.height > MOST_PIXELS:
                raise Refused(f"the picture has more than {MOST_PIXELS // 1_000_000} million pixels; make it smaller", 413)
    except Refused:
        raise
    except Exception as error:  # on files that are no pictures Pillow raises nearly every type of exception
        raise Refused("the file is not readable as a picture; give a PNG, JPEG or WebP", 415) from error
    try:
        return shaped(decode(BytesIO(body))[0], options, image_shape[0])
    except UnusableImage as error:
        raise Refused(f"the picture cannot be used: {error}", 415) from error


@dataclass
class Pictures:
    """The pictures at hand: ``examples`` have the numbers 0, 1, ..., uploads those from ``following`` on.

    ``reading`` gives the options for :func:`read_upload` when the first upload comes.
    """

    image_shape: tuple[int, int, int]
    reading: Callable[[], DataOptions]
    examples: list[np.ndarray] = field(default_factory=list)
    uploads: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)
    following: int = 1_000_000
    _options: DataOptions | None = None

    def upload(self, body: bytes) -> int:
        """Keep an uploaded picture and return its number. Raises Refused."""
        if self._options is None:
            self._options = self.reading()
        return self.keep(read_upload(body, self._options, self.image_shape))

    def keep(self, image: np.ndarray) -> int:
        """Keep a picture and return its number."""
        number, self.following = self.following, self.following + 1
        self.uploads[number] = image
        while len(self.uploads) > KEPT:
            self.uploads.popitem(last=False)
        return number

    def take(self, numbers: list[int]) -> UInt8[Tensor, "b c h w"]:
        """The pictures with these numbers. Raises Refused."""
        found = []
        for number in numbers:
            image = self.examples[number] if 0 <= number < len(self.examples) else self.uploads.get(number)
            if image is None:
                raise Refused(f"picture {number}: is no longer kept; choose it again", 404)
            found.append(torch.from_numpy(np.array(image)))
        if not found:
            raise Refused("pictures: choose one at least")
        return torch.stack(found)
