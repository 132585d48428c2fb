"""Scores that ask the model itself about held-out images: no samples are drawn, and no extractor judges.

Likelihood, imputation error, accuracy of a linear machine on its features, preferences for memory slots, what a discriminator remembers, number of
parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from memogen.data.arrays import digest
from memogen.evaluation.held_out import observable, part_of
from memogen.evaluation.imputation import Reconstructs, Refinement, imputation_error, missing_pixels
from memogen.evaluation.labels import labels_for
from memogen.evaluation.likelihood import Likelihood, LikelihoodInterrupted, log_likelihood
from memogen.evaluation.linear_svm import PENALTY, HasFeatures, check_features, svm_accuracy
from memogen.evaluation.paired import KEY, PerImage
from memogen.evaluation.past_fakes import FAKES, earlier, judge_past, kept
from memogen.evaluation.preferences import AddressesSlots, slot_preferences
from memogen.evaluation.processes import Processes
from memogen.evaluation.progress import Bar
from memogen.evaluation.rows import Interrupted, Row, ScoringError, made
from memogen.evaluation.scores import Result
from memogen.evaluation.stream import device_of
from memogen.evaluation.work import Work, stopping
from memogen.models import MemoryGAN
from memogen.types import ImageData, InputError, LikelihoodModel

RANKS = 3  # most wanted slots of a class that a row tells (Li et al. 2016, Table 4)


@dataclass(frozen=True)
class ModelScoring:
    """How a model is asked. ``masks`` are those of :func:`~memogen.evaluation.imputation.missing_pixels`, of ``refinements`` steps each.

    ``binarisation_seed`` draws the black and white test images, once for every model that is compared.
    """

    importance_samples: int = 5000
    binarisation_seed: int = 0
    masks: tuple[str, ...] = ("rect-12", "rand-0.6", "half")
    refinements: int = 100
    svm_penalty: float = PENALTY

    def __post_init__(self) -> None:
        if min(self.importance_samples, self.refinements) < 1 or not self.svm_penalty > 0:
            raise InputError(f"scoring: {self}: counts must be at least 1, the penalty above 0")


@dataclass(frozen=True)
class _Asked:
    """A model, and what it is asked about."""

    model: nn.Module
    data: ImageData
    train: ImageData | None
    how: ModelScoring
    num_samples: int
    seed: int
    work: Work = field(default_factory=Work)
    run: Path | None = None


def score_model(
    model: nn.Module,
    data: ImageData,
    *,
    metrics: Sequence[str],
    how: ModelScoring = ModelScoring(),
    train: ImageData | None = None,
    num_samples: int = 10_000,
    seed: int = 0,
    progress: bool = True,
    processes: Processes | None = None,
    run: Path | None = None,
) -> list[Row]:
    """One row per number, as :func:`~memogen.evaluation.evaluate.evaluate` gives them, for ``metrics`` of :data:`MODEL_SCORES`.

    Likelihoods and imputations are of ``num_samples`` images, which are drawn once and for all where the data have more. A row of a likelihood
    holds a :class:`~memogen.evaluation.paired.PerImage`; :func:`~memogen.evaluation.paired.kept` makes the rows ready for a file. Several
    ``processes``, all of which call this, share the images and get the same rows. ``run`` is the folder of the model's training, for "critic".
    Raises InputError, and on Ctrl-C or SIGTERM :class:`~memogen.evaluation.rows.Interrupted` with the rows of what was computed.
    """
    check_model(model, data, metrics=metrics, how=how, train=train)
    check_run(metrics, run)
    joined = processes or Processes()
    began, rows, bar = time.perf_counter(), list[Row](), Bar(shown=progress and joined.rank == 0)
    try:
        with stopping() as stop, bar:
            asked = _Asked(model, data, train, how, num_samples, seed, Work(joined, bar, stop), run)
            for name in metrics:
                for result, per_image in MODEL_SCORES[name].results(asked):
                    rows.append({**_row(asked, result, per_image), "seconds": time.perf_counter() - began})
    except KeyboardInterrupt as stopped:
        raise Interrupted(rows, str(stopped) or bar.where) from stopped
    except InputError as error:
        raise ScoringError(error, rows) from error
    return rows


def check_model(
    model: nn.Module, data: ImageData, *, metrics: Sequence[str], how: ModelScoring = ModelScoring(), train: ImageData | None = None
) -> None:
    """Refuses what one of the metrics lacks before any is computed, or the model trained. Raises InputError."""
    for name in metrics:
        if name not in MODEL_SCORES:
            raise InputError(f"metric {name!r}: unknown: choose from {', '.join(MODEL_SCORES)}")
        MODEL_SCORES[name].check(_Asked(model, data, train, how, 1, 0))


def check_run(metrics: Sequence[str], run: Path | None) -> None:
    """Refuses what one of the metrics lacks of the model's run folder, once there is one. Raises InputError."""
    if "critic" in metrics:
        if run is None:
            raise InputError("metric critic: it judges fakes of a run's checkpoints: name the run's folder, or leave critic out")
        kept(run)


