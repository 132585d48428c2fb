"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import memogen

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "memogen").rglob("*.py"))
FILES = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_are_under_the_wall(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_forbidden_means(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {ast.unparse(node.func) for node in calls if not any(ast.unparse(option) == "weights_only=True" for option in node.keywords)}
    assert not called & {"hasattr", "torch.load", "torch.save", "eval", "exec", "pickle.load", "pickle.loads"}
    stars = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)]
    assert not stars
    unpickled = [
        node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    ]
    assert not unpickled


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_constructors_take_at_most_eight_arguments(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            assert len(node.args.args) + len(node.args.kwonlyargs) - 1 <= 8, f"line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_unpickled(path: Path) -> None:
    assert not re.search(r"^\s*(import|from) (pickle|dill|shelve|marshal|joblib)\b", path.read_text(), flags=re.M)


@pytest.mark.parametrize("public", memogen.__all__)
def test_public_names_can_be_imported(public: str) -> None:
    assert getattr(memogen, public) is not None


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", "import sys, memogen; dir(memogen); assert 'torch' not in sys.modules"], check=True)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = memogen.nothing  # type: ignore[attr-defined]


def test_every_module_can_be_imported() -> None:
    for path in SOURCES:
        if path.name != "__main__.py":
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def test_changelog_names_the_version() -> None:
    assert f"## {memogen.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 60


def test_the_lock_is_exact_and_covers_the_requirements() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    locked = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _names(project["dependencies"] + project["optional-dependencies"]["dev"]) <= locked


def test_every_import_is_declared_and_every_requirement_is_imported() -> None:
    """The distributions behind the modules that the package imports, those of extras among them, are those that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required, extras = _names(project["dependencies"]), project["optional-dependencies"]
    optional = {name for extra, lines in extras.items() if extra not in ("dev", "docs", "bench") for name in _names(lines)}
    modules = {module for path in (ROOT / "memogen").rglob("*.py") for module in _imported(path)} - {"memogen"} - sys.stdlib_module_names
    homes = packages_distributions()
    found = {homes[module][0].lower().replace("_", "-") if module in homes else module for module in modules}
    assert found - optional - {"torch"} == required - {"torch"}
    assert "torch" in required


def _names(lines: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", line)[0].lower().replace("_", "-") for line in lines}


def _imported(path: Path) -> set[str]:
    """The first parts of the modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found
