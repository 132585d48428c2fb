"""Runs of tables side by side on a GPU that is lent for some minutes; what they leave is packed in few files.

    python -m benchmarks.gpu JOB ... [--seconds 540] [--data data] [--runs runs/gpu] [--out OUT] [--together 14] [--ahead 0]

A JOB is TABLE:BUDGET:VARIANT:SEED, the most valuable first. Each is a process of its own, as many ``--together``; the next begins when one has ended.
Small networks leave most of the card idle, so the processes share it by NVIDIA's MPS where it is there. While one of the first ``--ahead`` jobs would
come too late, the last of the others are halted. When time is up, trainings save themselves; the same command continues them. OUT (by default $OUT,
else runs/gpu_out) gets the logs, and archives: rows with their configurations first, then models, then the newest checkpoints of what is unfinished,
in all at most 8 files of 16 MiB. Pieces are joined by ``cat NAME.tar.gz.* | tar xz``. A rehearsal: ``--seconds 60 ... mem_vae/ablations/mnist:smoke:vae:0``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memogen.parsing import read_lines
from memogen.runs import reproduce
from memogen.types import InputError

SAVING, PACKING = 25, 12  # seconds at the end for trainings to save themselves, and to pack what there is
PIECE, MOST = 16_000_000, 8  # bytes of a file, and files


@dataclass(frozen=True)
class Job:
    """One run of a table, as the command line names it."""

    name: str
    plan: reproduce.Plan

    @classmethod
    def read(cls, name: str, data: Path, runs: Path) -> Job:
        """Raises InputError for a name that is none."""
        try:
            table, budget, variant, seed = name.split(":")
            number = int(seed)
        except ValueError:
            raise InputError(f"{name}: is not TABLE:BUDGET:VARIANT:SEED") from None
        plan = reproduce.plan(table, budget=budget, seeds=number + 1, variants=[variant], data=data, out=runs)
        found = [job for job in plan.jobs if job.recipe.training.seed == number and job.recipe.variant == variant]
        return cls(name, replace(plan, jobs=tuple(found)))

    @property
    def folder(self) -> Path:
        return self.plan.jobs[0].folder

    def left(self, spent: float) -> float:
        """The seconds until its last step, by the pace so far; infinite before the first line of metrics."""
        recipe = self.plan.jobs[0].recipe
        tasks = recipe.succession.tasks if recipe.succession is not None else None
        total = recipe.training.steps * (1 if tasks is None or tasks.joint else tasks.num_tasks or 10)
        done = max((int(str(line["step"])) for path in self.folder.rglob("metrics.jsonl") for line in read_lines(path)), default=0)
        return spent * (total - done) / done if done else float("inf")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="+", metavar="JOB")
    for name, default in (("seconds", 540), ("together", 14), ("ahead", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, place in (("data", "data"), ("runs", "runs/gpu"), ("out", os.environ.get("OUT") or "runs/gpu_out")):
        parser.add_argument(f"--{name}", type=Path, default=Path(place))
    parser.add_argument("--one", action="store_true", help="run the only job in this process")
    given = parser.parse_args(argv)
    try:
        jobs = [Job.read(name, given.data, given.runs) for name in given.jobs]
        if given.one:
            reproduce.run(jobs[0].plan)
            return
    except InputError as error:
        sys.exit(f"gpu: {error}")
    given.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with (given.out / "log.txt").open("a") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4", **shared_card()}
        Queue(jobs, given, environment, begun + given.seconds - SAVING - PACKING).work(log)
    pack(given.runs, given.out, begun + given.seconds)
    print(f"done after {time.monotonic() - begun:.0f} s", flush=True)


def shared_card() -> dict[str, str]:
    """Start MPS where it is there; returns what its clients need in their environment."""
    if shutil.which("nvidia-cuda-mps-control") is None:
        return {}
    places = {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps", "CUDA_MPS_LOG_DIRECTORY": "/tmp/mps"}
    Path("/tmp/mps").mkdir(exist_ok=True)
    subprocess.run(["nvidia-cuda-mps-control", "-d"], env=os.environ | places, check=False)
    return places


class Queue:
    """The jobs, of which so many run at a time until ``end`` by the monotonic clock."""

    def __init__(self, jobs: list[Job], given: argparse.Namespace, environment: dict[str, str], end: float) -> None:
        self.ahead, self.waiting, self.given, self.environment, self.end = jobs[: given.ahead], list(jobs), given, environment, end
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.begun: dict[str, float] = {}
        self.halted: list[str] = []

    def work(self, log: object) -> None:
        """Start, watch and stop processes, until all have ended."""
        while (self.waiting or self.running) and time.monotonic() < self.end:
            while self.waiting and len(self.running) < self.given.together:
                self.start(self.waiting.pop(0), log)
            time.sleep(2)
            for name in [name for name, process in self.running.items() if process.poll() is not None]:
                print(f"{time.monotonic() - self.begun[name]:5.0f} s  {name}: ended with {self.running.pop(name).returncode}", flush=True)
            self.keep_pace()
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        until = time.monotonic() + SAVING
        for name, process in self.running.items():
            try:
                process.wait(max(0.1, until - time.monotonic()))
                print(f"       {name}: stopped and saved", flush=True)
            except subprocess.TimeoutExpired:
                process.kill()
                print(f"       {name}: killed", flush=True)

    def start(self, job: Job, log: object) -> None:
        options = [word for name in ("data", "runs", "out") for word in (f"--{name}", str(getattr(self.given, name)))]
        command = [sys.executable, "-m", "benchmarks.gpu", job.name, "--one", *options]
        self.running[job.name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)  # type: ignore[call-overload]
        self.begun[job.name] = time.monotonic()

    def keep_pace(self) -> None:
        """Halt one more of the other jobs while one of the first would come too late; let one go on when all have time."""
        now, first = time.monotonic(), [job for job in self.ahead if job.name in self.running]
        lefts = [job.left(now - self.begun[job.name]) for job in first if now - self.begun[job.name] > 60]
        spare = min((self.end - 30 - now - left for left in lefts), default=float("inf"))
        others = [name for name in self.running if name not in self.halted and name not in {job.name for job in self.ahead}]
        if spare < 0 and others:
            self.halted.append(others[-1])
            self.running[others[-1]].send_signal(signal.SIGSTOP)
            print(f"       {others[-1]}: halted", flush=True)
        elif spare > 30 and self.halted and (name := self.halted.pop(0)) in self.running:
            self.running[name].send_signal(signal.SIGCONT)
            print(f"       {name}: goes on", flush=True)


def pack(runs: Path, out: Path, end: float) -> None:
    """Archives in pieces, the most valuable first, as long as there are files and time left."""
    folders = sorted({path.parent for path in runs.rglob("config.yaml")})
    small = [
        path
        for path in runs.rglob("*")
        if path.is_file() and path.suffix in {".jsonl", ".yaml", ".npz", ".log", ".png"} and path.stat().st_size < 5e6
    ]
    pieces = 1  # the log
    for name, members in (
        ("rows", [path for path in small if "checkpoints" not in path.parts]),
        ("models", [folder / "model" for folder in folders if (folder / "results.jsonl").exists()]),
        ("unfinished", [newest for folder in folders if not (folder / "results.jsonl").exists() for newest in newest_checkpoints(folder)]),
    ):
        if time.monotonic() > end:
            print(f"{name}: no time left to pack them", flush=True)
            continue
        pieces += cut(archive(runs, name, members), out, MOST - pieces)


def newest_checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.rglob("checkpoints/step-*"), key=lambda path: path.name)[-1:]


def archive(runs: Path, name: str, members: Iterable[Path]) -> Path:
    path = runs / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for member in members:
            if member.exists():
                file.add(member, member.relative_to(runs))
    return path


def cut(path: Path, out: Path, room: int) -> int:
    """Cut a file into pieces in ``out``, if there is room for all; returns how many."""
    count = -(-path.stat().st_size // PIECE)
    if count > room:
        print(f"{path.name}: {count} pieces, room for {room}", flush=True)
        return 0
    with path.open("rb") as file:
        for number in range(count):
            (out / f"{path.name}.{number:02d}").write_bytes(file.read(PIECE))
    return count


if __name__ == "__main__":
    main()
