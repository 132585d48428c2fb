"""A run folder from the first call to the second."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from memogen import runs
from memogen.memory.inspect import sorted_prior
from memogen.metrics import evaluate
from memogen.models import MemoryConfig
from memogen.parsing import read_lines
from memogen.pretrained import from_pretrained
from memogen.recipes import RECIPES, DataConfig, Recipe
from memogen.report.history import priors_logged
from memogen.runs import run as run_module
from memogen.types import InputError


def tiny(**changes: object) -> Recipe:
    """The digits with a small memory, a dozen steps and few samples."""
    recipe = RECIPES["memory_gan/digits"]()
    return replace(
        recipe,
        model=replace(recipe.model, width=8, memory=MemoryConfig(64, 16, top_k=16)),
        training=replace(recipe.training, steps=12, batch_size=16, log_every=4, sample_every=6, device="cpu", **changes),
        scoring=replace(recipe.scoring, metrics=("is", "fid"), num_samples=200, likelihood_every=6, curve_samples=150),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.train(tiny(), out=tmp_path_factory.mktemp("run"), console=False)


def test_a_run_folder_holds_what_it_promises(run: Path) -> None:
    for name in ("config.yaml", "metrics.jsonl", "results.jsonl", "report.html", "train.log", "model/config.json", "model/model.safetensors"):
        assert (run / name).is_file(), name
    assert sorted(path.name for path in (run / "samples").glob("*.png"))
    assert runs.load_config(run / "config.yaml") == tiny()


def test_rows_name_everything_that_made_them(run: Path) -> None:
    rows = runs.read_rows(run / "results.jsonl")
    assert {(row["variant"], row["metric"]) for row in rows} == {(v, m) for v in ("memory_gan", "real") for m in ("inception_score", "fid")}
    for row in rows:
        assert row["recipe"] == "memory_gan/digits"
        assert row["config"] == runs.config_hash(tiny())
        assert row["protocol"]["extractor"].startswith("digits-v1:")
    assert {row["steps"] for row in rows if row["variant"] == "memory_gan"} == {12}


def test_damaged_logs_stop_neither_the_report_nor_the_next_step(run: Path, tmp_path: Path) -> None:
    """Whole runs go on from their checkpoints, whatever became of their lines."""
    copy = shutil.copytree(run, tmp_path / "run")
    for name in ("metrics.jsonl", "results.jsonl", "train.log"):
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(b"\xff" + kept[1:] + b"[" * 100_000 + b'\n{"step": 1e999, "metric": 7, "value": "x"}\n{"step": 3, "lo')
    runs.write_report(copy)
    again = replace(tiny(), training=replace(tiny().training, steps=14))
    assert runs.train(again, out=copy, console=False) == copy
    assert read_lines(copy / "metrics.jsonl")[-1]["step"] == 14
    assert torch.equal(from_pretrained(copy).memory.age, from_pretrained(runs.train(again, out=tmp_path / "whole", console=False)).memory.age)


def test_held_out_likelihood_is_followed(run: Path) -> None:
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum("eval/held_out/log_likelihood" in row for row in logged) == 2


def test_the_scores_are_followed_against_held_out_images(run: Path) -> None:
    """The last look is what `evaluate` says of as many samples of the saved model."""
    looks = [row for row in read_lines(run / "metrics.jsonl") if "eval/scores/fid" in row]
    assert [row["step"] for row in looks] == [6, 12]
    saved, test = from_pretrained(run / "model"), runs.Splits(tiny().data).load("test")
    rows = evaluate(saved, test, extractor="digits", num_samples=150, progress=False)
    assert {row["metric"]: looks[-1][f"eval/scores/{row['metric']}"] for row in rows} == pytest.approx({row["metric"]: row["value"] for row in rows})


def test_the_sorted_prior_is_followed(run: Path) -> None:
    """Fig. 3c over training: at each look a falling sequence by rank, the last one that of the saved memory."""
    looks = priors_logged(read_lines(run / "metrics.jsonl"))
    assert [step for step, _ in looks] == [6, 12]
    for _, by_rank in looks:
        assert list(by_rank) == [1, 2, 4, 8, 16, 32]
        assert list(by_rank.values()) == sorted(by_rank.values(), reverse=True)
    saved = sorted_prior(from_pretrained(run / "model").memory)
    assert looks[-1][1] == {rank: float(saved[rank - 1]) for rank in looks[-1][1]}


def test_training_again_changes_neither_model_nor_scores(run: Path) -> None:
    before = from_pretrained(run / "model").state_dict(), (run / "results.jsonl").read_text()
    runs.train(tiny(), out=run, console=False)
    after = from_pretrained(run / "model").state_dict(), (run / "results.jsonl").read_text()
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert before[1] == after[1]


def test_a_changed_model_is_refused_and_nothing_is_overwritten(run: Path) -> None:
    config = (run / "config.yaml").read_text()
    other = replace(tiny(), objective=replace(tiny().objective, information=0.5))
    with pytest.raises(InputError, match=r"objective\.information"):
        runs.train(other, out=run, console=False)
    assert (run / "config.yaml").read_text() == config


def test_data_by_name_and_by_folder() -> None:
    recipe = RECIPES["memory_gan/folder"]()
    with pytest.raises(InputError, match="--data"):
        runs.train(recipe, console=False)
    assert (recipe.scoring.extractor, recipe.scoring.metrics) == ("pixels", ("kid", "prdc"))
    judged, usual = runs.choose(recipe, data="digits").scoring, RECIPES["memory_gan/digits"]().scoring
    assert (judged.extractor, judged.metrics) == (usual.extractor, usual.metrics)
    assert runs.choose(recipe, data="celeba").scoring == recipe.scoring
    unjudged = replace(recipe, scoring=replace(recipe.scoring, extractor=None))
    assert runs.choose(unjudged, data="celeba").scoring.extractor is None, "who asks for no judge gets none"
    assert runs.choose(recipe, data="my/pictures").data.folder == str(Path("my/pictures").resolve())


def test_a_broken_config_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for content, complaint in ((b"\xff\xfe\x00", "YAML"), (b"a: [", "YAML"), (b"recipes: x", "recipes")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=complaint) as told:
            runs.load_config(path)
        assert str(path) in str(told.value)
        assert "\n" not in str(told.value)


def test_one_image_a_process_is_too_few_for_batch_norm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size"):
        runs.train(replace(tiny(), training=replace(tiny().training, batch_size=1)), out=tmp_path / "run", console=False)


@pytest.mark.parametrize(
    ("data", "extractor", "told"),
    [
        ("digits", "nobody", "choose digits or inception-v3"),
        ("digits", "mnist", "reads 28x28 grey images"),
        ("folder", "digits", "1 images of pictures train cannot give the covariance"),
    ],
)
def test_a_score_that_cannot_be_made_is_refused_before_the_training(data: str, extractor: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "pictures" / "a.png")
    recipe = replace(tiny(), scoring=replace(tiny().scoring, extractor=extractor))
    if data == "folder":
        recipe = replace(recipe, data=DataConfig("folder", folder=str(tmp_path / "pictures")))
    with pytest.raises(InputError, match=told):
        runs.train(recipe, out=tmp_path / "run", console=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("metrics", "num", "told"), [(("is", "fid"), 40, "40 samples"), (("is", "best"), 400, "best"), (("kid",), 1, "1 samples")])
def test_too_few_samples_are_refused_before_the_training(metrics: tuple[str, ...], num: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        runs.train(replace(tiny(), scoring=replace(tiny().scoring, metrics=metrics, num_samples=num)), out=tmp_path / "run", console=False)
    assert not (tmp_path / "run").exists()


def test_a_copy_check_is_of_the_model_alone(tmp_path: Path) -> None:
    """Real test images are what samples are checked against."""
    scoring = replace(tiny().scoring, metrics=("copies", "kid"), num_samples=30, likelihood_every=0)
    found = runs.read_rows(runs.train(replace(tiny(), scoring=scoring), out=tmp_path / "run", console=False) / "results.jsonl")
    own = [(row["variant"], row["metric"]) for row in found]
    assert own == [("memory_gan", "copies_pixels"), ("memory_gan", "copies_features"), ("memory_gan", "kid"), ("real", "kid")]


def test_fakes_of_the_past_need_checkpoints_and_find_them(tmp_path: Path) -> None:
    scoring = replace(tiny().scoring, metrics=("critic",), likelihood_every=0)
    training = replace(tiny().training, steps=4, checkpoint_every=2)
    with pytest.raises(InputError, match="earlier checkpoints, and only 1 is kept"):
        runs.train(replace(tiny(), scoring=scoring, training=replace(training, keep=1)), out=tmp_path / "run", console=False)
    found = runs.read_rows(runs.train(replace(tiny(), scoring=scoring, training=training), out=tmp_path / "run", console=False) / "results.jsonl")
    assert [row["metric"] for row in found] == [f"critic_{name}" for name in ("past_fakes", "held_out", "balanced", "ranked", "forgetting")]
    assert set(found[0]["protocol"]["by_step"]) == {"2", "4"} and found[0]["value"] == found[0]["protocol"]["by_step"]["2"]


def test_whoever_watches_sees_every_step_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over two calls, and over several tasks counted together."""
    monkeypatch.setattr(run_module, "write_report", lambda *_: None)
    seen: list[int] = []
    for steps in (3, 5):
        recipe = replace(tiny(), training=replace(tiny().training, steps=steps), scoring=replace(tiny().scoring, extractor=None, likelihood_every=0))
        runs.train(recipe, out=tmp_path / "run", console=False, watch=lambda step, _: seen.append(step))
    assert seen == [0, 1, 2, 3, 4, 5]
    seen.clear()
    stream = RECIPES["memory_gan/digits_stream"]()
    stream = replace(stream, training=replace(tiny().training, steps=2), model=tiny().model, scoring=replace(stream.scoring, extractor=None))
    runs.train(stream, out=tmp_path / "stream", console=False, watch=lambda step, _: seen.append(step))
    assert sorted(set(seen)) == list(range(11)) and seen == sorted(seen), "a task begins where the last one ended"


def test_a_cut_off_row_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"metric": "fid"}\n{"metr')
    assert runs.read_rows(tmp_path / "results.jsonl") == [{"metric": "fid"}]


def test_the_hash_of_a_configuration_does_not_depend_on_where_the_images_lie() -> None:
    here, there = (runs.config_hash(runs.choose(RECIPES["memory_gan/fashion_mnist"](), data=folder)) for folder in ("a", "b"))
    assert here == there
    assert here != runs.config_hash(RECIPES["memory_gan/fashion_mnist"](variant="no_memory"))
