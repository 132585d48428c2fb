"""The page of a MEM-VAE's run: bounds, reconstructions and its memory; without data or memory, sentences in their place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memogen.models import AttentionConfig, MemVAEConfig
from memogen.pretrained import save_pretrained
from memogen.report.page import write_report
from memogen.types import ImageData

DATA = ImageData(np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8)).astype(np.uint8), np.arange(30) % 3, ("a", "b", "<c>"), "toy", "test")


def run(place: Path, slots: tuple[int, ...] = (6, 4), prior_slots: int = 0) -> Path:
    torch.manual_seed(0)
    model = MemVAEConfig((1, 8, 8), hidden=(9, 8), latent_dim=3, memory=AttentionConfig(slots), prior_slots=prior_slots).build()
    model.calibrate(DATA)
    save_pretrained(model, place / "model")
    lines = [{"step": 10 * k, "images_seen": 100 * k, "seconds": float(k), "bound/bound": -90.0 + k, "bound/divergence": 20.0} for k in (1, 2)]
    lines.append({"step": 20, "images_seen": 200, "seconds": 2.0, "eval/held_out/lower_bound": -91.0, "eval/held_out/images": 30})
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        {"variant": "mem_vae", "metric": "imputation_mse", "value": value, "seed": 0, "steps": 20, "split": "test", "protocol": {"mask": mask}}
        for mask, value in (("half", 0.0551), ("rect-12", 0.141))
    ]
    (place / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def test_a_learned_prior_shows_its_pseudo_inputs(tmp_path: Path) -> None:
    shown = {slots: page(run(tmp_path / str(slots), prior_slots=slots), None) for slots in (0, 7)}
    assert {slots: 'alt="Pseudo-inputs of the prior"' in text for slots, text in shown.items()} == {0: False, 7: True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run(tmp_path)


def page(folder: Path, held_out: ImageData | None) -> str:
    return write_report(folder, held_out=held_out).read_text(encoding="utf-8")


def test_everything_is_shown(folder: Path) -> None:
    text = page(folder, DATA)
    for alt in (
        "Bound over training",
        "Held-out images and their reconstructions",
        "Layer 0",
        "Layer 1",
        "Slots decoded alone",
        "Samples with memories taken away",
    ):
        assert f'alt="{alt}"' in text, alt
    assert "6 slots in layer 0, 4 slots in layer 1" in text and "&lt;c&gt;" in text and "<c>" not in text
    assert "memogen impute" in text and "memogen interpolate" not in text
    assert text.count("lower bound over training") == 0, "the bound has its own chart already"
    assert "0.0551" in text and "0.141" in text and "Error half" in text and "lower is better" in text


def test_without_data_or_labels_sentences_stand_in_their_place(folder: Path) -> None:
    bare = page(folder, None)
    assert "made without the data" in bare and "no labelled held-out images" in bare
    text = page(folder, replace(DATA, label=None))
    assert "no labelled held-out images" in text and 'alt="Held-out images and their reconstructions"' in text


def test_without_memory_it_is_the_baseline(tmp_path: Path) -> None:
    text = page(run(tmp_path, slots=()), DATA)
    assert "This model has no memory: the baseline." in text and "taken away" not in text


def test_images_of_another_shape_leave_their_reason(folder: Path) -> None:
    text = page(folder, replace(DATA, image=DATA.image[:, :, :4]))
    assert text.count("Not drawn: image: it is (1, 4, 8)") == 2
