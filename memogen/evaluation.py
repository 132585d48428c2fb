"""The former name of :mod:`memogen.metrics`, for programs that import it."""

from typing import Any

from memogen import metrics

__all__ = metrics.__all__


def __getattr__(name: str) -> Any:
    return getattr(metrics, name)
