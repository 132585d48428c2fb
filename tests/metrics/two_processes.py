"""Scores in one process or several: ``python -m tests.metrics.two_processes FOLDER``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch.distributed as dist

from memogen.data import load
from memogen.metrics import Processes, evaluate
from memogen.metrics.log_likelihood import log_likelihood
from memogen.metrics.samples import Work
from tests.metrics.linear_gaussian import LinearGaussian, pictures
from tests.metrics.toys import EVERYTHING, Recalling, noise, small_gan


def scores(processes: Processes, *, batch_size: int = 50) -> dict[str, float]:
    """All that can be shared: the scores of one stream, of labelled images, and a likelihood. 151 samples do not divide evenly."""
    shared = {"extractor": "digits", "batch_size": batch_size, "progress": False, "processes": processes}
    rows = evaluate(small_gan(), noise(110, "test", 0), train=noise(120, "train", 1), metrics=EVERYTHING, num_samples=151, **shared)  # type: ignore[arg-type]
    digits = load("digits", split="test", progress=False)
    rows += evaluate(Recalling(digits, wrong=5), digits, metrics=("accuracy",), num_samples=57, **shared)  # type: ignore[arg-type]
    found = {str(row["metric"]): float(str(row["value"])) for row in rows}
    likelihood = log_likelihood(LinearGaussian(), pictures(5), num_samples=30, work=Work(processes))
    return {**found, "log_likelihood": likelihood.value, "effective": float(likelihood.effective.sum())}


def main() -> None:
    """Score, and leave what this rank has found in the folder."""
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    os.environ["MEMOGEN_CACHE"] = str(folder / f"cache-{os.environ['RANK']}")
    found = scores(Processes.joined())
    (folder / f"scores-{os.environ['RANK']}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
