"""Pictures: what stands where, that they repeat, that they leave the model alone, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from memogen.memory.inspect import SavedSlots, spread_slots
from memogen.metrics.slots import slot_names
from memogen.models import MemoryGAN
from memogen.report import charts, figures, grid, memory_gan
from memogen.report.figures import by_meaning
from memogen.report.grid import CLEAR, LIGHT, RED
from memogen.types import InputError, to_uint8
from tests.report import toy

CELL = 56 + grid.GAP  # 8 x 8 images are drawn seven times as large

DRAWN: dict[str, Callable[[MemoryGAN], Image.Image]] = {
    "samples": lambda model: figures.sample_grid(model, 6),
    "slots": lambda model: memory_gan.slot_sheet(model, num_slots=3, num_noises=2),
    "keys": lambda model: figures.interpolation(model, side=3),
    "noise": lambda model: figures.interpolation(model, where="noise", side=3),
    "posterior": lambda model: memory_gan.posterior(model, torch.from_numpy(toy.images().image[0]), num=4),
    "neighbours": lambda model: figures.neighbours(model, toy.images(), num=2, nearest=3),
    "masses": lambda model: charts.masses(model.memory),  # type: ignore[arg-type]
}


def cell(picture: Image.Image, row: int, column: int) -> np.ndarray:
    """The pixels of one image of a grid of grey images."""
    left, top = column * CELL, row * CELL
    return np.asarray(picture.convert("RGB").crop((left, top, left + 56, top + 56)))[::7, ::7, 0]


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_model_gives_the_same_pixels_and_stays_as_it_was(name: str) -> None:
    model = toy.model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, second = DRAWN[name](model), DRAWN[name](model)
    assert first.tobytes() == second.tobytes()
    assert first.mode == "RGB"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


def test_sample_grid_shows_the_samples_row_by_row() -> None:
    model = toy.model()
    images = to_uint8(model.sample(6, seed=4), model.image_range)
    picture = figures.sample_grid(model, 6, seed=4, columns=3)
    assert picture.size == (3 * CELL - grid.GAP, 2 * CELL - grid.GAP)
    for place in range(6):
        assert np.array_equal(cell(picture, place // 3, place % 3), images[place, 0].numpy())


def test_colour_keeps_its_channels() -> None:
    model = toy.model(channels=3)
    drawn = np.asarray(figures.sample_grid(model, 1))[::7, ::7]
    assert np.array_equal(drawn, to_uint8(model.sample(1), model.image_range)[0].permute(1, 2, 0).numpy())


def test_slot_sheet_has_one_noise_for_each_column() -> None:
    model = toy.model()
    picture = memory_gan.slot_sheet(model, [5, 9], num_noises=3, seed=2)
    pitch = 56 + grid.CAPTION + 6
    for line, slot in enumerate((5, 9)):
        images = to_uint8(model.sample(3, slot=slot, seed=2), model.image_range)
        for column in range(3):
            left, top = column * CELL, line * pitch + grid.CAPTION
            shown = np.asarray(picture.crop((left, top, left + 56, top + 56)))[::7, ::7, 0]
            assert np.array_equal(shown, images[column, 0].numpy())
    assert torch.equal(model.latents(3, slot=5, seed=2).noise, model.latents(3, slot=9, seed=2).noise)


def test_slots_that_nobody_named_stand_by_meaning() -> None:
    """The sheet without a choice is the sheet of the same slots chosen in the order by meaning: of the names' classes, and by likeness."""
    model = toy.model()
    assert model.memory is not None
    slots = torch.tensor([row.slot for row in spread_slots(model.memory, 8)])
    names = slot_names(slots, torch.arange(8) % 2, ("a", "b"), 64)
    for called, label in ((None, torch.zeros(8, dtype=torch.long)), (names, torch.arange(8) % 2)):
        ordered = slots[by_meaning(model.memory.keys[slots], label)].tolist()
        drawn = memory_gan.slot_sheet(model, names=called, num_slots=8, num_noises=2)
        assert drawn.tobytes() == memory_gan.slot_sheet(model, ordered, names=called, num_noises=2).tobytes()


