"""Graphs as ONNX: one file each, any size of batch, checked against torch as they are made."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from memogen import __version__
from memogen.errors import InputError
from memogen.export.distributions import LatentDistributions, latent_distributions
from memogen.export.graphs import Graph, graphs
from memogen.pretrained import replacing
from memogen.progress import Bar
from memogen.shipped import StoredNames
from memogen.types import GenerativeModel

if TYPE_CHECKING:
    import onnx

LATENTS, README = "latents.json", "README.md"
TOLERANCE = 1e-4
"""How far a graph's numbers may lie from torch's, beside one or the number itself, whichever is larger."""

_LARGEST = 2**31 - 2**20  # bytes: what protocol buffers hold in one file
_MANY = 1024  # numbers from which on halving a constant is worth a conversion
_CHECKED = 3  # images; another number than that of the example, so that a fixed batch is found out


def write_onnx(model: GenerativeModel, folder: Path, *, names: StoredNames | None = None) -> dict[str, float]:
    """Write the graphs of ``model``, latents.json and README.md into ``folder``, made where it is missing, in place of former files of these names.

    ``names`` are those of its slots. Returns how far each file's numbers lie from torch's, beside one or the number itself. Raises InputError where
    the folder holds other files, for a model above 2 GB, and without the extra ``onnx``.
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
    }
    files[LATENTS] = (json.dumps({**about, "latents": drawn.to_json()}, indent=2, allow_nan=False) + "\n").encode()
    files[README] = _readme(made, drawn, model.image_range).encode()
    _write(folder, files)
    return apart


def translate(graph: Graph, *, half: bool = False) -> onnx.ModelProto:
    """A graph as ONNX; ``half`` keeps its large constants in half precision, where they fit, and computes in single precision all the same."""
    _require()
    if (size := _bytes(graph.module)) > _LARGEST:
        raise InputError(f"model: its {graph.name} takes {size / 1e9:.1f} GB, and one ONNX file holds 2 GB: export a smaller model")
    batch = torch.export.Dim("batch")
    with _quiet():
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
    _strip(found)
    if half:
        _halve(found)
    return found


def difference(graph: Graph, data: bytes) -> float:
    """The largest difference between the numbers of onnxruntime and of torch, beside 1 or the number itself. RuntimeError above TOLERANCE."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = {name: _more(part, _CHECKED) for name, part in graph.inputs.items()}
    found = session.run(list(graph.outputs), {name: part.cpu().numpy() for name, part in inputs.items()})
    expected = [part.cpu().numpy() for part in graph(*inputs.values())]
    apart = max(float((np.abs(one - other) / np.maximum(1, np.abs(other))).max()) for one, other in zip(found, expected, strict=True))
    if not apart <= TOLERANCE:
        raise RuntimeError(f"{graph.name}: ONNX differs from torch by {apart:.2g}")
    return apart


def _require() -> None:
    """Raises InputError where a library of the extra is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"export: {error.name} is not installed: pip install 'memogen[onnx]'") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on libraries that are not there and on what is out of date in itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Without what the exporter notes for whoever mends it: long, and with the paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""


def _halve(model: onnx.ModelProto) -> None:
    """Every large constant in half precision, with a conversion behind it that a runtime makes once."""
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


def _more(part: Tensor, num: int) -> Tensor:
    """The rows of an example, repeated to so many."""
    return part[torch.arange(num) % len(part)]


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _signature(graph: Graph) -> dict[str, Any]:
    """Names, types and shapes of what goes in and comes out."""
    outputs = dict(zip(graph.outputs, graph(*graph.inputs.values()), strict=True))
    sides = {"inputs": graph.inputs, "outputs": outputs}
    return {"about": graph.about} | {side: [_tensor(name, part) for name, part in parts.items()] for side, parts in sides.items()}


def _tensor(name: str, part: Tensor) -> dict[str, Any]:
    return {"name": name, "type": str(part.dtype).removeprefix("torch."), "shape": ["batch", *part.shape[1:]]}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files or none: they take their places once each of them is written."""
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
    """What the files are, and how to draw an image with them in Python."""
    rows = "\n".join(f"| `{graph.name}.onnx` | {_inputs_and_outputs(graph)} | {graph.about} |" for graph in made)
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


def _inputs_and_outputs(graph: Graph) -> str:
    return f"{', '.join(graph.inputs)} -> {', '.join(graph.outputs)}"


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
    """Lines of Python that draw the inputs of eight images."""
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
