"""Published sets of a few images: what is known of the true ones is put aside."""

from __future__ import annotations

import pytest

from memogen.data import published

KNOWN = {"COUNTS": published.COUNTS, "DIGESTS": published.DIGESTS}


@pytest.fixture(autouse=True)
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KNOWN:
        monkeypatch.setattr(published, name, {})


@pytest.fixture
def true_sets(small_sets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sets have their own numbers and digests again."""
    for name, known in KNOWN.items():
        monkeypatch.setattr(published, name, known)
