"""The checker of shapes and types in signatures: beartype, which leaves alone what it cannot check (``Self``, protocols)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def check(target: Callable[..., Any]) -> Callable[..., Any]:
    """``target`` with its arguments and result checked at each call."""
    try:
        return _checked(target)
    except BeartypeDecorHintException:
        return target
