"""Names that come from outside, made fit to be shown."""

from __future__ import annotations


def printable(name: str) -> str:
    r"""The name with all but visible characters and spaces escaped: ``\n``, ``\x1b``, ``\u202e``, and ``\xff`` for a byte that is no UTF-8.

    The result is one line of valid Unicode without control characters, so it can be printed, encoded and kept in a file.
    """
    return name if name.isprintable() else "".join(letter if letter.isprintable() else _escaped(letter) for letter in name)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte of a file name that it cannot decode
        return f"\\x{code - 0xDC00:02x}"
    return repr(letter)[1:-1] if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"
