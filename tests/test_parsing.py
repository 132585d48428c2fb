"""Whatever a text holds, it becomes plain values or one ValueError, quickly."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memogen.cli import main
from memogen.parsing import MAX_BYTES, MAX_DEPTH, parse_json, parse_yaml, read_lines

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 64))
"""64 lines that stand for 2^64 values."""
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_what_was_written_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    "text",
    [BOMB, "[" * 100_000, "- " * 100_000, "{a: " * 5000, "!!timestamp 9", "!!float ''", "!!python/object:os.system x", "a: [", "{[a]: 1}"],
)
def test_hostile_yaml_is_one_line_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError) as refused:
        parse_yaml(text)
    assert "\n" not in str(refused.value) and time.process_time() - began < 2


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "1" * 5000, "", "nul", b"\xff\xff"])
def test_hostile_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_depth_and_length_have_limits(parse: object) -> None:
    assert callable(parse)
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    with pytest.raises(ValueError, match="MiB"):
        parse(" " * (MAX_BYTES + 1))


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_lines_that_are_no_objects_are_left_out(tmp_path_factory: pytest.TempPathFactory, damage: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines.jsonl"
    path.write_bytes(b"\n".join([*damage, b'{"step": 7}', b"[" * 100_000, b'{"st']))
    assert {"step": 7} in read_lines(path)
    assert read_lines(path / "none") == ()


@pytest.mark.parametrize("text", [BOMB, "recipe: " + "[" * 10_000, "\x00", "recipe: 3"])
def test_a_hostile_configuration_is_refused_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert main(["train", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--model.width", "1000000"],
        ["--model.width", str(10**30)],
        ["--model.memory.num_slots", str(10**12)],
        ["--training.batch_size", str(10**12)],
        ["--training.seed", str(10**30)],
        ["--training.seed", "-1"],
        ["--model.memory", "[" * 10_000],
        ["--model.memory", "{a: &a [1], b: *a}"],
        ["--out", ""],
        ["--out="],
        ["--variant", ""],
    ],
)
def test_absurd_options_are_refused_in_one_line(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = [] if options[0].startswith("--out") else ["--out", str(tmp_path / "run")]
    assert main(["train", "memory_gan/digits", "--steps", "2", *out, *options]) == 2
    assert sum(line.startswith("memogen: ") for line in capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.glob("run/model*"))
