"""Panels of fixed latents: kept at powers of two and at the end, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from memogen.training.grid import Evolution, panels, read_panel


@pytest.mark.parametrize("channels", [1, 3])
def test_a_panel_survives_its_file(tmp_path: Path, channels: int) -> None:
    images = torch.randint(0, 256, (2, 4, channels, 3, 5), dtype=torch.uint8)
    Evolution(tmp_path, 1, lambda model: ((7, 2), images))(0, nn.Identity())
    ((step, file),) = panels(tmp_path)
    labels, read = read_panel(file, 3, 5)
    assert (step, labels) == (0, (7, 2))
    assert torch.equal(torch.from_numpy(read.copy()), images)


def test_steps_are_powers_of_two_and_the_last(tmp_path: Path) -> None:
    asked = list[int]()

    def panel(model: nn.Module) -> tuple[tuple[int, ...], torch.Tensor]:
        asked.append(1)
        return (), torch.zeros(1, 1, 1, 2, 2, dtype=torch.uint8)

    watch = Evolution(tmp_path, 11, panel)
    for step in range(12):
        watch(step, nn.Identity())
    assert [step for step, _ in panels(tmp_path)] == [0, 1, 2, 4, 8, 11]
    assert len(asked) == 6, "nothing is drawn that is not kept"
    assert read_panel(panels(tmp_path)[0][1], 2, 2)[0] == ()
