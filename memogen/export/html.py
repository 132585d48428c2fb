"""A model as one page that draws in the reader's browser: weights, keys and the program that runs them are inside, so it needs no network."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import PackageLoader
from markupsafe import Markup
from torch import Tensor

from memogen import __version__
from memogen.export.card import read_card
from memogen.export.distributions import LatentDistributions, SlotDistribution, latent_distributions
from memogen.export.graphs import generator
from memogen.export.onnx import translate
from memogen.progress import Bar
from memogen.report.figures import draw, memory_of
from memogen.report.grid import tile
from memogen.report.order import by_meaning
from memogen.report.parts import environment, png_address, visible, write_page
from memogen.shipped import StoredNames
from memogen.training.grid import folded
from memogen.types import GenerativeModel, InputError, Latents, SlotModel

VENDOR = files("memogen.export").joinpath("vendor")
_WALL = 1024  # slots that the wall shows at most, the heaviest
_COLUMNS = 32  # of the picture of the wall inside the page


@dataclass(frozen=True)
class PageFacts:
    """What the page says of a model: its name and, where they are known, one line on what it is, its card, and the names of its slots."""

    name: str
    about: str = ""
    card: str = ""
    names: StoredNames | None = None


def write_html(model: GenerativeModel, path: Path, facts: PageFacts) -> Path:
    """Write the page and return its path. Raises InputError without the extra ``onnx``, and for a model whose latents have no known law."""
    drawn = latent_distributions(model, facts.names)
    with Bar() as bar:
        bar.stage("page", 3, unit="parts")
        weights = translate(generator(model), half=True).SerializeToString()
        bar.advance(1)
        data, keys = _data(model, drawn, facts.names)
        bar.advance(1)
        blobs = {"runtime": _runtime("ort.wasm.bundle.min.mjs"), "wasm": _runtime("ort-wasm-simd-threaded.wasm"), "model": _packed(weights)}
        if keys is not None:
            blobs["keys"] = _packed(keys.tobytes())
        page = environment(PackageLoader("memogen.export", "page")).get_template("page.html")
        text = page.render(
            name=facts.name,
            about=facts.about,
            card=read_card(facts.card),
            facts=_facts(model, drawn),
            data=data,
            blobs=[(name, Markup(base64.b64encode(blob).decode())) for name, blob in blobs.items()],
            runtime=json.loads(VENDOR.joinpath("runtime.json").read_bytes()),
            licence=VENDOR.joinpath("LICENSE").read_text(encoding="utf-8"),
            version=__version__,
        )
        bar.advance(1)
    return write_page(path, text)


def _data(model: GenerativeModel, drawn: LatentDistributions, names: StoredNames | None) -> tuple[dict[str, Any], np.ndarray | None]:
    """What the page's program is told, and the keys of the slots that it draws from, in half precision and in the order of the wall."""
    numbers = torch.Size(model.decode(model.latents(1)).shape[1:])
    shape = folded(torch.zeros(1, *numbers, dtype=torch.uint8)).shape[1:]
    data: dict[str, Any] = {
        "image": {"shape": list(shape), "numbers": numbers.numel(), "range": list(model.image_range)},
        "noise": {"law": drawn.noise.law, "dim": drawn.noise.dim},
        "labels": None,
        "slots": None,
    }
    if drawn.labels is not None:
        data["labels"] = {"numbers": list(drawn.labels.numbers), "names": [visible(name) for name in drawn.labels.names]}
    if drawn.slots is None or not isinstance(model, SlotModel):
        return data, None
    data["slots"], keys = _slots(model, drawn.slots, names)
    return data, keys


def _slots(model: SlotModel, law: SlotDistribution, names: StoredNames | None) -> tuple[dict[str, Any], np.ndarray]:
    """The slots in the order of the wall: class after class where their classes are known, and neighbours alike."""
    chance, every = torch.tensor(law.prior, dtype=torch.float64), torch.tensor(law.numbers)
    classes = sorted({name for name in law.names if name}, key=list(names.classes).index) if names is not None else []
    group = torch.tensor([classes.index(name) if name else len(classes) for name in law.names] if law.names else [0] * len(every))
    heavy = chance.argsort(descending=True, stable=True)[:_WALL]
    keys = memory_of(model).keys
    order = heavy[by_meaning(keys.cpu()[every[heavy]], group[heavy])]
    order = order[group[order].argsort(stable=True)]
    slots = every[order]
    noise = model.latents(1, seed=0).noise.expand(len(slots), -1)
    images = draw(model, Latents(noise, keys[slots.to(noise.device)], slots.to(noise.device)))
    answer = {
        "numbers": slots.tolist(),
        "prior": chance[order].tolist(),
        "group": group[order].tolist(),
        "names": [visible(name) for name in classes],
        "key": law.key,
        "concentration": law.concentration,
        "dim": law.dim,
        "wall": str(png_address(_wall(images))),
        "columns": _COLUMNS,
    }
    return answer, keys.cpu()[slots].numpy().astype(np.float16)


def _wall(images: Tensor) -> Any:
    """The pictures of the slots, pixel by pixel, in rows."""
    images = folded(images)
    lacking = -len(images) % _COLUMNS
    whole = torch.cat([images, images.new_zeros(lacking, *images.shape[1:])])
    rows = whole.unflatten(0, (-1, _COLUMNS)).permute(2, 0, 3, 1, 4)
    return tile(rows.reshape(len(rows), rows.shape[1] * rows.shape[2], -1))


def _facts(model: GenerativeModel, drawn: LatentDistributions) -> list[tuple[str, str]]:
    """What is true of the model as it is, in words."""
    channels, height, width = model.decode(model.latents(1)).shape[1:]
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    law = "uniform on (-1, 1)" if drawn.noise.law == "uniform" else "standard normal"
    facts = [
        ("Kind", type(model).__name__),
        ("Images", f"{height} x {width}, {colours}"),
        ("Numbers in its networks", f"{sum(part.numel() for part in model.parameters()):,}" if isinstance(model, torch.nn.Module) else ""),
        ("Noise", f"{drawn.noise.dim} numbers, {law}"),
    ]
    if drawn.slots is not None:
        facts.append(("Slots that it draws from", f"{len(drawn.slots.numbers):,}, each a key of {drawn.slots.dim} numbers"))
        if drawn.slots.key == "draw":
            facts.append(("Spread around a key", f"von Mises-Fisher, concentration {drawn.slots.concentration:.0f}"))
    if drawn.labels is not None:
        facts.append(("Classes", ", ".join(drawn.labels.names)))
    return [(word, told) for word, told in facts if told]


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


@lru_cache(maxsize=4)
def _runtime(name: str) -> bytes:
    """A file of the runtime that comes with memogen, packed for a browser. Raises InputError where the installation lacks it."""
    try:
        return _packed(lzma.decompress(VENDOR.joinpath(f"{name}.xz").read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"export: {name}.xz is missing from this installation, or damaged: install memogen again") from error
