"""How a memory came to be: one curve of a run's metrics as a picture (Kim et al. 2018, Figs. 3a and 3c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PIL import Image

from memogen.types import InputError

from . import charts
from .history import Run, priors_logged, series
from .life_signs import GRADIENT

Curve = Literal["likelihood", "prior", "gradient"]


def course(run: Run, curve: Curve) -> Image.Image:
    """The curve over training. Raises InputError where the run has not logged it."""
    picture = _CURVES[curve](run)
    if picture is None:
        raise InputError(f"run {run.path}: its metrics.jsonl has no {curve} to draw: train a memoryGAN {_NEEDED[curve]}")
    return picture


def prior_states(run: Run, *, most: int = 6) -> list[tuple[str, dict[int, float]]]:
    """Some of the sorted priors that were logged, evenly over training, each with its step in words."""
    logged = priors_logged(run.metrics)
    return [(f"step {step:,}", ranks) for step, ranks in logged[:: -(-len(logged) // most) or 1]]


def _likelihood(run: Run) -> Image.Image | None:
    steps, values = series(run.metrics, "eval/held_out/log_likelihood")
    return charts.likelihood(steps, values) if steps else None


def _prior(run: Run) -> Image.Image | None:
    states = prior_states(run)
    return charts.priors(states) if states else None


def _gradient(run: Run) -> Image.Image | None:
    return charts.panel(run.metrics, GRADIENT)


_EVERY = "with scoring.likelihood_every above 0 and not above the steps"
_NEEDED: dict[Curve, str] = {"likelihood": f"on data with a test split, {_EVERY}", "prior": _EVERY, "gradient": "and name its run"}
_CURVES: dict[Curve, Callable[[Run], Image.Image | None]] = {"likelihood": _likelihood, "prior": _prior, "gradient": _gradient}
