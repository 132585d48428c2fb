"""Bodies without losses: a critic maps images to features, a generator maps codes to images in its ``image_range``."""

from __future__ import annotations

from memogen.nets.class_dcgan import ClassDCGANCritic, ClassDCGANGenerator
from memogen.nets.class_resnet import ClassResNetCritic, ClassResNetGenerator
from memogen.nets.dcgan import DCGANCritic, DCGANGenerator
from memogen.nets.resnet import ResNetCritic, ResNetGenerator

__all__ = [
    "ClassDCGANCritic",
    "ClassDCGANGenerator",
    "ClassResNetCritic",
    "ClassResNetGenerator",
    "DCGANCritic",
    "DCGANGenerator",
    "ResNetCritic",
    "ResNetGenerator",
]
