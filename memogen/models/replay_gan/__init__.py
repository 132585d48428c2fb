"""Memory Replay GANs: a conditional GAN that learns new categories while a frozen copy of its generator replays the old ones.

Wu, Herranz, Liu, Wang, van de Weijer and Raducanu, "Memory Replay GANs: learning to generate images from new categories without forgetting",
NeurIPS 2018; the layers, and whatever the paper leaves open, from the authors' code.
"""

from .drawing import BatchStatistics
from .model import ReplayGAN, ReplayGANConfig
from .objective import ReplayGANObjective
from .options import AlignmentConfig, CriticConfig, GenerativeReplayConfig, JointConfig, ReplayConfig
from .teacher import ConsolidationConfig, Teacher

__all__ = [
    "AlignmentConfig",
    "BatchStatistics",
    "ConsolidationConfig",
    "CriticConfig",
    "GenerativeReplayConfig",
    "JointConfig",
    "ReplayConfig",
    "ReplayGAN",
    "ReplayGANConfig",
    "ReplayGANObjective",
    "Teacher",
]
