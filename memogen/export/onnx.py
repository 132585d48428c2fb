"""Graphs as ONNX files, for any size of batch, each checked against torch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from memogen import __version__
from memogen.errors import InputError
from memogen.export.graphs import Graph, LatentDistributions, graphs, latent_distributions
from memogen.pretrained import replacing
from memogen.progress import Bar
from memogen.shipped import StoredNames
from memogen.types import GenerativeModel

if TYPE_CHECKING:
    import onnx

LATENTS, README = "latents.json", "README.md"
TOLERANCE = 1e-4
"""The largest difference between a graph's number and torch's, relative to the number itself, or to 1 if that is larger."""

_LARGEST = 2**31 - 2**20  # bytes that protocol buffers hold in one file
_MANY = 1024  # numbers of a constant that is worth a conversion to half precision
_CHECKED = 3  # images; not as many as in the example, so that a fixed batch size fails


def write_onnx(model: GenerativeModel, folder: Path, *, names: StoredNames | None = None) -> dict[str, float]:
    """Write the graphs of ``model``, latents.json and README.md into ``folder``, over former files of these names.

    ``names`` are those of its slots. Returns each file's :func:`difference`. Raises InputError if the folder holds other files, for a model above
    2 GB, and without the extra ``onnx``.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file: name a folder for the ONNX files")
    drawn, made = latent_distributions(model, names), graphs(model)
    wanted = {f"{graph.name}.onnx" for graph in made} | {LATENTS, README}
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - wanted)):
        raise InputError(f"--out {folder}: holds other files ({others[0]}): name a new or an empty folder")
    files, apart = dict[str, bytes](), dict[str, float]()
    with Bar() as bar:
        bar.stage("ONNX", len(made), unit="graphs")
        for graph in made:
            data = translate(graph).SerializeToString()
            files[f"{graph.name}.onnx"], apart[f"{graph.name}.onnx"] = data, difference(graph, data)
            bar.advance(1)
    about = {
        "kind": type(model).__name__,
        "memogen": __version__,
        "image_range": list(model.image_range),
        "files": {f"{graph.name}.onnx": _signature(graph) for graph in made},
        "latents": asdict(drawn),
    }
    files[LATENTS] = (json.dumps(about, indent=2, allow_nan=False) + "\n").encode()
    files[README] = _readme(made, drawn, model.image_range).encode()
    _write(folder, files)
    return apart


def translate(graph: Graph, *, half: bool = False) -> onnx.ModelProto:
    """A graph as ONNX; ``half`` stores its large constants in half precision if they fit. It computes in single precision.

    Raises InputError without the extra ``onnx``, and for a graph above 2 GB.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"export: {error.name} is not installed: pip install 'memogen[onnx]'") from error
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.module.state_dict().values())
    if size > _LARGEST:
        raise InputError(f"model: its {graph.name} takes {size / 1e9:.1f} GB, and one ONNX file holds 2 GB: export a smaller model")
    batch, logger = torch.export.Dim("batch"), logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the exporter remarks on missing libraries and on its own deprecations
    with ExitStack() as quiet:
        quiet.callback(logger.setLevel, level)
        quiet.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(tuple({0: batch} for _ in graph.inputs),),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    found = program.model_proto
    found.producer_name = "memogen"
    whole = found.graph
    for part in (found, whole, *whole.node, *whole.input, *whole.output, *whole.value_info, *whole.initializer, *found.functions):
        del part.metadata_props[:]  # the exporter's notes are long, and have the paths of this machine
        part.doc_string = ""
    if half:
        _halve(found)
    return found


def difference(graph: Graph, data: bytes) -> float:
    """The largest difference between onnxruntime's and torch's numbers, as in :data:`TOLERANCE`. Raises RuntimeError if it is larger than that."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = {name: part[torch.arange(_CHECKED) % len(part)] for name, part in graph.inputs.items()}
    found = session.run(list(graph.outputs), {name: part.cpu().numpy() for name, part in inputs.items()})
    expected = [part.cpu().numpy() for part in graph(*inputs.values())]
    apart = max(float((np.abs(one - other) / np.maximum(1, np.abs(other))).max()) for one, other in zip(found, expected, strict=True))
    if not apart <= TOLERANCE:
        raise RuntimeError(f"{graph.name}: ONNX differs from torch by {apart:.2g}")
    return apart


