"""Dataclasses to mappings and back: round trips, and refusals that name the dotted path."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memogen.configs import LATER, from_dict, suggest, to_dict
from memogen.training import TrainingConfig
from memogen.types import InputError, OptimiserConfig


@dataclass(frozen=True)
class Inner:
    num_slots: int = 4
    mode: Literal["paper", "robust"] = "robust"
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.num_slots < 1:
            raise ValueError(f"num_slots is {self.num_slots}; it must be positive")


@dataclass(frozen=True)
class Outer:
    shape: tuple[int, int, int]
    memory: Inner | None = field(default_factory=Inner)
    widths: tuple[int, ...] = (1, 2)
    flag: bool = False
    name: str = "x"
    width: int | Literal["auto"] = "auto"
    stages: tuple[Inner, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picky:
    channels: Literal["auto", 1, 3]

    def __post_init__(self) -> None:
        if self.channels == 1:
            raise InputError("channels: 1: give another")


CONFIGS = st.builds(
    Outer,
    shape=st.tuples(st.integers(), st.integers(), st.integers()),
    memory=st.none() | st.builds(Inner, num_slots=st.integers(1), mode=st.sampled_from(["paper", "robust"]), rate=st.floats(allow_nan=False)),
    widths=st.lists(st.integers()).map(tuple),
    flag=st.booleans(),
    name=st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    width=st.integers() | st.just("auto"),
    stages=st.lists(st.builds(Inner), max_size=2).map(tuple),
    rates=st.dictionaries(st.sampled_from("ab"), st.floats(allow_nan=False)),
    rest=st.dictionaries(st.sampled_from("ab"), st.none() | st.integers() | st.lists(st.booleans())),
)


@given(config=CONFIGS)
def test_round_trip_through_json_and_yaml(config: Outer) -> None:
    plain = to_dict(config)
    assert from_dict(Outer, json.loads(json.dumps(plain, allow_nan=False))) == config
    assert from_dict(Outer, yaml.safe_load(yaml.safe_dump(plain))) == config


def test_round_trip_of_a_real_config() -> None:
    config = OptimiserConfig(betas=(0.0, 0.9), schedule="linear")
    assert from_dict(OptimiserConfig, to_dict(config)) == config


@pytest.mark.parametrize("name", ["learning_rate", "eps", "weight_decay", "clip_norm"])
@pytest.mark.parametrize("value", ["nan", ".inf", "inf", -1.0])
def test_an_optimiser_takes_finite_numbers_only(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        from_dict(OptimiserConfig, {name: value}, where="objective.critic", complete=False)


GOOD = to_dict(Outer(shape=(1, 2, 3)))


def changed(path: str, value: object) -> dict[str, object]:
    plain = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    target = plain
    for name in parents:
        target = target[name]
    target[last] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("memory.num_slot", 3, r"^memory\.num_slot: .*did you mean 'num_slots'"),
        ("memory.num_slots", 3.0, r"^memory\.num_slots: .*whole number"),
        ("memory.num_slots", True, r"^memory\.num_slots: .*whole number"),
        ("memory.num_slots", 0, r"^memory: num_slots is 0"),
        ("memory.mode", "papr", r"^memory\.mode: .*did you mean 'paper'"),
        ("memory.rate", "fast", r"^memory\.rate: .*not a number"),
        ("memory.rate", True, r"^memory\.rate: .*not a number"),
        ("memory", 3, r"^memory: 3 is not a mapping"),
        ("shape", [1, 2], r"^shape: .*give 3"),
        ("shape", [1, 2, "3"], r"^shape\[2\]: .*whole number"),
        ("shape", 28, r"^shape: .*not a list"),
        ("flag", 1, r"^flag: .*true or false"),
        ("name", None, r"^name: .*text"),
        ("width", "autp", r"^width: .*did you mean 'auto'"),
        ("stages", [{}], r"^stages\[0\]\.num_slots: missing"),
        ("rates", {"a": "x"}, r"^rates\.a: .*not a number"),
        ("rates", [1.0], r"^rates: .*not a mapping"),
        ("colour", 1, r"^colour: unknown option"),
    ],
)
def test_wrong_values_are_refused_by_their_path(path: str, value: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        from_dict(Outer, changed(path, value))
    assert "\n" not in str(caught.value)


def test_where_is_put_before_every_path() -> None:
    with pytest.raises(InputError, match=r"^model\.memory\.oops: "):
        from_dict(Outer, changed("memory.oops", 1), where="model")


def test_missing_options() -> None:
    partial = {"shape": [1, 2, 3], "memory": {"num_slots": 9}}
    assert from_dict(Outer, partial, complete=False) == Outer(shape=(1, 2, 3), memory=Inner(num_slots=9))
    with pytest.raises(InputError, match=r"missing"):
        from_dict(Outer, partial)
    for name in to_dict(Inner()):
        with pytest.raises(InputError, match=rf"^{name}: missing option"):
            from_dict(Inner, {other: value for other, value in to_dict(Inner()).items() if other != name})
    with pytest.raises(InputError, match=r"^shape: missing"):
        from_dict(Outer, {}, complete=False)


def test_numbers_as_yaml_and_json_write_them() -> None:
    assert yaml.safe_load("2e-4") == "2e-4"  # why text is read as a number
    assert from_dict(Inner, {"rate": "2e-4"}, complete=False).rate == 2e-4
    assert from_dict(Inner, {"rate": 1}, complete=False).rate == 1.0
    assert isinstance(from_dict(Inner, {"rate": 1}, complete=False).rate, float)
    assert to_dict(Inner(rate=math.inf))["rate"] == "inf"


def test_only_instances_of_dataclasses_are_turned_into_mappings() -> None:
    with pytest.raises(TypeError):
        to_dict(Inner)
    with pytest.raises(TypeError):
        to_dict({"a": 1})


def test_a_number_among_choices_may_be_written_as_text() -> None:
    assert from_dict(Picky, {"channels": "3"}) == Picky(3) == from_dict(Picky, {"channels": 3})
    with pytest.raises(InputError, match="choose from"):
        from_dict(Picky, {"channels": "2"})


def test_a_complaint_of_the_config_itself_gets_its_path_once() -> None:
    with pytest.raises(InputError, match=r"^data\.options: channels: 1"):
        from_dict(Picky, {"channels": 1}, where="data.options")
    with pytest.raises(InputError, match=r"^channels: 1"):
        from_dict(Picky, {"channels": 1})
    with pytest.raises(InputError, match=r"^training\.steps is 0"):
        from_dict(TrainingConfig, {"steps": 0}, where="training", complete=False)


def test_suggestions() -> None:
    assert suggest("pape", ["paper", "robust"]) == "did you mean 'paper'?"
    assert suggest("zzz", ["paper", "robust"]) == "choose from paper, robust"


def test_a_protocol_is_read_as_the_kind_that_is_named() -> None:
    @dataclass(frozen=True)
    class Loose:
        part: object

    assert from_dict(Loose, {"part": {"num_slots": 7}}, complete=False, kinds={"part": Inner}) == Loose(Inner(7))
    with pytest.raises(InputError, match=r"^part\.slots: unknown option"):
        from_dict(Loose, {"part": {"slots": 7}}, kinds={"part": Inner})


@dataclass(frozen=True)
class Grown:
    old: int = 1
    new: float | None = field(default=None, metadata=LATER)


def test_what_was_saved_before_an_option_was_there_is_read_and_stays_equal() -> None:
    assert from_dict(Grown, {"old": 2}) == Grown(2) and to_dict(Grown(2), whole=False) == {"old": 2}
    assert to_dict(Grown(2)) == {"old": 2, "new": None} and to_dict(Grown(2, 0.5), whole=False) == {"old": 2, "new": 0.5}
    with pytest.raises(InputError, match="old: missing option"):
        from_dict(Grown, {"new": 0.5})
