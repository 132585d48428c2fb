"""The error for input that cannot be used. Needs no torch, so that the command line can import it."""

from __future__ import annotations

import re


class InputError(ValueError):
    """The user's input cannot be used: one printable line that says what, where and how to mend it. The command line answers with exit code 2."""

    def __str__(self) -> str:
        return printable(re.sub(r"\s*\n\s*", " ", super().__str__()))


def printable(text: str) -> str:
    r"""The text with everything but visible characters and spaces escaped: ``\n``, ``\x1b``, ``\u202e``, and ``\xff`` for a byte that is not UTF-8.

    The result is one line of valid Unicode without control characters, so it can be printed, encoded and stored.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable():
        return letter
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte of a file name that it cannot decode
        return f"\\x{code - 0xDC00:02x}"
    return repr(letter)[1:-1] if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"
