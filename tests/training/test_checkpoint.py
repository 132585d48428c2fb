"""A checkpoint is there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from memogen.training import latest
from memogen.training.checkpoint import checkpoint_path, checkpoints, read_checkpoint, sweep, write_checkpoint
from tests.training.toy import train


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    tensors = {
        "scalar": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flag": torch.tensor([True]),
        "whole": shared,
        "view": shared[:2],
        "turned": torch.arange(6.0).view(2, 3).T,
        "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
    path = checkpoint_path(tmp_path, 7)
    write_checkpoint(path, {"some": tensors, "none": {}}, {"step": 7, "ratio": 0.1})
    files, state = read_checkpoint(path)
    assert files["none"] == {} and (state["step"], state["ratio"]) == (7, 0.1)
    for name, tensor in tensors.items():
        assert files["some"][name].dtype == tensor.dtype
        assert torch.equal(files["some"][name], tensor)


def test_an_interrupted_write_leaves_the_former_checkpoint_and_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(checkpoint_path(tmp_path, 1), {"a": {}}, {"step": 1})
    monkeypatch.setattr(json, "dumps", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(checkpoint_path(tmp_path, 2), {"a": {}}, {"step": 2})
    monkeypatch.undo()
    assert latest(tmp_path) == checkpoint_path(tmp_path, 1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    sweep(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == checkpoints(tmp_path)


def test_a_state_that_names_files_elsewhere_is_not_followed(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint(path, {"a": {}}, {"step": 1})
    path.rename(tmp_path / "moved")
    for listed in ([], {"../x": ""}, 3):
        (tmp_path / "moved" / "state.json").write_text(json.dumps({"sha256": "", "files": listed}))
        with pytest.raises(ValueError, match="moved"):
            read_checkpoint(tmp_path / "moved")


def test_the_last_ones_are_kept_and_every_file_has_its_checksum(tmp_path: Path) -> None:
    train(tmp_path, steps=13, checkpoint_every=2, keep=3)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000010", "step-00000012", "step-00000013"]
    for path in checkpoints(tmp_path):
        state = json.loads((path / "state.json").read_text())
        assert set(state["files"]) == {file.name for file in path.iterdir()} - {"state.json"}
        assert all(len(checksum) == 64 for checksum in state["files"].values())
        assert not [file for file in path.iterdir() if file.suffix not in (".json", ".safetensors")]
