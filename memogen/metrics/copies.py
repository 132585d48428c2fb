"""The training images nearest to given images, by any embedding: is the model copying? (Kim et al. 2018, Fig. 5, with the cosine of q.)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.metrics.fid import FeatureStatistics, check_covariances, frechet_distance, reference_statistics, scarce
from memogen.metrics.metric import PAIR_IMAGES, Asked, Kept, Metric, Number, Result, needs
from memogen.metrics.samples import Reference, Seen, image_source, shuffled
from memogen.types import ImageData, InputError, Pixels, as_bytes

Measure = Literal["cosine", "euclidean"]
Embedding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Neighbours:
    """``index`` into the training images, nearest first, and ``value``: the cosine, or the euclidean distance."""

    index: Int[Tensor, "b num"]
    value: Float[Tensor, "b num"]


def pixels(image: Pixels) -> Float[Tensor, "b chw"]:
    """The plainest embedding: all pixels in [0, 1]."""
    return image.flatten(1).float() / (255 if image.dtype == torch.uint8 else 1)


@torch.no_grad()
def nearest_images(
    image: Pixels, data: ImageData, *, embed: Embedding = pixels, measure: Measure = "euclidean", num: int = 7, chunk: int = 1000
) -> Neighbours:
    """The ``num`` images of ``data`` nearest to each image. ``embed`` maps uint8 images to (b, anything); for Fig. 5 it is ``model.encode``.

    The data are read ``chunk`` images at a time and only the best are kept. Equal values stand in the order of the data.
    """
    _check_neighbours(image, data, num)
    query = _rows(embed(image), measure)
    value = torch.empty(len(query), 0, dtype=query.dtype, device=query.device)
    index = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(data), chunk):
        rows = _rows(embed(torch.from_numpy(np.array(data.image[start : start + chunk])).to(image.device)), measure)
        here = torch.arange(start, start + len(rows), device=query.device).expand(len(query), -1)
        value, index = torch.cat([value, _nearness(query, rows, measure)], 1), torch.cat([index, here], 1)
        order = value.sort(dim=1, descending=True, stable=True).indices[:, :num]
        value, index = value.gather(1, order), index.gather(1, order)
    return Neighbours(index, value if measure == "cosine" else (-value).clamp(min=0).sqrt())


def _rows(embedding: Tensor, measure: Measure) -> Tensor:
    rows = embedding.flatten(1).double()
    return torch.nn.functional.normalize(rows, dim=1) if measure == "cosine" else rows


def _nearness(query: Tensor, rows: Tensor, measure: Measure) -> Tensor:
    """Larger is nearer: the cosine, or minus the squared distance."""
    product = query @ rows.T
    return product if measure == "cosine" else 2 * product - query.square().sum(1)[:, None] - rows.square().sum(1)


def _check_neighbours(image: Tensor, data: ImageData, num: int) -> None:
    if tuple(image.shape[1:]) != data.image_shape:
        raise InputError(f"nearest images: images are {tuple(image.shape[1:])} and {data.name} holds {data.image_shape}: use the model's own data")
    if not 1 <= num <= len(data):
        raise InputError(f"nearest images: {num} neighbours, but {data.name} has {len(data)} images: ask for 1 to {len(data)}")


# --- copy check ---
# Is the model copying? Distances of samples to their nearest training images, beside those of held-out images, which cannot be copies.
#
# The two-sample view of Meehan, Chaudhuri and Dasgupta 2020 ("A non-parametric test to detect data-copying in generative models", section 3):
# samples of an honest model lie about as far from the training images as held-out images do.


PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Histogram:
    """Shares of the samples and of the held-out images between ``edges``: each adds up to one."""

    edges: Float[Tensor, " e"]
    samples: Float[Tensor, " bins"]
    held_out: Float[Tensor, " bins"]


@dataclass(frozen=True)
class CopyCheck:
    """The euclidean distance of each sample, and of each held-out image, to the nearest training image."""

    samples: Float[Tensor, " s"]
    held_out: Float[Tensor, " r"]

    def threshold(self, percentile: float = 1) -> float:
        """The distance that so many percent of the held-out images do not reach."""
        return float(self.held_out.quantile(percentile / 100))

    def share(self, percentile: float = 1) -> float:
        """The share of samples nearer to a training image than that percentile of held-out images: percentile / 100 for fresh real images."""
        return float((self.samples < self.threshold(percentile)).double().mean())

    def held_out_share(self, percentile: float = 1) -> float:
        """The share of held-out images below the same threshold: percentile / 100, but for ties and rounding."""
        return float((self.held_out < self.threshold(percentile)).double().mean())

    def error(self, percentile: float = 1) -> float:
        """The standard error of :meth:`share` less :meth:`held_out_share` where both sets are alike, from the share of both together."""
        below = torch.cat([self.samples, self.held_out]) < self.threshold(percentile)
        p = float(below.double().mean())
        return math.sqrt(p * (1 - p) * (1 / len(self.samples) + 1 / len(self.held_out)))

    def copies_more(self, percentile: float = 1) -> bool:
        """Whether samples lie so near to training images more often than held-out images do, by more than two standard errors."""
        return self.share(percentile) - self.held_out_share(percentile) > 2 * self.error(percentile)

    def quantiles(self) -> dict[str, dict[str, float]]:
        """The distances at :data:`PERCENTILES`, by percentile, of both sets."""
        at = torch.tensor(PERCENTILES, dtype=torch.float64) / 100
        sets = {"samples": self.samples, "held_out": self.held_out}
        return {name: dict(zip(map(str, PERCENTILES), rows.quantile(at).tolist(), strict=True)) for name, rows in sets.items()}

    def histogram(self, bins: int = 50) -> Histogram:
        """Both distributions over the same equal bins, from zero to the largest distance."""
        top = max(float(self.samples.max()), float(self.held_out.max())) or 1.0
        edges = np.linspace(0, top, bins + 1)
        counts = [torch.from_numpy(np.histogram(rows.numpy(), edges)[0] / len(rows)) for rows in (self.samples, self.held_out)]
        return Histogram(torch.from_numpy(edges), *counts)


@torch.no_grad()
def copy_check(
    image: UInt8[Tensor, "b c h w"], held_out: ImageData, training: ImageData, *, embed: Embedding | None = None, chunk: int = 1000
) -> CopyCheck:
    """Compare ``image`` and all of ``held_out`` with the training images, by pixels in [0, 1] or by ``embed`` of uint8 images (an extractor's
    ``features``, a model's ``encode``)."""
    check_alike(tuple(image.shape[1:]), held_out, training)
    if embed is None:
        return pixel_check(image, torch.cat(list(image_chunks(held_out, chunk))), training, chunk=chunk)
    samples, real = (torch.cat([embed(part) for part in parts]) for parts in (image.split(chunk), image_chunks(held_out, chunk)))
    return distance_check(samples, real, (embed(part) for part in image_chunks(training, chunk)))


def pixel_check(
    image: UInt8[Tensor, "b c h w"],
    held_out: UInt8[Tensor, "r c h w"],
    training: ImageData,
    *,
    chunk: int = 1000,
    advance: Callable[[int], None] | None = None,
    own: Int[Tensor, " r"] | None = None,
) -> CopyCheck:
    """By pixels in [0, 1]. The squares are taken of whole numbers and are exact, so a copied image has distance zero; see :func:`distance_check`."""
    rows = (part.flatten(1) for part in image_chunks(training, chunk))
    found = distance_check(image.flatten(1), held_out.flatten(1), rows, advance=advance, own=own)
    return CopyCheck(found.samples / 255, found.held_out / 255)


def distance_check(
    samples: Float[Tensor, "s f"] | UInt8[Tensor, "s f"],
    held_out: Float[Tensor, "r f"] | UInt8[Tensor, "r f"],
    training: Iterable[Tensor],
    *,
    advance: Callable[[int], None] | None = None,
    own: Int[Tensor, " r"] | None = None,
) -> CopyCheck:
    """By rows of any kind; ``training`` comes in parts, read once, and ``advance`` is told how many rows are done.

    ``own`` says of held-out rows that are training rows themselves which ones they are: each is compared with the others.
    """
    query = torch.cat([samples, held_out]).cpu()
    nearest = torch.full((len(query),), torch.inf, dtype=torch.float64)
    rough, start = query.float(), 0
    for part in training:
        rows, out = part.cpu(), None
        if own is not None:
            here = ((own >= start) & (own < start + len(rows))).nonzero()[:, 0]
            out = len(samples) + here, own[here] - start
        asked, found = _within_rounding(rough, rows.float(), nearest, out)
        for pairs in torch.arange(len(asked)).split(_max_pairs(query.shape[1])):
            difference = query[asked[pairs]].double() - rows[found[pairs]].double()
            nearest.scatter_reduce_(0, asked[pairs], difference.square_().sum(1), "amin")
        start += len(rows)
        if advance is not None:
            advance(len(rows))
    distance = nearest.sqrt()
    return CopyCheck(distance[: len(samples)], distance[len(samples) :])


def _max_pairs(dim: int) -> int:
    """How many differences of ``dim`` numbers are taken at once."""
    return max(1, (1 << 22) // max(dim, 1))


def _within_rounding(query: Tensor, rows: Tensor, nearest: Tensor, out: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """The pairs (query, row) in which the row may be the query's nearest, and nearer than ``nearest``, a squared distance; not those ``out``.

    The products are in single precision, and every pair within reach of their rounding counts. The reach is the bound of a product of n terms,
    n u |q| |x| for a unit roundoff u, for the three terms of (|q| + |x|)^2, and twice as much for the sums of them.
    """
    square, others = query.square().sum(1), rows.square().sum(1)
    distance = torch.addmm(others, query, rows.T, alpha=-2)
    if out is not None:
        distance[out] = torch.inf
    reach = query.shape[1] * torch.finfo(query.dtype).eps * (square.sqrt() + others.max().sqrt()).square()
    limit = torch.minimum(distance.amin(1) + 2 * reach, (nearest - square).to(query.dtype) + reach)
    asked, found = (distance <= limit[:, None]).nonzero(as_tuple=True)
    return asked, found


def image_chunks(data: ImageData, chunk: int = 1000) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """All images of ``data`` in their order, ``chunk`` at a time; real vectors in bytes, as samples are."""
    for start in range(0, len(data), chunk):
        yield as_bytes(torch.from_numpy(np.array(data.image[start : start + chunk])))


def check_alike(shape: tuple[int, ...], held_out: ImageData, training: ImageData) -> None:
    """Refuse training images as held-out ones, whose distances are all zero, and images of several shapes."""
    if held_out.digest and held_out.digest == training.digest:
        raise InputError(f"copies: {held_out.name} {held_out.split}: held-out and training images are the same: compare with the test split")
    if not len(held_out) or not len(training) or not shape == held_out.image_shape == training.image_shape:
        shapes = f"samples are {shape}, held-out images {held_out.image_shape}, training images {training.image_shape}"
        raise InputError(f"copies: {shapes}: all three must be of one shape, and none may be empty")


# --- memorisation ---
# The Fréchet distance penalised for memorisation (Bai et al. 2021, "On training sample memorization", section 3; Kaggle's generative-dog contest).
#
# torchmetrics averages over training images the distance to the nearest sample; the paper and the contest average over samples the distance
# to the nearest training image, and so does this file. With the roles of the two sets exchanged the numbers agree.
#
# The threshold was set for Inception's features. Those of a small classifier bunch by class, so even held-out images lie within it: compare with
# their score, not with the plain distance.


THRESHOLD = 0.1
_SMALLEST = 1e-8  # a Fréchet distance below this is zero, whatever it is divided by
_FLOOR = 1e-14


class MemorisationDistance:
    """The mean over samples of 1 - max |cos| with the training images' features, batched. Rows of zeros have no direction and are left out."""

    def __init__(self, training: Float[Tensor, "n f"], *, chunk: int = 4096) -> None:
        self._training = training.detach().cpu()
        self._length = _lengths(self._training)
        self._chunk = chunk
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0
        if not (self._length < torch.inf).any():
            raise InputError("memorisation: no training image has features other than zeros: use another extractor")

    def update(self, features: Float[Tensor, "b f"]) -> None:
        """Add a batch of samples."""
        distance = self.distances(features)
        self.total += distance.sum()
        self.count += len(distance)

    def distances(self, features: Float[Tensor, "b f"]) -> Float[Tensor, " d"]:
        """Each sample's own distance in [0, 1], in float64; ``d`` is less than ``b`` where features are all zero."""
        rows, length = features.detach().to("cpu", torch.float64), _lengths(features.detach().cpu())
        rows = (rows / length[:, None])[length < torch.inf]
        nearest = torch.zeros(len(rows), dtype=torch.float64)
        for part, lengths in zip(self._training.split(self._chunk), self._length.split(self._chunk), strict=True):
            nearest = torch.maximum(nearest, ((rows @ part.double().T) / lengths).abs().amax(1))
        return (1 - nearest).clamp(min=0)

    def compute(self) -> float:
        """The mean so far."""
        if self.count == 0:
            raise InputError("memorisation: no sample has features other than zeros: use another extractor")
        return float(self.total / self.count)


def penalised(fid: float, distance: float, *, threshold: float = THRESHOLD) -> float:
    """``fid`` divided by the memorisation distance where that is below ``threshold``, and ``fid`` itself where it is not."""
    if fid <= _SMALLEST:
        return 0.0
    return fid / (distance + _FLOOR) if distance < threshold else fid


def _lengths(features: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """The euclidean lengths in float64; infinite for a row of zeros, so that its cosine with anything is zero."""
    length = features.double().norm(dim=1)
    return torch.where(length > 0, length, torch.inf)


# --- the metrics ---


COPY_PERCENTILE = 1


class Copies:
    """The share of the first samples that lie nearer to a training image than held-out images do, in pixels and in features.

    Where no images are held out, training images take their place, each compared with the others.
    """

    def __init__(self, asked: Asked) -> None:
        self.training, held_out = asked.trained_on("copies"), asked.reference
        self.alone = _alone(held_out, self.training)
        self.real = held_out.features(PAIR_IMAGES)
        self.order = shuffled(len(held_out.data), 0)
        self.real_image = as_bytes(image_source(held_out.data, self.order)(0, len(self.real)))  # the images of these features
        self.needed = min(asked.num_samples, PAIR_IMAGES)
        self.features, self.image = (Kept(self.needed) for _ in range(2))
        self.known = self.training.features()
        self.held_out = {**held_out.protocol, "num": len(self.real)} | ({"compared": "each with the others"} if self.alone else {})

    @staticmethod
    def check(asked: Asked) -> None:
        shape, held_out, training = tuple(asked.first.image.shape[1:]), asked.reference, asked.trained_on("copies")
        if not _alone(held_out, training):
            check_alike(shape, held_out.data, training.data)
        elif len(training.data) < 2 or shape != training.data.image_shape:
            found = f"samples are {shape}, {len(training.data)} training images {training.data.image_shape}"
            raise InputError(f"copies: {found}: both must be of one shape, and none are held out, so two or more are needed")

    def update(self, seen: Seen) -> None:
        self.features.add(seen.features)
        self.image.add(seen.image)

    def results(self) -> list[Result]:
        bar = self.training.work.bar
        bar.stage("nearest training images", 2 * len(self.training.data))
        in_data, in_features = torch.from_numpy(self.order[: len(self.real)]), torch.arange(len(self.real))
        own = (in_data, in_features) if self.alone else (None, None)
        pixels = pixel_check(self.image.rows, self.real_image, self.training.data, advance=bar.advance, own=own[0])
        features = distance_check(self.features.rows, self.real, self.known.split(1000), advance=bar.advance, own=own[1])
        return [self._result("pixels", pixels), self._result("features", features)]

    def _result(self, space: str, found: CopyCheck) -> Result:
        protocol: dict[str, object] = {
            "reference": self.held_out,
            "training": self.training.protocol,
            "num_samples": len(found.samples),
            "percentile": COPY_PERCENTILE,
            "threshold": found.threshold(COPY_PERCENTILE),
            "share_below_5_percent": found.share(5),
            "held_out_share": found.held_out_share(COPY_PERCENTILE),
            "more_than_held_out": found.copies_more(COPY_PERCENTILE),
            "quantiles": found.quantiles(),
        }
        return Result(f"copies_{space}", found.share(COPY_PERCENTILE), found.error(COPY_PERCENTILE), protocol)


def _alone(held_out: Reference, training: Reference) -> bool:
    """Whether no images are held out: the samples are compared with the training images themselves."""
    return held_out.data.split == "train" and (held_out is training or held_out.data.digest == training.data.digest)


class Memorisation:
    """The Fréchet distance to the training images, divided by how far samples are from the nearest of them."""

    def __init__(self, asked: Asked) -> None:
        self.needed, training = asked.num_samples, asked.trained_on("mifid")
        self.distance = MemorisationDistance(training.features())
        self.real = reference_statistics(training)  # of the features just read
        self.fake = FeatureStatistics(self.real.dim)
        self.reference = training.protocol

    @staticmethod
    def check(asked: Asked) -> None:
        check_covariances(asked, asked.trained_on("mifid"))

    def update(self, seen: Seen) -> None:
        self.fake.update(seen.features)
        self.distance.update(seen.features)

    def results(self) -> list[Result]:
        fid, distance = frechet_distance(self.fake, self.real), self.distance.compute()
        protocol = {"reference": self.reference, "memorisation_distance": distance, "threshold": THRESHOLD, "unpenalised": fid}
        return [Result("mifid", penalised(fid, distance), None, protocol)]


COPIES = Metric(
    "copies",
    "nearer to training images than held-out ones?",
    (Number("copies_pixels", "copies by pixels"), Number("copies_features", "copies by features")),
    needs("samples", "extractor", "train"),
    Copies,
    Copies.check,
)
MIFID = Metric(
    "mifid",
    "Fréchet distance to the training images, penalised for copies",
    (Number("mifid", "penalised distance", "lower", tabled=False),),
    needs("samples", "extractor", "train"),
    Memorisation,
    Memorisation.check,
    lambda asked: scarce("mifid", asked, asked.trained_on("mifid")),
)
