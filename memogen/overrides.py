"""Options of a configuration by dotted names, for the command line and for Python alike; a wrong name is answered with the nearest one."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from memogen.errors import InputError
from memogen.parsing import parse_yaml

SHORT = {
    "steps": "training.steps",
    "seed": "training.seed",
    "batch_size": "training.batch_size",
    "device": "training.device",
}
"""Options of a training that have a short name beside their dotted one."""

USUAL = {"lr": "learning_rate", "epochs": "training.steps", "epoch": "training.steps", "iterations": "training.steps", "bs": "training.batch_size"}
"""What other programs call an option, and what it is called here, or how its dotted name ends."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x' or 'y'?)`` for the most similar names, by the whole name or by its last part, all that are equally similar; empty where
    nothing is similar.
    """
    known = list(dict.fromkeys(names))
    bare = name.lstrip("-").replace("-", "_")
    bare = USUAL.get(bare, bare)
    whole = difflib.get_close_matches(bare, [full.lstrip("-") for full in known], n=1, cutoff=0.6)
    tail = difflib.get_close_matches(bare.rsplit(".", 1)[-1], [full.rsplit(".", 1)[-1] for full in known], n=1, cutoff=0.6)
    if whole and not (tail and tail[0] == bare):
        found = [full for full in known if full.lstrip("-") == whole[0]]
    else:
        found = [full for full in known if tail and full.rsplit(".", 1)[-1] == tail[0]]
    told = " or ".join(f"'{full}'" for full in found[:6])
    return f" (did you mean {told}?)" if told else ""


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        leaves.update(dotted(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value})
    return leaves


def override(config: Mapping[str, Any], options: Mapping[str, object]) -> dict[str, Any]:
    """A copy of ``config`` with the dotted options set, a text as YAML reads it; a name that is not in it is an InputError with the nearest one."""
    changed = copy.deepcopy(dict(config))
    for given, value in options.items():
        if not isinstance(given, str):
            raise InputError(f"overrides: {given!r} is not an option name; write dotted names, such as training.steps")
        name = SHORT.get(given.replace("-", "_"), given)
        *path, last = name.split(".")
        node: Any = changed
        for depth, part in enumerate(path, start=1):
            node = node.get(part) if isinstance(node, dict) else None
            if node is None and ".".join(path[:depth]) in dotted(config):
                raise InputError(f"--{name}: {'.'.join(path[:depth])} is null here, so it has no options; choose a variant that has it")
        if not isinstance(node, dict) or last not in node:
            raise InputError(f"--{name}: no such option{nearest(name, dotted(config))}; --dry-run prints them all")
        node[last] = read_value(name, value, node[last]) if isinstance(value, str) else value
    return changed


def read_value(name: str, text: str, old: object) -> object:
    """A value as YAML reads it; where a text stood, the text itself."""
    if isinstance(old, str) and text != "null":
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise InputError(f"--{name}: cannot read the value {shown!r} ({error}); write it as in YAML") from error
