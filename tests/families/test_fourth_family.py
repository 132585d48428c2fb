"""A family that the library has never heard of trains, is scored, reports, resumes, saves, loads and samples: one folder and one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
THE_LINE = "FAMILIES['prototypes'] = Family(PrototypesConfig, PrototypesObjective, ('tests.families.prototypes.recipes',))"


def memogen(*words: str) -> str:
    """What the command line prints, in a process where the family is one of ``FAMILIES``."""
    lines = (
        "import sys",
        "from memogen.models import FAMILIES, Family",
        "from tests.families.prototypes.model import PrototypesConfig, PrototypesObjective",
        THE_LINE,
        "from memogen.cli import main",
        "sys.exit(main(sys.argv[1:]))",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines), *words], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fourth") / "run"
    memogen("train", "prototypes/digits", "--out", str(folder))
    return folder


def test_it_trains_is_scored_and_reports(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    scores = {row["metric"]: row["value"] for row in rows if row["variant"] == "prototypes"}
    assert {"inception_score", "fid", "recall", "coverage"} <= scores.keys() and scores["inception_score"] > 1
    losses = [json.loads(line)["prototypes/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    assert "prototypes/digits" in (run / "report.html").read_text()


def test_it_resumes_exactly(run: Path, tmp_path: Path) -> None:
    """A run that goes on from a checkpoint of another ends with the weights of one that never stopped."""
    checkpoint = next(path for path in sorted((run / "checkpoints").iterdir()) if "20" in path.name)
    memogen("train", "prototypes/digits", "--out", str(tmp_path / "again"), "--resume", str(checkpoint), "--scoring.metrics", "[]")
    ends = [load_file(folder / "model" / "model.safetensors") for folder in (run, tmp_path / "again")]
    assert all(bool((ends[0][name] == ends[1][name]).all()) for name in ends[0])


def test_it_is_loaded_and_sampled_by_its_folder(run: Path, tmp_path: Path) -> None:
    memogen("sample", str(run), "--num", "16", "--out", str(tmp_path / "grid.png"))
    assert (tmp_path / "grid.png").stat().st_size > 500
    told = memogen("evaluate", str(run), "--data", "digits", "--metrics", "is", "--num-samples", "200")
    assert "inception_score" in told or "inception score" in told
