"""The verdicts of the life signs over written metrics: a healthy course passes, and each way to die is seen by its own sign."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.life_signs import LifeSign, life_signs
from memogen.types import InputError
from tests.metrics.courses import HEALTHY, NAMES, Values, course


def dead(lines: list[dict[str, object]], real_slots: int = 2048) -> set[str]:
    return {sign.name for sign in life_signs(lines, real_slots=real_slots) if not sign.alive}


def named(lines: list[dict[str, object]], key: str, real_slots: int = 2048) -> LifeSign:
    return next(sign for sign in life_signs(lines, real_slots=real_slots) if sign.name == NAMES[key])


@pytest.mark.parametrize("every", [10, 100, 250])
def test_a_healthy_course_is_alive_by_all_signs(every: int) -> None:
    assert [sign.name for sign in life_signs(course(every=every), real_slots=2048)] == list(NAMES.values())
    assert dead(course(every=every)) == set()


DEATHS: dict[str, tuple[Callable[[float], Values], set[str]]] = {
    "constant queries": (lambda part: {"eval/held_out/query_cosine": 1.0, "eval/held_out/best_slots": 1.0}, {"query_cosine", "best_slots"}),
    "queries growing alike": (lambda part: {"eval/held_out/query_cosine": 0.3 * part}, {"query_cosine"}),
    "keys growing alike": (lambda part: {"eval/held_out/key_cosine": 0.3 * part}, {"key_cosine"}),
    "keys never written": (lambda part: {"eval/held_out/key_cosine": None}, {"key_cosine"}),
    "few slots reached": (lambda part: {"eval/held_out/best_slots": 511.0}, {"best_slots"}),
    "gradient fading": (lambda part: {"critic/query_gradient": 0.002 if part < 0.8 else 1e-6}, {"query_gradient"}),
    "gradient gone early": (lambda part: {"critic/query_gradient": 0.002 if part < 0.1 else 1e-6}, {"query_gradient"}),
    "never a gradient": (lambda part: {"critic/query_gradient": 0.0}, {"query_gradient"}),
    "gradient but for a spike": (lambda part: {"critic/query_gradient": 0.002 if part < 0.8 or part == 0.95 else 0.0}, {"query_gradient"}),
    "gradient no number": (lambda part: {"critic/query_gradient": None if part == 0.95 else 0.002}, {"query_gradient"}),
    "some queries find one class": (lambda part: {"critic/one_class": 0.01 if part == 0.95 else 0.0}, {"one_class"}),
    "more and more overwrite": (lambda part: {"critic/replaced_real": 0.2 * part}, {"replaced_real"}),
    "all overwrite": (lambda part: {"critic/replaced_real": 1.0}, {"replaced_real"}),
    "keys at rest": (lambda part: {"critic/movement": 1e-7}, {"movement"}),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_is_seen_by_its_own_signs(death: str) -> None:
    change, signs = DEATHS[death]
    assert dead(course(change)) == {name for key, name in NAMES.items() if key.rpartition("/")[2] in signs}


def test_a_memory_that_came_to_life_is_judged_by_its_end() -> None:
    """A bad first third does not count: the runs have their slow phases there."""
    bad = {"critic/one_class": 1.0, "critic/replaced_real": 1.0, "critic/movement": 0.0, "eval/held_out/query_cosine": 1.0}
    assert dead(course(lambda part: bad if part <= 0.3 else {})) == set()


@given(st.integers(2, 20_000), st.integers(1, 10_000))
def test_a_quarter_of_what_can_be_reached(real_slots: int, images: int) -> None:
    lines = course(lambda part: {"eval/held_out/images": float(images), "eval/held_out/best_slots": min(real_slots, images) / 4})
    assert named(lines, "eval/held_out/best_slots", real_slots).alive
    fewer = course(lambda part: {"eval/held_out/images": float(images), "eval/held_out/best_slots": min(real_slots, images) / 4 - 0.1})
    assert not named(fewer, "eval/held_out/best_slots", real_slots).alive


@given(st.lists(st.floats(0, 0.4), min_size=100, max_size=100))
def test_the_windows_are_the_middle_third_and_the_last_tenth(values: list[float]) -> None:
    sign = named(course(lambda part: {"critic/replaced_real": values[round(100 * part) - 1]}), "critic/replaced_real")
    assert sign.earlier == pytest.approx(sum(values[33:66]) / 33)
    assert sign.last == pytest.approx(sum(values[90:]) / 10)
    assert sign.limit == pytest.approx(min(0.5, sign.earlier + 0.05))


def test_a_rare_evaluation_is_judged_by_its_newest_value() -> None:
    lines = course(lambda part: {"eval/held_out/best_slots": 900.0 if part < 0.8 else 5.0}, every=400)
    sign = named(lines, "eval/held_out/best_slots")
    assert (sign.earlier, sign.last, sign.alive) == (900, 5, False)


@pytest.mark.parametrize("key", HEALTHY)
def test_a_missing_metric_is_named_in_one_line(key: str) -> None:
    lines = [{name: value for name, value in line.items() if name != key} for line in course()]
    with pytest.raises(InputError, match=key) as told:
        life_signs(lines, real_slots=8)
    assert "\n" not in str(told.value) and ("likelihood_every" in str(told.value)) == key.startswith("eval/")


def test_a_middle_without_an_evaluation_is_named() -> None:
    with pytest.raises(InputError, match=r"between the steps 333 and 667 .*likelihood_every") as told:
        life_signs(course(every=1000), real_slots=8)
    assert "eval/" not in str(told.value), "a user does not know the names of metrics"
    with pytest.raises(InputError, match="no line"):
        life_signs([], real_slots=8)


def test_lines_that_say_nothing_are_left_out() -> None:
    odd: list[dict[str, object]] = [{"critic/one_class": 1.0}, {"step": None, "critic/one_class": 1.0}, {"step": 0, "critic/one_class": 1.0}]
    assert life_signs(course() + odd, real_slots=2048) == life_signs(course(), real_slots=2048)
    unknown = named(course(lambda part: {"critic/replaced_real": None if part < 0.5 else 0.2}), "critic/replaced_real")
    assert math.isnan(unknown.earlier) and unknown.limit == 0.5 and unknown.alive
