"""What is refused before anything is computed: too few images, what a metric cannot do without, images that the extractor cannot read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memogen.evaluation.features import Extractor
from memogen.evaluation.reference import Reference
from memogen.evaluation.scores import READS_PROBABILITIES, SCORES, Comparison
from memogen.evaluation.stream import Seen, Source, Watch, device_of, image_source
from memogen.types import ImageData

SCARCE = 5  # samples for each feature: below, the noise of the covariance alone adds some 5 % of the features' variance to a Fréchet distance


def check(names: Sequence[str], asked: Comparison, watch: Watch, source: Source) -> list[str]:
    """Raises InputError for what those metrics lack. What can be computed, but not believed, comes back in words.

    Looks at one image of every kind, and so says early what the extractor does not read.
    """
    first = watch.look(source(0, 1).to(device_of(watch.extractor)))
    for compared in filter(None, (asked.reference, asked.training)):
        compared.look()
    for name in names:
        SCORES[name].check(asked, first)
    return [line for name in names if (line := _scarce(name, asked, first))]


def check_data(names: Sequence[str], data: ImageData, train: ImageData, *, extractor: Extractor, num_samples: int) -> None:
    """The same before there is a model, for the metrics that share a stream: an image of ``data`` stands for its samples. Raises InputError."""
    reference, training = (Reference(part, extractor, device=device_of(extractor)) for part in (data, train))
    asked = Comparison(num_samples, reference, training)
    shared = [name for name in names if name in SCORES]
    check(shared, asked, Watch(extractor, 1, probabilities=any(name in READS_PROBABILITIES for name in shared)), image_source(data, np.arange(1)))


def _scarce(name: str, asked: Comparison, first: Seen) -> str:
    """What to say of a covariance of full rank that is hardly more than noise."""
    compared: Reference | None = {"fid": asked.reference, "mifid": asked.training}.get(name)
    if compared is None:
        return ""
    dim, real = first.features.shape[1], len(compared.data)
    few, kind = (asked.num_samples, "samples") if asked.num_samples <= real else (real, "real images")
    if few >= SCARCE * dim:
        return ""
    return f"{name}: {few:,} {kind} are few for {dim:,} features and make the distance too large: use {SCARCE * dim:,}, or compare equal numbers only"
