"""Memory Replay GANs: what they draw, for which class, by whose statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from memogen.models.replay_gan import BatchStatistics, ReplayGAN, ReplayGANConfig
from memogen.nets.class_norm import ClassBatchNorm
from memogen.noise import Stream
from memogen.types import GenerativeModel, InputError, Latents

TINY = ReplayGANConfig(image_shape=(1, 8, 8), width=4, noise_dim=6, num_classes=4)
KINDS = {
    "norm": TINY,
    "concat": replace(TINY, conditioning="concat"),
    "none": replace(TINY, conditioning="none"),
    "mixed": replace(TINY, statistics="batch"),
    "resnet": replace(TINY, image_shape=(3, 16, 16), network="resnet", width=2, conditioning="concat"),
    "padded": replace(TINY, image_shape=(1, 6, 7)),
    "resized": replace(TINY, image_shape=(1, 6, 7), framing="resize"),
}


def built(config: ReplayGANConfig = TINY, tasks: tuple[tuple[int, ...], ...] = ((0,), (2, 1)), seed: int = 0) -> ReplayGAN:
    """A model with fresh weights and uneven norms that has learned ``tasks``."""
    torch.manual_seed(seed)
    model = config.build()
    for norm in (part for part in model.generator.modules() if isinstance(part, ClassBatchNorm)):
        torch.nn.init.normal_(norm.weight, 1.0, 0.5)
        torch.nn.init.normal_(norm.bias, 0.0, 0.5)
    for number, classes in enumerate(tasks):
        model.begin_task(number, classes)
    model.calibrate()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_addressed(kind: str) -> None:
    model = built(KINDS[kind])
    for drawn in (model, BatchStatistics(model)):
        assert isinstance(drawn, GenerativeModel)
        for label in (None, 2):
            if kind == "none" and label is None and drawn is not model:
                continue  # blocks of an unconditional model are of the classes that its solver finds
            images = drawn.sample(8, label=label, seed=5)
            assert images.shape == (8, *KINDS[kind].image_shape)
            torch.testing.assert_close(images[3:], drawn.sample(5, label=label, seed=5, start=3))
            assert not torch.equal(images, drawn.sample(8, label=label, seed=6))
            assert float(images.abs().max()) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_looking_changes_nothing(kind: str) -> None:
    model = built(KINDS[kind]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.sample(4), model.sample(4, label=1), BatchStatistics(model).sample(4, label=1)
    model.classify(torch.zeros(2, *KINDS[kind].image_shape, dtype=torch.uint8))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_learned_classes_are_drawn() -> None:
    model = built()
    assert model.known == (0, 1, 2)
    assert model.current.tolist() == [1, 2]
    assert set(model.latents(200).label.tolist()) == {0, 1, 2}
    counts = torch.bincount(model.latents(3000, seed=1).label, minlength=4).tolist()
    assert counts[3] == 0
    assert all(900 < count < 1100 for count in counts[:3])
    assert model.latents(4, label=2).label.tolist() == [2] * 4
    with pytest.raises(InputError, match="label: 3 is not learned; this model knows 0, 1, 2"):
        model.latents(1, label=3)
    with pytest.raises(InputError, match="no class yet"):
        TINY.build().latents(1)
    with pytest.raises(InputError, match="slot"):
        model.latents(1, slot=0)


def test_a_class_belongs_to_one_task() -> None:
    model = built()
    model.begin_task(1, (1, 2))  # again, as a resumed task does
    with pytest.raises(InputError, match="class 0: learned in task 0 already"):
        model.begin_task(1, (0,))
    named = built(replace(TINY, classes=("a shoe", "a hat")))
    with pytest.raises(InputError, match=r"class 0 \(a shoe\): learned in task 0 already"):
        named.begin_task(1, (0,))
    with pytest.raises(InputError, match="label slots 0 to 3"):
        model.begin_task(2, (4,))


def test_stored_statistics_come_near_those_of_a_large_batch() -> None:
    """The classes' own, so an image drawn alone is nearly the image that a batch of its class has drawn."""
    model = built()
    model.calibrate()
    for label in model.known:
        latents = model.latents(1000, label=label, seed=3)
        by_batch = model.generate(latents, 1).detach()
        gap = (model.decode(latents) - by_batch).abs().mean()
        assert float(gap) < 0.15 * float(by_batch.std())  # 512 values of a channel at the 1x1 base of so small a net
    first = model.sample(4, label=1)
    model.calibrate()
    assert torch.equal(first, model.sample(4, label=1)), "calibration is a function of the weights alone"


