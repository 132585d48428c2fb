"""The examples run, and do what they say."""

from __future__ import annotations

from examples.memory_in_your_gan import look, train


def test_memory_in_your_gan_reaches_every_mode() -> None:
    """Eight Gaussians on a circle: an untrained generator reaches few of them, and far off; with the memory as head and prior all are found."""
    before, _ = look(*train(steps=1))
    after, reached = look(*train(steps=2000))
    assert after < 0.5 * before
    assert min(reached) >= 5
