"""The averages over an accuracy matrix, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from memogen.metrics.evaluate import score_model
from memogen.metrics.forgetting import AccuracyMatrix, Judgement, earlier, judge_past
from memogen.metrics.forgetting import kept_checkpoints as kept
from memogen.metrics.novelty import auroc
from memogen.models import MemoryGANConfig, NoiseConfig
from memogen.models.memory_gan import MemoryGAN
from memogen.training.checkpoint import checkpoint_path, write_checkpoint
from memogen.types import ImageData, InputError
from tests.metrics.toys import small_gan

VALUES = np.array([[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 1.0]])


def test_by_hand() -> None:
    matrix = AccuracyMatrix(VALUES)
    assert matrix.average_accuracy == pytest.approx((0.7 + 0.5 + 1.0) / 3)
    assert matrix.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert matrix.forgetting == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)


def test_the_best_before_the_last_task_counts_and_what_was_not_learned_yet_does_not() -> None:
    values = np.array([[0.5, 0.99, 0.0], [0.8, 0.6, 0.0], [0.7, 0.7, 0.9]])
    assert AccuracyMatrix(values).forgetting == pytest.approx(((0.8 - 0.7) + (0.6 - 0.7)) / 2)


@given(num=st.integers(2, 8), seed=st.integers(0, 1000))
def test_without_ups_and_downs_forgetting_is_minus_the_backward_transfer(num: int, seed: int) -> None:
    """When an accuracy is never better than when its task was learned, the two are the same number."""
    falling = np.sort(np.random.default_rng(seed).uniform(size=(num, num)), axis=0)[::-1]
    matrix = AccuracyMatrix(np.ascontiguousarray(falling))
    values = np.where(np.tri(num, dtype=bool), falling, np.nan)
    assert matrix.forgetting == pytest.approx(-AccuracyMatrix(values).backward_transfer)
    assert matrix.forgetting >= 0


def test_tasks_not_yet_learned_may_be_missing() -> None:
    values = np.where(np.tri(3, dtype=bool), VALUES, np.nan)
    assert AccuracyMatrix(values).forgetting == AccuracyMatrix(VALUES).forgetting


def test_unusable_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="one row and one column"):
        AccuracyMatrix(np.zeros((2, 3)))
    with pytest.raises(InputError, match="already learned is missing"):
        AccuracyMatrix(np.array([[0.5, 0.1], [np.nan, 0.5]]))
    with pytest.raises(InputError, match="learn two or more"):
        _ = AccuracyMatrix(np.ones((1, 1))).forgetting


# --- A discriminator with known thresholds, asked about the fakes of its past ---


def test_forgetting_is_counted_on_earlier_checkpoints_alone() -> None:
    fakes = {10: torch.tensor([-1.0, -2, 3, -4]), 20: torch.tensor([1.0, 1, -1, -1]), 30: torch.tensor([5.0, 5, 5, 5])}
    found = Judgement(fakes, torch.tensor([2.0, 4, -3, 0]), {10: 0.9, 20: 0.9, 30: 0.1})
    assert found.accuracies == {10: 0.75, 20: 0.5, 30: 0.0} and earlier(found.accuracies) == 0.625
    assert found.real_accuracy == 0.5, "a logit of 0 is neither"
    by_hand = {step: np.mean([[(r > f) + (r == f) / 2 for f in logit] for r in found.real]) for step, logit in fakes.items()}
    assert found.ranked == pytest.approx(by_hand)
    assert found.forgetting == pytest.approx({step: found.then[step] - value for step, value in by_hand.items()})


def test_ranks_of_all_none_and_ties() -> None:
    assert auroc(torch.tensor([2.0, 3]), torch.tensor([0.0, 1])) == 1
    assert auroc(torch.tensor([0.0, 1]), torch.tensor([2.0, 3])) == 0
    assert auroc(torch.ones(4), torch.ones(3)) == 0.5


class Grey(nn.Module):
    """Draws every pixel at ``level``."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, code: Tensor) -> Tensor:
        return self.level.expand(len(code), 1, 8, 8)


