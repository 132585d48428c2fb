"""The arms of the benchmark of unlearning: what each holds of the model, and the Fisher information against its closed form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import memogen
from benchmarks.unlearning import Amnesia, main


@pytest.mark.parametrize("arm", ["edit", "unlearn", "amnesia"])
def test_an_arm_writes_its_rows(arm: str, tmp_path: Path) -> None:
    hold = ["--hold", "1"] if arm == "amnesia" else []
    main(["digits", "--arm", arm, *hold, "--steps", "2", "--samples", "400", "--classes", "0", "--out", str(tmp_path / "rows.jsonl")])
    rows = {row["metric"]: row for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())}
    assert rows["unlearned_old_keys"]["value"] > 0.5 and rows["unlearned_cost"]["value"] > -0.9
    assert rows["unlearned_cost"]["protocol"]["steps"] == (0 if arm == "edit" else 2)


def test_the_fisher_information_of_a_bias_of_the_last_layer() -> None:
    """G = sigmoid(a + b): E (sum_p s_p (1 - s_p) e_p)^2 = E sum_p (s_p (1 - s_p))^2 with e standard normal."""
    model = memogen.from_pretrained("digits")
    task = Amnesia(model, torch.tensor([3]), hold=1.0)
    names = [name for name, _ in model.generator.named_parameters()]
    (place,) = [number for number, name in enumerate(names) if name.endswith("bias") and model.generator.get_parameter(name).numel() == 1]
    image = model.decode(model.latents_at(torch.arange(200), seed=0, weight=model.memory.mass * task.stays))
    expected = float((image * (1 - image)).square().flatten(1).sum(1).mean())
    assert float(task.fisher[place]) == pytest.approx(expected, rel=0.4), "a mean over 200 draws of a squared normal"
