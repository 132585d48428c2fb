"""Shared settings of the tests: shapes in signatures are checked by beartype, hypothesis is deterministic and has no deadline."""

from __future__ import annotations

from hypothesis import settings
from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401  (the hook looks it up by name)

install_import_hook("memogen", "tests.shapes.check")

settings.register_profile("memogen", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("memogen")