class Threshold(nn.Module):
    """The logit is how far the mean pixel lies above ``level``."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((1, 2, 3))[:, None] - self.level


@dataclass(frozen=True)
class GreyConfig(MemoryGANConfig):
    """A plain GAN of these two."""

    def build(self) -> MemoryGAN:
        model = super().build()
        model.generator, model.critic = Grey(0.0), Threshold(0.0)
        return model


def grey_gan(drawn: float, threshold: float) -> MemoryGAN:
    model = GreyConfig(image_shape=(1, 8, 8), width=4, noise=NoiseConfig(2), memory=None).build()
    model.load_state_dict({"generator.level": torch.tensor(drawn), "critic.level": torch.tensor(threshold)})
    return model.eval()


def grey_data(*levels: int) -> ImageData:
    return ImageData(np.concatenate([np.full((50, 1, 8, 8), level, np.uint8) for level in levels]), split="test", digest="grey")


def keep(run: Path, **models: MemoryGAN) -> Path:
    for step, model in models.items():
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint_path(run, int(step[1:])), {"model": model.state_dict()}, {"step": int(step[1:])})
    return run


def test_a_discriminator_that_forgot_one_of_its_pasts(tmp_path: Path) -> None:
    """Real images are of level 0.6 and 0.2. The last D takes for fake what is darker than 0.4; its generator drew 0.1, 0.9, and now 0.5."""
    last = grey_gan(0.5, 0.4)
    run = keep(tmp_path, s10=grey_gan(0.1, 0.15), s20=grey_gan(0.9, 0.95), s30=last)
    found = judge_past(last, run, grey_data(153, 51))
    assert found.accuracies == {10: 1.0, 20: 0.0, 30: 0.0} and found.real_accuracy == 0.5
    assert found.ranked == {10: 1.0, 20: 0.0, 30: 0.5} and found.then == {10: 1.0, 20: 0.0, 30: 0.5}
    rows = {str(row["metric"]): row["value"] for row in score_model(last, grey_data(153, 51), metrics=["critic"], run=run, progress=False)}
    assert rows == {"critic_past_fakes": 0.5, "critic_held_out": 0.5, "critic_balanced": 0.5, "critic_ranked": 0.5, "critic_forgetting": 0.0}


def test_a_memory_gan_is_judged_by_its_whole_past_self(tmp_path: Path) -> None:
    model, other = small_gan(), small_gan()
    with torch.no_grad():
        next(other.generator.parameters()).mul_(3)
    assert other.memory is not None
    other.memory.keys.copy_(other.memory.keys.flip(0))
    run = keep(tmp_path, s1=other, s2=model)
    data = ImageData(np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8), split="test")
    found = judge_past(model, run, data, seed=3)
    other.calibrate()
    torch.testing.assert_close(found.fakes[1], model.score(other.sample(1000, seed=3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.real, model.score(torch.from_numpy(data.image)), rtol=1e-4, atol=1e-5)


def test_what_keeps_no_past_is_refused(tmp_path: Path) -> None:
    model = grey_gan(0.5, 0.4)
    with pytest.raises(InputError, match="keeps 1 checkpoints"):
        kept(keep(tmp_path, s10=model))
    with pytest.raises(InputError, match="name the run's folder"):
        score_model(model, grey_data(9), metrics=["critic"], progress=False)
    with pytest.raises(InputError, match="no discriminator that was kept"):
        score_model(nn.Linear(1, 1), grey_data(9), metrics=["critic"], run=tmp_path, progress=False)
    broken = keep(tmp_path / "other", s10=model, s20=model)
    (checkpoint_path(broken, 10) / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"metric critic: .*step-00000010"):
        judge_past(model, broken, grey_data(9))
