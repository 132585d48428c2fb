"""Frozen dataclasses to plain mappings and back, strictly: what config.json, a run's config.yaml and a checkpoint's fingerprint share.

``to_dict`` gives only dicts, lists, strings, numbers, booleans and None. ``from_dict`` refuses an unknown key, a missing key and a value of
the wrong kind, by its dotted path.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from memogen.types import InputError

Config = TypeVar("Config")
LATER = types.MappingProxyType({"later": True})
"""Metadata of a field that was added after configurations had been saved: one without it is read as the default, which changes nothing."""


def to_dict(config: object, *, whole: bool = True) -> dict[str, Any]:
    """A dataclass instance as a mapping that JSON and YAML can hold; tuples become lists, nested dataclasses mappings.

    ``whole`` False leaves out every :data:`LATER` field that is off, so that what was saved before there was one stays equal.
    """
    if isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise TypeError(f"{config!r} is not a dataclass instance")
    fields = [field for field in dataclasses.fields(config) if field.init]
    said = [field for field in fields if whole or not field.metadata.get("later") or getattr(config, field.name) != field.default]
    return {field.name: _plain(getattr(config, field.name), whole) for field in said}


def from_dict(cls: type[Config], mapping: object, *, where: str = "", complete: bool = True, kinds: Mapping[str, type] | None = None) -> Config:
    """The inverse of :func:`to_dict`.

    ``where`` is the dotted path of the mapping itself, for messages. A ``complete`` mapping has every key but :data:`LATER` ones; ``complete``
    False lets all keys with a default be left out. ``kinds`` names the dataclasses of fields that are annotated with a protocol. Raises InputError.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where or cls.__name__}: {_show(mapping)} is not a mapping: write its options as keys and values")
    expected, added = _fields(cls), {field.name for field in dataclasses.fields(cls) if field.metadata.get("later")}  # type: ignore[arg-type]
    for key in mapping:
        if key not in expected:
            raise InputError(f"{_join(where, key)}: unknown option: {suggest(str(key), expected)}")
    for name, required in expected.items():
        if name not in mapping and (required or (complete and name not in added)):
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


def _fields(cls: type) -> dict[str, bool]:
    """Names of the constructor's fields, each with whether it has no default."""
    return {
        field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
        if field.init
    }


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
    """``value`` as the annotation ``hint`` asks, or InputError."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _either(get_args(hint), value, where, complete)
    if origin is Literal:
        return _choice(get_args(hint), value, where)
    if origin in (tuple, list):
        return _sequence(origin, get_args(hint), value, where, complete)
    if origin in (dict, Mapping):
        return _mapping(get_args(hint), value, where, complete)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return from_dict(hint, value, where=where, complete=complete)
    return _scalar(hint, value, where)


def _either(hints: Sequence[Any], value: object, where: str, complete: bool) -> Any:
    """The first alternative that fits; where none does, the complaint of the last, or of a dataclass about a mapping."""
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
        if type(choice) is int and value == str(choice):  # a command line that saw a text before cannot know that 3 is meant as a number
            return choice
    raise InputError(f"{where}: {_show(value)} is not a choice: {suggest(str(value), map(str, choices))}")


def _sequence(kind: type, hints: Sequence[Any], value: object, where: str, complete: bool) -> Any:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: {_show(value)} is not a list: write it as [a, b]")
    endless = kind is list or (len(hints) == 2 and hints[1] is Ellipsis)
    parts = [hints[0]] * len(value) if endless else list(hints)
    if len(parts) != len(value):
        raise InputError(f"{where}: {_show(value)} has {len(value)} entries: give {len(parts)}")
    return kind(_value(hint, part, f"{where}[{i}]", complete) for i, (hint, part) in enumerate(zip(parts, value, strict=True)))


def _mapping(hints: Sequence[Any], value: object, where: str, complete: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {_show(value)} is not a mapping: write it as keys and values")
    return {str(key): _value(hints[1], part, _join(where, key), complete) for key, part in value.items()}


def _scalar(hint: Any, value: object, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float:
        return _number(value, where)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    if hint in (int, bool, str):
        kind = {int: "a whole number", bool: "true or false", str: "text"}[hint]
        raise InputError(f"{where}: {_show(value)} is not {kind}: give one")
    raise TypeError(f"{where} is annotated {hint!r}; a config holds dataclasses, numbers, text, booleans, None, literals and sequences of them")


def _number(value: object, where: str) -> float:
    """A float; text is read as a number because YAML takes 2e-4 for text."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{where}: {_show(value)} is not a number: give one")
