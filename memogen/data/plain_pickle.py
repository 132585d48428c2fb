"""Reads pickles that hold NumPy arrays and plain containers, without the pickle machine.

A pickle is a program; the standard machine imports and calls whatever the program names. This one knows the few instructions that the Python
version of CIFAR-10 and NumPy's own arrays need. A name is a mere word from a fixed list, and nothing that the file names is called.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from memogen.types import InputError

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_VALUES = frozenset([*_NUMBERS, *_TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"])
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_IGNORED = frozenset(["PROTO", "FRAME", "STOP"])
_NAMES = {
    **{f"numpy.{core}.multiarray _reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": "buffer" for core in ("core", "_core")},
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
_DTYPES = frozenset(["b1"] + [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)] + ["f2", "f4", "f8"])


@dataclass(frozen=True)
class _Name:
    """A name that the file mentions, as a word."""

    word: str


@dataclass
class _Dtype:
    code: str
    order: str = "="


@dataclass
class _Array:
    value: np.ndarray | None = None


def loads(blob: bytes, *, where: str) -> Any:
    """The pickled object; arrays are found as values of a dict, in a list or alone. InputError for anything beyond arrays and plain containers."""
    try:
        result = _Machine().run(blob, where)
    except InputError:
        raise
    except Exception as error:  # a damaged program fails in as many ways as there are instructions
        raise InputError(f"pickle: {where}: damaged ({type(error).__name__}): fetch the file again") from error
    if isinstance(result, dict):
        return {key: _value(item) for key, item in result.items()}
    return [_value(item) for item in result] if isinstance(result, list) else _value(result)


def _value(item: Any) -> Any:
    return item.value if isinstance(item, _Array) else item


class _Machine:
    """The stack, its marks and the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, blob: bytes, where: str) -> Any:
        """The object on top of the stack after the last instruction."""
        for opcode, argument, _ in pickletools.genops(blob):
            if opcode.name in _VALUES:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name not in _IGNORED:
                self._step(opcode.name, argument, where)
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items, self.stack = self.stack[start:], self.stack[:start]
        return items

    def _step(self, name: str, argument: Any, where: str) -> None:
        stack = self.stack
        match name:
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_LIST" | "EMPTY_DICT":
                stack.append([] if name == "EMPTY_LIST" else {})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE" | "LIST" | "DICT":
                items = self._since_mark()
                self.stack.append(tuple(items) if name == "TUPLE" else items if name == "LIST" else dict(_pairs(items)))
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self._since_mark()
                _expect(self.stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._since_mark()
                _expect(self.stack[-1], dict).update(_pairs(items))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL" | "STACK_GLOBAL":
                words = argument if name == "GLOBAL" else " ".join([stack.pop(), stack.pop()][::-1])
                if words not in _NAMES:
                    raise InputError(
                        f"pickle: {where}: asks for {words.replace(' ', '.')!r}, which is neither an array nor a plain container: do not trust it"
                    )
                stack.append(_Name(_NAMES[words]))
            case "REDUCE":
                arguments, function = stack.pop(), _expect(stack.pop(), _Name)
                stack.append(_made(function.word, arguments))
            case "BUILD":
                state = stack.pop()
                _complete(stack[-1], state)
            case _:
                raise InputError(f"pickle: {where}: holds the instruction {name}, which arrays and plain containers do not need: do not trust it")


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _expect(item: Any, kind: type) -> Any:
    if not isinstance(item, kind):
        raise TypeError(f"{type(item).__name__} where a {kind.__name__} belongs")
    return item


def _made(word: str, arguments: tuple[Any, ...]) -> Any:
    """The result that a call of the named thing would have."""
    match word:
        case "array":
            return _Array()
        case "dtype":
            return _Dtype(_text(arguments[0]))
        case "encode":
            return _bytes(arguments[0])
        case "buffer":
            raw, dtype, shape, order = arguments
            return _Array(_array(shape, dtype, order == "F", raw))
    raise TypeError(f"{word} is not called in an array's pickle")


def _complete(item: Any, state: tuple[Any, ...]) -> None:
    """An empty array or dtype gets its content."""
    if isinstance(item, _Dtype):
        item.order = _text(state[1])
    else:
        _, shape, dtype, column_major, raw = state
        _expect(item, _Array).value = _array(shape, dtype, column_major, raw)


def _array(shape: tuple[int, ...], dtype: _Dtype, column_major: bool, raw: str | bytes | bytearray) -> np.ndarray:
    if dtype.code not in _DTYPES or dtype.order not in ("=", "|", "<", ">"):
        raise TypeError(f"arrays of type {dtype.order}{dtype.code}")
    flat = np.frombuffer(_bytes(raw), np.dtype(dtype.order + dtype.code))
    if math.prod(shape) != flat.size:
        raise ValueError("the shape and the bytes disagree")
    return flat.reshape(shape, order="F" if column_major else "C")


def _bytes(raw: str | bytes | bytearray) -> bytes:
    """Python 2 strings arrive as latin-1 text."""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)


def _text(raw: str | bytes) -> str:
    return raw.decode("ascii") if isinstance(raw, bytes) else str(raw)
