"""The page of a run: self-contained, escaped, readable by everybody, and never in the way of a run that is half done."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.report import charts, sections
from memogen.report import page as report_page
from memogen.report.history import read_lines, saved_memories, speed
from memogen.report.page import duration, write_report
from memogen.report.scores import number, score_lines, score_table
from memogen.types import GenerativeModel, InputError
from tests.metrics.courses import course
from tests.report import toy

VOID = {"meta", "link", "img", "source", "br"}


class Checker(HTMLParser):
    """Collects tags, images and texts; elements must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = toy.run_folder(tmp_path_factory.mktemp("runs") / "toys")
    path = write_report(folder, data=toy.images())
    assert path == folder / "report.html"
    assert not list(folder.glob(".report*"))
    return path.read_text(encoding="utf-8")


def test_the_page_closes_what_it_opens_and_has_one_title(whole: str) -> None:
    checker = Checker(whole)
    assert not checker.open
    assert whole.startswith("<!DOCTYPE html>\n<html lang=")
    tags = [tag for tag, _ in checker.tags]
    assert (tags.count("title"), tags.count("h1"), tags.count("script")) == (1, 1, 0)


def test_nothing_is_loaded_from_outside(whole: str) -> None:
    addresses = [value for _, attributes in Checker(whole).tags for name, value in attributes.items() if name in ("src", "srcset", "href")]
    assert len(addresses) > 20
    assert all(address is not None and address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|https?://", whole)


def test_every_image_has_an_alternative_text(whole: str) -> None:
    images = [attributes for tag, attributes in Checker(whole).tags if tag == "img"]
    assert len(images) > 15
    assert all(image.get("alt") for image in images)


def test_all_parts_are_there(whole: str) -> None:
    text = Checker(whole).text
    for part in ("Samples", "Scores", "Training", "Memory", "Nearest training images", "Settings", "How to go on"):
        assert part in text
    assert "variant memory_gan, budget short, step 60 of 100" in text and "This run is not finished" in text
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
    order = [whole.index(f"<td>{name}</td>") for name in ("memoryGAN", "without memory", "real images")]
    assert order == sorted(order)


def test_an_average_that_the_accuracy_tells_already_stands_there_once(tmp_path: Path) -> None:
    """Of one class a task they are the same number."""
    for average, shown in ((0.625, 0), (0.5, 1)):
        rows = [{"metric": name, "value": value, "variant": "ours"} for name, value in (("accuracy", 0.625), ("average_accuracy", average))]
        (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "config.yaml").write_text("variant: ours\n")
        text = write_report(tmp_path).read_text(encoding="utf-8")
        assert text.count("Average accuracy") == 2 * shown, "a tile and a column"
        assert text.count("0.625") == 2


def test_a_chart_is_as_fine_as_the_others_and_images_keep_their_pixels() -> None:
    chart = sections.picture(lambda: charts.drawn(lambda axes: None, title="t", x="x", scale=2), "a", "b", chart=True)
    assert f'width="{2 * sections.CHART_WIDTH}"' in chart and "pixels" not in chart
    assert 'width="7"' in (kept := sections.picture(lambda: Image.new("L", (7, 5)), "a", "b")) and 'class="pixels"' in kept


MISSING = {
    ("config.yaml", "metrics.jsonl"): ("no readable config.yaml", "no metrics yet", "Prior of the real slots", "made without the data"),
    ("results.jsonl", "samples", "checkpoints"): ("no scores yet", "No earlier sample grids", "made without the data"),
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
    assert not Checker(text).open
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
    text = Checker(write_report(folder).read_text(encoding="utf-8")).text
    assert "cannot be read" in text and "1.50" in text


def test_a_run_with_nothing_but_a_config_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("recipe: memory_gan/toys\n")
    text = Checker(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "Nothing has been trained yet" in text


def test_a_model_without_memory_shows_its_noise(tmp_path: Path) -> None:
    text = Checker(write_report(toy.run_folder(tmp_path / "plain", memory=False), data=toy.images()).read_text(encoding="utf-8")).text
    assert "This model has no memory" in text and "interpolated in noise" in text
    assert "Not drawn" not in text and "by their pixels" in text


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "\"><b>'&amp;", "a b; $(touch x)"])
def test_a_hostile_name_is_shown_and_does_nothing(tmp_path: Path, hostile: str) -> None:
    folder = tmp_path / hostile
    folder.mkdir()
    (folder / "config.yaml").write_text(f"recipe: {hostile!r}\nvariant: '</pre><script>alert(1)</script>'\n")
    row = {"metric": "<i>m</i>", "value": 1, "variant": "<u>v</u>", "protocol": {"<s>": "</code>"}, "command": "<a href=x>"}
    (folder / "results.jsonl").write_text(json.dumps(row))
    checker = Checker(write_report(folder).read_text(encoding="utf-8"))
    assert hostile in checker.text and "<i>m</i>" in checker.text
    assert not {tag for tag, _ in checker.tags} & {"script", "b", "i", "u", "s", "a", "img"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no config"):
        write_report(tmp_path)


def test_a_foreign_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page.pretrained, "from_pretrained", lambda folder: 3)
    assert report_page.open_model(tmp_path) == (None, "A int draws no images.")


def test_a_model_of_another_family_shows_its_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = toy.Drawing()
    assert isinstance(drawing, GenerativeModel)
    monkeypatch.setattr(report_page.pretrained, "from_pretrained", lambda folder: drawing)
    text = Checker(write_report(toy.run_folder(tmp_path / "toys"), data=toy.images()).read_text(encoding="utf-8")).text
    assert "64 samples, seed 0" in text and "A Drawing has no such memory" in text and "by their pixels" in text
    assert "Not drawn" not in text


def test_copies_are_told_from_fresh_images(tmp_path: Path) -> None:
    """Samples that are training images lie nearer to them than all held-out images do; images drawn alike do not."""
    copied, fresh = (sections.neighbour_section(toy.Drawing(seed), "", toy.images(60), toy.images(50, seed=9)) for seed in (0, 5))
    assert "100.0% of the samples lie nearer" in Checker(copied).text
    assert "100.0% of the samples lie nearer" not in Checker(fresh).text
    odd = sections.neighbour_section(toy.Drawing(), "", toy.images(60), toy.images(50, channels=3))
    assert "Not drawn: copies" in Checker(odd).text


def test_newer_scores_replace_older_ones_and_other_steps_stand_apart() -> None:
    rows = [toy.score("memory_gan", 5), toy.score("memory_gan", 6), toy.score("memory_gan", 7, steps=200), toy.score("real", 9, steps=0)]
    lines = score_lines(rows, "memory_gan")
    assert [(line.variant, line.steps, line.cells["inception_score"]["value"]) for line in lines] == [
        ("memory_gan", 100, 6),
        ("memory_gan", 200, 7),
        ("real", 0, 9),
    ]
    assert "There are no scores yet" in score_table([])


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
    marks = re.findall(r"<sup>(\w+)</sup>", score_table(rows))
    assert len(marks) == 60 and len(set(marks)) == 30
    assert marks[:2] == ["a", "b"] and {"z", "aa", "ad"} <= set(marks)


@pytest.mark.parametrize(
    ("value", "shown"), [(9.6, "9.60"), (0.95, "0.950"), (0.001234, "0.00123"), (123456.0, "123,456"), (0, "0.00"), (-45.678, "-45.68")]
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 min 0 s"), (125.4, "2 min 5 s"), (7260, "2 h 1 min")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
