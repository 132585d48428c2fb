"""``python docs/configuration.py`` writes docs/reference/configuration.md: every option of a configuration, from its dataclass."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from memogen.configs import as_yaml
from memogen.models import FAMILIES
from memogen.recipes import DataConfig, ScoringConfig
from memogen.training import SuccessionConfig, TrainingConfig

PAGE = Path(__file__).parent / "reference" / "configuration.md"
HEAD = """# Configuration

The options of `config.yaml`. Each has the same name in Python, in YAML and on the command line (`--training.steps 2000`).
A recipe sets its own values; `memogen train RECIPE --dry-run` prints them.
The defaults below are those of the dataclasses. `python docs/configuration.py` writes this page.
"""


def page() -> str:
    """The whole page as Markdown."""
    shown: dict[type, str] = {}
    parts = [HEAD, "## Every family\n"]
    for name, config in (("training", TrainingConfig), ("data", DataConfig), ("scoring", ScoringConfig), ("succession", SuccessionConfig)):
        parts += sections(name, config, shown)
    for name, family in FAMILIES.items():
        parts += [f"## {name}\n", *sections("model", family.config, shown), *sections("objective", family.objective, shown)]
    return "\n".join(parts)


def sections(path: str, config: type, shown: dict[type, str]) -> Iterator[str]:
    """A dataclass's options, then those of the dataclasses within it that no earlier section shows."""
    shown[config] = path
    hints, nested = get_type_hints(config), []
    rows = ["| option | value | default |", "|---|---|---|"]
    for field in dataclasses.fields(config):
        inner = [kind for kind in _alternatives(hints[field.name]) if dataclasses.is_dataclass(kind)]
        nested += [(f"{path}.{field.name}", kind) for kind in inner if kind not in shown and kind not in [kind for _, kind in nested]]
        rows.append(f"| `{path}.{field.name}` | {_value(hints[field.name])} | {_default(field)}{_elsewhere(inner, shown)} |")
    yield f"### {path}: {config.__name__}\n\n{_prose(config)}\n\n" + "\n".join(rows) + "\n"
    for name, kind in nested:
        yield from sections(name, kind, shown)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _elsewhere(inner: list[type], shown: dict[type, str]) -> str:
    """Where the options of a dataclass stand that an earlier section shows."""
    return "".join(f"; options as `{shown[kind]}`" for kind in inner if kind in shown)


def _value(hint: Any) -> str:
    """What may be given, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_value(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return ", ".join(f"`{as_yaml(choice)}`" for choice in get_args(hint))
    if get_origin(hint) is tuple:
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return (
            f"list of {_value(inner[0])}"
            if Ellipsis in get_args(hint)
            else f"{len(inner)} values: {', '.join(sorted({_value(part) for part in inner}))}"
        )
    words = {int: "whole number", float: "number", bool: "true, false", str: "text", types.NoneType: "null"}
    return words.get(hint) or f"`{hint.__name__}`"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return ", ".join(_changed(value)) or "its defaults"
    shown = {None: "null", True: "true", False: "false"}.get(value, value) if isinstance(value, bool | None) else value
    return f"`{list(shown) if isinstance(shown, tuple) else shown}`" if shown != "" else ""


def _changed(value: Any) -> Iterator[str]:
    """The options of a dataclass instance that differ from their defaults."""
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        usual = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if own != usual:
            told = ", ".join(_changed(own)) if dataclasses.is_dataclass(own) else f"`{list(own) if isinstance(own, tuple) else own}`"
            yield f"`{field.name}` {told}"


def _prose(config: type) -> str:
    """The docstring in Markdown."""
    text = inspect.cleandoc(config.__doc__ or "")
    text = re.sub(r":\w+:`[~.]?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"^# departs: ", "", text, flags=re.M)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
