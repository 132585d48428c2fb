"""What scoring costs: distances beside torchmetrics, nearest images beside float32, and how often an extractor looks at an image."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.memory import most_held
from benchmarks.speed.processes import answer
from benchmarks.speed.step import operations
from benchmarks.speed.timing import Aim, Case, Cases, Floor, Setting, Title, products_of
from memogen.metrics import FeatureStatistics, InceptionScore, copy_check, frechet_distance, kernel_distance, score_images
from memogen.metrics.accuracy import STUDENT
from memogen.metrics.classifiers import train_classifier
from memogen.metrics.log_likelihood import log_likelihood
from memogen.recipes import RECIPES
from memogen.types import ImageData

BATCH = 250
SUBSETS = 100  # of the kernel distance
ABSENT = "torchmetrics is not installed"
CPU = torch.device("cpu")


def frechet(setting: Setting) -> Cases:
    """The Fréchet distance of two sets of 10,000 features of 2,048 numbers, beside torchmetrics."""
    num, width = setting.size(10_000, 300), setting.size(2048, 16)
    fake, real = features(num, width, seed=0), features(num, width, seed=1)
    yield against_torchmetrics(f"Fréchet distance, {num:,} x {width:,}", partial(our_distance, fake, real), partial(their_distance, fake, real))


def three_scores(setting: Setting) -> Cases:
    """Inception score, Fréchet and kernel distance of 50,000 samples and 10,000 images, from 256 features and 10 logits, beside torchmetrics."""
    num, real_num, width = setting.size(50_000, 1100), setting.size(10_000, 1000), setting.size(256, 8)
    given = features(num, width, seed=0), features(real_num, width, seed=1), features(num, 10, seed=2)
    subsets = setting.size(SUBSETS, 2)
    yield against_torchmetrics(f"IS, FID and KID, {num:,} x {width}", partial(ours, *given, subsets), partial(theirs, *given, subsets))


def against_torchmetrics(what: str, own: partial[object], other: partial[object]) -> Case:
    """A case with torchmetrics beside it where it is installed."""
    if find_spec("torchmetrics") is None:
        return Case(Title(what, note=ABSENT), own)
    return Case(Title(what, beside="torchmetrics", aims=(Aim(1.0, "beside"),)), own, other)


def nearest(setting: Setting) -> Cases:
    """The nearest of 60,000 training images to each of 10,000 images by 784 pixels, beside plain float32; the floor is the products."""
    num, known, side = setting.size(5000, 20), setting.size(60_000, 100), setting.size(28, 8)
    shape = (1, side, side)
    samples, held_out, training = (pictures(count, shape, seed=seed) for seed, count in enumerate((num, num, known)))
    query = torch.cat([torch.from_numpy(data.image) for data in (samples, held_out)])
    title = Title(f"nearest images, {2 * num:,} to {known:,}", beside="float32", aims=(Aim(1.0, "beside"), Aim(9.6 / 17.9, "before")))
    floor = products_of(2.0 * 2 * num * known * side * side, setting, CPU)
    yield Case(title, lambda: copy_check(torch.from_numpy(samples.image), held_out, training), lambda: plain_nearest(query, training.image), floor)


def passes(setting: Setting) -> Cases:
    """Images that an extractor sees for scoring a run by FID, PRDC, copies and MiFID; the floor is each image once."""
    counts = [setting.size(full, quick) for full, quick in ((2000, 60), (4000, 80), (6000, 90))]
    samples, test, training = (pictures(count, (1, 8, 8), seed=seed) for seed, count in enumerate(counts))
    title = Title("images an extractor sees for a run's scores", "images", aims=(Aim(1.001, "floor"),))

    def seen() -> int:
        judge = Counting()
        shared = {"extractor": judge, "metrics": ("fid", "prdc", "copies", "mifid"), "progress": False}
        score_images(samples, test, train=training, **shared)
        return judge.seen

    yield Case(title, seen, floor=Floor(lambda: sum(counts)))


def held(setting: Setting) -> Cases:
    """The most memory that scoring 50,000 images of 32x32 by IS, FID and KID holds, with a narrow classifier of 64 features."""
    num, real = setting.size(50_000, 300), setting.size(10_000, 300)
    title = Title(f"peak of scoring {num:,} images", "MiB", aims=(Aim(2048, "value"),))
    yield Case(title, lambda: peak(setting, num, real) if setting.quick else answer("scoring", "peak", num, real, setting=setting))


def likelihood(setting: Setting) -> Cases:
    """The likelihood of 20 images by 500 importance samples each, in the MEM-VAE of MNIST, beside its products."""
    num, samples = setting.size(20, 2), setting.size(500, 10)
    torch.manual_seed(0)
    runtime = setting.runtime()
    model = RECIPES["mem_vae/mnist"](variant="mem_vae").model.build()
    runtime.place(model)
    model.eval()
    noise = pictures(num, model.config.image_shape, seed=0)
    images = ImageData((noise.image > 127).astype(np.uint8) * 255, name="noise")
    work = partial(log_likelihood, model, images, num_samples=samples)
    floor = products_of(operations(work), setting, runtime.device)
    yield Case(Title(f"likelihood, {num} images x {samples} samples", aims=(Aim(2.0, "floor"),)), work, floor=floor)


def student(setting: Setting) -> Cases:
    """The classifier of reverse accuracy learns from 2,000 images of 28x28 for one epoch."""
    num = setting.size(2000, 64)
    data = replace(pictures(num, (1, 28, 28), seed=0), label=np.arange(num) % 10, classes=tuple("0123456789"))
    recipe = replace(STUDENT, epochs=1)
    yield Case(Title(f"a student's epoch, {num:,} images of 28x28"), lambda: train_classifier("a student", data, recipe=recipe, console=False))


ENTRIES = (frechet, three_scores, nearest, passes, held, likelihood, student)


# --- the works ---


def features(num: int, width: int, *, seed: int) -> Tensor:
    """Rows as a classifier's last layer gives them: none negative."""
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed)).relu()


