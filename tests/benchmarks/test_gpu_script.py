"""``benchmarks/gpu.sh``: what it does on a GPU, rehearsed on the CPU with the smallest recipe."""

from __future__ import annotations

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from memogen import from_pretrained

ROOT = Path(__file__).parents[2]


def gpu(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "benchmarks/gpu.sh", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("words", [("--second", "9"), ("--seconds", "nine"), ("cifar",)])
def test_words_that_it_does_not_know_are_refused_in_a_line(words: tuple[str, ...], tmp_path: Path) -> None:
    done = gpu("--out", str(tmp_path / "out"), *words)
    assert done.returncode == 2 and done.stderr.startswith("gpu.sh: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_time_or_data_nothing_starts(tmp_path: Path) -> None:
    done = gpu("--seconds", "0", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "runs").iterdir())
    assert "cifar10: left out" in done.stdout and "steps: no time left" in done.stdout


@pytest.mark.slow
def test_a_rehearsal_brings_back_rows_models_and_checkpoints(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    done = gpu("--device", "cpu", "--steps", "2", "--runs", str(runs), "--out", str(out), "digits")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {(row["variant"], row["steps"]) for row in rows} >= {("memory_gan", 2), ("no_memory", 2)}
    files = [path.name for path in out.iterdir()]
    assert len(files) <= 8 and all(path.stat().st_size <= 16 * 2**20 for path in out.iterdir())
    for name in ("digits-memory_gan-model", "digits-no_memory-model", "digits-memory_gan-step-00000002"):
        pieces = b"".join(path.read_bytes() for path in sorted(out.glob(f"{name}.tar.gz.*")))
        with tarfile.open(fileobj=BytesIO(pieces)) as archive:
            archive.extractall(tmp_path / name, filter="data")
    assert from_pretrained(tmp_path / "digits-memory_gan-model" / "model").sample(3).shape == (3, 1, 8, 8)
    assert (tmp_path / "digits-memory_gan-step-00000002" / "step-00000002").is_dir()