def _halve(model: onnx.ModelProto) -> None:
    """Store every large constant in half precision, followed by a conversion that a runtime computes once."""
    from onnx import helper, numpy_helper

    graph, casts = model.graph, []
    for constant in graph.initializer:
        value = numpy_helper.to_array(constant)
        if value.dtype != np.float32 or value.size < _MANY or not np.abs(value).max() < np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=1))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _signature(graph: Graph) -> dict[str, Any]:
    """Names, types and shapes of the inputs and outputs."""
    outputs = dict(zip(graph.outputs, graph(*graph.inputs.values()), strict=True))
    found: dict[str, Any] = {"about": graph.about}
    for side, parts in (("inputs", graph.inputs), ("outputs", outputs)):
        found[side] = [
            {"name": name, "type": str(part.dtype).removeprefix("torch."), "shape": ["batch", *part.shape[1:]]} for name, part in parts.items()
        ]
    return found


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none: they replace former ones after all have been written."""
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            for name, data in files.items():
                stack.enter_context(replacing(folder / name)).write_bytes(data)
    except BaseException:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _readme(made: Sequence[Graph], drawn: LatentDistributions, image_range: tuple[float, float]) -> str:
    """What the files are, and how to draw images with them in Python."""
    rows = "\n".join(f"| `{graph.name}.onnx` | {', '.join(graph.inputs)} -> {', '.join(graph.outputs)} | {graph.about} |" for graph in made)
    low, high = image_range
    return f"""# ONNX files of a memogen model

| file | inputs -> outputs | |
|---|---|---|
{rows}

The first dimension of every tensor is the number of images, any number. Images are (number, channels, height, width), from {low:g} to {high:g}.
`{LATENTS}` says the same to a program, and from which law every input is drawn.

{_in_words(drawn)}

```python
import json
import numpy as np
import onnxruntime

rng = np.random.default_rng(0)
latents = json.load(open("{LATENTS}"))["latents"]
generator = onnxruntime.InferenceSession("generator.onnx")
{_drawing(drawn)}
image = generator.run(None, inputs)[0]  # (8, c, h, w)
```
"""


def _in_words(drawn: LatentDistributions) -> str:
    noise = "uniform on (-1, 1)" if drawn.noise.law == "uniform" else "standard normal"
    lines = [f"- `noise`: {drawn.noise.dim} independent numbers, {noise}."]
    if drawn.slots is not None:
        around = (
            f"a von Mises-Fisher draw of concentration {drawn.slots.concentration:.6g} around its key, a unit vector of {drawn.slots.dim} numbers"
        )
        lines.append(f"- a slot, by the probabilities `prior` of `numbers`; then `key`: {around if drawn.slots.key == 'draw' else 'its key'}.")
    if drawn.labels is not None:
        lines.append("- `label`: one of `numbers`.")
    return "\n".join(lines)


def _drawing(drawn: LatentDistributions) -> str:
    """Python lines that draw the inputs of eight images."""
    uniform = drawn.noise.law == "uniform"
    noise = f"rng.uniform(-1, 1, (8, {drawn.noise.dim}))" if uniform else f"rng.standard_normal((8, {drawn.noise.dim}))"
    lines = [f'inputs = {{"noise": {noise}.astype("float32")}}']
    if drawn.slots is not None:
        lines += [
            'slot = rng.choice(latents["slots"]["numbers"], 8, p=latents["slots"]["prior"])',
            'key = onnxruntime.InferenceSession("slots.onnx").run(None, {"slot": slot})[0]',
        ]
        if drawn.slots.key == "draw":
            lines += ["", "", _AROUND, "", "", 'key = np.stack([around(row, latents["slots"]["concentration"]) for row in key])']
        lines.append('inputs["key"] = key.astype("float32")')
    if drawn.labels is not None:
        lines.append('inputs["label"] = rng.choice(latents["labels"]["numbers"], 8)')
    return "\n".join(lines)


_AROUND = '''
def around(mean, kappa):
    """A von Mises-Fisher draw around a unit vector (Wood 1994)."""
    dim = len(mean)
    b = (dim - 1) / (2 * kappa + np.sqrt(4 * kappa**2 + (dim - 1) ** 2))
    mode = (1 - b) / (1 + b)
    while True:
        beta = rng.beta((dim - 1) / 2, (dim - 1) / 2)
        cosine = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        gain = kappa * (cosine - mode) + (dim - 1) * np.log((1 - mode * cosine) / (1 - mode**2))
        if gain >= np.log(rng.uniform()):
            break
    across = rng.standard_normal(dim)
    across -= (across @ mean) * mean
    return cosine * mean + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)

'''.strip("\n")
