"""Input that cannot be used is an InputError, or one line on the command line, before anything is written or waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memogen.memory import VMFMemory
from memogen.pretrained import save_pretrained
from tests.command import run
from tests.metrics.toys import small_gan

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_pretrained(small_gan(), tmp_path / "m")
    return tmp_path


CALLS = """
memogen.train('memory_gan/digits', out='')
memogen.train('memory_gan/digits', overrides=['training.steps'], out='run')
memogen.train('memory_gan/digits', overrides={'training.steps': 10**30}, out='run')
memogen.train('memory_gan/digits', overrides={'training.batch_size': 10**12}, out='run')
memogen.from_pretrained('')
memogen.from_pretrained(None)
memogen.from_pretrained('m', device='meta')
memogen.evaluate(model, 'digits')
model.sample(4, slot=1.5)
model.sample(4, slot=True)
model.sample(4, seed=1.5)
model.sample(4, seed=True)
model.sample(4, seed=-1)
memogen.data.DataOptions(size=999_999, fit='crop')
model.memory.draw(-1)
model.memory.draw(2.5)
model.memory.draw(True)
"""


def test_a_call_that_cannot_be_served_is_an_error_of_one_line_and_leaves_nothing(here: Path) -> None:
    """In a process where nothing checks signatures. A memory, which stands alone, raises ValueError."""
    script = "import memogen, memogen.data\nmodel = memogen.from_pretrained('m')\n"
    for call in CALLS.strip().splitlines():
        script += f"try:\n  {call}\n  print('accepted')\nexcept ValueError as error:\n  print(type(error).__name__, str(error).count(chr(10)))\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout.split("\n")[:-1] == ["InputError 0"] * 14 + ["ValueError 0"] * 3, done.stdout
    assert [path.name for path in here.iterdir()] == ["m"]


def test_a_memory_learns_what_was_read() -> None:
    memory = VMFMemory(8, 4, top_k=4)
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    with pytest.raises(ValueError, match="read is of 4 queries"):
        memory.write(torch.randn(8, 4), torch.arange(8) % 2, memory(torch.randn(4, 4)))
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


@pytest.mark.parametrize(
    "words", ["train PIPE.yaml --out new", "report RUN", "evaluate m --data digits --metrics is --num_samples 20 --out PIPE.jsonl"]
)
def test_a_pipe_is_never_waited_for(words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("PIPE.yaml", "PIPE.jsonl", "RUN/config.yaml"):
        (here / name).parent.mkdir(exist_ok=True)
        os.mkfifo(here / name)
    code, _, told = run(words, capsys)
    assert code == 2 and sum(line.startswith("memogen: ") for line in told.splitlines()) == 1
    assert not (here / "new").exists()
