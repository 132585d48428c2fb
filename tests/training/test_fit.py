"""What the loop does in a step, and what it leaves behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from memogen.pretrained import from_pretrained
from memogen.training import NonFiniteLoss, fit, latest
from memogen.types import Batch, ImageData, Loss, OptimiserConfig, Phase
from tests.training.toy import DATA, ToyConfig, ToyObjective, config, fingerprint, train


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_images_are_counted_for_phases_that_read_them(tmp_path: Path) -> None:
    objective = ToyObjective()
    state = train(tmp_path, objective, steps=3)
    assert state.images_seen == 3 * 2 * 8
    starts = [(batch.step, batch.stream, int(batch.index[0]), batch.image is not None) for batch in objective.seen]
    one = [(0, 0, 0, True), (0, 1, 8, True), (0, 2, 16, False)]
    assert starts == [(step + s, stream, 16 * s + first, reads) for s in range(3) for step, stream, first, reads in one]
    assert all(len(batch.index) == 8 and batch.seed == 0 for batch in objective.seen)


def test_no_two_batches_share_the_address_of_their_noise(tmp_path: Path) -> None:
    objective = ToyObjective()
    train(tmp_path, objective, steps=10)
    addresses = [(batch.stream, int(i)) for batch in objective.seen for i in batch.index]
    assert len(set(addresses)) == len(addresses)


class Linear:
    """A phase that descends on the weights of one part, to see that the others stand still."""

    def __init__(self, part: str, **changes: object) -> None:
        self.part, self.optimiser = part, OptimiserConfig(learning_rate=0.1, **changes)

    def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        def loss(batch: Batch) -> Loss:
            self.asked = {name for name, p in model.named_parameters() if p.requires_grad}
            return Loss(torch.stack([p.sum() for p in model.parameters()]).sum())

        return (Phase("only", (model.get_submodule(self.part),), loss, optimiser=self.optimiser),)


def test_only_the_phases_parameters_require_gradients_and_move(tmp_path: Path) -> None:
    model, objective = ToyConfig().build(), Linear("critic")
    model.critic[0].bias.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, objective, DATA, config(steps=1), tmp_path, console=False)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == objective.asked == {"critic.0.weight", "critic.4.weight", "critic.4.bias"}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"critic.0.bias"}


def test_the_linear_schedule_falls_to_zero(tmp_path: Path) -> None:
    """Adam on a constant gradient moves by its learning rate: 0.1 (1 + 3/4 + 2/4 + 1/4) in four steps."""
    model = ToyConfig().build()
    before = model.critic[4].bias.detach().clone()
    fit(model, Linear("critic", schedule="linear"), DATA, config(steps=4), tmp_path, console=False)
    torch.testing.assert_close(before - model.critic[4].bias, torch.full((1,), 0.25))


def test_the_gradient_norm_is_bounded(tmp_path: Path) -> None:
    """Adam's second moment after one step is (1 - beta2) g^2, and all gradients together have the norm 0.5."""
    model = ToyConfig().build()
    state = fit(model, Linear("critic", clip_norm=0.5), DATA, config(steps=1), tmp_path, console=False)
    total = sum(moments["exp_avg_sq"].sum() for moments in state.optimisers["only"].state.values())
    assert float(total) == pytest.approx(0.001 * 0.25, rel=1e-3)


@pytest.mark.parametrize("bad_step", [3, 13])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, bad_step: int) -> None:
    with pytest.raises(NonFiniteLoss, match=f"step {bad_step}: generator/total is not finite") as error:
        train(tmp_path, ToyObjective(bad_step=bad_step))
    good = latest(tmp_path)
    assert (good.name if good else None) == {3: None, 13: "step-00000010"}[bad_step]
    assert (str(good) if good else "no checkpoint yet") in str(error.value)
    assert "not finite" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    class Poison(ToyObjective):
        def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
            critic, generator = super().phases(model)

            def spoil(loss: Loss) -> dict[str, Tensor]:
                model.critic[0].bias.data.fill_(torch.nan)
                return {}

            return generator, Phase("critic", critic.modules, critic.loss, spoil)

    with pytest.raises(NonFiniteLoss, match=r"step 1: parameter critic\.0\.bias"):
        train(tmp_path, Poison(), steps=1)
    assert latest(tmp_path) is None


def test_model_holds_the_averages_and_the_memory(tmp_path: Path) -> None:
    state = train(tmp_path, steps=6)
    saved, live, trained = from_pretrained(tmp_path / "model"), from_pretrained(tmp_path / "model", live=True), state.modules["model"]
    assert torch.equal(saved.memory, trained.memory)
    for name, value in trained.state_dict().items():
        assert torch.equal(live.state_dict()[name], value)
    for name, value in state.averages.values.items():
        assert torch.equal(saved.get_parameter(name), value)
        assert not torch.equal(value, trained.get_parameter(name))


def test_evaluators_see_an_averaged_copy_and_are_logged(tmp_path: Path) -> None:
    asked: list[nn.Module] = []

    def evaluator(model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        asked.append(model)
        assert not model.training
        return {"score": float(model.written), "seed": seed, "undefined": float("nan")}

    toy = ToyConfig().build()
    fit(toy, ToyObjective(), DATA, config(steps=5, seed=3), tmp_path, evaluators={"toy": evaluator}, evaluate_every=2, console=False)
    scores = [
        (row["step"], row["eval/toy/score"], row["eval/toy/seed"], row["eval/toy/undefined"]) for row in rows(tmp_path) if "eval/toy/score" in row
    ]
    assert scores == [(2, 4, 3, None), (4, 8, 3, None), (5, 10, 3, None)]
    assert all(model is not toy and model.calibrations == 1 for model in asked)
    before, times = (tmp_path / "metrics.jsonl").read_text(), len(asked)
    fit(ToyConfig().build(), ToyObjective(), DATA, config(steps=5, seed=3), tmp_path, evaluators={"toy": evaluator}, evaluate_every=2, console=False)
    assert (tmp_path / "metrics.jsonl").read_text() == before and len(asked) == times  # as after a kill between the last step and the end


def test_looking_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    plain = fingerprint(train(tmp_path / "plain", steps=6, checkpoint_every=0, log_every=6))
    assert fingerprint(train(tmp_path / "busy", steps=6, checkpoint_every=1, log_every=1, sample_every=1)) == plain
    assert sorted(path.name for path in (tmp_path / "busy" / "samples").iterdir()) == [f"step-{i:08d}.png" for i in range(1, 7)]


def test_another_thread_can_train(tmp_path: Path) -> None:
    states = []
    thread = threading.Thread(target=lambda: states.append(train(tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert states[0].step == 2


def test_phases_that_cannot_be_served_are_refused(tmp_path: Path) -> None:
    class Strange:
        def __init__(self, *phases: Phase) -> None:
            self.given = phases

        def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
            return self.given

    model = ToyConfig().build()
    sees = Phase("a", (model.critic,), lambda batch: Loss(torch.zeros(())))
    blind = Phase("b", (model.critic,), lambda batch: Loss(torch.zeros(())), reads_data=False)
    foreign = Phase("c", (nn.Linear(1, 1),), lambda batch: Loss(torch.zeros(())))
    for phases, reason in (((blind,), "reads data"), ((sees, sees), "share a name"), ((sees, foreign), "parts of the model")):
        with pytest.raises(ValueError, match=reason):
            fit(model, Strange(*phases), DATA, config(), tmp_path, console=False)
    with pytest.raises(TypeError, match="averaged_parts"):
        fit(nn.Linear(1, 1), Strange(sees), DATA, config(), tmp_path, console=False)
