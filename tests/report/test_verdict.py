"""One sentence for each state of a run, from made histories and from models whose state is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memogen.memory.functional import unit
from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.report import verdict
from memogen.report.history import Run
from memogen.report.parts import Sign
from memogen.report.verdict import Course, Evidence, course, evidence, judge, nearness, slot_share
from memogen.types import Latents

from . import toy

SOUND = Evidence(
    steps=3000,
    real=0.57,
    fake=0.43,
    in_use=0.99,
    alike=0.1,
    by_slot=0.85,
    near=1.0,
    course=Course("likeness", 12, 1.0, 0.2, 0.01, 3000),
)
STATES = {
    "critic/loss is NaN or infinite": (False, replace(SOUND, broken=("critic/loss",))),
    "it has only begun": (None, replace(SOUND, steps=50)),
    "all slots of its memory hold the same": (False, replace(SOUND, alike=0.97)),
    "its memory is hardly used: 1% of the real slots": (False, replace(SOUND, in_use=0.01)),
    "its memory is hardly used: all slots draw much the same": (False, replace(SOUND, by_slot=0.1)),
    "the critic has won": (False, replace(SOUND, real=0.97, fake=0.02)),
    "it copies its training images": (False, replace(SOUND, near=0.1)),
    "it withers": (False, replace(SOUND, own=Sign(False, "it withers"))),
    "its likeness gets worse again: it was best at step 900": (False, replace(SOUND, course=replace(SOUND.course, late=-0.6, best=900))),
    "its likeness still improves": (True, SOUND),
    "its likeness no longer improves": (True, replace(SOUND, course=replace(SOUND.course, late=0.001))),
    "it grows": (True, replace(SOUND, course=None, own=Sign(True, "it grows"))),
}


def history(tmp_path: Path, values: dict[str, list[float | None]], steps: int = 3000) -> Run:
    """A run whose log holds each metric at even steps."""
    rows = [{"step": round(steps * (place + 1) / len(each)), key: value} for key, each in values.items() for place, value in enumerate(each)]
    return Run(
        tmp_path, {"training": {"steps": steps}, "model": {"memory": {"num_slots": 64}}}, tuple(sorted(rows, key=lambda row: row["step"])), (), ()
    )


@pytest.mark.parametrize("begins", list(STATES))
def test_every_state_has_a_sentence_of_its_own(begins: str) -> None:
    alive, state = STATES[begins]
    said = judge(state)
    assert said.alive is alive and said.words.startswith(begins)


def test_what_was_not_measured_decides_nothing() -> None:
    assert judge(Evidence()).alive is None and judge(Evidence(steps=5000)).alive is None
    assert judge(replace(SOUND, by_slot=None, near=None, alike=None)) == judge(SOUND)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0 / (look + 1) ** 2 + 0.05 * (12 - look) for look in range(12)], "still improves"),
        ([1.0, 0.4, 0.1, 0.1, 0.101, 0.1, 0.099, 0.1, 0.101, 0.1, 0.1, 0.1], "no longer improves, and it grows"),
        ([1.0, 0.4, 0.1, 0.1, 0.1, 0.1, 0.2, 0.35, 0.5, 0.6, 0.75, 0.9], "gets worse"),
        ([1.0, 0.4, 0.1], "it grows"),
    ],
)
def test_the_course_of_a_distance_is_read_by_its_last_half(tmp_path: Path, values: list[float], told: str) -> None:
    found = replace(evidence(history(tmp_path, {"critic/loss": [1.0], "eval/scores/kid": values})), own=Sign(True, "it grows"))
    assert told in judge(found).words


def test_more_is_better_for_a_bound(tmp_path: Path) -> None:
    rising = course(history(tmp_path, {"bound/bound": [-100.0, -80, -60, -50, -40, -30, -20, -10]}), "bound/bound", True)
    assert rising is not None and rising.late == pytest.approx(1 / 3) and rising.gain == 90 and rising.best == 3000
    falling = course(history(tmp_path, {"bound/bound": [-10.0, -20, -30, -40, -50, -60]}), "bound/bound", True)
    assert falling is not None and falling.late == -math.inf


def test_an_unused_memory_is_told_from_its_log(tmp_path: Path) -> None:
    log = {"critic/loss": [1.0] * 30, "critic/real_slots": [0.5] * 30}
    for used, alive in ((1.0, False), (31.0, None)):
        found = evidence(history(tmp_path, log | {"critic/effective_real": [used] * 30}))
        assert found.in_use == used / 32
        assert judge(found).alive is alive


def test_nearness_is_nothing_for_copies_and_one_for_images_drawn_alike() -> None:
    training = toy.images(60)
    copies, fresh = nearness(toy.Drawing(0), training), nearness(toy.Drawing(5), training)
    assert copies == 0 and fresh is not None and 0.8 < fresh < 1.2
    assert nearness(toy.Drawing(0), toy.images(60, channels=3)) is None, "images that do not fit decide nothing"


def test_the_slot_decides_all_nothing_or_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images by the slot alone, and by the noise alone."""
    config = MemoryGANConfig((1, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(32, 8, top_k=8), condition="key")
    model = config.build().eval()
    memory = model.memory
    assert memory is not None
    rng = np.random.default_rng(0)
    for value in (1.0, 0.0):
        query = unit(memory.keys.new_tensor(rng.normal(size=(40, 8))))
        memory.write(query, query.new_full((40,), value))

    def by_slot(_: object, latents: Latents) -> Tensor:
        assert latents.slot is not None
        return (7 * latents.slot % 256).to(torch.uint8).view(-1, 1, 1, 1)

    def by_noise(_: object, latents: Latents) -> Tensor:
        return (255 * (latents.noise[:, :1] - latents.noise.min())).clamp(0, 255).to(torch.uint8).view(-1, 1, 1, 1)

    shares = []
    for drawn in (by_slot, by_noise):
        monkeypatch.setattr(verdict, "draw", drawn)
        shares.append(slot_share(model))
    assert shares == pytest.approx([1.0, 0.0], abs=1e-6)
    assert slot_share(replace(config, memory=None).build().eval()) is None


def test_the_kept_verdict_is_read_back(tmp_path: Path) -> None:
    assert verdict.kept(tmp_path) == ""
    verdict.keep(tmp_path, Sign(None, "it is early\x1b"))
    assert verdict.kept(tmp_path) == "it is early\x1b"
    (tmp_path / verdict.FILE).write_text("[1")
    assert verdict.kept(tmp_path) == ""
