"""A model as one page that draws in the reader's browser, offline: weights, keys and the runtime are inside."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import PackageLoader
from markupsafe import Markup

from memogen import __version__
from memogen.export.graphs import LatentDistributions, SlotDistribution, generator, latent_distributions
from memogen.export.onnx import translate
from memogen.progress import Bar
from memogen.report.figures import by_meaning, draw, memory_of
from memogen.report.grid import tile
from memogen.report.parts import environment, png_address, visible, write_page
from memogen.shipped import StoredNames
from memogen.types import GenerativeModel, InputError, Latents, SlotModel, folded

VENDOR = files("memogen.export").joinpath("vendor")
_WALL = 1024  # slots on the wall, the heaviest
_COLUMNS = 32  # of the picture of the wall
_RULE = re.compile(r"[|:\-\s]+")  # between the head of a table and its rows


@dataclass(frozen=True)
class PageFacts:
    """What the page says about a model: its name and, if known, one line about it, its card, and the names of its slots."""

    name: str
    about: str = ""
    card: str = ""
    names: StoredNames | None = None


def write_html(model: GenerativeModel, path: Path, facts: PageFacts) -> Path:
    """Write the page and return its path. Raises InputError without the extra ``onnx``, and for a model whose latents have unknown laws."""
    drawn = latent_distributions(model, facts.names)
    with Bar() as bar:
        bar.stage("page", 3, unit="parts")
        weights = translate(generator(model), half=True).SerializeToString()
        bar.advance(1)
        data, keys = _data(model, drawn, facts.names)
        bar.advance(1)
        blobs = {"runtime": _runtime("ort.wasm.bundle.min.mjs"), "wasm": _runtime("ort-wasm-simd-threaded.wasm")}
        blobs |= {"model": gzip.compress(weights, 9, mtime=0)}
        if keys is not None:
            blobs["keys"] = gzip.compress(keys.tobytes(), 9, mtime=0)
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
    """The data of the page's program, and the keys of the slots that it draws from, in half precision and in the order of the wall."""
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
    """The slots in the order of the wall, by class if that is known, neighbours alike; and their keys."""
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
    images = folded(images)
    whole = torch.cat([images, images.new_zeros(-len(images) % _COLUMNS, *images.shape[1:])])
    rows = whole.unflatten(0, (-1, _COLUMNS)).permute(2, 0, 3, 1, 4)
    wall = tile(rows.reshape(len(rows), rows.shape[1] * rows.shape[2], -1))
    answer = {
        "numbers": slots.tolist(),
        "prior": chance[order].tolist(),
        "group": group[order].tolist(),
        "names": [visible(name) for name in classes],
        "key": law.key,
        "concentration": law.concentration,
        "dim": law.dim,
        "wall": str(png_address(wall)),
        "columns": _COLUMNS,
    }
    return answer, keys.cpu()[slots].numpy().astype(np.float16)


def _facts(model: GenerativeModel, drawn: LatentDistributions) -> list[tuple[str, str]]:
    """(name, value) of what the page tells about the model."""
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


@lru_cache(maxsize=4)
def _runtime(name: str) -> bytes:
    """A file of the runtime that ships with memogen, compressed for a browser. Raises InputError if the installation lacks it."""
    try:
        return gzip.compress(lzma.decompress(VENDOR.joinpath(f"{name}.xz").read_bytes()), 9, mtime=0)
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"export: {name}.xz is missing from this installation, or damaged: install memogen again") from error


@dataclass
class CardPart:
    """The part of a model's card under one title: blocks of ("text", lines), ("points", texts) or ("rows", pairs of a table's cells)."""

    title: str
    blocks: list[tuple[str, list[Any]]] = field(default_factory=list)

    def add(self, kind: str, words: object, *, begins: bool) -> None:
        """Add a line to the last block, or to a new one if that is of another kind or the line ``begins`` one."""
        if begins or not self.blocks or self.blocks[-1][0] != kind:
            self.blocks.append((kind, []))
        self.blocks[-1][1].append(words)


def read_card(text: str) -> list[CardPart]:
    """The parts of a card (README.md in the form of the hub) under its titles "## ", as plain text.

    Code, the head between dashes, the heads of tables, and what stands before the first title are left out.
    """
    lines = text.splitlines()
    if lines[:1] == ["---"] and "---" in lines[1:]:
        lines = lines[lines.index("---", 1) + 1 :]
    found, part, before, code = list[CardPart](), CardPart(""), "", False
    for line, below in zip(lines, [*lines, ""][1:], strict=True):
        code ^= line.startswith("```")
        if code or line.startswith("```") or _is_rule(line) or (line.startswith("|") and _is_rule(below)):
            continue
        begins = not before
        if line.startswith("## "):
            part = CardPart(_plain(line[3:]))
            found.append(part)
        elif line.startswith("|"):
            cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if len(cells) == 2:
                part.add("rows", (cells[0], cells[1]), begins=False)
        elif line.startswith(("- ", "* ")):
            part.add("points", _plain(line[2:]), begins=False)
        elif line.strip() and not line.startswith("#"):
            part.add("text", _plain(line), begins=begins)
        before = line.strip()
    return [part for part in found if part.blocks]


def _is_rule(line: str) -> bool:
    """Whether a line separates the head of a table from its rows."""
    return line.startswith("|") and "-" in line and _RULE.fullmatch(line) is not None


def _plain(words: str) -> str:
    """Without the Markdown of code, bold text and links."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words.replace("\\|", "|"))
    return re.sub(r"`|\*\*", "", words).strip()
