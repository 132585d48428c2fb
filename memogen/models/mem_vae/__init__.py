"""MEM-VAE and MEM-IWAE: deep generative models whose decoder reads a memory of trainable slots.

Li, Zhu and Zhang, "Learning to Generate with Memory", ICML 2016.
"""

from .config import AttentionConfig, GaussianConfig, MemVAEConfig
from .model import MemVAE
from .objective import ADAM, MemVAEObjective

__all__ = ["ADAM", "AttentionConfig", "GaussianConfig", "MemVAE", "MemVAEConfig", "MemVAEObjective"]