def test_corners_are_framed_and_the_rest_is_not() -> None:
    picture = figures.interpolation(toy.model(), side=4)
    framed = {place for place in range(16) if picture.getpixel((place % 4 * CELL, place // 4 * CELL)) == (66, 133, 244)}
    assert framed == {0, 3, 12, 15}


def test_bars_are_as_high_as_their_shares() -> None:
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    picture = np.asarray(grid.bars(images, [0.4, 0.2, 0.1], ["a", "b", "c"], lead=images[0]))
    blue = (picture == (66, 133, 244)).all(-1)
    heights = sorted({int(column.sum()) for column in blue.T if column.any()}, reverse=True)
    assert heights == [121, 61, 31]  # of 120, 60 and 30 pixels, both ends drawn


def test_neighbours_start_with_the_image_itself_when_it_is_in_the_data() -> None:
    model = toy.model()
    own = to_uint8(model.sample(2, seed=0), model.image_range).numpy()
    data = toy.images(20)
    data.image[7] = own[1]
    picture = figures.neighbours(model, data, num=2, nearest=3).convert("RGB")
    top = 56 + grid.CAPTION + 6 + grid.CAPTION
    first = np.asarray(picture.crop((CELL + 8, top, CELL + 64, top + 56)))[::7, ::7, 0]
    assert np.array_equal(first, own[1, 0])
    assert picture.getpixel((0, top)) == RED


def test_a_theme_without_ground_is_transparent() -> None:
    picture = figures.sample_grid(toy.model(), 4, theme=CLEAR)
    assert picture.mode == "RGBA"
    assert picture.getpixel((56, 56))[3] == 0  # type: ignore[index]
    assert charts.masses(toy.model().memory, theme=LIGHT).getpixel((0, 0))[:3] == (255, 255, 255)  # type: ignore[arg-type, index]


def test_frames_become_an_endless_gif(tmp_path: Path) -> None:
    grid.save_gif(figures.interpolation_frames(toy.model(), frames=8), tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as read:
        assert (read.n_frames, read.info["loop"]) == (8, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["slots", "posterior"])
def test_figures_of_slots_refuse_a_model_without_memory_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match="without a memory") as error:
        DRAWN[name](toy.model(memory=False))
    assert "\n" not in str(error.value)


def test_odd_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        figures.sample_grid(toy.model(), 0)
    with pytest.raises(InputError, match="slot 64: the memory has 64 slots"):
        memory_gan.slot_sheet(toy.model(), [64])
    with pytest.raises(InputError, match="2 channels"):
        grid.tile(np.zeros((2, 4, 4), dtype=np.uint8))


@pytest.mark.parametrize("values", [[], [3.0, 3.0], [0.0, 1e6], [-1e-12, 1e-12]])
def test_histogram_edges_rise_and_hold_every_value(values: list[float]) -> None:
    edges = charts.bin_edges(values)
    assert all(low < high for low, high in pairwise(edges))
    assert all(edges[0] <= value <= edges[-1] + 1e-9 for value in values)


def test_a_legend_stands_beside_what_it_explains() -> None:
    """The picture grows to the right; what is left of that stays as it is."""
    plain, told = (
        charts.drawn(lambda axes: axes.scatter([0, 1], [0, 1], label="a group"), title="t", x="x", legend=legend) for legend in (None, "beside")
    )
    assert told.height == plain.height and told.width > plain.width + 50
    assert np.abs(np.asarray(told)[:, : plain.width - 20].astype(int) - np.asarray(plain)[:, :-20]).mean() < 1
    assert np.asarray(told)[:, plain.width :].min() < 200, "the words of the legend"


def test_charts_of_an_unwritten_memory_and_of_one_class() -> None:
    empty = SavedSlots(torch.zeros(4, 3), torch.zeros(4), torch.zeros(4), torch.zeros(4))
    for draw in (charts.masses, charts.ages):
        assert draw(empty).width > 100
    assert charts.priors([("now", charts.by_rank(empty))]).width > 100


def test_a_prior_is_drawn_where_it_is_known_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that were kept alone are points at these; a memory that is there in full is a line."""
    drawn = list[Figure]()
    monkeypatch.setattr(charts, "_render", lambda figure: drawn.append(figure) or Image.new("RGB", (1, 1)))
    logged, whole = {1: 0.5, 2: 0.25, 4: 0.1, 7: 0.01}, {1: 0.5, 2: 0.3, 3: 0.2}
    charts.priors([("step 1", logged), ("step 2", logged)])
    charts.priors([("now", whole)])
    (first, second), (line,) = (figure.axes[0].get_lines() for figure in drawn)
    for points in (first, second):
        assert (points.get_linestyle(), points.get_marker()) == ("None", "o")
        np.testing.assert_array_equal(points.get_xydata(), [*logged.items()])
    assert line.get_linestyle() == "-" and drawn[0].axes[0].get_xscale() == "log" and drawn[1].axes[0].get_xscale() == "linear"


def test_a_name_on_a_chart_is_no_formula() -> None:
    """A dollar sign opens one in matplotlib, and a broken one raises."""
    chart = charts.line_chart("$\\frac{$ and \x1b[31m", [("a", [1, 2], [1, 2])])
    assert chart.width > 100
    assert charts.words_of("$x$ \x00") == r"\$x\$ \x00"


@given(st.lists(st.integers(0, 500), min_size=1), st.integers(1, 40))
def test_bins_of_whole_numbers_hold_equally_many_of_them(values: list[int], bins: int) -> None:
    edges = charts.whole_edges([float(value) for value in values], bins)
    assert len(edges) - 1 <= bins
    inside = np.histogram(np.arange(math.ceil(edges[0]), math.ceil(edges[-1])), edges)[0]
    assert len(set(inside)) == 1
    assert np.histogram(values, edges)[0].sum() == len(values)


def test_a_nearly_constant_line_gets_room_on_a_logarithmic_axis() -> None:
    """Else its ticks would be many labels of the same number."""
    axes = Figure().add_subplot()
    axes.plot([1, 2], [5e-4, 5.0001e-4])
    charts._logarithmic(axes, "y")
    low, high = axes.get_ylim()
    assert high >= 2 * low and low < 5e-4 < high
