"""The library from Python: what it is called with, what it refuses in one line, and what a type checker sees of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mypy import api

import memogen
from memogen import cli
from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.recipes import RECIPES
from memogen.runs import choose, load_config
from memogen.types import InputError

ROOT = Path(__file__).parents[1]
SMALL = {"model.width": 8, "model.memory.num_slots": 16, "model.memory.key_dim": 8, "model.memory.top_k": 8, "scoring.extractor": None}


# --- images and numbers of images ---


@pytest.fixture(scope="module")
def bad_calls() -> dict[str, Any]:
    """What wrong calls raise in a user's process, where nothing checks signatures."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.models.bad_calls"], capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_family_refuses_what_is_no_batch_of_its_images(bad_calls: dict[str, Any]) -> None:
    wrong = {call: told for call, told in bad_calls["found"].items() if not call.endswith(("good uint8", "good float", "own samples"))}
    assert len(wrong) == 10 * 10 + 6 * 5
    for call, (kind, text) in wrong.items():
        assert kind == "InputError" and "\n" not in text, (call, kind, text)
    by_image = {name: {told[1] for call, told in wrong.items() if call.endswith(f" {name}")} for name in ("one", "grey", "last", "int64", "array")}
    assert all(len(texts) == 1 for name, texts in by_image.items() if name != "int64"), "one check speaks for all"
    assert all("image[None]" in text for text in by_image["one"]) and all("permute" in text for text in by_image["last"])
    for call in ("memory_gan encode bytes", "mem_vae encode bytes", "mem_vae_normal encode bytes", "replay_gan classify bytes"):
        assert wrong[call][1].startswith("image: its numbers lie from 200 to 200"), call


def test_every_family_takes_its_images_and_its_own_samples(bad_calls: dict[str, Any]) -> None:
    good = {call: told for call, told in bad_calls["found"].items() if call.endswith(("good uint8", "good float", "own samples"))}
    assert len(good) == 10 * 2 + 4 and set(map(tuple, good.values())) == {("", "")}


def test_no_image_is_an_empty_batch_and_numpy_counts(bad_calls: dict[str, Any]) -> None:
    assert len(bad_calls["shapes"]) == 6 * 2
    for call, shape in bad_calls["shapes"].items():
        assert shape == [int(call.split()[1]), 3, 8, 8], call


# --- models ---


def test_a_model_is_loaded_onto_a_device(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8)).build()
    memogen.save_pretrained(model, tmp_path / "m")
    for device in ("cpu", torch.device("cpu")):
        found = memogen.from_pretrained(tmp_path / "m", device=device)
        assert {tensor.device.type for tensor in found.state_dict().values()} == {"cpu"} and not found.training
        assert torch.equal(found.sample(2), model.eval().sample(2))
    for device in ("nowhere", "cuda:77"):
        with pytest.raises(InputError, match="device") as refused:
            memogen.from_pretrained(tmp_path / "m", device=device)
        assert "\n" not in str(refused.value)


# --- training ---


def test_options_have_the_same_names_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's configuration is what the command line prints for the same options."""
    overrides = {**SMALL, "training.steps": 2, "training.batch_size": 8, "objective.critic.betas": (0.0, 0.9), "seed": 3}
    run = memogen.train("memory_gan/digits", variant="no_em", overrides=overrides, out=tmp_path / "run", console=False)
    words = [f"--{name} {'null' if value is None else json.dumps(value)}" for name, value in overrides.items()]
    capsys.readouterr()
    assert (
        cli.main(["train", "memory_gan/digits", "--variant", "no_em", "--dry-run", *" ".join(words).replace("[0.0, 0.9]", "[0.0,0.9]").split()]) == 0
    )
    found = load_config(run / "config.yaml")
    assert yaml.safe_load((run / "config.yaml").read_text()) == yaml.safe_load(capsys.readouterr().out)
    assert (found.variant, found.training.steps, found.training.seed, found.objective.critic.betas) == ("no_em", 2, 3, (0.0, 0.9))


def test_a_recipe_itself_takes_options_and_no_variant() -> None:
    recipe = RECIPES["memory_gan/digits"]()
    assert choose(recipe, options={"training.steps": 7}) == replace(recipe, training=replace(recipe.training, steps=7))
    assert choose("memory_gan/digits", "no_memory") == RECIPES["memory_gan/digits"](variant="no_memory")
    with pytest.raises(InputError, match="complete configuration"):
        choose(recipe, "no_memory")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("memory_gan/digts", ("memory_gan/digts", None, {})),
        ("memory_gan/digits --variant best", ("memory_gan/digits", "best", {})),
        ("memory_gan/digits --training.step 10", ("memory_gan/digits", None, {"training.step": 10})),
        ("memory_gan/digits --training.steps -4", ("memory_gan/digits", None, {"training.steps": -4})),
        ("memory_gan/digits --training.steps many", ("memory_gan/digits", None, {"training.steps": "many"})),
        ("memory_gan/digits --model.memory.num_slots 2.5", ("memory_gan/digits", None, {"model.memory.num_slots": 2.5})),
        ("missing.yaml", ("missing.yaml", None, {})),
    ],
)
def test_errors_are_those_of_the_command_line(
    words: str, given: tuple[str, str | None, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        memogen.train(given[0], variant=given[1], overrides=given[2], console=False)
    assert cli.main(["train", *words.split()]) == 2
    assert capsys.readouterr().err == f"memogen: {refused.value}\n"
    assert not list(tmp_path.iterdir())


# --- what a type checker sees ---


def python_in(page: Path) -> str:
    """The Python blocks of a page as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S))


@pytest.mark.slow
def test_the_readme_passes_a_strict_type_checker(tmp_path: Path) -> None:
    """And wrong uses of what it returns do not."""
    (tmp_path / "readme.py").write_text(python_in(ROOT / "README.md") + "\nsome: str = model.image_range[0]\nmodel.sample('three')\n")
    options = ["--strict", "--no-error-summary", "--show-error-codes", "--cache-dir", str(tmp_path / "cache"), "--config-file="]
    out, err, _ = api.run([*options, "--follow-imports", "silent", str(tmp_path / "readme.py")])
    lines = (tmp_path / "readme.py").read_text().splitlines()
    found = [(int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]")) for line in out.splitlines() if "readme.py" in line and "error" in line]
    assert not err
    assert found == [(len(lines) - 1, "assignment"), (len(lines), "arg-type")], out
