"""From what a user names to a complete configuration: a recipe in one of its variants or a configuration file, and options by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_type_hints

from .. import configs
from ..configs import nearest, override
from ..recipes import RECIPES, Recipe, read_recipe
from ..types import InputError
from .fitted import fitted
from .recipe import load_config


def choose(
    given: Recipe | str | Path, variant: str | None = None, options: Mapping[str, object] | None = None, data: str | Path | None = None
) -> Recipe:
    """The recipe named ``given`` in a ``variant``, or the configuration file of that name, with ``options`` set by their dotted names.

    A ``folder`` recipe is first fitted to the pictures at ``data`` (:mod:`memogen.runs.fitted`). A Recipe that is given as such is complete and takes
    no ``variant``. Raises InputError.
    """
    if options is not None and not isinstance(options, Mapping):
        raise InputError(f"overrides: a {type(options).__name__} is not a mapping: give dotted names with their values, as {{'training.steps': 10}}")
    name, options = "" if isinstance(given, Recipe) else str(given), options or {}
    if isinstance(given, Recipe):
        if variant is not None:
            raise InputError(f"--variant: {given.recipe} is a complete configuration; set its own options instead")
        recipe = given
    elif name in RECIPES:
        recipe = fitted(_row(name, variant, options), data)
    elif Path(name).suffix in (".yaml", ".yml"):
        if variant is not None:
            raise InputError(f"--variant: {name} is a complete configuration; set its own options instead")
        recipe = load_config(Path(name))
    elif Path(name).exists():
        kinds = " or ".join(known for known in RECIPES if known.endswith("/folder"))
        raise InputError(
            f"{name}: is a file or folder, not a recipe; to train on its images: memogen train RECIPE --data {name}, where RECIPE is {kinds}"
        )
    else:
        raise InputError(f"{name}: no such recipe{nearest(name, RECIPES)}; memogen recipes lists them, or name a config.yaml")
    if not options:
        return recipe
    return read_recipe(override(configs.to_dict(recipe), options))


def _row(name: str, variant: str | None, options: Mapping[str, object]) -> Recipe:
    """A recipe in one of its variants; an option of another name that asks for one is refused with the right name."""
    known = get_args(get_type_hints(RECIPES[name]).get("variant"))
    for option, value in options.items():
        meant = [row for row in known if row == value or (value in ("paper", "code") and row.endswith(f"_{value}"))]
        if meant and "." not in option:
            raise InputError(f"--{option} {value}: no such option (did you mean '--variant {meant[0]}'?)")
    if variant is None:
        return RECIPES[name]()
    if not known:
        raise InputError(f"--variant {variant}: {name} has no variants; leave it out")
    if variant not in known:
        raise InputError(f"--variant {variant}: {name} has no such variant{nearest(variant, known)}; choose one of {', '.join(known)}")
    return RECIPES[name](variant=variant)
