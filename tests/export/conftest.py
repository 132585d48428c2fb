"""Models are exported as users export them: without the checks of shapes that the tests add to every call, and without a log of each step."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture(autouse=True, scope="package")
def plain() -> Iterator[None]:
    logger = logging.getLogger("torch.__trace")
    before = logger.level, logger.propagate
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        logger.setLevel(before[0])
        logger.propagate = before[1]
