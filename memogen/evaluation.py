"""The former name of :mod:`memogen.metrics`, for programs that import it."""

from memogen.metrics import *  # noqa: F403
from memogen.metrics import __all__ as __all__
