"""The metrics of a training, as it should be and as one wants it."""

from __future__ import annotations

from collections.abc import Callable

STEPS = 1000
Values = dict[str, float | None]
HEALTHY: Values = {
    "critic/query_gradient": 0.002,
    "critic/one_class": 0.0,
    "critic/replaced_real": 0.15,
    "critic/movement": 0.0005,
    "eval/held_out/images": 10_000.0,
    "eval/held_out/best_slots": 900.0,
    "eval/held_out/query_cosine": 0.1,
    "eval/held_out/key_cosine": 0.1,
}
NAMES = {
    "eval/held_out/best_slots": "distinct best slots of held-out images",
    "eval/held_out/key_cosine": "cosine of real keys",
    "eval/held_out/query_cosine": "cosine of held-out queries",
    "critic/query_gradient": "gradient that reaches a query",
    "critic/one_class": "queries that found one class",
    "critic/replaced_real": "real queries that overwrite",
    "critic/movement": "movement of a key",
}


def course(change: Callable[[float], Values] = lambda part: {}, *, every: int = 100) -> list[dict[str, object]]:
    """A line of the critic every 10 steps, one of the held-out images ``every`` so many; ``change`` of a place in (0, 1] says what is otherwise."""
    lines: list[dict[str, object]] = []
    for step in range(10, STEPS + 1, 10):
        now = HEALTHY | change(step / STEPS)
        lines.append({"step": step} | {key: value for key, value in now.items() if key.startswith("critic/")})
        if step % every == 0:
            lines.append({"step": step} | {key: value for key, value in now.items() if key.startswith("eval/")})
    return lines
