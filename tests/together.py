"""Several processes of one training in the tests, with the environment that torchrun sets.

They are forked from a process that has imported the library already, so that a start costs a tenth of a second and not three.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

WAIT = 240  # seconds after which a process counts as one that never ends
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.models.two_processes"])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def together(folder: Path, work: Callable[..., int | None], *args: object, number: int = 0, of: int = 2) -> Iterator[list[BaseProcess]]:
    """All or the first ``number`` ``of`` so many processes, each of which does ``work(*args)`` and exits with the number that it returns.

    What they print goes to ``out-RANK`` and ``err-RANK`` in the folder. At the end, those that still run are killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = {"WORLD_SIZE": str(of), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    environments = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number or of)]
    processes: list[BaseProcess] = [_FORKS.Process(target=_work, args=(each, folder, work, args)) for each in environments]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def done(processes: list[BaseProcess]) -> list[int | None]:
    """The exit codes, when all have ended."""
    for process in processes:
        process.join(WAIT)
    return [process.exitcode for process in processes]


def run_by_torchrun(script: Path) -> None:
    """Run a script in two processes of torchrun's own, and raise AssertionError where one fails."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=WAIT, cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def _work(environment: dict[str, str], folder: Path, work: Callable[..., int | None], args: tuple[object, ...]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / f"{name}-{environment['RANK']}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    code = work(*args)
    atexit._run_exitfuncs()  # which a forked process leaves out
    sys.stdout.flush()
    sys.exit(code)
