"""The toy counts as a family while these tests run, so that it can be saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from memogen.models import FAMILIES, Family
from tests.training.toy import ToyConfig


@pytest.fixture(scope="module", autouse=True)
def toy_family() -> Iterator[None]:
    with patch.dict(FAMILIES, toy=Family(ToyConfig, object)):
        yield
