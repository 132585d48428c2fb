"""Turns the signature of a function into a command line.

Positional parameters are arguments (``*run`` takes one or more), keyword-only parameters are options. ``Annotated[type, help, least]`` holds the help
text, or a function that makes it, and if wanted the smallest number allowed. A parameter of type ``Mapping[str, str]`` receives every option that the
command does not know.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from memogen.configs import SHORT, nearest
from memogen.errors import InputError

Others = Mapping[str, str]
_NEGATIVE = re.compile(r"-\.?\d")


def call(name: str, function: Callable[..., object], words: list[str]) -> int:
    """Parse the words for ``function`` and run it; a returned integer is the exit code."""
    parser, names = build(name, function)
    own, others = split(words, names)
    if "-h" in own or "--help" in own:
        print(build(name, function, explained=True)[0].format_help())
        return 0
    extra = next((key for key, hint in get_type_hints(function).items() if hint == Others), "")
    for unknown in others:
        if not extra:
            raise InputError(f"{name}: no option --{unknown}{nearest(unknown, names)}; memogen {name} --help lists them")
        meant = difflib.get_close_matches(f"--{unknown}", [*names, "--help"], n=1, cutoff=0.75)
        if meant and "." not in unknown and unknown.replace("-", "_") not in SHORT:  # a misspelt option of the command, not of the configuration
            raise InputError(f"{name}: no option --{unknown} (did you mean '{meant[0]}'?); memogen {name} --help lists them")
    for before, word in zip(["", *own], own, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):  # an empty path would mean the current folder
            what = word.rstrip("=") or (before if before.startswith("--") else "an argument")
            raise InputError(f"{name}: {what}: is empty; give a value, or leave it out")
    parser.taken = [f"{word} {after}" for word, after in pairwise(words) if others.get(word[2:]) == after]
    values = vars(parser.parse_args(own))
    arguments: list[object] = []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            arguments.append(values.pop(key))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            arguments += values.pop(key)
    result = function(*arguments, **values, **({extra: others} if extra else {}))
    return result if isinstance(result, int) else 0


def build(name: str, function: Callable[..., object], *, explained: bool = False) -> tuple[_Parser, dict[str, Any]]:
    """The parser of a function, and its options with their types. ``explained`` also makes the help texts that are functions."""
    parser = _Parser(prog=f"memogen {name}", description=inspect.getdoc(function), allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    hints = get_type_hints(function, include_extras=True)
    names: dict[str, Any] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        kind, text, *least = get_args(hints[key]) if get_origin(hints[key]) is Annotated else (hints[key], "")
        if kind == Others:
            continue
        if callable(text):
            text = text() if explained else "told by --help"
        inner = next((part for part in get_args(kind) if part is not NoneType), kind) if NoneType in get_args(kind) else kind
        about: dict[str, Any] = {"type": partial(_value, inner, least[0] if least else None), "help": text}
        if parameter.kind is not parameter.KEYWORD_ONLY:
            if parameter.kind is parameter.VAR_POSITIONAL:
                about["nargs"] = "+"
            elif parameter.default is not parameter.empty:
                about |= {"nargs": "?", "default": parameter.default}
            parser.add_argument(key, metavar=key.upper(), **about)
            continue
        option = f"--{key.rstrip('_').replace('_', '-')}"
        names[option] = kind
        if kind is bool:
            parser.add_argument(option, dest=key, action="store_true", help=text)
            continue
        if parameter.default is parameter.empty:
            about["required"] = True
        else:
            about["default"] = parameter.default
            if parameter.default not in (None, "") and text != argparse.SUPPRESS:
                about["help"] = f"{text} (default: {parameter.default})"
        if get_origin(inner) is Literal:
            about["metavar"] = f"{{{','.join(get_args(inner))}}}"
        parser.add_argument(option, dest=key, **about)
    return parser, names


def split(words: Sequence[str], names: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """A command's own words, and every option that is not in ``names`` as name -> value ("true" if no value follows).

    ``names`` are the command's options with their types. ``--start_tasks`` is read as ``--start-tasks``. InputError for an option with two values.
    """
    own: list[str] = []
    others: dict[str, str] = {}
    given: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*own, word, *rest], others
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        if not word.startswith("--"):
            own.append(word)
        elif dashed == "--help" or names.get(dashed) is bool:
            own.append(f"{dashed}{equals}{value}")
        elif dashed in names:
            if not equals and rest and _NEGATIVE.match(rest[0]):  # argparse takes -1,2 for an option
                equals, value = "=", rest.pop(0)
            taken = [f"{dashed}{equals}{value}"] if equals or not rest else [dashed, rest.pop(0)]
            if given.setdefault(dashed, taken) != taken:
                raise InputError(f"{' '.join(taken)}: {' '.join(given[dashed])} is given too; give it once")
            own += taken
        else:
            takes_next = not equals and bool(rest) and not rest[0].startswith("--")
            value = rest.pop(0) if takes_next else (value if equals else "true")
            if others.setdefault(name[2:], value) != value:
                raise InputError(f"{name} {value}: {name} {others[name[2:]]} is given too; give it once")
    return own, others


def _value(kind: Any, least: float | None, word: str) -> Any:
    """What a word means as a value of the type ``kind``. Raises ArgumentTypeError."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if word not in choices:
            raise argparse.ArgumentTypeError(f"no '{word}'{nearest(word, choices)}; choose {', '.join(choices[:-1])} or {choices[-1]}")
        return word
    if kind not in (int, float):
        return kind(word)
    try:
        number = kind(word)
        finite = math.isfinite(number)
    except (ValueError, OverflowError):
        finite = False
    if not finite:
        raise argparse.ArgumentTypeError(f"not a {'whole' if kind is int else 'finite'} number: got {word}")
    if least is not None and number < least:
        raise argparse.ArgumentTypeError(f"{word}: too small; give {least} or more")
    return number


class _Parser(argparse.ArgumentParser):
    """``taken``: options of the configuration, each with the word after it, which was taken for its value."""

    taken: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raise what argparse complains of as an InputError of one line."""
        _, missing, keys = message.partition("arguments are required: ")
        needed = "needs a value; one that begins with a dash is written behind =, as in --option=-x"
        told = f"{keys}: missing" if missing else message.removeprefix("argument ").replace("expected one argument", needed)
        if missing and self.taken:
            told += f"; the word after an option is its value ({', '.join(self.taken)}): write =true behind one that has none"
        if "ignored explicit argument" in told:
            told = told.partition(":")[0] + ": takes no value; write it alone"
        if told.startswith("unrecognized arguments: "):
            told = told.removeprefix("unrecognized arguments: ") + ": is one argument too many"
        name = self.prog.removeprefix("memogen ")
        raise InputError(f"{name}: {' '.join(told.split())}; see memogen {name} --help")
