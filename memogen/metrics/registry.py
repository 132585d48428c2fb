"""Every metric by its name on the command line, and every number by its name in result rows. A new metric is one line here.

Commands, messages, tables and pages take names, titles, help and order from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from memogen.metrics.accuracy import ACCURACY, FITTING_CAPACITY, REVERSE_ACCURACY
from memogen.metrics.copies import COPIES, MIFID
from memogen.metrics.exam import CARRIED, CONTINUAL
from memogen.metrics.few import FEW
from memogen.metrics.fid import FID
from memogen.metrics.forgetting import CRITIC, KEPT_OF_TASKS
from memogen.metrics.forgotten import FORGOTTEN
from memogen.metrics.imputation import IMPUTATION
from memogen.metrics.inception_score import INCEPTION_SCORE
from memogen.metrics.kid import KID
from memogen.metrics.log_likelihood import LOG_LIKELIHOOD
from memogen.metrics.memory_use import MEMORY_USE
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.modes import CLASS_SHARES, MODES
from memogen.metrics.novelty import AUROC
from memogen.metrics.paths import PATHS
from memogen.metrics.prdc import PRDC
from memogen.metrics.rare import RARE
from memogen.metrics.rows import ResultRow
from memogen.metrics.slot_contents import RECALLED, SLOTS
from memogen.metrics.svm import SVM


def _parameters(asked: Asked) -> Iterator[Result]:
    yield Result("parameters", sum(parameter.numel() for parameter in asked.subject.parameters()), None, {"num_samples": 0})


PARAMETERS = Metric("parameters", "how many it has", (Number("parameters", "parameters", counted=True),), needs("model"), _parameters)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        INCEPTION_SCORE,
        FID,
        KID,
        PRDC,
        ACCURACY,
        REVERSE_ACCURACY,
        FITTING_CAPACITY,
        LOG_LIKELIHOOD,
        MEMORY_USE,
        IMPUTATION,
        SVM,
        SLOTS,
        PARAMETERS,
        COPIES,
        MIFID,
        MODES,
        RARE,
        PATHS,
        CRITIC,
        FORGOTTEN,
        FEW,
        CONTINUAL,
    )
}

COSTS = (Number("generated_images", "images drawn in training", counted=True), Number("kept_megabytes", "MB kept", "lower", counted=True), CARRIED)
OF_TASKS = (*KEPT_OF_TASKS, *CLASS_SHARES, *RECALLED, *COSTS)
"""Numbers of a sequence of tasks, which no metric of the command line yields."""


def numbers() -> Mapping[str, Number]:
    """Every number by its name, in the order of tables; the AUROC of ``memogen novelty`` comes last."""
    return _numbers(tuple(METRICS.values()))


@lru_cache(maxsize=1)
def _numbers(metrics: tuple[Metric, ...]) -> Mapping[str, Number]:
    """Those of these metrics, and those of no metric: made anew when the registry has changed."""
    return MappingProxyType({number.name: number for number in (*(each for metric in metrics for each in metric.numbers), *OF_TASKS, AUROC)})


def judged_metrics() -> dict[str, Metric]:
    """The metrics that see images through an extractor."""
    return {name: metric for name, metric in METRICS.items() if metric.judged}


def model_metrics() -> dict[str, Metric]:
    """The metrics that ask the model itself."""
    return {name: metric for name, metric in METRICS.items() if not metric.judged}


def number_of(name: str) -> Number:
    """The number with this name by :func:`measured`. An unknown one has its name as title, and stands in no table."""
    return numbers().get(name.partition(" ")[0]) or Number(name, name.replace("_", " "), form="{title}", tabled=False)


def measured(metric: str, protocol: object) -> str:
    """A number's name, followed by the words that tell it apart, such as a mask, a rank or the number of learned classes."""
    number = number_of(metric)
    apart = number.apart(protocol if isinstance(protocol, Mapping) else {}) if number.apart is not None else ""
    return f"{metric} {apart}" if apart else metric


def row_name(row: ResultRow) -> str:
    """:func:`measured` of a result row."""
    return measured(str(row.metric), row.protocol)


def title(name: str) -> str:
    """The title of a number, which ``name`` names as :func:`measured` does."""
    number, apart = number_of(name), name.partition(" ")[2]
    return number.form.format(title=number.title, apart=apart) if apart else number.title


def in_order(names: Iterable[str]) -> list[str]:
    """Names by :func:`measured`, each once, in the order of the registry; unknown ones last, sorted by name."""
    known = numbers()
    places = {name: place for place, name in enumerate(known)}

    def place(name: str) -> tuple[int, int, int, str]:
        metric, _, apart = name.partition(" ")
        if metric not in known:
            return len(known), 0, 0, name
        order = known[metric].order
        listed = -1 if not apart else order.index(apart) if apart in order else len(order)
        return places[metric], listed, int(apart) if apart.isdecimal() else 0, apart

    return sorted(set(names), key=place)
