"""A function's signature is its command line: positional parameters are arguments, keyword-only ones options, ``Annotated`` texts, or
functions that make them, the help.

A parameter such as ``*run`` takes one argument or more.

A parameter annotated as ``Mapping[str, str]`` receives every option that the command itself does not know.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from memogen.cli.options import UsageError, split
from memogen.overrides import SHORT, nearest

Others = Mapping[str, str]


def call(name: str, function: Callable[..., object], words: list[str]) -> int:
    """Parse the words for ``function`` and run it; a returned integer is the exit code."""
    parser, names = build(name, function)
    flags = {option for option, kind in names.items() if kind is bool} | {"--help"}
    own, others = split(words, names, flags)
    extra = next((key for key, hint in get_type_hints(function).items() if hint == Others), "")
    if "-h" in own or "--help" in own:
        print(build(name, function, explained=True)[0].format_help())
        return 0
    for unknown in others if extra else ():  # a misspelt option of the command itself is none of the configuration's
        meant = difflib.get_close_matches(f"--{unknown}", [*names, "--help"], n=1, cutoff=0.75)
        if meant and "." not in unknown and unknown.replace("-", "_") not in SHORT:
            raise UsageError(f"{name}: no option --{unknown} (did you mean '{meant[0]}'?); memogen {name} --help lists them")
    if others and not extra:
        unknown = next(iter(others))
        raise UsageError(f"{name}: no option --{unknown}{nearest(unknown, names)}; memogen {name} --help lists them")
    _refuse_empty(name, own)
    try:
        values = dict(parser.parse_args(own))
    except argparse.ArgumentError as error:
        raise UsageError(f"{name}: {_plain(str(error), names)}; see memogen {name} --help") from error
    _refuse_small(name, function, values)
    arguments = [argument for key, several in _positional(function).items() for argument in (values.pop(key) if several else [values.pop(key)])]
    result = function(*arguments, **values, **({extra: others} if extra else {}))
    return result if isinstance(result, int) else 0


def build(name: str, function: Callable[..., object], *, explained: bool = False) -> tuple[ArgumentParser, dict[str, Any]]:
    """The parser of a function, and its options with their types; ``explained`` with the help texts that take a function to make."""
    parser = ArgumentParser(prog=f"memogen {name}", description=inspect.getdoc(function), allow_abbrev=False, exit_on_error=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    hints = get_type_hints(function, include_extras=True)
    names: dict[str, Any] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        kind, text = _unwrap(hints[key], explained)
        if kind == Others:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            parser.add_argument(key, type=kind, metavar=key.upper(), help=text, nargs="+")
            continue
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            _add_argument(parser, key, kind, parameter.default, text)
            continue
        options = sorted({f"--{key.rstrip('_')}", f"--{key.rstrip('_').replace('_', '-')}"})
        names.update(dict.fromkeys(options, kind))
        _add_option(parser, key, options, kind, parameter.default, text)
    return parser, names


def _add_argument(parser: ArgumentParser, key: str, kind: Any, default: object, text: str) -> None:
    if default is inspect.Parameter.empty:
        parser.add_argument(key, type=kind, metavar=key.upper(), help=text)
    else:
        parser.add_argument(key, type=kind, metavar=key.upper(), help=text, nargs="?", default=default)


def _add_option(parser: ArgumentParser, key: str, options: list[str], kind: Any, default: object, text: str) -> None:
    if kind is bool:
        parser.add_argument(*options, dest=key, action="store_true", help=text)
    elif default is inspect.Parameter.empty:
        parser.add_argument(*options, dest=key, type=kind, required=True, help=text)
    else:
        parser.add_argument(*options, dest=key, type=kind, default=default, help=text if default in (None, "") else f"{text} (default: {default})")


def _unwrap(hint: Any, explained: bool) -> tuple[Any, str]:
    """The type, and the help; one that a function makes is made where somebody reads it."""
    if get_origin(hint) is Annotated:
        kind, text = get_args(hint)[:2]
        return kind, str(text) if not callable(text) else str(text()) if explained else "told by --help"
    return hint, ""


def _refuse_empty(name: str, words: list[str]) -> None:
    """An empty word, which as a path would mean the current folder."""
    for before, word in zip(["", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            what = word.rstrip("=") or (before if before.startswith("--") else "an argument")
            raise UsageError(f"{name}: {what}: is empty; give a value, or leave it out")


def _refuse_small(name: str, function: Callable[..., object], values: Mapping[str, Any]) -> None:
    """A number below the smallest that its annotation allows, as in ``Annotated[int, "number of images", 1]``."""
    for key, hint in get_type_hints(function, include_extras=True).items():
        least = get_args(hint)[2] if get_origin(hint) is Annotated and len(get_args(hint)) == 3 else None
        if least is not None and values[key] is not None and values[key] < least:
            raise UsageError(f"{name}: --{key.replace('_', '-')} {values[key]}: too small; give {least} or more")


def _positional(function: Callable[..., object]) -> dict[str, bool]:
    """The arguments, and whether one takes several words."""
    kinds = {key: value.kind for key, value in inspect.signature(function).parameters.items()}
    return {key: kind is kind.VAR_POSITIONAL for key, kind in kinds.items() if kind in (kind.POSITIONAL_OR_KEYWORD, kind.VAR_POSITIONAL)}


def _choices(found: re.Match[str]) -> str:
    """A value that is none of the choices."""
    choices = re.findall(r"'([^']*)'", found[1])
    return f"no '{found[2]}'{nearest(found[2], choices)}; choose {', '.join(choices[:-1])} or {choices[-1]}"


def _plain(message: str, names: Collection[str] = ()) -> str:
    """A parser's message in one plain line; ``names`` are the options of the command."""
    _, missing, keys = message.partition("arguments are required: ")
    if missing:
        return f"{', '.join(f'--{key}' if f'--{key}' in names else key.upper() for key in keys.split(', '))}: missing"
    message = re.sub(r'Parser key "(\w+?)_?":', r"--\1:", " ".join(message.split()))
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message)
    message = re.sub(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", _choices, message)
    union = r"Does not validate against any of the Union subtypes Subtypes: \[(\w+), NoneType\].*Given value: (\S+)"
    message = re.sub(union, lambda found: f"{'not a whole' if found[1] == 'int' else 'not a finite'} number: got {found[2]}", message)
    message = message.replace("Expected a float.", "not a finite number:")
    return message.replace("Expected a int.", "not a whole number:").replace("Expected a ", "expected ").replace(" Got value:", " got").rstrip(".")
