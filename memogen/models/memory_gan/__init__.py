"""memoryGAN: a GAN whose discriminator ends in a von Mises-Fisher memory, and whose generator draws its cluster from that memory.

Kim, Kim and Kim, "Memorization Precedes Generation: Learning Unsupervised GANs with Memory Networks", ICLR 2018.
"""

from .model import MemoryConfig, MemoryGAN, MemoryGANConfig, NoiseConfig
from .objective import ContrastConfig, MemoryGANObjective

__all__ = ["ContrastConfig", "MemoryConfig", "MemoryGAN", "MemoryGANConfig", "MemoryGANObjective", "NoiseConfig"]
