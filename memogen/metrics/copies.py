"""Does a model copy its training images? The training images nearest to given ones, and two scores that compare such distances."""

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
from memogen.metrics.metric import PAIR_IMAGES, Asked, Metric, Number, Result, Streamed, collected, features, needs
from memogen.metrics.samples import Reference, Seen, images_at, shuffled
from memogen.types import ImageData, InputError, Pixels, as_bytes

Measure = Literal["cosine", "euclidean"]
Embedding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Neighbours:
    """``index`` into the training images, nearest first, and ``value``: the cosine or the euclidean distance."""

    index: Int[Tensor, "b num"]
    value: Float[Tensor, "b num"]


def pixels(image: Pixels) -> Float[Tensor, "b chw"]:
    """The simplest embedding: all pixels in [0, 1]."""
    return image.flatten(1).float() / (255 if image.dtype == torch.uint8 else 1)


@torch.no_grad()
def nearest_images(
    image: Pixels, data: ImageData, *, embed: Embedding = pixels, measure: Measure = "euclidean", num: int = 7, chunk: int = 1000
) -> Neighbours:
    """The ``num`` images of ``data`` nearest to each image. ``embed`` maps images to (b, ...); Kim et al. 2018, Fig. 5, use the cosine of
    ``model.encode``.

    Reads ``chunk`` images at a time and keeps only the best. Equal values stand in the order of the data.
    """
    if tuple(image.shape[1:]) != data.image_shape:
        raise InputError(f"nearest images: images are {tuple(image.shape[1:])} and {data.name} holds {data.image_shape}: use the model's own data")
    if not 1 <= num <= len(data):
        raise InputError(f"nearest images: {num} neighbours, but {data.name} has {len(data)} images: ask for 1 to {len(data)}")

    def rows_of(images: Tensor) -> Tensor:
        rows = embed(images).flatten(1).double()
        return torch.nn.functional.normalize(rows, dim=1) if measure == "cosine" else rows

    query = rows_of(image)
    value = torch.empty(len(query), 0, dtype=query.dtype, device=query.device)
    index = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(data), chunk):
        rows = rows_of(images_at(data, slice(start, start + chunk)).to(image.device))
        near = query @ rows.T  # larger is nearer: the cosine, or minus the squared distance
        if measure == "euclidean":
            near = 2 * near - query.square().sum(1)[:, None] - rows.square().sum(1)
        here = torch.arange(start, start + len(rows), device=query.device).expand(len(query), -1)
        value, index = torch.cat([value, near], 1), torch.cat([index, here], 1)
        order = value.sort(dim=1, descending=True, stable=True).indices[:, :num]
        value, index = value.gather(1, order), index.gather(1, order)
    return Neighbours(index, value if measure == "cosine" else (-value).clamp(min=0).sqrt())


# --- copy check ---
# The two-sample view of Meehan, Chaudhuri and Dasgupta 2020 ("A non-parametric test to detect data-copying in generative models", section 3): the
# samples of a model that does not copy lie about as far from the training images as held-out images do, which cannot be copies.

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Histogram:
    """The shares of the samples, and of the held-out images, between ``edges``; each sums to one."""

    edges: Float[Tensor, " e"]
    samples: Float[Tensor, " bins"]
    held_out: Float[Tensor, " bins"]


