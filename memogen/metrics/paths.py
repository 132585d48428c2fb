"""Structural discontinuity: how many images on the way between two samples fall off the data (Kim, Kim and Kim 2018, Fig. 1)?

Data of several classes lie on several islands, and a generator that is continuous in its noise must cross the sea between them. The paper's answer is
a memory: what differs between islands is in the slot, what differs within one in the noise. An image is off the data where it lies in none of
the balls around test images that precision is taken by (Kynkäänniemi et al. 2019, Eq. 1), so the share off the data is one less the precision.

The middle of a straight line in the noise is nearer to the origin than samples are, and generators draw clearer images there; on lines that kept the
noise's law every point would be distributed as samples are, and the share would be theirs. So the share of images is told beside the share of ways
that leave the data between two ends on it, which a generator that is continuous from island to island cannot keep at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.memory.functional import slerp
from memogen.memory.inspect import best_slots
from memogen.metrics.metric import PAIR_IMAGES, PRDC_NEIGHBOURS, Metric, Number, Result, needs
from memogen.metrics.prdc import Manifold, check_counts
from memogen.metrics.samples import Reference, Source, Watch, device_of, finite
from memogen.types import GenerativeModel, ImageData, InputError, Latents, SlotModel, to_uint8

PLACES = (0.0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)  # on a way, its ends among them
INNER = len(PLACES) - 2

WAYS = {
    "path_ends": "the samples that the ways start from and end at",
    "path_z": "straight lines in the noise; what else the generator reads stays that of the first sample",
    "path_keys": "geodesics between the conditions of two samples, the noise that of the first",
    "path_snapped": "the same, at each point the condition that the model draws of the most probable slot",
    "path_within": "two samples of one slot: a geodesic between their conditions and a straight line in the noise",
}
"""What each number walks along; the last three need a memory."""


def line(a: Float[Tensor, "p d"], b: Float[Tensor, "p d"], at: Float[Tensor, " t"]) -> Float[Tensor, "pt d"]:
    """Points of straight lines, way after way."""
    return torch.lerp(a[:, None], b[:, None], at.to(a)[:, None]).flatten(0, 1)


def geodesic(a: Float[Tensor, "p d"], b: Float[Tensor, "p d"], at: Float[Tensor, " t"]) -> Float[Tensor, "pt d"]:
    """Points of the great circles between unit vectors, at equal speed, way after way."""
    return slerp(a.repeat_interleave(len(at), 0), b.repeat_interleave(len(at), 0), at.to(a).repeat(len(a)))


def ways(model: GenerativeModel, num: int, *, seed: int = 0) -> dict[str, Latents]:
    """What the generator reads at :data:`PLACES` of ``num`` ways of each kind that the model has; of "path_ends", ``num`` pairs of samples."""
    drawn = model.latents(2 * num, seed=seed)
    a, b, at = drawn.take(slice(0, num)), drawn.take(slice(num, 2 * num)), torch.tensor(PLACES)
    each = torch.arange(num, device=a.noise.device).repeat_interleave(len(PLACES))
    first = a.take(each)
    found = {"path_ends": drawn, "path_z": replace(first, noise=line(a.noise, b.noise, at))}
    if not isinstance(model, SlotModel) or model.memory is None or a.key is None or b.key is None:
        return found
    keys = geodesic(a.key, b.key, at)
    slots, index = best_slots(model.memory, keys), torch.arange(num, device=each.device)
    found["path_keys"] = replace(first, key=keys, slot=slots)
    found["path_snapped"] = replace(first, key=model.latents_at(index[each], seed=seed, slot=slots).key, slot=slots)
    other = model.latents_at(index + num, seed=seed, slot=a.slot)
    assert other.key is not None, "the slots of a model that reads them"
    found["path_within"] = replace(first, noise=line(a.noise, other.noise, at), key=geodesic(a.key, other.key, at))
    return found


def check_walks(subject: GenerativeModel | ImageData, data: ImageData) -> None:
    """Raises InputError where there is nothing to walk between, or too little to compare with."""
    if isinstance(subject, ImageData):
        raise InputError("metric paths: it walks between the samples of a model, and these are images: name a model, or leave paths out")
    check_counts(len(data), len(data), PRDC_NEIGHBOURS)


def off_data(subject: GenerativeModel | ImageData, data: ImageData, watch: Watch, *, num_samples: int, seed: int = 0) -> Iterator[Result]:
    """The share off the data of each kind of :data:`WAYS` that the model has, of the inner points of the ways: of ``num_samples``, 5,000 at most.

    Beside it, as "_left", the share of ways that leave the data among those with both ends on it, where there are any.
    """
    assert not isinstance(subject, ImageData), "the check has looked"
    reference = Reference(data, watch.extractor, None, device_of(watch.extractor), watch.work)
    real = Manifold.of(reference.features(PAIR_IMAGES), k=PRDC_NEIGHBOURS)
    num = max(1, min(num_samples, PAIR_IMAGES) // INNER)
    protocol: dict[str, object] = {"reference": {**reference.protocol, "num": len(real.rows)}, "neighbours": PRDC_NEIGHBOURS, "ways": num}
    for name, latents in ways(subject, num, seed=seed).items():
        off = ~torch.cat([real.holds(seen.features.cpu()) for seen in watch(_decoded(subject, latents), len(latents.noise))])
        along = {**protocol, "along": WAYS[name]}
        if name == "path_ends":
            yield Result(name, float(off.double().mean()), None, {**along, "num_samples": len(off)})
            continue
        off = off.view(num, len(PLACES))
        inner, open_ways = off[:, 1:-1], ~(off[:, 0] | off[:, -1])
        along |= {"at": PLACES[1:-1], "num_samples": inner.numel()}
        yield Result(name, float(inner.double().mean()), None, along)
        if bool(open_ways.any()):
            yield Result(f"{name}_left", float(inner.any(1)[open_ways].double().mean()), None, {**along, "of_ways": int(open_ways.sum())})


def _decoded(model: GenerativeModel, latents: Latents) -> Source:
    """The images at the points, as a source."""

    @torch.no_grad()
    def draw(start: int, num: int) -> Tensor:
        return to_uint8(finite(model.decode(latents.take(slice(start, start + num))), "samples"), model.image_range)

    return draw


# --- the metric ---

PATHS = Metric(
    "paths",
    "images between two samples that fall off the data",
    (
        Number("path_ends", "samples off the data", "lower"),
        Number("path_z", "off on lines in z", "lower"),
        Number("path_z_left", "ways off on lines in z", "lower"),
        Number("path_keys", "off between conditions", "lower"),
        Number("path_keys_left", "ways off between conditions", "lower"),
        Number("path_snapped", "off through slots", "lower"),
        Number("path_snapped_left", "ways off through slots", "lower"),
        Number("path_within", "off within a slot", "lower"),
        Number("path_within_left", "ways off within a slot", "lower"),
    ),
    needs("extractor", "model"),
    lambda asked: off_data(asked.subject, asked.data, asked.judge, num_samples=asked.num_samples, seed=asked.seed),
    lambda asked: check_walks(asked.subject, asked.data),
)
