"""Options as words: telling a command's own options from those of a configuration, and naming the nearest name of a misspelt one."""

from __future__ import annotations

import argparse
import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml


class UsageError(ValueError):
    """The command line cannot be used: one line that says what, where and how to mend it."""


HIDDEN = argparse.SUPPRESS
"""The help text of an option or argument that is understood, but not shown."""

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


def split(words: Sequence[str], valued: Iterable[str], flags: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """A command's own words, and every option it does not know as name -> value (``true`` where no value follows)."""
    valued, flags = set(valued), set(flags)
    own: list[str] = []
    others: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return [*own, word, *rest], others
        if not word.startswith("--") or name in flags:
            own.append(word)
        elif name in valued:
            own += [word] if equals or not rest else [word, rest.pop(0)]
        else:
            takes_next = not equals and bool(rest) and not rest[0].startswith("--")
            others[name[2:]] = rest.pop(0) if takes_next else (value if equals else "true")
    return own, others


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        leaves.update(dotted(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value})
    return leaves


def override(config: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """A copy of ``config`` with the dotted options set; a name that is not in it is refused with the nearest one."""
    changed = copy.deepcopy(dict(config))
    for given, text in options.items():
        name = SHORT.get(given.replace("-", "_"), given)
        *path, last = name.split(".")
        node: Any = changed
        for depth, part in enumerate(path, start=1):
            node = node.get(part) if isinstance(node, dict) else None
            if node is None and ".".join(path[:depth]) in dotted(config):
                raise UsageError(f"--{name}: {'.'.join(path[:depth])} is off here; choose a variant or configuration that has it")
        if not isinstance(node, dict) or last not in node:
            raise UsageError(f"--{name}: no such option{nearest(name, dotted(config))}; --dry-run prints them all")
        node[last] = read_value(name, text, node[last])
    return changed


def read_value(name: str, text: str, old: object) -> object:
    """A value as YAML reads it; where a text stood, the text itself."""
    if isinstance(old, str) and text != "null":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--{name}: cannot read the value {text!r}; write it as in YAML") from error