Found = Iterator[tuple[Result, PerImage | None]]


@dataclass(frozen=True)
class _Score:
    """What is refused beforehand, and what is computed."""

    check: Callable[[_Asked], None]
    results: Callable[[_Asked], Found]


def _row(asked: _Asked, result: Result, per_image: PerImage | None) -> Row:
    data = asked.data
    protocol = {"extractor": None, "data": {"data": data.name, "split": data.split, "digest": data.digest}, "seed": asked.seed, **result.protocol}
    row: Row = {"metric": result.metric, "value": result.value, "spread": result.spread, "protocol": protocol}
    row |= {"split": data.split, "task": None, "class": None, **made(device_of(asked.model))}
    return row if per_image is None else {**row, KEY: per_image}


def _check_likelihood(asked: _Asked) -> None:
    if not isinstance(asked.model, LikelihoodModel):
        raise _unable(asked, "nll", "has no likelihood")


def _likelihoods(asked: _Asked) -> Found:
    """The importance-weighted bound and, from the same samples, the evidence lower bound."""
    assert isinstance(asked.model, LikelihoodModel)
    images, told = observable(asked.model, asked.data, seed=asked.how.binarisation_seed)
    part = part_of(images, asked.num_samples)
    try:
        found = log_likelihood(asked.model, part, num_samples=asked.how.importance_samples, seed=asked.seed, work=asked.work)
    except LikelihoodInterrupted as stopped:
        if stopped.found is not None:
            yield from ((result, None) for result in _bounds(stopped.found, {**told, "interrupted": True}))
        raise
    settings = {"importance_samples": asked.how.importance_samples, "seed": asked.seed, "binarisation": told["binarisation"]}
    name = digest(part.image, None)
    for result, values in zip(_bounds(found, told), (found.log_likelihood[:, -1], found.bound[:, -1]), strict=True):
        yield result, PerImage(result.metric, values, name, settings)


def _bounds(found: Likelihood, told: dict[str, object]) -> tuple[Result, Result]:
    protocol = {**found.protocol, **told}
    lower = found.bound[:, -1]
    spread = float(lower.std(ddof=1) / np.sqrt(len(lower))) if len(lower) > 1 else None
    whole = Result("log_likelihood", found.value, found.spread if len(lower) > 1 else None, protocol)
    return whole, Result("elbo", found.elbo, spread, protocol)


def _check_imputation(asked: _Asked) -> None:
    if not isinstance(asked.model, Reconstructs):
        raise _unable(asked, "imputation", "reconstructs no images")
    for mask in asked.how.masks:
        missing_pixels(mask, asked.data.image_shape[1:], 1)
    labels_for(asked.model, asked.data, slice(0, None))


def _imputations(asked: _Asked) -> Found:
    """Every mask twice: by the statistics of the training data and, as the authors' code does it, by those of the batch, which one image has not."""
    assert isinstance(asked.model, Reconstructs)
    part = part_of(asked.data, asked.num_samples)
    for mask in asked.how.masks:
        for by_batch in (False, True)[: len(part)]:
            how = Refinement(asked.how.refinements, asked.seed, by_batch)
            found = imputation_error(asked.model, part, mask, how, work=asked.work)
            yield Result("imputation_mse", found.value, None, found.protocol), None


def _check_machine(asked: _Asked) -> None:
    if not isinstance(asked.model, HasFeatures):
        raise _unable(asked, "svm", "has no features")
    check_features(asked.model)
    if asked.train is None:
        raise InputError(
            "metric svm: a machine is trained on other images than it is tested on: choose data with a test part (in Python, give train)"
        )
    for data in (asked.train, asked.data):
        _check_labels("svm", data)


