"""Shared settings of the tests: shapes in signatures are checked by beartype, hypothesis is deterministic and has no deadline."""

from __future__ import annotations

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("memogen", "beartype.beartype")

settings.register_profile("memogen", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("memogen")
