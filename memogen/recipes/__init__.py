"""One function per data set of a paper; each returns a :class:`Recipe` with the printed number beside it."""

from collections.abc import Callable
from importlib import import_module
from typing import get_args, get_type_hints

from ..models import FAMILIES
from .recipe import IN_PIXELS, Claim, DataConfig, Recipe, ScoringConfig, read_recipe, shaped

RECIPES: dict[str, Callable[..., Recipe]] = {
    f"{name}/{recipe.__name__}": recipe for name, family in FAMILIES.items() for module in family.recipes for recipe in import_module(module).RECIPES
}
"""Every recipe by the name that the command line knows: FAMILY/FUNCTION."""


def variants_of(name: str) -> tuple[str, ...]:
    """The variants that a recipe takes."""
    return get_args(get_type_hints(RECIPES[name]).get("variant"))


__all__ = ["IN_PIXELS", "RECIPES", "Claim", "DataConfig", "Recipe", "ScoringConfig", "read_recipe", "shaped", "variants_of"]
