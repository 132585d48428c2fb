"""Optimisers as data: schedules at their corners, the order of the clips, and Adam with its epsilon in either place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from memogen.configs import to_dict
from memogen.training import TrainingConfig
from memogen.training.optimise import PhaseOptimiser, clip_gradients, learning_rate, phase_optimisers
from memogen.training.runtime import start
from memogen.types import DecayConfig, Loss, OptimiserConfig, Phase
from tests.training.toy import train

PAPER = OptimiserConfig(learning_rate=1e-3, schedule="decay")


def rate_of_epoch(epoch: int, *, steps_per_epoch: int = 600) -> float:
    """The learning rate of all steps of an epoch of 3,000, counted from 1: that of its first step and of its last."""
    first, last = (learning_rate(PAPER, step, 3000 * steps_per_epoch) for step in ((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch - 1))
    assert first == last
    return first


def test_three_thousand_epochs_have_the_papers_rates() -> None:
    """Constant through epoch 1000, then 0.998 for each (section 5; 1e-3, 9.98e-4 and 1.824e-5 at epochs 1000, 1001 and 3000)."""
    assert rate_of_epoch(1) == rate_of_epoch(1000) == 1e-3
    for epoch in (1001, 1500, 2999, 3000):
        assert rate_of_epoch(epoch) == pytest.approx(1e-3 * 0.998 ** (epoch - 1000), rel=1e-12)
    assert rate_of_epoch(1001) == pytest.approx(9.98e-4) and rate_of_epoch(3000) == pytest.approx(1.824e-5, rel=1e-3)
    assert rate_of_epoch(2999, steps_per_epoch=321) == rate_of_epoch(2999)


@given(steps=st.integers(1, 5000), place=st.floats(0, 1, exclude_max=True), longer=st.integers(2, 400))
def test_a_short_run_goes_through_the_same_course(steps: int, place: float, longer: int) -> None:
    """The rate depends on the share of the run that is done, and on nothing else; it never rises, and a third of the run has the full one."""
    step = int(place * steps)
    rate = learning_rate(PAPER, step, steps)
    assert rate == learning_rate(PAPER, step * longer, steps * longer)
    assert rate >= learning_rate(PAPER, min(step + 1, steps - 1), steps)
    assert (rate == 1e-3) == (step * 3 < steps)


def test_linear_and_constant_rates() -> None:
    linear, constant = OptimiserConfig(learning_rate=0.1, schedule="linear"), OptimiserConfig(learning_rate=0.1)
    assert [learning_rate(linear, step, 4) for step in range(4)] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert {learning_rate(constant, step, 4) for step in range(4)} == {0.1}


def turn_of(parameter: nn.Parameter, config: OptimiserConfig, *, recorded: bool = False) -> PhaseOptimiser:
    model = nn.ParameterList([parameter])
    return phase_optimisers(model, (Phase("only", (model,), lambda batch: Loss(torch.zeros(())), optimiser=config),), recorded=recorded)[0]


def moved(config: OptimiserConfig, gradients: list[list[float]], *, recorded: bool = False) -> np.ndarray:
    """Where a parameter that starts at 0 is after updates with these gradients."""
    parameter = nn.Parameter(torch.zeros(len(gradients[0]), dtype=torch.float64))
    turn, runtime = turn_of(parameter, config, recorded=recorded), start(TrainingConfig(steps=9, device="cpu"))
    for update, gradient in enumerate(gradients, start=1):
        turn.begin(update - 1, len(gradients))
        turn.count(update)
        turn.descend((parameter * torch.tensor(gradient, dtype=torch.float64)).sum(), runtime, None)
    return parameter.detach().numpy()


GRADIENTS = [[0.3, -2e-4], [-0.1, 5e-4]]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("form", ["corrected", "uncorrected"])
def test_two_steps_of_adam_by_hand(form: str, recorded: bool) -> None:
    """Lasagne: lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps). Torch: the same with eps sqrt(1 - b2^t)."""
    b1, b2, eps, rate = 0.9, 0.999, 1e-4, 1e-3
    first = np.array(GRADIENTS)
    m1, v1 = (1 - b1) * first[0], (1 - b2) * first[0] ** 2
    m2, v2 = b1 * m1 + (1 - b1) * first[1], b2 * v1 + (1 - b2) * first[1] ** 2
    expected = np.zeros(2)
    for t, (m, v) in enumerate(((m1, v1), (m2, v2)), start=1):
        at = eps if form == "uncorrected" else eps * math.sqrt(1 - b2**t)
        expected -= rate * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + at)
    config = OptimiserConfig(learning_rate=rate, betas=(b1, b2), eps=eps, eps_form=form)  # type: ignore[arg-type]
    if recorded and form == "corrected":
        pytest.skip("torch's own, for CUDA alone")
    np.testing.assert_allclose(moved(config, GRADIENTS, recorded=recorded), expected, rtol=1e-6 if recorded else 1e-9)


def test_a_recorded_rate_falls_and_its_moments_continue_unrecorded() -> None:
    """Ten updates with a falling rate, of which the last five continue the state of the first in the other form, are ten of one form."""
    config = OptimiserConfig(learning_rate=1e-3, eps=1e-4, betas=(0.9, 0.999), eps_form="uncorrected", schedule="linear")
    ends = []
    for forms in ((False, False), (True, False), (False, True)):
        parameter, runtime, saved = nn.Parameter(torch.zeros(2, dtype=torch.float64)), start(TrainingConfig(steps=9, device="cpu")), None
        for half, recorded in enumerate(forms):
            turn = turn_of(parameter, config, recorded=recorded)
            if saved is not None:
                turn.optimiser.state.update({parameter: saved})
            for number in range(5 * half, 5 * half + 5):
                turn.begin(number, 10)
                turn.count(number + 1)
                turn.descend((parameter * torch.tensor(GRADIENTS[number % 2], dtype=torch.float64)).sum(), runtime, None)
            saved = turn.optimiser.state[parameter]
        assert saved is not None and float(saved["step"]) == 10
        ends.append(parameter.detach().numpy())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-6)


def test_the_norm_is_bounded_before_the_elements() -> None:
    """(30, 4) becomes (4.96, 0.66) and then (1, 0.66); elements first, it would become (1, 1), whose norm needs no bound."""
    for given_, bounds, expected in (
        ([6.0, 8.0, 0.0], (5.0, 1.0), [1.0, 1.0, 0.0]),
        ([30.0, 4.0], (5.0, 1.0), [1.0, 4.0 * 5 / math.hypot(30, 4)]),
        ([30.0, -40.0], (5.0, 0.0), [3.0, -4.0]),
        ([0.5, -3.0], (0.0, 1.0), [0.5, -1.0]),
        ([0.5, -0.3], (5.0, 1.0), [0.5, -0.3]),
    ):
        parameter = nn.Parameter(torch.zeros(len(given_)))
        parameter.grad = torch.tensor(given_)
        clip_gradients((parameter,), OptimiserConfig(clip_norm=bounds[0], clip_value=bounds[1]))
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5)


def test_updates_are_counted_across_repeats() -> None:
    """What the loop tells: with three repeats the second step begins with update 4."""
    config = OptimiserConfig(eps=1e-4, betas=(0.9, 0.999), eps_form="uncorrected")
    turn = turn_of(nn.Parameter(torch.zeros(1)), config)
    turn.count(4)
    assert turn.optimiser.param_groups[0]["eps"] == pytest.approx(1e-4 / math.sqrt(1 - 0.999**4))
    plain = turn_of(nn.Parameter(torch.zeros(1)), OptimiserConfig(eps=1e-4))
    plain.count(4)
    assert plain.optimiser.param_groups[0]["eps"] == 1e-4


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"hold": 4, "stages": 3}, "hold is 4 of 3"),
        ({"hold": -1}, "hold is -1"),
        ({"factor": 0.0}, "factor is 0"),
        ({"factor": 1.5}, "factor is 1.5"),
    ],
)
def test_impossible_schedules_are_refused(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DecayConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clip_value"):
        OptimiserConfig(clip_value=-1.0)


def test_a_checkpoint_is_compared_by_every_option_of_its_optimisers() -> None:
    from memogen.training.config import flat_settings
    from tests.training.toy import DATA, config

    phase = Phase("p", (nn.Linear(1, 1),), lambda batch: Loss(torch.zeros(())), optimiser=OptimiserConfig(clip_value=1.0))
    found = {name: value for name, value in flat_settings(config(), DATA, (phase,), {}).items() if name.startswith("phases.p.")}
    assert found == {"phases.p.repeats": 1} | {f"phases.p.{name}": value for name, value in to_dict(phase.optimiser).items()}


def test_a_step_that_half_precision_spoils_moves_nothing_and_says_so() -> None:
    """The scaler skips it; the caller must not commit what belongs to it, such as a write to a memory."""
    weight = nn.Linear(1, 1, bias=False)
    phase = Phase("only", (weight,), lambda batch: Loss(weight.weight.sum()), optimiser=OptimiserConfig(learning_rate=0.1))
    turn, runtime = phase_optimisers(weight, (phase,))[0], start(TrainingConfig(steps=1, device="cpu"))
    scaler, before = torch.amp.GradScaler("cpu", init_scale=4.0), weight.weight.detach().clone()
    assert not turn.descend(weight.weight.sum() * math.inf, runtime, scaler) and torch.equal(weight.weight, before)
    assert turn.descend(weight.weight.sum(), runtime, scaler) and not torch.equal(weight.weight, before)


def test_a_skipped_step_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a step that moved writes to the memory; the log holds the share of skipped ones."""
    calls = list[int]()

    def every_second(*_: object) -> bool:
        calls.append(0)
        return len(calls) % 3 == 1  # the critic's first batch of each step moves; its second and the generator's are skipped

    monkeypatch.setattr(PhaseOptimiser, "descend", every_second)
    state = train(tmp_path, precision="fp16", steps=4, log_every=4)
    assert state.modules["model"].written == 4, "half of the critic's eight turns"
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (line["critic/skipped"], line["generator/skipped"]) == (0.5, 1.0)
