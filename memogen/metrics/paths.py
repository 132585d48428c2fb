"""Structural discontinuity: what share of the images on a path between two samples lies off the data (Kim, Kim and Kim 2018, Fig. 1)?

Data of several classes lie on separate manifolds, and a generator that is continuous in its noise must cross the space between them. The paper's
answer is a memory: the slot holds what differs between manifolds, the noise what differs within one. An image is off the data if it lies in none of
the balls around test images that define precision (Kynkäänniemi et al. 2019, Eq. 1), so the share off the data is one minus the precision.

The middle of a straight line in the noise is nearer to the origin than samples are, and generators draw clearer images there; on lines that kept the
noise's distribution the share would be that of samples. So there are two numbers: the share of images off the data, and the share of paths that leave
the data although both ends are on it, which cannot be zero for a generator that is continuous between manifolds.
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

PLACES = (0.0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)  # on a path, with its ends
INNER = len(PLACES) - 2

WAYS = {
    "path_ends": "the samples that the ways start from and end at",
    "path_z": "straight lines in the noise; what else the generator reads stays that of the first sample",
    "path_keys": "geodesics between the conditions of two samples, the noise that of the first",
    "path_snapped": "the same, at each point the condition that the model draws of the most probable slot",
    "path_within": "two samples of one slot: a geodesic between their conditions and a straight line in the noise",
}
"""The path of each number, as its rows say it; the last three need a memory."""


def line(a: Float[Tensor, "p d"], b: Float[Tensor, "p d"], at: Float[Tensor, " t"]) -> Float[Tensor, "pt d"]:
    """Points on straight lines, line after line."""
    return torch.lerp(a[:, None], b[:, None], at.to(a)[:, None]).flatten(0, 1)


def geodesic(a: Float[Tensor, "p d"], b: Float[Tensor, "p d"], at: Float[Tensor, " t"]) -> Float[Tensor, "pt d"]:
    """Points on great circles between unit vectors, at constant speed, circle after circle."""
    return slerp(a.repeat_interleave(len(at), 0), b.repeat_interleave(len(at), 0), at.to(a).repeat(len(a)))


def ways(model: GenerativeModel, num: int, *, seed: int = 0) -> dict[str, Latents]:
    """The generator's input at :data:`PLACES` of ``num`` paths of each kind that the model has; for "path_ends", of ``num`` pairs of samples."""
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
    assert other.key is not None, "the model reads slots"
    found["path_within"] = replace(first, noise=line(a.noise, other.noise, at), key=geodesic(a.key, other.key, at))
    return found


def check_walks(subject: GenerativeModel | ImageData, data: ImageData) -> None:
    """Raises InputError for images instead of a model, and for too few real images."""
    if isinstance(subject, ImageData):
        raise InputError("metric paths: it walks between the samples of a model, and these are images: name a model, or leave paths out")
    check_counts(len(data), len(data), PRDC_NEIGHBOURS)


def off_data(subject: GenerativeModel | ImageData, data: ImageData, watch: Watch, *, num_samples: int, seed: int = 0) -> Iterator[Result]:
    """For each kind of :data:`WAYS` that the model has, the share of inner points off the data, of ``num_samples``, 5,000 at most.

    And, as "_left", the share of paths that leave the data among those with both ends on it, if there are any.
    """
    assert not isinstance(subject, ImageData), "the check has passed"
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
    """The images of the points."""

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
