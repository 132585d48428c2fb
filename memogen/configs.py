"""Configurations: frozen dataclasses to plain mappings and back, and options set by their dotted names.

config.json, a run's config.yaml, a checkpoint's fingerprint and the command line share this translation. ``to_dict`` gives only dicts, lists,
strings, numbers, booleans and None. ``from_dict`` refuses an unknown key, a missing key and a value of the wrong type, and names its dotted path.
Nothing here imports torch.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from memogen.errors import InputError
from memogen.parsing import parse_yaml

Config = TypeVar("Config")
LATER = types.MappingProxyType({"later": True})
"""Metadata of a field that was added after configurations had been saved: if a saved one lacks it, the default is read, which changes nothing."""

SHORT = {"steps": "training.steps", "seed": "training.seed", "batch_size": "training.batch_size", "device": "training.device"}
"""Short names of options, beside the dotted ones."""

USUAL = {"lr": "learning_rate", "epochs": "training.steps", "epoch": "training.steps", "iterations": "training.steps", "bs": "training.batch_size"}
"""What other programs call an option, and its name here, or how its dotted name ends."""


def to_dict(config: object, *, whole: bool = True) -> dict[str, Any]:
    """A dataclass instance as a mapping that JSON and YAML can hold; tuples become lists, nested dataclasses mappings.

    ``whole`` False leaves out every :data:`LATER` field that has its default, so that the mapping equals one that was saved before the field existed.
    """
    if isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise TypeError(f"{config!r} is not a dataclass instance")
    plain = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.init and (whole or not field.metadata.get("later") or value != field.default):
            plain[field.name] = _plain(value, whole)
    return plain


def from_dict(cls: type[Config], mapping: object, *, where: str = "", complete: bool = True, kinds: Mapping[str, type] | None = None) -> Config:
    """The inverse of :func:`to_dict`.

    ``where`` is the dotted path of the mapping, for messages. A ``complete`` mapping has every key except :data:`LATER` ones; with ``complete`` False
    every key with a default may be missing. ``kinds`` gives the dataclasses of fields that are annotated with a protocol. Raises InputError.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where or cls.__name__}: {_show(mapping)} is not a mapping: write its options as keys and values")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise InputError(f"{_join(where, key)}: unknown option: {suggest(str(key), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in mapping and (required or (complete and not field.metadata.get("later"))):
            raise InputError(f"{_join(where, name)}: missing option: give it a value")
    hints = {**get_type_hints(cls), **(kinds or {})}
    values = {name: _value(hints[name], value, _join(where, name), complete) for name, value in mapping.items()}
    try:
        return cls(**values)
    except InputError as error:
        if not where or str(error).startswith(where):
            raise
        raise InputError(f"{where}: {error}") from error
    except ValueError as error:
        raise InputError(f"{where or cls.__name__}: {error}") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """How to mend a wrong name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names) or 'nothing: there are none'}"


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x' or 'y'?)`` for the most similar names, by the whole name or by its last part; empty if nothing is similar."""
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
    """A copy of ``config`` with the dotted options set; a text is read as YAML. Raises InputError, with the nearest name, for an unknown one."""
    changed, seen = copy.deepcopy(dict(config)), dict[str, tuple[str, object]]()
    for given, value in options.items():
        if not isinstance(given, str):
            raise InputError(f"overrides: {given!r} is not an option name; write dotted names, such as training.steps")
        name = SHORT.get(given.replace("-", "_"), given)
        former, meant = seen.setdefault(name, (given, value))
        if meant != value:
            raise InputError(f"--{given} {value}: --{former} {meant} is the same option; give it once")
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
    """A text as YAML reads it; if the ``old`` value is a text, the text itself."""
    if isinstance(old, str) and text != "null":
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise InputError(f"--{name}: cannot read the value {shown!r} ({error}); write it as in YAML") from error


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: object, whole: bool) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no infinity; from_dict reads the string back
    if isinstance(value, Mapping):
        return {str(key): _plain(part, whole) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, whole) for part in value]
    return to_dict(value, whole=whole)


def _value(hint: Any, value: object, where: str, complete: bool) -> Any:
    """``value`` as the annotation ``hint`` asks. Raises InputError."""
    origin, hints = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _either(hints, value, where, complete)
    if origin is Literal:
        return _choice(hints, value, where)
    if origin in (tuple, list):
        return _sequence(origin, hints, value, where, complete)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: {_show(value)} is not a mapping: write it as keys and values")
        return {str(key): _value(hints[1], part, _join(where, key), complete) for key, part in value.items()}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return from_dict(hint, value, where=where, complete=complete)
    if hint is Any or (hint in (int, bool, str) and type(value) is hint):
        return value
    if hint is float:
        try:
            if isinstance(value, int | float | str) and not isinstance(value, bool):
                return float(value)  # a text too, because YAML reads 2e-4 as one
        except (ValueError, OverflowError):
            pass
    kinds = {int: "a whole number", bool: "true or false", str: "text", float: "a number"}
    if hint not in kinds:
        raise TypeError(f"{where} is annotated {hint!r}; a config holds dataclasses, numbers, text, booleans, None, literals and sequences of them")
    raise InputError(f"{where}: {_show(value)} is not {kinds[hint]}: give one")


def _either(hints: Sequence[Any], value: object, where: str, complete: bool) -> Any:
    """The first alternative that fits; if none does, the error of the last one, or for a mapping that of a dataclass."""
    if value is None and type(None) in hints:
        return None
    rest = [hint for hint in hints if hint is not type(None)]
    *others, last = sorted(rest, key=dataclasses.is_dataclass) if isinstance(value, Mapping) else rest
    for hint in others:
        try:
            return _value(hint, value, where, complete)
        except InputError:
            continue
    return _value(last, value, where, complete)


def _choice(choices: Sequence[Any], value: object, where: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    for choice in choices:
        # if the old value is a text, the command line reads 3 and true as texts too
        if type(choice) in (int, bool) and value in (str(choice), as_yaml(choice)):
            return choice
    raise InputError(f"{where}: {_show(value)} is not a choice: {suggest(str(value), map(as_yaml, choices))}")


def as_yaml(choice: object) -> str:
    """A choice as a configuration file writes it: true, false, or its text."""
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _sequence(kind: type, hints: Sequence[Any], value: object, where: str, complete: bool) -> Any:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: {_show(value)} is not a list: write it as [a, b]")
    endless = kind is list or (len(hints) == 2 and hints[1] is Ellipsis)
    parts = [hints[0]] * len(value) if endless else list(hints)
    if len(parts) != len(value):
        raise InputError(f"{where}: {_show(value)} has {len(value)} entries: give {len(parts)}")
    return kind(_value(hint, part, f"{where}[{i}]", complete) for i, (hint, part) in enumerate(zip(parts, value, strict=True)))
