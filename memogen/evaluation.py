"""The old name of :mod:`memogen.metrics`, for programs that import it; ``memogen.evaluation.NAME`` is the file that now has its content."""

import sys
from importlib import import_module
from typing import Any

from memogen import metrics

__all__ = metrics.__all__


def __getattr__(name: str) -> Any:
    return getattr(metrics, name)


_MOVED = {
    "accuracy": "accuracy",
    "ais": "ais",
    "binarisation": "log_likelihood",
    "by_class": "accuracy",
    "classifiers": "classifiers",
    "copies": "copies",
    "copy_check": "copies",
    "evaluate": "evaluate",
    "extractors": "extractors",
    "features": "extractors",
    "fid": "fid",
    "forgetting": "forgetting",
    "held_out": "log_likelihood",
    "imputation": "imputation",
    "inception_score": "inception_score",
    "kid": "kid",
    "likelihood": "log_likelihood",
    "linear_svm": "svm",
    "mifid": "copies",
    "model_scores": "evaluate",
    "modes": "modes",
    "paired": "paired",
    "prdc": "prdc",
    "processes": "samples",
    "rare": "rare",
    "resizing": "extractors",
    "rows": "rows",
    "stream": "samples",
}
for _old, _new in _MOVED.items():
    sys.modules[f"{__name__}.{_old}"] = import_module(f"memogen.metrics.{_new}")