@dataclass(frozen=True)
class CopyCheck:
    """The euclidean distance of each sample, and of each held-out image, to its nearest training image."""

    samples: Float[Tensor, " s"]
    held_out: Float[Tensor, " r"]

    def threshold(self, percentile: float = 1) -> float:
        """This percentile of the held-out images' distances."""
        return float(self.held_out.quantile(percentile / 100))

    def share(self, percentile: float = 1) -> float:
        """The share of samples with a distance below the threshold: percentile / 100 for new real images."""
        return float((self.samples < self.threshold(percentile)).double().mean())

    def held_out_share(self, percentile: float = 1) -> float:
        """The share of held-out images below the threshold: percentile / 100, except for ties and rounding."""
        return float((self.held_out < self.threshold(percentile)).double().mean())

    def error(self, percentile: float = 1) -> float:
        """The standard error of :meth:`share` less :meth:`held_out_share` if both sets have the same distribution, from their pooled share."""
        below = torch.cat([self.samples, self.held_out]) < self.threshold(percentile)
        p = float(below.double().mean())
        return math.sqrt(p * (1 - p) * (1 / len(self.samples) + 1 / len(self.held_out)))

    def copies_more(self, percentile: float = 1) -> bool:
        """Whether the share of samples exceeds that of held-out images by more than two standard errors."""
        return self.share(percentile) - self.held_out_share(percentile) > 2 * self.error(percentile)

    def quantiles(self) -> dict[str, dict[str, float]]:
        """The distances at :data:`PERCENTILES` of both sets, by percentile."""
        at = torch.tensor(PERCENTILES, dtype=torch.float64) / 100
        sets = {"samples": self.samples, "held_out": self.held_out}
        return {name: dict(zip(map(str, PERCENTILES), rows.quantile(at).tolist(), strict=True)) for name, rows in sets.items()}

    def histogram(self, bins: int = 50) -> Histogram:
        """Both distributions over the same equal bins, from zero to the largest distance."""
        top = max(float(self.samples.max()), float(self.held_out.max())) or 1.0
        edges = np.linspace(0, top, bins + 1)
        counts = [torch.from_numpy(np.histogram(rows.numpy(), edges)[0] / len(rows)) for rows in (self.samples, self.held_out)]
        return Histogram(torch.from_numpy(edges), *counts)


PART = 2000  # training images whose distances to all queries are computed together: products of fewer are slower, of more no faster


def copy_check(image: UInt8[Tensor, "b c h w"], held_out: ImageData, training: ImageData, *, chunk: int = PART) -> CopyCheck:
    """Compare ``image`` and ``held_out`` with the training images, by pixels in [0, 1]."""
    check_alike(tuple(image.shape[1:]), held_out, training)
    return pixel_check(image, torch.cat(list(image_chunks(held_out, chunk))), training, chunk=chunk)