def pictures(num: int, shape: tuple[int, ...], *, seed: int) -> ImageData:
    """Random pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (num, *shape), dtype=np.uint8)
    return ImageData(image, name=f"noise-{seed}")


def our_distance(fake: Tensor, real: Tensor) -> float:
    """By memogen, batch by batch."""
    found = [FeatureStatistics(fake.shape[1]) for _ in range(2)]
    for statistics, rows in zip(found, (fake, real), strict=True):
        for part in rows.split(BATCH):
            statistics.update(part)
    return frechet_distance(*found)


def ours(fake: Tensor, real: Tensor, logits: Tensor, subsets: int = SUBSETS) -> tuple[float, float, float]:
    """The three scores by memogen, batch by batch."""
    inception = InceptionScore(len(logits))
    for classes in logits.split(BATCH):
        inception.update(classes.double().softmax(1))
    return inception.compute()[0], our_distance(fake, real), kernel_distance(real, fake, subsets=subsets).mean


def their_distance(fake: Tensor, real: Tensor) -> float:
    """By torchmetrics, batch by batch, with a network that hands its input on."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    fid = FrechetInceptionDistance(_same(fake.shape[1]))
    _feed(fid, fake, real)
    return float(fid.compute())


def theirs(fake: Tensor, real: Tensor, logits: Tensor, subsets: int = SUBSETS) -> tuple[float, float, float]:
    """The three scores by torchmetrics, batch by batch."""
    from torchmetrics.image.inception import InceptionScore as TheirInceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it stores all features
        inception, kid = TheirInceptionScore(_same(logits.shape[1])), KernelInceptionDistance(_same(fake.shape[1]), subsets=subsets)
    for classes in logits.split(BATCH):
        inception.update(classes)
    _feed(kid, fake, real)
    return float(inception.compute()[0]), their_distance(fake, real), float(kid.compute()[0])


def _same(width: int) -> nn.Identity:
    network = nn.Identity()
    network.num_features = width  # type: ignore[assignment]
    return network


def _feed(metric, fake: Tensor, real: Tensor) -> None:
    for rows, is_real in ((fake, False), (real, True)):
        for part in rows.split(BATCH):
            metric.update(part, real=is_real)


def plain_nearest(query: Tensor, training: np.ndarray, chunk: int = 1000) -> Tensor:
    """The distance of each row to its nearest one, in float32."""
    rows = query.flatten(1).float() / 255
    square, nearest = rows.square().sum(1), torch.full((len(rows),), torch.inf)
    for start in range(0, len(training), chunk):
        part = torch.from_numpy(training[start : start + chunk]).flatten(1).float() / 255
        nearest = torch.minimum(nearest, torch.addmm(part.square().sum(1), rows, part.T, alpha=-2).amin(1))
    return (nearest + square).clamp(min=0).sqrt()


class Counting(nn.Module):
    """An extractor that counts the images it sees: 16 of their pixels."""

    name, version, resize, accuracy = "counting", "counting", "none", None

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def features(self, image: Tensor) -> Tensor:
        self.seen += len(image)
        return image.flatten(1)[:, :16].float()

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)


def peak(setting: Setting, num: int, real: int) -> float:
    """MiB that scoring has held at most. For a process of its own."""
    from memogen.metrics.classifiers import Card, Classifier, SmallResNet, fold

    torch.manual_seed(0)
    widths, shape = (4, 8, 16) if setting.quick else (8, 16, 64), (3, 32, 32)
    card = Card("random", "none", "", shape, tuple(map(str, range(10))), widths, mean=0.5, std=0.25, seed=0, epochs=0)
    judge = Classifier(card, fold(SmallResNet(shape[0], 10, widths)))
    metrics = ("is", "fid") if setting.quick else ("is", "fid", "kid")
    score_images(pictures(num, shape, seed=0), pictures(real, shape, seed=1), extractor=judge, metrics=metrics, progress=sys.stderr.isatty())
    return most_held(CPU)
