"""Training: one loop for every family, exact to resume, on one process or several."""

from memogen.training.checkpoint import latest
from memogen.training.config import TrainingConfig
from memogen.training.continual import Onlooker, SuccessionConfig, fit_tasks
from memogen.training.ema import Averages, averaged_model
from memogen.training.fit import Stopped, fit
from memogen.training.grid import grid
from memogen.training.log import NonFiniteLoss
from memogen.training.runtime import Runtime, seed, start
from memogen.training.state import TrainState

__all__ = [
    "Averages",
    "NonFiniteLoss",
    "Onlooker",
    "Runtime",
    "Stopped",
    "SuccessionConfig",
    "TrainState",
    "TrainingConfig",
    "averaged_model",
    "fit",
    "fit_tasks",
    "grid",
    "latest",
    "seed",
    "start",
]
