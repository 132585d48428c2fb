"""What is raised for input that cannot be used. Imports nothing but names, so that the command line knows it without torch."""

from __future__ import annotations

import re

from memogen.names import printable


class InputError(ValueError):
    """The user's input cannot be used: one printable line that says what, where and how to mend it. The command line answers with exit code 2."""

    def __str__(self) -> str:
        return printable(re.sub(r"\s*\n\s*", " ", super().__str__()))
