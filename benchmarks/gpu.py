"""Runs of tables side by side on a GPU that is lent for some minutes; what they leave is packed in few files.

    python -m benchmarks.gpu JOB ... [--seconds 540] [--data data] [--runs runs/gpu] [--out OUT] [--together 14] [--ahead A] [--last L]

A JOB is TABLE:BUDGET:VARIANT:SEED, the most valuable first. Each is a process of its own, as many ``--together``; the next begins when one has ended.
Small networks leave most of the card idle, so the processes share it by NVIDIA's MPS where it is there. While one of the first A jobs would come too
late, those from number L on are halted, the last one first. When time is up, trainings save themselves; the same command continues them. OUT (by
default $OUT, else runs/gpu_out) gets the log, and archives in pieces of 16 MB, 64 MB at most: rows with their configurations, then models and newest
checkpoints of the first jobs. ``cat NAME.tar.gz.* | tar xz`` joins them. A rehearsal: ``mem_vae/ablations/mnist:smoke:vae:0``.
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
from functools import partial
from pathlib import Path
from typing import IO

from memogen.parsing import read_lines
from memogen.runs import reproduce
from memogen.types import InputError, check_seed

SAVING, PACKING = 25, 12  # seconds at the end for trainings to save themselves, and to pack what there is
PIECE, MOST = 16_000_000, 4  # bytes of a file, and files beside the log
PAUSE, PATIENCE, SCORING = 3, 80, 60  # seconds between two starts, until a pace is known, and for the scores of a finished training


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
            check_seed(number, "SEED")
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        except ValueError:
            raise InputError(f"{name}: is not TABLE:BUDGET:VARIANT:SEED") from None
        plan = reproduce.plan(table, budget=budget, seeds=number + 1, variants=[variant], data=data, out=runs)
        found = [job for job in plan.jobs if job.recipe.training.seed == number and job.recipe.variant == variant]
        return cls(name, replace(plan, jobs=tuple(found)))

    @property
    def folder(self) -> Path:
        return self.plan.jobs[0].folder

    @property
    def command(self) -> list[str]:
        """The words that repeat it."""
        table, budget, variant, seed = self.name.split(":")
        return ["memogen", "reproduce", table, "--budget", budget, "--variants", variant, "--seeds", str(int(seed) + 1)]

    @property
    def uncompiled(self) -> reproduce.Plan:
        """The plan without torch.compile."""
        jobs = self.plan.jobs
        recipes = [replace(job.recipe, training=replace(job.recipe.training, compile=False)) for job in jobs]
        return replace(self.plan, jobs=tuple(replace(job, recipe=recipe) for job, recipe in zip(jobs, recipes, strict=True)))

    @property
    def steps(self) -> int:
        """Steps of all tasks."""
        recipe = self.plan.jobs[0].recipe
        tasks = recipe.succession.tasks if recipe.succession is not None else None
        return recipe.training.steps * (1 if tasks is None or tasks.joint else tasks.num_tasks or 10)

    @property
    def done(self) -> int:
        """Steps done, by the newest line of metrics."""
        return max((int(str(line["step"])) for path in self.folder.rglob("metrics.jsonl") for line in read_lines(path)), default=0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="+", metavar="JOB")
    for name, default in (("seconds", 540), ("together", 14), ("ahead", 0), ("last", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, place in (("data", "data"), ("runs", "runs/gpu"), ("out", os.environ.get("OUT") or "runs/gpu_out")):
        parser.add_argument(f"--{name}", type=Path, default=Path(place))
    parser.add_argument("--one", action="store_true", help="run the only job in this process")
    parser.add_argument("--plain", action="store_true", help="with --one: without torch.compile")
    given = parser.parse_args(argv)
    try:
        check(given)
        jobs = [Job.read(name, given.data, given.runs) for name in given.jobs]
        if given.one:
            sys.argv = jobs[0].command  # which the rows will name
            reproduce.run(jobs[0].uncompiled if given.plain else jobs[0].plan)
            return
    except InputError as error:
        print(f"gpu: {error}", file=sys.stderr)
        sys.exit(2)
    for folder in (given.out, given.runs):
        folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with (given.out / "log.txt").open("a") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4", **shared_card()}
        Queue(jobs, given, environment, begun + given.seconds - SAVING - PACKING).work(log)
    pack(jobs, given.runs, given.out)
    print(f"done after {time.monotonic() - begun:.0f} s", flush=True)


def check(given: argparse.Namespace) -> None:
    """Raises InputError for options with which nothing would be trained, or one folder by two processes."""
    if given.seconds <= SAVING + PACKING:
        raise InputError(f"--seconds {given.seconds}: the last {SAVING + PACKING} are for saving and packing; give more")
    if given.together < 1:
        raise InputError(f"--together {given.together}: nothing would be trained; give 1 or more")
    if twice := [name for place, name in enumerate(given.jobs) if name in given.jobs[:place]]:
        raise InputError(f"{twice[0]}: is named twice; name it once")
    if given.one and len(given.jobs) > 1:
        raise InputError(f"--one: runs one job, and {len(given.jobs)} are named; name one")


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
        self.jobs = {job.name: job for job in jobs}
        self.ahead, self.last, self.waiting = jobs[: given.ahead], jobs[max(given.ahead, given.last) :], list(jobs)
        self.given, self.environment, self.end = given, environment, end
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.begun: dict[str, float] = {}
        self.halted: list[str] = []
        self.plain: set[str] = set()
        self.seen: dict[str, list[tuple[float, int]]] = {}

    def work(self, log: IO[str]) -> None:
        """Start, watch and stop processes, until all have ended. One that fails is tried once more, without torch.compile."""
        while (self.waiting or self.running) and time.monotonic() < self.end:
            if self.waiting and len(self.running) < self.given.together:  # one at a time: the next finds the kernels that this one has compiled
                self.start(self.waiting.pop(0), log)
            time.sleep(PAUSE)
            for name in [name for name, process in self.running.items() if process.poll() is not None]:
                code = self.running.pop(name).returncode
                print(f"{time.monotonic() - self.begun[name]:5.0f} s  {name}: ended with {code}", flush=True)
                if code and name not in self.plain:
                    self.plain.add(name)
                    self.waiting.insert(0, self.jobs[name])
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

    def start(self, job: Job, log: IO[str]) -> None:
        options = [word for name in ("data", "runs", "out") for word in (f"--{name}", str(getattr(self.given, name)))]
        command = [sys.executable, "-m", "benchmarks.gpu", job.name, "--one", *options, *(["--plain"] if job.name in self.plain else [])]
        self.running[job.name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.begun[job.name] = time.monotonic()

    def keep_pace(self) -> None:
        """Halt one more of the last jobs while one of the first would come too late at its present pace; let one go on when there is time."""
        now, spare = time.monotonic(), float("inf")
        for job in self.ahead:
            if job.name not in self.running:
                continue
            seen = self.seen[job.name] = [*self.seen.get(job.name, [])[-20:], (now, job.done)]
            (then, before), (_, done) = seen[0], seen[-1]
            if now - self.begun[job.name] > PATIENCE and done > before:
                spare = min(spare, self.end - SCORING - now - (job.steps - done) * (now - then) / (done - before))
        others = [job.name for job in self.last if job.name in self.running and job.name not in self.halted]
        if spare < 0 and others:
            self.halted.append(others[-1])
            self.running[others[-1]].send_signal(signal.SIGSTOP)
            print(f"       {others[-1]}: halted", flush=True)
        elif spare > 30 and self.halted and (name := self.halted.pop(0)) in self.running:
            self.running[name].send_signal(signal.SIGCONT)
            print(f"       {name}: goes on", flush=True)


def pack(jobs: Sequence[Job], runs: Path, out: Path) -> None:
    """Rows and everything small; then of each job in turn its model and its newest checkpoint, as long as there is room."""
    small = [path for path in runs.rglob("*") if path.suffix in {".jsonl", ".yaml", ".npz", ".log", ".png"} and path.stat().st_size < 5e6]
    pieces = cut(archive(runs, "rows", [path for path in small if "checkpoints" not in path.parts]), out)
    kept, room = list[Path](), (MOST - pieces) * PIECE * 0.98
    for job in jobs:
        newest = sorted(job.folder.rglob("checkpoints/step-*"), key=lambda path: path.name)[-1:]
        for place in [job.folder / "model", *newest]:
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            if size and size < room:
                kept, room = [*kept, place], room - size
    cut(archive(runs, "models", kept), out)


def archive(runs: Path, name: str, members: Iterable[Path]) -> Path:
    path = runs / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for member in members:
            file.add(member, member.relative_to(runs))
    return path


def cut(path: Path, out: Path) -> int:
    """Cut a file into pieces in ``out``; returns how many."""
    with path.open("rb") as file:
        for number, piece in enumerate(iter(partial(file.read, PIECE), b"")):
            (out / f"{path.name}.{number:02d}").write_bytes(piece)
    return -(-path.stat().st_size // PIECE)


if __name__ == "__main__":
    main()