def pixel_check(
    image: UInt8[Tensor, "b c h w"],
    held_out: UInt8[Tensor, "r c h w"],
    training: ImageData,
    *,
    chunk: int = PART,
    advance: Callable[[int], None] | None = None,
    own: Int[Tensor, " r"] | None = None,
) -> CopyCheck:
    """:func:`distance_check` by pixels in [0, 1]. The squares are of whole numbers and exact, so a copied image has distance zero."""
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
    """Distances between rows of numbers. ``training`` comes in parts and is read once; ``advance`` gets the number of rows of each part.

    If the held-out rows are training rows, ``own`` holds their places among these, and each is compared with the others.
    """
    query = torch.cat([samples, held_out]).cpu()
    nearest = torch.full((len(query),), torch.inf, dtype=torch.float64)
    whole = query.dtype == torch.uint8
    rough = _rough(query, whole, known=False)
    pairs_at_once, start = max(1, (1 << 18) // max(query.shape[1], 1)), 0
    for part in training:
        rows, out = part.cpu(), None
        if whole and rows.dtype != torch.uint8:
            whole, rough = False, _rough(query, False, known=False)
        if own is not None:
            here = ((own >= start) & (own < start + len(rows))).nonzero()[:, 0]
            out = len(samples) + here, own[here] - start
        asked, found = _within_rounding(rough, _rough(rows, whole, known=True), nearest, out)
        for pairs in torch.arange(len(asked)).split(pairs_at_once):
            difference = query[asked[pairs]].double() - rows[found[pairs]].double()
            nearest.scatter_reduce_(0, asked[pairs], difference.square_().sum(1), "amin")
        start += len(rows)
        if advance is not None:
            advance(len(rows))
    distance = nearest.sqrt()
    return CopyCheck(distance[: len(samples)], distance[len(samples) :])


EXACT = 1024  # products of numbers from -128 to 127 whose sum is at most 2^24: single precision adds them without rounding


def _rough(rows: Tensor, whole: bool, *, known: bool) -> tuple[list[Tensor], Tensor]:
    """Rows in single precision, bytes around zero, and their squared lengths.

    The first of the rows' pieces has one number more: of a ``known`` row minus half its squared length, of a query 1. Pieces of bytes have
    :data:`EXACT` numbers, so that their products are added without rounding.
    """
    values = rows.float().sub_(128) if whole else rows.float()
    square = values.square().sum(1, dtype=torch.float64).float()
    first, *rest = values.split(EXACT if whole else max(values.shape[1], 1), 1)
    return [torch.cat([first, (-square / 2 if known else torch.ones_like(square))[:, None]], 1), *rest], square


def _within_rounding(
    asked_of: tuple[list[Tensor], Tensor], known: tuple[list[Tensor], Tensor], nearest: Tensor, out: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """The pairs (query, row), other than those ``out``, in which the row may be the nearest and nearer than ``nearest``, a squared distance.

    The nearest row has the largest q x - |x|^2 / 2, which is (|q|^2 - |q - x|^2) / 2. This is computed in single precision, so every pair within
    its rounding error is a candidate. The bound for a sum of n terms is n u times the sum of their sizes, with unit roundoff u;
    (|q| + |x|)^2 / 2 is at least that sum, and the bound is taken twice. Of later pieces of bytes only the sum is rounded.
    """
    (query, square), (rows, others) = asked_of, known
    near = query[0] @ rows[0].T
    for left, right in zip(query[1:], rows[1:], strict=True):
        near.addmm_(left, right.T)
    if out is not None:
        near[out] = -torch.inf
    rounded = rows[0].shape[1] + len(rows) - 1
    reach = rounded * torch.finfo(near.dtype).eps / 2 * (square.sqrt() + others.max().sqrt()).square()
    best = near.amax(1)
    least = torch.maximum(best - 2 * reach, ((square - nearest) / 2).to(near.dtype) - reach)
    nearer = ((best >= least) & (best > -torch.inf)).nonzero()[:, 0]  # soon few queries: most rows of products are read once
    asked, found = (near[nearer] >= least[nearer, None]).nonzero(as_tuple=True)
    return nearer[asked], found


def image_chunks(data: ImageData, chunk: int = PART) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """All images of ``data`` in their order, ``chunk`` at a time, real vectors as bytes."""
    for start in range(0, len(data), chunk):
        yield as_bytes(images_at(data, slice(start, start + chunk)))


def check_alike(shape: tuple[int, ...], held_out: ImageData, training: ImageData) -> None:
    """Raises InputError if the held-out images are the training images, whose distances are zero, or if images differ in shape."""
    if held_out.digest and held_out.digest == training.digest:
        raise InputError(f"copies: {held_out.name} {held_out.split}: held-out and training images are the same: compare with the test split")
    if not len(held_out) or not len(training) or not shape == held_out.image_shape == training.image_shape:
        shapes = f"samples are {shape}, held-out images {held_out.image_shape}, training images {training.image_shape}"
        raise InputError(f"copies: {shapes}: all three must be of one shape, and none may be empty")


COPY_PERCENTILE = 1


def check_copies(asked: Asked) -> None:
    shape, held_out, training = tuple(asked.first.image.shape[1:]), asked.reference, asked.trained_on("copies")
    if not _nothing_held_out(held_out, training):
        check_alike(shape, held_out.data, training.data)
    elif len(training.data) < 2 or shape != training.data.image_shape:
        found = f"samples are {shape}, {len(training.data)} training images {training.data.image_shape}"
        raise InputError(f"copies: {found}: both must be of one shape, and none are held out, so two or more are needed")


def copies(asked: Asked) -> Streamed:
    """The share of samples that lie nearer to a training image than the threshold, in pixels and in features.

    If no images are held out, training images take their place, each compared with the others.
    """
    training, held_out = asked.trained_on("copies"), asked.reference
    alone, real = _nothing_held_out(held_out, training), held_out.features(PAIR_IMAGES)
    order = shuffled(len(held_out.data), 0)[: len(real)]
    real_image, known = as_bytes(images_at(held_out.data, order)), training.features()
    reference = {**held_out.protocol, "num": len(real)} | ({"compared": "each with the others"} if alone else {})
    in_data, in_features = (torch.from_numpy(order), torch.arange(len(real))) if alone else (None, None)

    def results(fake: Tensor, image: Tensor) -> list[Result]:
        bar = training.work.bar
        bar.stage("nearest training images", 2 * len(training.data))
        spaces = {
            "pixels": pixel_check(image, real_image, training.data, advance=bar.advance, own=in_data),
            "features": distance_check(fake, real, known.split(PART), advance=bar.advance, own=in_features),
        }
        rows = []
        for space, found in spaces.items():
            protocol: dict[str, object] = {
                "reference": reference,
                "training": training.protocol,
                "num_samples": len(found.samples),
                "percentile": COPY_PERCENTILE,
                "threshold": found.threshold(COPY_PERCENTILE),
                "share_below_5_percent": found.share(5),
                "held_out_share": found.held_out_share(COPY_PERCENTILE),
                "more_than_held_out": found.copies_more(COPY_PERCENTILE),
                "quantiles": found.quantiles(),
            }
            rows.append(Result(f"copies_{space}", found.share(COPY_PERCENTILE), found.error(COPY_PERCENTILE), protocol))
        return rows

    return collected(min(asked.num_samples, PAIR_IMAGES), results, features, lambda seen: seen.image)


def _nothing_held_out(held_out: Reference, training: Reference) -> bool:
    return held_out.data.split == "train" and (held_out is training or held_out.data.digest == training.data.digest)


COPIES = Metric(
    "copies",
    "nearer to training images than held-out ones?",
    (Number("copies_pixels", "copies by pixels"), Number("copies_features", "copies by features")),
    needs("samples", "extractor", "train"),
    copies,
    check_copies,
)


# --- the Fréchet distance penalised for memorisation ---
# Bai et al. 2021, "On training sample memorization", section 3, and Kaggle's generative-dog contest average over samples the distance to the nearest
# training image, and so does this file. torchmetrics averages over training images the distance to the nearest sample; with the two sets exchanged
# the numbers agree.
#
# The threshold was set for Inception's features. Those of a small classifier cluster by class, so that even held-out images lie within it: compare
# with their score, not with the plain distance.

THRESHOLD = 0.1
_SMALLEST = 1e-8  # a Fréchet distance below this counts as zero, whatever it is divided by
_FLOOR = 1e-14


class MemorisationDistance:
    """The mean over samples of 1 - max |cos| with the training images' features, in batches. Rows of zeros have no direction and are left out."""

    def __init__(self, training: Float[Tensor, "n f"], *, chunk: int = 4096) -> None:
        self._training = training.detach().cpu()
        self._length = _lengths(self._training)
        self._chunk = chunk
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0
        if not (self._length < torch.inf).any():
            raise InputError("memorisation: no training image has features other than zeros: use another extractor")

    def update(self, features: Float[Tensor, "b f"]) -> None:
        """Add a batch of samples; cosines are taken in float64."""
        rows, length = features.detach().to("cpu", torch.float64), _lengths(features.detach().cpu())
        rows = (rows / length[:, None])[length < torch.inf]
        nearest = torch.zeros(len(rows), dtype=torch.float64)
        for part, lengths in zip(self._training.split(self._chunk), self._length.split(self._chunk), strict=True):
            nearest = torch.maximum(nearest, ((rows @ part.double().T) / lengths).abs().amax(1))
        self.total += (1 - nearest).clamp(min=0).sum()
        self.count += len(rows)

    def compute(self) -> float:
        """The mean so far, in [0, 1]."""
        if self.count == 0:
            raise InputError("memorisation: no sample has features other than zeros: use another extractor")
        return float(self.total / self.count)


def penalised(fid: float, distance: float, *, threshold: float = THRESHOLD) -> float:
    """``fid``, divided by the memorisation distance if that is below ``threshold``."""
    if fid <= _SMALLEST:
        return 0.0
    return fid / (distance + _FLOOR) if distance < threshold else fid


def _lengths(features: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """Euclidean lengths in float64; infinity for a row of zeros, so that all its cosines are zero."""
    length = features.double().norm(dim=1)
    return torch.where(length > 0, length, torch.inf)


def memorisation(asked: Asked) -> Streamed:
    """The Fréchet distance to the training images, penalised by the memorisation distance to them."""
    training = asked.trained_on("mifid")
    apart = MemorisationDistance(training.features())
    real = reference_statistics(training)  # of the features just read
    fake = FeatureStatistics(real.dim)

    def update(seen: Seen) -> None:
        fake.update(seen.features)
        apart.update(seen.features)

    def results() -> list[Result]:
        fid, distance = frechet_distance(fake, real), apart.compute()
        protocol = {"reference": training.protocol, "memorisation_distance": distance, "threshold": THRESHOLD, "unpenalised": fid}
        return [Result("mifid", penalised(fid, distance), None, protocol)]

    return Streamed(asked.num_samples, update, results)


MIFID = Metric(
    "mifid",
    "Fréchet distance to the training images, penalised for copies",
    (Number("mifid", "penalised distance", "lower", tabled=False),),
    needs("samples", "extractor", "train"),
    memorisation,
    lambda asked: check_covariances(asked, asked.trained_on("mifid")),
    lambda asked: scarce("mifid", asked, asked.trained_on("mifid")),
)
