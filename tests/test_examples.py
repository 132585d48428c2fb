"""The examples run, and do what they say."""

from __future__ import annotations

from examples.memory_in_your_gan import look, train


def test_memory_in_your_gan_reaches_most_modes() -> None:
    """Eight Gaussians on a circle: an untrained generator reaches few of them, and far off. Of the memory's, seven or eight are found, by seed and
    by how a processor rounds.
    """
    before, few = look(*train(steps=1))
    after, reached = look(*train(steps=1000))
    assert after < 0.5 * before
    assert sum(count >= 5 for count in reached) >= 6 > sum(count >= 5 for count in few)
