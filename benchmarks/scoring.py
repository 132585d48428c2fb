"""What scoring costs: 50,000 images of 32x32 by inception score, Fréchet and kernel distance.

First the whole way, images through a classifier to three scores: seconds, and the most memory this process has held. Then the scores alone, on the
same features and logits beside torchmetrics (``pip install torchmetrics``), in one process and in turn, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.memory_step import CLOCKS, append, interleaved
from memogen import __version__
from memogen.metrics import Classifier, FeatureStatistics, InceptionScore, classifier, frechet_distance, kernel_distance, score_images
from memogen.metrics.classifiers import Card, SmallResNet, classifier_names, fold
from memogen.types import ImageData

SHAPE, WIDTHS, CLASSES = (3, 32, 32), (64, 128, 256), 10
METRICS = ("is", "fid", "kid")
BATCH = 250
SUBSETS = 100  # of the kernel distance
MEMORY = 2.0  # GiB: the most that scoring may hold


@dataclass(frozen=True)
class Cost:
    """Seconds and GiB of the whole way; median seconds of the scores alone, ours and torchmetrics', and the median of their ratios."""

    seconds: float
    memory: float
    ours: float
    theirs: float
    ratio: float
    values: Mapping[str, tuple[float, float]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and append result rows where ``--out`` names a file."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    judge = judge_of_colours()
    print(f"{options.num:,} images {SHAPE}, {options.real:,} real ones, extractor {judge.version}, {torch.get_num_threads()} threads")
    cost = measure(judge, options.num, options.real, rounds=options.rounds, clock=CLOCKS[options.clock])
    for line in lines(cost):
        print(line)
    if options.out:
        append(options.out, rows(cost, judge, options))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description="The cost of scoring.", allow_abbrev=False)
    options.add_argument("--num", type=int, default=50_000, help="images to score (default 50,000)")
    options.add_argument("--real", type=int, default=10_000, help="images to compare with (default 10,000)")
    options.add_argument("--rounds", type=int, default=5, help="timed rounds of the scores alone (default 5)")
    options.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    options.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: this process's own time, for a machine that others use too")
    options.add_argument("--out", type=Path, help="append result rows (JSON lines) to this file")
    return options


def judge_of_colours() -> Classifier:
    """The shipped classifier of CIFAR-10, or one of its form with random weights where none ships: the cost is the same."""
    if "cifar10" in classifier_names():
        return classifier("cifar10")
    torch.manual_seed(0)
    names = tuple(str(label) for label in range(CLASSES))
    card = Card("random", "none", "", SHAPE, names, WIDTHS, mean=0.5, std=0.25, seed=0, epochs=0)
    return Classifier(card, fold(SmallResNet(SHAPE[0], CLASSES, WIDTHS)))


def measure(judge: Classifier, num: int, real: int, *, rounds: int, clock: Callable[[], float]) -> Cost:
    """The whole way once, then the scores alone in turn."""
    begun = clock()
    score_images(pictures(num, seed=0), pictures(real, seed=1), extractor=judge, metrics=METRICS, progress=sys.stderr.isatty())
    seconds, memory = clock() - begun, peak()
    width = judge.card.widths[-1]
    fake, reference, logits = features(num, width, seed=0), features(real, width, seed=1), features(num, CLASSES, seed=2)
    kept: dict[str, tuple[float, ...]] = {}
    works = [lambda: kept.update(ours=ours(fake, reference, logits)), lambda: kept.update(theirs=theirs(fake, reference, logits))]
    times = interleaved(works, torch.device("cpu"), rounds, clock, warm_up=1)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    values = dict(zip(METRICS, zip(kept["ours"], kept["theirs"], strict=True), strict=True))
    return Cost(seconds, memory, statistics.median(times[0]), statistics.median(times[1]), ratio, values)


def pictures(num: int, *, seed: int) -> ImageData:
    """Random pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (num, *SHAPE), dtype=np.uint8)
    return ImageData(image, name=f"noise-{seed}")


def features(num: int, width: int, *, seed: int) -> Tensor:
    """Rows as a classifier's last layer gives them: none negative."""
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed)).relu()


def peak() -> float:
    """The most memory this process has held, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def ours(fake: Tensor, real: Tensor, logits: Tensor) -> tuple[float, float, float]:
    """The three scores by memogen, batch by batch."""
    inception, generated, reference = InceptionScore(len(logits)), FeatureStatistics(fake.shape[1]), FeatureStatistics(real.shape[1])
    for rows, classes in zip(fake.split(BATCH), logits.split(BATCH), strict=True):
        generated.update(rows)
        inception.update(classes.double().softmax(1))
    for rows in real.split(BATCH):
        reference.update(rows)
    return inception.compute()[0], frechet_distance(generated, reference), kernel_distance(real, fake, subsets=SUBSETS).mean


def theirs(fake: Tensor, real: Tensor, logits: Tensor) -> tuple[float, float, float]:
    """The three scores by torchmetrics, batch by batch, with a network that hands its input on."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore as TheirInceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    same = nn.Identity()
    same.num_features = fake.shape[1]  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it stores all features
        inception, fid, kid = TheirInceptionScore(same), FrechetInceptionDistance(same), KernelInceptionDistance(same, subsets=SUBSETS)
    for rows, classes in zip(fake.split(BATCH), logits.split(BATCH), strict=True):
        fid.update(rows, real=False)
        kid.update(rows, real=False)
        inception.update(classes)
    for rows in real.split(BATCH):
        fid.update(rows, real=True)
        kid.update(rows, real=True)
    return float(inception.compute()[0]), float(fid.compute()), float(kid.compute()[0])


def lines(cost: Cost) -> Iterator[str]:
    """What is printed."""
    yield f"images to scores: {cost.seconds:.1f} s, at most {cost.memory:.2f} GiB held ({'under' if cost.memory < MEMORY else 'OVER'} {MEMORY:g} GiB)"
    yield f"scores alone: {cost.ours:.2f} s, torchmetrics {cost.theirs:.2f} s, ratio {cost.ratio:.2f}"
    for name, (own, other) in cost.values.items():
        yield f"  {name}: {own:.5f}, torchmetrics {other:.5f}"


def rows(cost: Cost, judge: Classifier, options: argparse.Namespace) -> Iterator[Mapping[str, object]]:
    """The result rows."""
    protocol = {
        "images": options.num, "real_images": options.real, "extractor": judge.version, "metrics": METRICS, "rounds": options.rounds,
        "clock": options.clock, "threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(),
    }  # fmt: skip
    shared = {
        "recipe": "scoring",
        "seed": 0,
        "protocol": protocol,
        "device": "cpu",
        "version": __version__,
        "command": "python -m benchmarks.scoring",
    }
    values = {
        ("memogen", "scoring_seconds"): cost.seconds,
        ("memogen", "scoring_peak_gib"): cost.memory,
        ("memogen", "scores_alone_seconds"): cost.ours,
        ("torchmetrics", "scores_alone_seconds"): cost.theirs,
        ("memogen", "scores_alone_ratio"): cost.ratio,
    }
    for (variant, metric), value in values.items():
        yield {**shared, "variant": variant, "metric": metric, "value": value, "measured": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
