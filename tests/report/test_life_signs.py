"""Life signs from the memory to the page, and what is evaluated on held-out images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from memogen import cli
from memogen.memory import MemoryRead, MemoryWrite, VMFMemory
from memogen.metrics.life_signs import LifeSign, life_signs
from memogen.models import MemoryConfig, MemoryGAN, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.report import life_signs as shown
from memogen.report.history import read_run
from memogen.report.life_signs import HeldOutQueries, run_signs, signs_table
from memogen.report.text import in_columns, in_markdown
from memogen.types import Batch, InputError
from tests.metrics.courses import NAMES, course
from tests.report import toy
from tests.report.pages import html_of

STEPS, BATCH = 60, 16


class Linear(nn.Module):
    """An encoder whose queries look in all directions; what it says of an image moves with its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 8))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weight


class Constant(Linear):
    """A dead encoder: all images are one."""

    def forward(self, image: Tensor) -> Tensor:
        return self.weight[:1].expand(len(image), -1)


class Frozen(VMFMemory):
    """A memory that takes nothing in."""

    def write(self, query: Tensor, value: Tensor | int, read: MemoryRead | None = None) -> MemoryWrite:
        nobody, no_slot = torch.zeros(len(query), dtype=torch.bool), torch.zeros(self.num_slots, dtype=torch.bool)
        return MemoryWrite(no_slot, no_slot, nobody, nobody, torch.zeros(()), nobody)


class Restless(VMFMemory):
    """A memory that overwrites a slot for every query and so keeps nothing."""

    def _asks_for_slot(self, scores: object, value: Tensor) -> Tensor:
        return torch.ones_like(value, dtype=torch.bool)


def alive() -> MemoryGAN:
    config = MemoryGANConfig(
        image_shape=toy.SHAPE,
        width=4,
        norm="none",
        noise=NoiseConfig(3),
        memory=MemoryConfig(32, 8, top_k=16),
        head="printed",
        image_range=(-1.0, 1.0),
    )
    torch.manual_seed(0)
    model = config.build()
    model.critic = Linear()
    return model


def train(model: MemoryGAN, *, steps: int = STEPS) -> list[dict[str, object]]:
    """The lines that a training of the critic and the memory logs; the generator stays as it is."""
    phase = MemoryGANObjective().phases(model)[0]
    assert phase.commit is not None
    data, held_out = toy.images(steps * BATCH, seed=1), HeldOutQueries(toy.images(100, seed=2))
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        index = torch.arange((step - 1) * BATCH, step * BATCH)
        loss = phase.loss(Batch(index, torch.from_numpy(data.image)[index]))
        model.critic.zero_grad()
        loss.total.backward()
        terms = loss.terms | phase.commit(loss)
        with torch.no_grad():
            for parameter in model.critic.parameters():
                parameter -= 0.01 * parameter.grad
        looked = held_out(model, data, seed=0)
        lines.append({"step": step} | {f"critic/{name}": float(value) for name, value in terms.items()})
        lines.append({"step": step} | {f"eval/held_out/{name}": value for name, value in looked.items()})
    return lines


def dead(lines: list[dict[str, object]]) -> set[str]:
    return {sign.name for sign in life_signs(lines, real_slots=16) if not sign.alive}


def as_kind(model: MemoryGAN, kind: type[VMFMemory]) -> None:
    assert model.memory is not None
    model.memory.__class__ = kind


def constant_encoder(model: MemoryGAN) -> None:
    model.critic = Constant()


def frozen_after_a_while(model: MemoryGAN) -> None:
    train(model, steps=20)
    as_kind(model, Frozen)


def all_of_one_class(model: MemoryGAN) -> None:
    train(model, steps=20)
    assert model.memory is not None
    model.memory.values.fill_(1.0)


DEATHS: dict[str, tuple[Callable[[MemoryGAN], None], set[str]]] = {
    "none": (lambda model: None, set()),
    "dead encoder": (constant_encoder, {"best_slots", "key_cosine", "query_cosine", "query_gradient", "movement"}),
    "never written": (lambda model: as_kind(model, Frozen), {"best_slots", "key_cosine", "query_gradient", "movement"}),
    "frozen after a while": (frozen_after_a_while, {"movement"}),
    "keeps nothing": (lambda model: as_kind(model, Restless), {"replaced_real", "movement"}),
    "one class": (all_of_one_class, {"one_class", "query_gradient"}),
}


@pytest.mark.parametrize("death", DEATHS)
def test_what_dies_is_seen_by_its_own_signs(death: str) -> None:
    kill, signs = DEATHS[death]
    model = alive()
    kill(model)
    assert dead(train(model)) == {name for key, name in NAMES.items() if key.rpartition("/")[2] in signs}