def test_the_authors_protocol_normalises_blocks_of_64_of_one_class() -> None:
    model = built()
    drawn = BatchStatistics(model).sample(70, label=1, seed=2)
    for block in (0, 1):
        latents = model.latents(64, label=1, seed=2, start=64 * block)
        wanted = model.generator(latents.noise, latents.label, 1)
        torch.testing.assert_close(drawn[64 * block :][:64], wanted[: len(drawn[64 * block :][:64])])
    alternating = BatchStatistics(model).sample(9, seed=2)
    torch.testing.assert_close(alternating[1::3], BatchStatistics(model).sample(3, label=1, seed=2))


def test_joint_training_is_drawn_in_blocks_of_ten_of_every_class() -> None:
    model = built(KINDS["mixed"])
    latents = model.in_turns(torch.arange(10), torch.tensor([0, 1, 2]), seed=2)
    wanted = model.generator(latents.noise, latents.label, 0)
    drawn = BatchStatistics(model)
    torch.testing.assert_close(drawn.sample(10, label=2, seed=2), wanted[2::3])
    torch.testing.assert_close(drawn.sample(7, seed=2, start=20), wanted[20:27])
    further = model.in_turns(torch.arange(10, 20), torch.tensor([0, 1, 2]), seed=2)
    torch.testing.assert_close(drawn.sample(3, label=1, seed=2, start=9)[1:], model.generator(further.noise, further.label, 0)[1:7:3])
    made = list[int]()
    model.generator.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
    drawn.sample(60, seed=2)
    assert made == [30, 30], "nothing is drawn twice"


def test_a_solver_chooses_among_candidates() -> None:
    model = built(KINDS["none"])
    for label in range(4):
        images = model.sample(12, label=label)
        found = model.classify(images).argmax(1)
        everything = model.classify(model.decode(model.latents(400))).argmax(1)
        if (everything == label).any():
            assert (found == label).float().mean() > (everything == label).float().mean()


@pytest.mark.parametrize("candidates", [1, 16, 40])
def test_the_first_candidate_of_the_class_is_chosen_or_else_the_likeliest(candidates: int) -> None:
    """In rounds as at once, whatever other images are asked for."""
    model = built(replace(KINDS["none"], candidates=candidates))
    label = int(model.classify(model.sample(400)).argmax(1).bincount().argsort()[-2])
    found = model.latents(30, label=label, seed=3).noise
    address = torch.arange(30 * candidates)
    every = model.noise(address, 3, Stream.GIVEN_CLASS)
    odds = model.classify(model.decode(Latents(every))).log_softmax(1).view(30, candidates, -1)
    for row, each in enumerate(odds):
        right = (each.argmax(1) == label).nonzero()[:, 0].tolist()
        place = right[0] if right else int(each[:, label].argmax())
        assert torch.equal(found[row], every.view(30, candidates, -1)[row, place])
    torch.testing.assert_close(model.latents(5, label=label, seed=3, start=7).noise, found[7:12])


@pytest.mark.parametrize("kind", ["padded", "resized"])
def test_frames_are_undone(kind: str) -> None:
    model = built(KINDS[kind])
    image = F.interpolate(torch.randn(3, 1, 3, 3), (6, 7), mode="bilinear").clamp(-1, 1)
    framed = model.framed(image)
    assert framed.shape == (3, 1, 8, 8)
    if kind == "padded":
        assert torch.equal(model.unframed(framed), image)
        assert torch.equal(framed[:, :, 0], torch.full((3, 1, 8), -1.0))
        assert torch.equal(framed[:, :, :, -1], torch.full((3, 1, 8), -1.0)), "the odd column goes to the end"
    else:
        torch.testing.assert_close(model.unframed(framed), image, atol=0.3, rtol=0)


def test_mnist_is_padded_by_two_pixels_to_the_papers_networks() -> None:
    config = ReplayGANConfig()
    assert config.frame == (1, 32, 32)
    model = config.build()
    assert sum(p.numel() for p in model.generator.parameters()) == 525_569
    assert sum(p.numel() for p in model.critic.parameters()) == 279_563
    pixels = model.pixels(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8))
    assert pixels.sum() == 28**2 - (32**2 - 28**2)
    assert pixels[0, 0, 2:30, 2:30].min() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": "vgg"},
        {"conditioning": "cbn"},
        {"image_shape": (8, 8)},
        {"num_classes": 0},
        {"classes": ("a", "a")},
        {"classes": tuple("abcde")},
        {"statistics": "sample"},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):  # the checker of types, which only the tests have, comes first where a choice is wrong
        replace(TINY, **wrong)


def test_slots_have_names() -> None:
    config = replace(TINY, classes=("zero", "one"))
    assert [config.name(label) for label in range(3)] == ["zero", "one", "2"]
    model = config.build()
    assert (model.slot("one"), model.slot("two")) == (1, None)
