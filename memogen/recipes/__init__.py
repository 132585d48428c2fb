"""One function per data set of a paper; each returns a :class:`Recipe` with the printed number beside it."""

from collections.abc import Callable

from . import mem_vae, memory_gan
from .recipe import Claim, DataConfig, Recipe, ScoringConfig, read_recipe, shaped

RECIPES: dict[str, Callable[..., Recipe]] = {
    f"memory_gan/{recipe.__name__}": recipe
    for recipe in (
        memory_gan.digits,
        memory_gan.fashion_mnist,
        memory_gan.affine_mnist,
        memory_gan.cifar10,
        memory_gan.chairs,
        memory_gan.celeba,
        memory_gan.folder,
    )
} | {f"mem_vae/{recipe.__name__}": recipe for recipe in (mem_vae.digits, mem_vae.mnist, mem_vae.ocr_letters, mem_vae.frey_faces, mem_vae.folder)}
"""Every recipe by the name the command line knows."""

__all__ = ["RECIPES", "Claim", "DataConfig", "Recipe", "ScoringConfig", "read_recipe", "shaped"]
