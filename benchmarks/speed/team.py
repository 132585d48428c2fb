"""Processes that work on one memory together: each holds all keys, or a part of them."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.speed.processes import PACKAGE, prepare, words
from benchmarks.speed.timing import Setting


class Team:
    """``number`` processes, each with its share of the queries of one joint batch."""

    def __init__(self, number: int, num_slots: int, setting: Setting, *, sharded: bool = False) -> None:
        asked = json.dumps({"num_slots": num_slots, "sharded": sharded, "setting": asdict(setting)})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(number)}
        self._processes = [
            subprocess.Popen(
                words(PACKAGE, "team", "work", asked),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(number)
        ]

    def __enter__(self) -> Team:
        self.keys()  # begun
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.communicate)
                process.kill()

    def step(self) -> float:
        """One step of all: read, gradient, write. Returns the milliseconds of processor time of the process that takes most."""
        return max(self._ask("step"))

    def processor(self) -> float:
        """The median of seven steps' milliseconds."""
        return statistics.median(self.step() for _ in range(7))

    def peak(self) -> float:
        """The most MiB that a process has held beyond what it held without a memory."""
        return max(self._ask("peak"))

    def keys(self) -> float:
        """The MiB of the keys of a process."""
        return max(self._ask("keys"))

    def _ask(self, word: str) -> list[float]:
        """The answers of all processes, which work at the same time."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(word + "\n")
        return [float(process.stdout.readline()) for process in self._processes if process.stdout is not None]


def work(asked: str) -> None:
    """One of the processes behind a :class:`Team`."""
    from benchmarks.speed.memory import BATCH, WIDTH, critic_part, live_in, most_held
    from memogen.memory import ShardedMemory
    from memogen.models import MemoryConfig

    told: dict[str, Any] = json.loads(asked)
    setting = Setting(**told["setting"])
    prepare(setting)
    device = setting.runtime().device
    torch.manual_seed(0)  # whole memories are the same in all processes
    before = most_held(device)
    memory = MemoryConfig(told["num_slots"], WIDTH, sharded=told["sharded"]).build()
    live_in(memory)
    if isinstance(memory, ShardedMemory):
        memory.unwritten.fill_(False)
    step = critic_part(memory.to(device), BATCH // int(os.environ["WORLD_SIZE"]))
    for word in sys.stdin:
        match word.strip():
            case "step":
                begun = time.process_time()
                step()
                print(1e3 * (time.process_time() - begun), flush=True)
            case "peak":
                print(most_held(device) - before, flush=True)
            case "keys":
                print(memory.keys.nbytes / 2**20, flush=True)
