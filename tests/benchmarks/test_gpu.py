"""``benchmarks/gpu.py``: what it does on a GPU, rehearsed on the CPU with the smallest recipes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from memogen import from_pretrained

ROOT = Path(__file__).parents[2]


def gpu(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


DIGITS = "memory_gan/equal_size/digits:smoke:no_memory"


@pytest.mark.parametrize(
    "words",
    [
        ["cifar"],
        ["memory_gan/equal_size/digits:smoke:memory_gan"],
        ["memory_gan/equal_size/digits:smoke:memory:0"],
        [f"{DIGITS}:-1"],
        [f"{DIGITS}:0", f"{DIGITS}:0"],
        [f"{DIGITS}:0", f"{DIGITS}:1", "--one"],
        [f"{DIGITS}:0", "--together", "0"],
        [f"{DIGITS}:0", "--seconds", "30"],
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(words: list[str], tmp_path: Path) -> None:
    done = gpu("--out", str(tmp_path / "out"), "--data", str(tmp_path), *words)
    assert done.returncode == 2 and done.stderr.startswith("gpu: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_finished_and_unfinished_runs_come_back(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    jobs = ["memory_gan/equal_size/digits:smoke:no_memory:1", "continual/digits:short:fine_tuning:0"]
    done = gpu("--seconds", "75", "--together", "2", "--data", str(tmp_path), "--runs", str(runs), "--out", str(out), *jobs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(path.stat().st_size for path in out.iterdir()) < 64 * 2**20
    for name in ("rows", "models"):
        pieces = b"".join(path.read_bytes() for path in sorted(out.glob(f"{name}.tar.gz.*")))
        with tarfile.open(fileobj=BytesIO(pieces)) as archive:
            archive.extractall(tmp_path / "back", filter="data")
    rows = [json.loads(line) for line in (tmp_path / "back" / "memory_gan" / "equal_size.jsonl").read_text().splitlines()]
    assert {(row["variant"], row["seed"]) for row in rows} >= {("no_memory", 1)}
    assert all(row["command"].startswith("memogen reproduce memory_gan/equal_size/digits --budget smoke") for row in rows)
    (model,) = (tmp_path / "back" / "memory_gan").rglob("config.json")
    assert from_pretrained(model.parent).sample(3).shape == (3, 1, 8, 8)
    assert list((tmp_path / "back").rglob("checkpoints/step-*"))
