"""The command: which entries, how they are measured, the table, and the rows."""

from __future__ import annotations

import argparse
import inspect
import platform
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from benchmarks.speed import chosen, entries
from benchmarks.speed.processes import commit_of, prepare
from benchmarks.speed.timing import CLOCKS, SECONDS, Line, Setting, measured, shown
from memogen.metrics.rows import ResultRow, append_rows, made


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and append rows where ``--out`` names a file. Returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        names = list(chosen(options.entries))
    except ValueError as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    if options.list:
        known = entries()
        print("\n".join(f"{name:<22}{(inspect.getdoc(known[name]) or '').splitlines()[0]}" for name in names))
        return 0
    setting = Setting(options.device, options.threads, options.clock, options.rounds, options.precision, options.channels_last, options.quick)
    prepare(setting)
    runtime = setting.runtime()
    print(f"{runtime.device}, {setting.precision}, {torch.get_num_threads()} threads, {setting.clock} clock, torch {torch.__version__}")
    if options.against:
        print(f"now {commit_of(None)}, before {commit_of(options.against)} ({options.against})")
    print(HEADER_AGAINST if options.against else HEADER)
    command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])
    found, failed = list[Line](), list[str]()
    for name in names:
        try:
            for line in lines(name, setting, options.against):
                print("\n".join(table(line, bool(options.against))), flush=True)
                found.append(line)
                if options.out:
                    append_rows(options.out, [row(name, line, setting, command, options.against)])
        except Exception:  # the others are worth their time
            traceback.print_exc()
            failed.append(name)
    aims = [met for line in found for met in line.judged if met is not None]
    print("\nquick: sizes too small for any aim" if setting.quick else f"\n{sum(aims)} of {len(aims)} aims met")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast everything is.", allow_abbrev=False)
    options.add_argument("entries", nargs="*", metavar="ENTRY", help="names or groups of --list (default: all)")
    options.add_argument("--list", action="store_true", help="name the entries, and measure nothing")
    options.add_argument("--rounds", type=int, default=0, help="timed rounds of each case (default: what half a minute holds, 3 to 15)")
    options.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    options.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: processor time, for a machine that others use too")
    options.add_argument("--device", default="auto")
    options.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of training steps")
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("--quick", action="store_true", help="tiny sizes, one round: whether all runs, not how fast")
    options.add_argument("--against", type=Path, metavar="CHECKOUT", help="before and after: the package of this checkout of the repository too")
    options.add_argument("--out", type=Path, help="append result rows (JSON lines) to this file: results/bench/speed.jsonl")
    return options


def lines(name: str, setting: Setting, against: Path | None = None) -> Iterator[Line]:
    """The lines of an entry."""
    if against is not None:
        from benchmarks.speed.processes import compared

        yield from compared(name, setting, against.resolve())
        return
    device = setting.runtime().device
    for case in entries([name.partition(".")[0]])[name](setting):
        yield measured(case, setting, device)


# --- the table ---

HEADER = f"{'entry':<46}{'':>9}  {'beside':<14}{'':>9}{'ratio':>7}  {'quartiles':<12}{'floor':>9}{'x floor':>9}"
HEADER_AGAINST = f"{'entry':<46}{'now':>9}{'before':>11}{'ratio':>7}  {'quartiles':<12}  {'beside':<14}{'ratio':>7}{'x floor':>9}"


def table(line: Line, against: bool = False) -> Iterator[str]:
    """A line as it is printed, with what is aimed at below it."""
    if line.rounds:
        yield (_with_before if against else _alone)(line)
    if line.missing:
        yield f"    {line.title.what + ': ' if not line.rounds else ''}{line.missing}"[:120]
    if line.title.note:
        yield f"    {line.title.note}"
    told = [f"{aim.told(line)}: {_NAMES[met]}" for aim, met in zip(line.title.aims, line.judged, strict=True) if met is not None]
    if told:
        yield f"    aim: {'; '.join(told)}"


_NAMES = {True: "met", False: "NOT MET"}


def _alone(line: Line) -> str:
    unit = line.title.unit
    beside = _number(line.beside, unit)
    return (
        f"{line.title.what:<46}{shown(line.value, unit):>9}  {line.title.beside:<14}{beside:>9}{_ratio(line.ratio):>7}  "
        f"{_spread(line.quartiles):<12}{_number(line.floor, unit):>9}{_ratio(line.floor_ratio):>9}"
    )


def _with_before(line: Line) -> str:
    unit = line.title.unit
    return (
        f"{line.title.what:<46}{shown(line.value, unit):>9}{_number(line.before, unit):>11}{_ratio(line.change):>7}  "
        f"{_spread(line.change_quartiles):<12}  {line.title.beside:<14}{_ratio(line.ratio):>7}{_ratio(line.floor_ratio):>9}"
    )


def _number(number: float | None, unit: str) -> str:
    return "" if number is None else shown(number, unit)


def _ratio(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}" if number < 100 else f"{number:.0f}"


def _spread(spread: tuple[float, float] | None) -> str:
    return "" if spread is None else f"{_ratio(spread[0])}..{_ratio(spread[1])}"


# --- rows ---

COMPARED = (
    "beside",
    "beside_value",
    "ratio",
    "ratio_quartiles",
    "floor",
    "floor_ratio",
    "before",
    "before_commit",
    "change",
    "change_quartiles",
    "aims",
)
"""What a row of speed says beside what every row does."""


def row(name: str, line: Line, setting: Setting, command: str, against: Path | None = None) -> Mapping[str, object]:
    """What a line says, with what made it."""
    device = setting.runtime().device
    protocol = {
        "rounds": line.rounds, "clock": setting.clock, "threads": torch.get_num_threads(), "precision": setting.precision,
        "channels_last": setting.channels_last or "as the recipe", "quick": setting.quick, "torch": torch.__version__, "machine": platform.machine(),
        "unit": line.title.unit,
    }  # fmt: skip
    beside = {} if line.beside is None else {
        "beside": line.title.beside, "beside_value": line.beside, "ratio": line.ratio, "ratio_quartiles": line.quartiles,
    }  # fmt: skip
    floor = {} if line.floor is None else {"floor": line.floor, "floor_ratio": line.floor_ratio}
    before = {} if line.before is None else {
        "before": line.before, "before_commit": commit_of(against), "change": line.change, "change_quartiles": line.change_quartiles,
    }  # fmt: skip
    aims = [{"aim": aim.told(line), "most": aim.most, "of": aim.of, "met": met} for aim, met in zip(line.title.aims, line.judged, strict=True)]
    return ResultRow.read({
        "recipe": f"speed/{name}", "variant": line.title.what, "metric": "seconds" if line.title.unit == SECONDS else line.title.unit,
        "value": line.value, "seed": 0, "protocol": protocol, **beside, **floor, **before, "aims": aims, **made(device),
        "command": command,
    })  # fmt: skip
