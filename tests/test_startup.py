"""What takes seconds to load is loaded only where it is needed: measured by what is imported, as seconds depend on the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("matplotlib", "scipy", "sklearn", "sympy", "torch._dynamo", "memogen.metrics", "memogen.training", "memogen.data", "rich")


def test_drawing_from_a_saved_model_loads_nothing_heavy(tmp_path: Path) -> None:
    script = "from memogen.cli import main\n"
    for model in ("digits", "digits-vae"):
        script += f"assert main(['sample', {model!r}, '--num', '4', '--out', {str(tmp_path / model)!r}]) == 0\n"
    _imports_none_of(HEAVY, script)
    assert all(len(list((tmp_path / model).iterdir())) == 4 for model in ("digits", "digits-vae"))


def test_a_training_loads_neither_charts_nor_a_compiler_before_its_report(tmp_path: Path) -> None:
    options = {"training.steps": 2, "scoring.metrics": [], "model.memory.num_slots": 64, "model.memory.top_k": 8}
    script = f"""from memogen.runs import run
run.write_report = lambda *_: None
run.train("memory_gan/digits", overrides={options!r}, out={str(tmp_path / "run")!r}, console=False)"""
    _imports_none_of(("matplotlib", "sympy", "torch._dynamo"), script)


def _imports_none_of(names: tuple[str, ...], script: str) -> None:
    check = f"import sys; found = [name for name in {names!r} if name in sys.modules]; assert not found, found"
    done = subprocess.run([sys.executable, "-c", f"{script}\n{check}"], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep or return memory as they will")
def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    """A tensor of 64 MiB that is made and freed again and again touches new pages a few times, not each time."""
    script = "import resource, torch\nfrom memogen.cli import keep_freed_memory\nkeep_freed_memory()\nfaults = []\nfor _ in range(30):\n"
    script += "    torch.ones(1 << 24)\n    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\nprint(faults[-1] - faults[-6])"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))} | {"OMP_NUM_THREADS": "1"}
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", script], env=own | setting, capture_output=True, text=True, check=True).stdout)
        for setting in ({}, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    )
    assert kept < 5 <= returned, "of the last five, each touches one new page at least if it is returned, however large the pages are"
