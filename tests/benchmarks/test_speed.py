"""``python -m benchmarks``: every entry runs and gives whole rows, and the lines say what was measured. Nothing here is timed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.speed import chosen, entries, processes
from benchmarks.speed.command import HEADER, HEADER_AGAINST, main, table
from benchmarks.speed.timing import SECONDS, Aim, Case, Floor, Line, Prepared, Setting, Title, judged, line_of, measured, rounds_of, shown
from memogen.metrics.rows import ResultRow

ROOT = Path(__file__).parents[2]
QUICK = Setting(device="cpu", quick=True)
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", entries())
def test_every_entry_gives_rows_of_finite_numbers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name.startswith("page.") and shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    out = tmp_path / "bench" / "speed.jsonl"
    assert main([name, "--quick", "--device", "cpu", "--out", str(out)]) == 0, capsys.readouterr().err
    rows = [ResultRow.read(json.loads(text)) for text in out.read_text().splitlines()]
    assert rows and len({row.variant for row in rows}) == len(rows)
    for row in rows:
        assert row.recipe == f"speed/{name}" and row.metric and row.commit and row.hardware and row.date
        assert row.command == f"python -m benchmarks {name} --quick --device cpu --out {out}"
        assert isinstance(row.protocol, dict) and row.protocol["clock"] == "wall" and row.protocol["threads"] == torch.get_num_threads()
        numbers = {"value": row.value, **{key: row.extra[key] for key in ("beside_value", "ratio", "floor", "floor_ratio") if key in row.extra}}
        assert all(math.isfinite(number) and number > 0 for number in numbers.values()), numbers
        assert all(aim["met"] is None for aim in row.extra["aims"])
    printed = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 120 for line in printed)
    assert all(any(line.startswith(row.variant) for line in printed) for row in rows)


def test_entries_are_named_singly_and_by_groups() -> None:
    assert list(chosen(["memory.read", "data"])) == ["memory.read", "data.pictures", "data.photographs"]
    assert list(chosen([])) == list(entries())
    with pytest.raises(ValueError, match="'reading': no such entry"):
        list(chosen(["reading"]))


def test_the_command_lists_its_entries_and_names_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "memory"]) == 0 and capsys.readouterr().out.startswith("memory.critic_step")
    assert main(["memry"]) == 2 and "'memry'" in capsys.readouterr().err


def test_one_entry_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(setting: Setting) -> None:
        raise RuntimeError("no such thing")

    known = {"data.pictures": broken, "data.photographs": entries()["data.photographs"]}
    monkeypatch.setattr("benchmarks.speed.command.entries", lambda groups=(): known)
    assert main(["data", "--quick", "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert "failed: data.pictures" in told.err and "no such thing" in told.err and "3 JPEGs" in told.out


# --- how lines are made ---


def test_works_take_turns_and_the_warm_up_is_not_counted() -> None:
    called: list[str] = []
    case = Case(
        Title("turns", beside="b"),
        Prepared(lambda: called.append("p"), lambda _: called.append("a")),
        lambda: called.append("b"),
        Floor(lambda: called.append("c"), 2.0),
    )
    line = measured(case, Setting(rounds=3), CPU)
    assert "".join(called) == "pabc" * 4
    assert line.rounds == 3 and line.value >= 0 and line.beside is not None


def test_a_counted_number_is_taken_once() -> None:
    line = measured(Case(Title("slots", "slots", aims=(Aim(2.0, "floor"),)), lambda: 30, floor=Floor(lambda: 5, 2.0)), Setting(), CPU)
    assert (line.value, line.rounds, line.floor, line.floor_ratio, line.judged) == (30, 1, 10, 3, (False,))


def test_ratios_are_those_of_the_rounds() -> None:
    """A machine that slows down by ten in one round leaves the ratio as it is."""
    line = line_of(Title("x", beside="y"), [(2.0, 1.0, 0.5), (20.0, 10.0, 5.0), (3.0, 1.0, 0.5)])
    assert (line.value, line.beside, line.ratio, line.floor_ratio) == (3.0, 1.0, 2.0, 4.0)
    assert line.quartiles == (2.0, 2.5)


def test_aims_are_judged_by_what_they_are_of() -> None:
    aims = Aim(1.5, "floor"), Aim(1.0, "beside"), Aim(2.5, "value"), Aim(0.5, "before")
    line = judged(Line(Title("x", SECONDS, "peer", aims), 2.0, 3, ratio=1.2, floor_ratio=1.4), Setting())
    assert line.judged == (True, False, True, None)
    assert [aim.told(line) for aim in aims] == ["at most 1.5 x floor", "ahead of peer", "at most 2.500 s", "at most 0.5 x before"]
    assert judged(replace(line, change=0.6), Setting()).judged[3] is False
    assert judged(line, QUICK).judged == (None,) * 4
    assert list(table(line))[-1] == "    aim: at most 1.5 x floor: met; ahead of peer: NOT MET; at most 2.500 s: met"


def test_rounds_are_as_many_as_are_asked_for() -> None:
    assert len(rounds_of(lambda: 0, Setting(rounds=7))) == 7
    assert len(rounds_of(lambda: 0, Setting())) == 15
    assert len(rounds_of(lambda: 0, QUICK)) == 1


@pytest.mark.parametrize(
    ("number", "unit", "told"),
    [(0.0274, "s", "27.4 ms"), (4.7, "s", "4.700 s"), (67.2, "s", "67.20 s"), (12_000, "images", "12,000"), (8, "MiB", "8.0 MiB")],
)
def test_numbers_are_short(number: float, unit: str, told: str) -> None:
    assert shown(number, unit) == told


# --- before and after ---


class Played:
    """A checkout whose cases and their seconds are known."""

    known: dict[Path, dict[str, float]] = {}  # noqa: RUF012  (set by each test)

    def __init__(self, checkout: Path, name: str, setting: Setting) -> None:
        self._cases, self.title, self.missing = iter(self.known[checkout].items()), None, ""

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def next(self) -> bool:
        what, self._seconds = next(self._cases, (None, 0.0))
        self.title = None if what is None else Title(what)
        return what is not None

    def round(self) -> tuple[float, None, float]:
        if self._seconds < 0:
            raise processes.NotThere("AttributeError: no such name")
        return self._seconds, None, 0.5


def compared(monkeypatch: pytest.MonkeyPatch, now: dict[str, float], then: dict[str, float]) -> list[Line]:
    monkeypatch.setattr(processes, "Player", Played)
    monkeypatch.setattr(Played, "known", {processes.PACKAGE: now, Path("old"): then})
    return list(processes.compared("memory.read", Setting(rounds=2), Path("old")))


def test_before_and_after_are_a_ratio_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = compared(monkeypatch, {"read": 1.0, "write": 3.0}, {"read": 4.0, "write": 2.0})
    assert (read.value, read.before, read.change, read.floor_ratio) == (1.0, 4.0, 0.25, 2.0)
    assert (write.value, write.before, write.change) == (3.0, 2.0, 1.5)
    assert "\n".join(table(read, against=True)).split() == ["read", "1.000", "s", "4.000", "s", "0.25", "0.25..0.25", "2.00"]


def test_what_an_earlier_checkout_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch, {"read": 1.0, "index": 2.0, "write": 3.0}, {"read": -1.0, "write": 6.0})
    assert [line.missing for line in found] == ["before: not there (AttributeError: no such name)", "before: not there", ""]
    assert [line.value for line in found] == [1.0, 2.0, 3.0] and found[2].change == 0.5


@pytest.mark.slow
def test_this_checkout_beside_one_without_a_package(tmp_path: Path) -> None:
    (tmp_path / "memogen").mkdir()
    (tmp_path / "memogen" / "__init__.py").write_text("")
    line = [sys.executable, "-m", "benchmarks", "scoring.passes", "--quick", "--device", "cpu", "--against"]
    for other, told in ((ROOT, "1.00"), (tmp_path, "before: not there")):
        done = subprocess.run([*line, str(other)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and told in done.stdout, done.stdout + done.stderr


def test_headers_fit_a_terminal() -> None:
    assert max(len(HEADER), len(HEADER_AGAINST)) <= 120
