"""The page of a run: self-contained, escaped, readable by everybody, and never in the way of a run that is half done."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.parsing import read_lines
from memogen.report import charts, memory_gan, sections
from memogen.report import page as report_page
from memogen.report.history import Run, read_run, saved_memories, speed
from memogen.report.page import SECTIONS, duration, write_report
from memogen.report.parts import Figure, Section, Sign, Table, Text
from memogen.report.scores import column, number, score_lines, score_table
from memogen.report.sections import FamilyPart, PageContext
from memogen.types import GenerativeModel, ImageData, InputError
from tests.metrics.courses import course
from tests.report import toy
from tests.report.pages import Page, checked, html_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = toy.run_folder(tmp_path_factory.mktemp("runs") / "toys")
    path = write_report(folder, data=toy.images())
    assert path == folder / "report.html"
    assert not list(folder.glob(".report*"))
    return path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_asks_for_nothing_outside(whole: str) -> None:
    page = checked(whole)
    assert len(page.addresses) > 20 and sum(tag == "img" for tag, _ in page.tags) > 15
    assert not re.search(r"https?://", whole)


def test_all_parts_are_there(whole: str) -> None:
    text = Page(whole).text
    for part in ("Samples", "Scores", "Training", "Memory", "Nearest training images", "Settings", "How to go on"):
        assert part in text
    assert "memoryGAN on toys, trained for 60 of 100 steps so far (3,840 images, 30 s): " in text and "variant memory_gan, budget short" in text
    assert "(paper 8.75)" in text
    assert "Not drawn" not in text
    assert "memogen sample" in text
    assert "among all 40 images of toys" in text


def test_labelled_images_name_the_slots_and_ask_what_they_know(tmp_path: Path) -> None:
    folder, data = toy.run_folder(tmp_path / "run"), toy.images()
    labelled = replace(data, label=np.arange(40) % 3, classes=("a", "b", "c"))
    course_of_a_living_run = [line | {"critic/real_slots": 0.5} for line in course()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in course_of_a_living_run))
    with_labels, without = (write_report(folder, data=one, held_out=one).read_text() for one in (labelled, data))
    for words in ("which training was never told", "test images whose slot tells the class"):
        assert words in with_labels and words not in without
    assert "Slots by meaning" in without and "Not drawn" not in without


def test_scores_stand_in_order_own_first_real_last(whole: str) -> None:
    order = [whole.index(f">{name}</td>") for name in ("memoryGAN", "without memory", "real images")]
    assert order == sorted(order)


def test_an_average_that_the_accuracy_tells_already_stands_there_once(tmp_path: Path) -> None:
    """Of one class a task they are the same number."""
    for average, shown in ((0.625, 0), (0.5, 1)):
        rows = [{"metric": name, "value": value, "variant": "ours"} for name, value in (("accuracy", 0.625), ("average_accuracy", average))]
        (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "config.yaml").write_text("variant: ours\n")
        text = write_report(tmp_path).read_text(encoding="utf-8")
        assert text.count("Average accuracy") == 3 * shown, "a tile, a column, and what stands before the number on a phone"
        assert text.count("0.625") == 2


def test_a_chart_is_as_fine_as_the_others_and_images_keep_their_pixels() -> None:
    chart = sections.picture(lambda: charts.drawn(lambda axes: None, title="t", x="x", scale=2), "a", "b", chart=True)
    kept = sections.picture(lambda: Image.new("L", (7, 5)), "a", "b")
    assert isinstance(chart, Figure) and chart.size is not None and chart.size[0] == 2 * charts.WIDTH and "pixels" not in chart.style
    assert isinstance(kept, Figure) and kept.size == (7, 5) and kept.style == "pixels"


MISSING = {
    ("config.yaml", "metrics.jsonl"): ("no readable config.yaml", "no metrics yet", "Prior of the real slots", "made without the data"),
    ("results.jsonl", "samples", "checkpoints"): ("no scores yet", "made without the data"),
    ("model", "metrics.jsonl"): ("no saved model yet", "Samples at step 60", "By the entropy of the prior"),
    ("model/model.safetensors", "checkpoints", "samples"): ("no such file", "There are no sample grids either"),
    ("model/config.json", "metrics.jsonl"): ("cannot be read",),
}


@pytest.mark.parametrize("missing", MISSING, ids=" ".join)
def test_missing_parts_leave_sentences(tmp_path: Path, missing: tuple[str, ...]) -> None:
    folder = toy.run_folder(tmp_path / "toys")
    for name in missing:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    text = write_report(folder).read_text(encoding="utf-8")
    checked(text)
    for sentence in MISSING[missing]:
        assert sentence.lower() in text.lower()


def test_damaged_files_leave_sentences(tmp_path: Path) -> None:
    folder = toy.run_folder(tmp_path / "toys")
    (folder / "config.yaml").write_text("a: [")
    (folder / "metrics.jsonl").write_text('{"step": 10, "critic/loss": 1.0, "images_seen": "many"}\n[1]\nnot json\n{"step"')
    rows = ('{"metric": "fid", "value": 1.5, "seed": [1], "steps": "few", "protocol": 3}', '{"metric": "fid", "value": NaN}')
    (folder / "results.jsonl").write_text("\n".join(rows))
    for sample in (folder / "samples").glob("*.png"):
        sample.write_bytes(sample.read_bytes()[:60])
    (folder / "checkpoints" / "step-00000060" / "model.safetensors").write_bytes(b"broken")
    shutil.rmtree(folder / "model")
    text = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert "cannot be read" in text and "1.50" in text


def test_a_run_with_nothing_but_a_config_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("recipe: memory_gan/toys\n")
    text = Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "memoryGAN: nothing has been trained yet" in text


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"><b>'&amp;",
    "a b; $(touch x)",
    "<script>alert(1)<",
    "a\x1b[31m\x07b",
    "gnp.\u202eexe",
    "$\\frac{$",
    "\udcff",
]
SHOWN = {"a\x1b[31m\x07b": r"a\x1b[31m\x07b", "gnp.\u202eexe": r"gnp.\u202eexe", "\udcff": r"\udcff"}


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_a_hostile_name_is_shown_and_does_nothing(tmp_path: Path, hostile: str) -> None:
    """As the name of the folder, of the recipe, of a variant and in a row; control characters arrive in words."""
    folder = tmp_path / hostile
    folder.mkdir()
    (folder / "config.yaml").write_text(f"recipe: {json.dumps(hostile)}\nvariant: '</pre><script>alert(1)</script>'\n")
    row = {"metric": "<i>m</i>", "value": 1, "variant": f"<u>v</u>{hostile}", "protocol": {"<s>": "</code>"}, "command": f"<a href=x>{hostile}"}
    (folder / "results.jsonl").write_text(json.dumps(row))
    page = checked(write_report(folder).read_text(encoding="utf-8"))
    assert SHOWN.get(hostile, hostile) in page.text and "<i>m</i>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", page.text)
    assert not {tag for tag, _ in page.tags} & {"script", "b", "i", "u", "s", "a", "img"}


def test_hostile_classes_and_files_are_shown_too(tmp_path: Path) -> None:
    """Classes name slots in pictures and rows of tables, files are named if they cannot be read."""
    folder, data = toy.run_folder(tmp_path / "run"), toy.images()
    for sample in (folder / "samples").iterdir():
        sample.unlink()
    files = [hostile for hostile in HOSTILE if "$" not in hostile]  # six, as many as the page shows
    for place, hostile in enumerate(files):
        (folder / "samples" / f"{hostile.replace('/', '')}-{place:08d}.png").write_bytes(b"no picture")
    labelled = replace(data, label=np.arange(40) % len(HOSTILE), classes=tuple(HOSTILE), name=" ".join(HOSTILE))
    page = checked(write_report(folder, data=labelled, held_out=labelled).read_text(encoding="utf-8"))
    assert f"images of {' '.join(SHOWN.get(each, each) for each in HOSTILE)}, train" in page.text and "Not drawn" not in page.text
    for place, hostile in enumerate(files):
        assert f"{SHOWN.get(hostile, hostile).replace('/', '')}-{place:08d}.png cannot be read." in page.text
    assert not {tag for tag, _ in page.tags} & {"script", "i", "u", "s", "a"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no config"):
        write_report(tmp_path)


def test_a_foreign_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page.pretrained, "from_pretrained", lambda folder: 3)
    assert report_page.open_model(tmp_path) == (None, "A int draws no images.")


def test_a_model_of_another_family_shows_what_all_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = toy.Drawing()
    assert isinstance(drawing, GenerativeModel)
    monkeypatch.setattr(report_page.pretrained, "from_pretrained", lambda folder: drawing)
    page = checked(write_report(toy.run_folder(tmp_path / "toys"), data=toy.images(), families={}).read_text(encoding="utf-8"))
    assert (
        "64 samples, seed 0" in page.text
        and "by their pixels" in page.text
        and "(paper 8.75)" in page.text
        and "Losses over training" in str(page.tags)
    )
    assert "Memory" not in page.text and "Not drawn" not in page.text
    assert ("p", {"class": "sign open"}) in page.tags


def test_a_further_family_hands_over_its_own_sections(tmp_path: Path) -> None:
    """A plain function under the name of its saved models; nothing in memogen.report knows of it."""

    def own(page: PageContext) -> FamilyPart:
        assert page.data is None and page.held_out is not None
        told = Section("Orchard", (Text(f"{len(page.held_out)} <apples>"), Table(["Tree", "Height"], [["1", "2"]])))
        return FamilyPart("fruit GAN", (told,), sign=Sign(False, "it withers"), commands=(("water it", "memogen water"),))

    folder = toy.run_folder(tmp_path / "toys")
    about = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps(about | {"family": "fruit_gan"}))
    page = checked(write_report(folder, held_out=toy.images(), families=SECTIONS | {"fruit_gan": own}).read_text(encoding="utf-8"))
    for words in ("Orchard", "40 <apples>", "fruit GAN on toys", "it withers", "# water it\nmemogen water", "Scores", "Training"):
        assert words in page.text
    assert ("p", {"class": "sign bad"}) in page.tags and "without the data" not in page.text


def test_copies_are_told_from_fresh_images(tmp_path: Path) -> None:
    """Samples that are training images lie nearer to them than all held-out images do; images drawn alike do not."""

    def told(seed: int, held_out: ImageData) -> str:
        section = sections.neighbours(PageContext(Run(tmp_path, {}, (), (), ()), toy.Drawing(seed), "", toy.images(60), held_out))
        assert section is not None
        return Page(html_of(section)).text

    copied, fresh = (told(seed, toy.images(50, seed=9)) for seed in (0, 5))
    assert "100.0% of the samples lie nearer" in copied and "100.0% of the samples lie nearer" not in fresh
    assert "Not drawn: copies" in told(0, toy.images(50, channels=3))


def test_what_was_measured_once_is_no_curve(tmp_path: Path) -> None:
    def drawn(times: int) -> str:
        rows = tuple({"step": step, "critic/loss": 1.0, "eval/held_out/log_likelihood": 2.0, "eval/own": 3.0} for step in range(1, times + 1))
        return html_of(sections.curves(Run(tmp_path, {}, rows, (), ())))

    assert "<img" not in drawn(1) and "too few metrics for a curve" in drawn(1)
    assert drawn(2).count("<img") == 3


@pytest.mark.parametrize(("last", "good"), [(0.5, "open"), (None, "bad")])
def test_a_loss_that_is_no_number_any_more_is_told_at_the_top(tmp_path: Path, last: float | None, good: str) -> None:
    lines = [{"step": step, "critic/loss": value} for step, value in ((1, 1.0), (2, last))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = checked(write_report(tmp_path).read_text(encoding="utf-8"))
    assert ("p", {"class": f"sign {good}"}) in page.tags
    assert ("critic/loss is NaN or infinite" in page.text) == (last is None)


def test_the_memorys_signs_are_told_at_the_top(tmp_path: Path) -> None:
    folder = toy.run_folder(tmp_path / "run")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line | {"critic/real_slots": 0.5}) + "\n" for line in course()))
    sign = memory_gan.sections(PageContext(read_run(folder), None)).sign
    assert sign == Sign(True, "its memory shows all 7 signs of life")
    page = checked(write_report(folder).read_text(encoding="utf-8"))
    assert ("p", {"class": "sign good"}) in page.tags and sign.words in page.text


def test_every_score_says_which_way_is_better(whole: str) -> None:
    assert (column("fid").better, column("inception_score").better, column("nobody_knows").title) == ("lower", "higher", "Nobody knows")
    assert {column(name).better for name in ("kid", "forgetting", "imputation_mse half")} == {"lower"}
    assert whole.count("↓ lower is better") == 2 and 'data-title="Fréchet distance, lower is better"' in whole, "in a tile and over the column"


def test_newer_scores_replace_older_ones_and_other_steps_stand_apart() -> None:
    rows = [toy.score("memory_gan", 5), toy.score("memory_gan", 6), toy.score("memory_gan", 7, steps=200), toy.score("real", 9, steps=0)]
    lines = score_lines(rows, "memory_gan")
    assert [(line.variant, line.steps, line.cells["inception_score"]["value"]) for line in lines] == [
        ("memory_gan", 100, 6),
        ("memory_gan", 200, 7),
        ("real", 0, 9),
    ]
    (sentence,) = score_table([])
    assert isinstance(sentence, Text) and "There are no scores yet" in sentence.words


def test_a_score_that_was_cut_short_stands_only_where_there_is_no_whole_one() -> None:
    def cut(value: float) -> dict[str, object]:
        row = toy.score("memory_gan", value)
        return {**row, "protocol": {**row["protocol"], "interrupted": True}}  # type: ignore[dict-item]

    whole = toy.score("memory_gan", 5)
    for rows, shown in (([cut(1), whole], 5), ([whole, cut(2)], 5), ([cut(1), cut(2)], 2), ([cut(1), whole, toy.score("memory_gan", 6), cut(3)], 6)):
        (line,) = score_lines(rows, "memory_gan")
        assert line.cells["inception_score"]["value"] == shown


def test_speed_is_counted_between_lines_and_survives_a_restart() -> None:
    rows = [{"step": i, "images_seen": 64 * i, "seconds": t} for i, t in ((1, 1.0), (2, 2.0), (3, 2.0), (4, 4.0))]
    assert speed(tuple(rows)) == ([2.0, 4.0], [64.0, 32.0])


def test_memories_are_read_from_checkpoints_in_order(tmp_path: Path) -> None:
    found = saved_memories(toy.run_folder(tmp_path / "toys"))
    assert [step for step, _ in found] == [20, 40, 60]
    memory = toy.model().memory
    assert memory is not None and bool((found[0][1].mass == memory.mass).all())


def test_lines_that_are_cut_off_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert read_lines(tmp_path / "lines.jsonl") == ({"step": 1},)
    assert read_lines(tmp_path / "none.jsonl") == ()


def test_protocols_are_marked_by_letters() -> None:
    """A raised number would read as an exponent."""
    rows = [{**toy.score("memory_gan", 5.0), "metric": f"m{place}", "protocol": {"place": place}} for place in range(30)]
    marks = re.findall(r"<sup>(\w+)</sup>", html_of(Section("Scores", score_table(rows))))
    assert len(marks) == 60 and len(set(marks)) == 30
    assert marks[:2] == ["a", "b"] and {"z", "aa", "ad"} <= set(marks)


@pytest.mark.parametrize(
    ("value", "shown"), [(9.6, "9.60"), (0.95, "0.950"), (0.001234, "0.00123"), (123456.0, "123,456"), (0, "0.00"), (-45.678, "-45.68")]
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (125.4, "2 min 5 s"), (7260, "2 h 1 min")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