def folder(path: Path, change: Callable[[float], dict[str, float | None]] = lambda part: {}) -> Path:
    """A run folder with the metrics of a whole training; half of its 64 slots are real."""
    toy.run_folder(path)
    lines = [line | ({"critic/real_slots": 0.5} if "critic/movement" in line else {}) for line in course(change)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def dying(path: Path) -> Path:
    return folder(path, lambda part: {"eval/held_out/best_slots": 7.0, "critic/replaced_real": 0.3 * part})


def test_real_slots_are_those_of_the_run(tmp_path: Path) -> None:
    """Of 64 slots 32 are real: a quarter of them is the limit."""
    assert run_signs(read_run(folder(tmp_path / "run")))[0].limit == 8


def test_one_run_is_told_in_full_and_several_side_by_side(tmp_path: Path) -> None:
    well, ill = folder(tmp_path / "well"), dying(tmp_path / "ill")
    assert signs_table([ill])[0] == ["sign", "middle third", "last tenth", "limit", "alive"]
    assert signs_table([ill])[1] == ["distinct best slots of held-out images", "7", "7", "at least 8", "no"]
    head, first, *rest = signs_table([well, ill])
    assert head == ["sign", "must be", "well", "ill"] and len(rest) == len(NAMES) - 1
    assert first[2:] == ["900 to 900", "7 to 7, fails"]
    assert [row[0] for row in rest if row[3].endswith("fails")] == ["real queries that overwrite"]
    assert all(not row[2].endswith("fails") for row in rest)


def test_what_slots_know_stands_last_and_only_where_it_was_asked(tmp_path: Path) -> None:
    paths = [folder(tmp_path / name) for name in ("one", "two")]
    knows = LifeSign("test images whose slot tells the class", "as much as pixels", None, 0.75, "at least", 0.5)
    assert signs_table(paths[:1], [knows])[-1] == [knows.name, "-", "0.750", "at least 0.500", "yes"]
    last = signs_table(paths, [replace(knows, limit=0.875), None])[-1]
    assert last == [knows.name, "as much as pixels", "0.750, fails", "-"]
    assert len(signs_table(paths, [None, None])) == len(signs_table(paths)) == len(NAMES) + 1
    page = html_of(shown.section(read_run(paths[0]), replace(knows, limit=0.875))[0])
    assert f"Signs that fail: {knows.name}." in page and "asked of the saved model" in page


def test_small_numbers_and_limits_are_seen(tmp_path: Path) -> None:
    """A limit of nothing is 0, and what is above zero is not printed as zero."""
    path = folder(
        tmp_path / "run", lambda part: {"critic/movement": 3e-7, "critic/one_class": 0.0004 if part > 0.9 else 0.0, "critic/query_gradient": 2e-6}
    )
    lines = {line[0]: line[1:] for line in signs_table([path])}
    assert lines["movement of a key"] == ["3e-07", "3e-07", "at least 1e-06", "no"]
    assert lines["queries that found one class"] == ["0", "0.0004", "at most 0", "no"]
    assert lines["gradient that reaches a query"] == ["2e-06", "2e-06", "at least 1e-07", "yes"]
    diverged = folder(tmp_path / "nan", lambda part: {"critic/movement": None if part > 0.9 else 1.0})
    assert signs_table([diverged])[-1][1:] == ["1", "nan", "at least 1e-06", "no"]


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    well, ill = folder(tmp_path / "well"), dying(tmp_path / "ill")
    assert cli.main(["memory", "signs", str(ill)]) == 0
    assert capsys.readouterr().out == in_columns(signs_table([ill])) + "\n"
    assert cli.main(["memory", "signs", str(well), str(ill), "--markdown"]) == 0
    assert capsys.readouterr().out == in_markdown(signs_table([well, ill])) + "\n"


def test_the_page_gives_the_verdict_beside_the_gradient(tmp_path: Path) -> None:
    well, ill = (html_of(shown.section(read_run(path))[0]) for path in (folder(tmp_path / "well"), dying(tmp_path / "ill")))
    assert "alive by all signs" in well and "Gradient that reaches a query over training" in well
    assert "Signs that fail: distinct best slots of held-out images, real queries that overwrite." in ill


def test_without_the_metrics_there_is_no_verdict_and_without_memory_no_section(tmp_path: Path) -> None:
    path = folder(tmp_path / "run")
    kept = [line for line in (path / "metrics.jsonl").read_text().splitlines() if "eval/" not in line]
    (path / "metrics.jsonl").write_text("\n".join(kept))
    section = html_of(shown.section(read_run(path))[0])
    assert "No verdict: " in section and str(path) not in section
    assert "likelihood_every" in section and "Gradient that reaches a query over training" in section
    bare = toy.run_folder(tmp_path / "bare", memory=False)
    assert shown.section(read_run(bare)) == () and shown.sign(read_run(bare)) is None
    assert shown.sign(read_run(path)).alive is None  # type: ignore[union-attr]
    with pytest.raises(InputError, match="tells of no memory"):
        run_signs(read_run(bare))


def test_held_out_numbers_are_those_of_the_first_images() -> None:
    """Means and counts, re-derived from the parts; the training data have no say."""
    model, data = toy.model(), toy.images(30)
    assert model.memory is not None
    query = model.encode(torch.from_numpy(data.image)[:20])
    real = model.memory.values > 0.5
    cosines = [float(query[i] @ query[j]) for i in range(20) for j in range(20) if i != j]
    keys = model.memory.keys[real & model.memory.keys.ne(0).any(1)].double()
    pairs = (keys @ keys.T)[~torch.eye(len(keys), dtype=torch.bool)]
    assert HeldOutQueries(data, num=20)(model, toy.images(3), seed=0) == {
        "images": 20,
        "log_likelihood": pytest.approx(float(model.memory.log_likelihood(query).mean()), rel=1e-5),
        "best_slots": len((model.memory.posterior(query) * real).argmax(1).unique()),
        "query_cosine": pytest.approx(sum(cosines) / len(cosines), rel=1e-4),
        "key_cosine": pytest.approx(float(pairs.mean()), rel=1e-6),
    }


def test_a_memory_that_lost_its_real_slots_reaches_none() -> None:
    model = toy.model()
    assert model.memory is not None
    model.memory.values.zero_()
    found = HeldOutQueries(toy.images(20))(model, toy.images(3), seed=0)
    assert found["best_slots"] == 0 and math.isnan(found["key_cosine"])


def test_a_model_without_memory_is_refused() -> None:
    with pytest.raises(InputError, match="without a memory"):
        HeldOutQueries(toy.images())(toy.model(memory=False), toy.images(), seed=0)