def _machines(asked: _Asked) -> Found:
    assert isinstance(asked.model, HasFeatures) and asked.train is not None
    found = svm_accuracy(asked.model, asked.train, asked.data, penalty=asked.how.svm_penalty, work=asked.work)
    yield Result("svm_accuracy", found.value, found.error, found.protocol), None


def _check_slots(asked: _Asked) -> None:
    if not isinstance(asked.model, AddressesSlots):
        raise _unable(asked, "slots", "has no slots that images address")
    _check_labels("slots", asked.data)
    addresses: Callable[..., object] = asked.model.addresses
    addresses(torch.from_numpy(np.array(asked.data.image[:1])), seed=0, start=0, **labels_for(asked.model, asked.data, slice(0, 1)))


def _slots(asked: _Asked) -> Found:
    """The mean over classes of the share of their most wanted slot, their second and their third, in the memory next to the data (Table 4)."""
    assert isinstance(asked.model, AddressesSlots)
    found = slot_preferences(asked.model, asked.data, seed=asked.seed, work=asked.work)
    top = found.top(0, RANKS)
    for rank in range(min(RANKS, found.by_layer[0].shape[1])):
        shares = [row[rank][1] for row in top]
        by_class = {name: {"slot": row[rank][0], "share": row[rank][1]} for name, row in zip(found.classes, top, strict=True)}
        protocol = {"rank": rank + 1, "layer": 0, "by_class": by_class, "num_samples": len(asked.data)}
        yield Result("slot_preference", float(np.mean(shares)), None, protocol), None


def _parameters(asked: _Asked) -> Found:
    yield Result("parameters", sum(parameter.numel() for parameter in asked.model.parameters()), None, {"num_samples": 0}), None


def _check_critic(asked: _Asked) -> None:
    if not isinstance(asked.model, MemoryGAN):
        raise _unable(asked, "critic", "has no discriminator that was kept")
    if not len(asked.data):
        raise InputError(f"metric critic: {asked.data.name} has no images in split {asked.data.split}: give another")


def _critic(asked: _Asked) -> Found:
    """What the last discriminator says of fakes of earlier checkpoints, and of held-out real images."""
    assert isinstance(asked.model, MemoryGAN) and asked.run is not None
    found = judge_past(asked.model, asked.run, asked.data, seed=asked.seed, work=asked.work)
    by_step, real = found.accuracies, found.real_accuracy
    protocol = {"by_step": by_step, "present": by_step[max(by_step)], "num_samples": FAKES, "held_out": len(found.real)}
    yield Result("critic_past_fakes", earlier(by_step), None, protocol), None
    yield Result("critic_held_out", real, None, {"num_samples": len(found.real)}), None
    yield Result("critic_balanced", (earlier(by_step) + real) / 2, None, protocol), None
    for name, values in (("critic_ranked", found.ranked), ("critic_forgetting", found.forgetting)):
        yield Result(name, earlier(values), None, {**protocol, "by_step": values, "present": values[max(values)]}), None


def _check_nothing(asked: _Asked) -> None:
    pass


def _check_labels(metric: str, data: ImageData) -> None:
    if data.label is None:
        raise InputError(f"metric {metric}: {data.name}, {data.split}, has no labels: choose a labelled data set, or leave {metric} out")


def _unable(asked: _Asked, metric: str, why: str) -> InputError:
    return InputError(f"metric {metric}: a {type(asked.model).__name__} {why}: choose other metrics, or another model")


MODEL_SCORES: dict[str, _Score] = {
    "nll": _Score(_check_likelihood, _likelihoods),
    "imputation": _Score(_check_imputation, _imputations),
    "svm": _Score(_check_machine, _machines),
    "slots": _Score(_check_slots, _slots),
    "critic": _Score(_check_critic, _critic),
    "parameters": _Score(_check_nothing, _parameters),
}


def measured(metric: str, protocol: object) -> str:
    """What a number is compared under: its metric, with the mask, the statistics, the rank or the number of learned classes where it has several."""
    told = protocol if isinstance(protocol, dict) else {}
    words = [metric]
    if metric == "imputation_mse":
        words += [str(told.get("mask", ""))] + (["by batch"] if told.get("statistics") == "batch" else [])
    if metric == "slot_preference":
        words += [str(told.get("rank", ""))]
    if metric == "accuracy":
        words += [str(told.get("learned", ""))]
    return " ".join(word for word in words if word)
