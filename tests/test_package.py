"""The wheel and the sdist: all that belongs to them is in them, and an installed memogen works far from its source."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
MIB = 2**20
SHORT = "--training.steps 5 --scoring.likelihood_every 0 --scoring.model.importance_samples 2"
FROM_PYTHON = """
import sys
from pathlib import Path
import memogen
assert Path(memogen.__file__).is_relative_to(sys.argv[1]), memogen.__file__
assert memogen.from_pretrained("digits").sample(4).shape == (4, 1, 8, 8)
"""


def call(*words: str | Path, cwd: Path, path: Path | None = None) -> str:
    """What a command prints; ``path`` goes before all other places of modules."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(source: Path, out: Path, kind: str) -> Path:
    """The wheel or the sdist of a source tree, without a network."""
    call("-m", "hatchling", "build", "-t", kind, "-d", out, cwd=source)
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def package_files() -> set[str]:
    """All files of the package, by their paths from the root."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "memogen").rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked sdist."""
    place = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(ROOT, place, "sdist")) as opened:
        opened.extractall(place, filter="data")
    (folder,) = (path for path in place.iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with memogen alone, as pip installs it; what it needs is already there."""
    folder = tmp_path_factory.mktemp("installed")
    call("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", folder, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    held = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert held == package_files() and any(name.endswith(".safetensors") for name in held)
    assert wheel.stat().st_size <= 16 * MIB


def test_the_sdist_builds_the_same_wheel(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    assert {path.relative_to(unpacked).as_posix() for path in (unpacked / "memogen").rglob("*") if path.is_file()} == package_files()
    assert contents(build(unpacked, tmp_path, "wheel")) == contents(wheel)


def test_the_sdist_holds_the_tests_and_what_they_read(unpacked: Path) -> None:
    words = ("-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider")
    there, here = (call(*words, cwd=folder, path=folder).splitlines() for folder in (unpacked, ROOT))
    assert {line.partition("[")[0] for line in there} >= {line.partition("[")[0] for line in here if "::" in line}


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("--help", ""),
        ("models", ""),
        ("recipes", ""),
        ("sample digits --num 4 --out x.png", "x.png"),
        ("impute digits-vae --data digits --mask half --num 2 --steps 2 --out filled.png", "filled.png"),
        (f"train mem_vae/digits {SHORT} --out run", "run/report.html"),
        ("evaluate digits --num-samples 400 --metrics is --out rows.jsonl", "rows.jsonl"),
    ],
)
def test_an_installed_memogen_works_far_from_its_source(words: str, made: str, installed: Path, tmp_path: Path) -> None:
    printed = call("-m", "memogen", *words.split(), cwd=tmp_path, path=installed)
    assert (tmp_path / made).stat().st_size > 0 if made else printed


def test_the_installed_package_is_the_one_that_is_imported(installed: Path, tmp_path: Path) -> None:
    call("-c", FROM_PYTHON, installed, cwd=tmp_path, path=installed)
    script = installed / "bin" / "memogen"
    if script.exists():  # Windows names it otherwise
        assert "memogen" in call(script, "--version", cwd=tmp_path, path=installed)
