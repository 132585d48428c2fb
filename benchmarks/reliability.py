"""Whether killed trainings come out the same, and whether a flipped bit is ever silent: ``python -m benchmarks.reliability kills | flips``.

``kills``: a small training of each family is killed (SIGKILL) at random moments and started again by the same command until it ends. Its weights,
its live weights and its metrics are then compared with those of a training that nobody killed.

``flips``: one bit of a file is flipped, and the file is read: the checkpoints and the saved model of such a training as a resuming training and
``from_pretrained`` read them, the cache of a folder of images as ``memogen data check`` reads it. A flip is silent where nothing is refused and
what was read differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from memogen.data import DataOptions, check, load
from memogen.pretrained import from_pretrained
from memogen.training.checkpoint import read_checkpoint
from memogen.types import InputError

RUNS = {
    "memory_gan": ["memory_gan/digits", "--training.steps", "40"],
    "mem_vae": ["mem_vae/digits", "--training.steps", "60"],
    "replay_gan": ["replay_gan/digits", "--training.steps", "8"],
}
COMMON = ["--training.checkpoint_every", "5", "--training.sample_every", "10", "--training.log_every", "4", "--scoring.num_samples", "500"]
FILES = {"checkpoint": "checkpoints/step-*/*", "model": "model/*.*s*", "cache": "cache/images/*/*"}


def train(family: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "memogen", "train", *RUNS[family], *COMMON, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})


def outcome(run: Path) -> dict[str, object]:
    """What two equal trainings have in common: every file of weights, and the lines of metrics but for their clocks."""
    found: dict[str, object] = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("model/*.safetensors"))}
    for path in sorted(run.rglob("metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(run))] = [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]
    results = run / "results.jsonl"
    scores = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return found | {"scores": [(row["variant"], row["metric"], row["task"], row["value"]) for row in scores]}


def kills(number: int, families: list[str], folder: Path, rng: np.random.Generator) -> Iterator[str]:
    for family in families:
        began, whole = time.perf_counter(), folder / family / "whole"
        if train(family, whole).wait():
            raise SystemExit(f"{family}: the training itself failed")
        seconds, wanted = time.perf_counter() - began, outcome(whole)
        killed, finished, different = 0, 0, 0
        while killed < number:
            run = folder / family / f"killed-{finished}"
            while True:
                process = train(family, run)
                try:
                    code = process.wait(rng.uniform(0.2, 1.1) * seconds if killed < number else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed += 1
                    continue
                if code:
                    raise SystemExit(f"{family}: exit code {code} after a kill: see {run}")
                break
            finished += 1
            different += outcome(run) != wanted
            shutil.rmtree(run)
        yield f"{family}: {killed} kills in {finished} trainings, {different} of them different"


def flips(number: int, folder: Path, rng: np.random.Generator) -> Iterator[str]:
    run = folder / "run"
    if train("memory_gan", run).wait():
        raise SystemExit("memory_gan: the training itself failed")
    pictures(folder / "pictures", rng)
    os.environ["MEMOGEN_CACHE"] = str(folder / "cache")
    load(str(folder / "pictures"), options=DataOptions(), progress=False)
    reads: dict[str, tuple[Path, Callable[[Path], Any]]] = {
        "checkpoint": (run, lambda path: read_checkpoint(path.parent)),
        "model": (run, lambda path: from_pretrained(path.parent, live=True).state_dict()),
        "cache": (folder, lambda path: checked(folder / "pictures")),
    }
    for kind, (place, read) in reads.items():
        files = [path for path in sorted(place.glob(FILES[kind])) if path.suffix in (".json", ".safetensors", ".npy")]
        told: Counter[str] = Counter()
        for _ in range(number):
            told[flipped(files[int(rng.integers(len(files)))], read, rng)] += 1
        yield f"{kind}: {number} flips in {len(files)} files: " + ", ".join(
            f"{told[name]} {name}" for name in ("refused", "without effect", "silent")
        )


def flipped(path: Path, read: Callable[[Path], Any], rng: np.random.Generator) -> str:
    """What becomes of one flipped bit of a file, which is put back."""
    whole, folder = path.read_bytes(), path.parent
    kept = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    wanted, place = read(path), int(rng.integers(len(whole)))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
    try:
        return "without effect" if equal(read(path), wanted) else "silent"
    except (InputError, ValueError):
        return "refused"
    finally:
        folder.mkdir(exist_ok=True)
        for file, content in kept.items():
            file.write_bytes(content)


def equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, torch.Tensor):
        return torch.equal(found, wanted)
    if isinstance(found, dict):
        return found.keys() == wanted.keys() and all(equal(found[name], wanted[name]) for name in found)
    if isinstance(found, tuple | list):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return bool(found == wanted)


def checked(folder: Path) -> tuple[str, str]:
    """The images that a training would get after ``memogen data check``, which refuses what is damaged by naming it and building it anew."""
    report = check(str(folder), split="train", options=DataOptions())
    if "damaged" in report.text(whole=True):
        raise ValueError("named by data check")
    data = load(str(folder), split="train", options=DataOptions(), progress=False)
    return data.digest, str(np.asarray(data.image).tobytes())


def pictures(folder: Path, rng: np.random.Generator) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / name / f"{number}.png")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("what", choices=["kills", "flips"])
    options.add_argument("--number", type=int, default=0, help="kills of each family (default 30), or flips of each kind of file (default 1000)")
    options.add_argument("--families", nargs="+", choices=list(RUNS), default=list(RUNS), help="whose trainings are killed")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    rng = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        lines = (
            kills(asked.number or 30, asked.families, Path(folder), rng) if asked.what == "kills" else flips(asked.number or 1000, Path(folder), rng)
        )
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
