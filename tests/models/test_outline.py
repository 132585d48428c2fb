"""What a model would be is known before memory is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from memogen.models import FAMILIES, MemoryConfig, MemoryGANConfig, outline
from memogen.pretrained import from_pretrained, save_pretrained
from memogen.recipes import RECIPES
from memogen.types import InputError

SMALL = MemoryGANConfig(image_shape=(1, 8, 8), width=2, memory=MemoryConfig(8, 4, top_k=4))


@pytest.mark.parametrize("name", [next(name for name in RECIPES if name.startswith(f"{family}/")) for family in FAMILIES])
def test_an_outline_has_the_names_and_shapes_of_the_model_and_no_numbers(name: str) -> None:
    config = RECIPES[name]().model
    built, drawn = config.build().state_dict(), outline(config).state_dict()
    assert {key: value.shape for key, value in drawn.items()} == {key: value.shape for key, value in built.items()}
    assert all(value.is_meta for value in drawn.values())


@pytest.mark.parametrize("size", [10**9, 10**18, 10**40])
def test_sizes_that_a_saved_configuration_makes_up_take_no_memory(size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_pretrained(SMALL.build(), tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text())
    document["config"]["width"] = size
    path.write_text(json.dumps(document))
    with pytest.raises(InputError):
        from_pretrained(tmp_path)
