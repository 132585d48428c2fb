"""What a run asks of its pictures holds for every later reading: a picture to look up, a folder to compare with, a category to add."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memogen import cli, load_data
from memogen.cli.files import choose_data, read_picture
from memogen.data import DataOptions
from memogen.models import AttentionConfig, MemoryConfig, MemoryGANConfig, MemVAEConfig, NoiseConfig, ReplayGANConfig
from memogen.pretrained import save_pretrained
from memogen.recipes import RECIPES, DataConfig
from memogen.runs import extend as extending
from memogen.runs import reading, run_of, save_config
from memogen.types import InputError
from tests.models.test_replay_gan import built

SHAPE = (1, 8, 8)
GAN = MemoryGANConfig(image_shape=SHAPE, width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8))
VAE = MemVAEConfig(SHAPE, hidden=(12, 9), latent_dim=3, memory=AttentionConfig((6, 4)), pixel_levels=255)
KNOWS = ReplayGANConfig(image_shape=SHAPE, width=4, noise_dim=4, classes=("zero", "one", "two"))
CROPPED = DataOptions(size=8, fit="crop", filter="box")


def wide(path: Path, *, seed: int = 0) -> np.ndarray:
    """A picture in colour, twice as wide as high, whose outer quarters are white; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 200, (16, 32, 3), dtype=np.uint8)
    pixels[:, :8] = pixels[:, 24:] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def cropped(pixels: np.ndarray) -> np.ndarray:
    """The middle square of such a picture in grey, 2 x 2 pixels brought to one by their mean."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float64)
    return grey[:, 8:24].reshape(8, 2, 8, 2).mean((1, 3))


def kept_run(folder: Path, name: str, model: torch.nn.Module, options: DataOptions = CROPPED) -> Path:
    """A run folder of a saved model whose own pictures were read by ``options``."""
    recipe = RECIPES[name]()
    save_pretrained(model, folder / "model")
    save_config(replace(recipe, model=model.config, data=DataConfig("folder", str(folder / "own"), options)), folder / "config.yaml")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs that cropped their pictures, ``gan`` and ``vae``, a picture, and a folder of two more."""
    torch.manual_seed(0)
    kept_run(tmp_path / "gan", "memory_gan/folder", GAN.build())
    vae = VAE.build()
    vae.calibrate(load_data("digits", split="test", cache=tmp_path / "cache", progress=False))
    kept_run(tmp_path / "vae", "mem_vae/folder", vae)
    wide(tmp_path / "picture.png")
    for number in range(2):
        wide(tmp_path / "more" / f"{number}.png", seed=number)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", ["gan", "gan/model", "./gan", "vae"])
def test_a_picture_is_cropped_where_the_run_cropped(name: str, here: Path) -> None:
    found = read_picture(Path("picture.png"), SHAPE, model=name)
    assert found.shape == SHAPE
    np.testing.assert_allclose(found[0].numpy(), cropped(np.asarray(Image.open("picture.png"))), atol=1.01)


def test_every_command_that_takes_a_picture_reads_it_so(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture of the middle square alone gives what the whole one does."""
    Image.fromarray(np.asarray(Image.open("picture.png"))[:, 8:24]).save("middle.png")
    for words in (
        "memory query gan {}.png",
        "memory query vae {}.png",
        "memory posterior gan {}.png --data none --out x.png",
        "impute vae --data {}.png --mask half --steps 2 --out y.npz",
    ):
        told = []
        for picture in ("picture", "middle"):
            assert cli.main(shlex.split(words.format(picture))) == 0
            files = [Path(name).read_bytes() for name in ("x.png", "y.npz") if f"--out {name}" in words]
            told.append((capsys.readouterr().out, files))
        assert told[0] == told[1], words


def test_a_folder_of_others_is_read_as_the_runs_own(here: Path) -> None:
    for name in ("gan", "vae"):
        images = choose_data("more", model=name).load()
        assert images.image_shape == SHAPE
        for row in range(2):
            np.testing.assert_allclose(images.image[row, 0], cropped(np.asarray(Image.open(f"more/{row}.png"))), atol=1.01)


def test_size_and_colours_are_those_of_the_model_where_the_run_says_none(here: Path) -> None:
    colour = replace(GAN, image_shape=(3, 8, 8))
    kept_run(here / "plain", "memory_gan/folder", colour.build(), DataOptions())
    assert reading("plain") == DataOptions(size=(8, 8), channels=3)
    assert reading("plain", otherwise="resize").fit == "resize"
    assert reading("gan").target == (8, 8) and reading("gan").channels == 1 and reading("gan").filter == "box"
    Image.new("L", (8, 8), 9).save(here / "grey.png")
    (here / "grey").mkdir()
    (here / "grey.png").rename(here / "grey" / "a.png")
    assert choose_data("grey", model="plain").load().image_shape == (3, 8, 8)
    with pytest.raises(InputError, match="16 x 32"):
        choose_data("more", model="plain").load()


def test_a_model_alone_takes_its_shape_from_itself(here: Path) -> None:
    save_pretrained(GAN.build(), here / "alone")
    assert run_of("alone") is None and reading("alone").target == (8, 8)
    found = read_picture(Path("picture.png"), SHAPE, model="alone")
    assert found[0, :, 0].float().mean() > 240, "the white edges are there: scaled as a whole"


def test_vectors_have_no_size(here: Path) -> None:
    save_pretrained(MemVAEConfig((1, 1, 12), hidden=(4, 4), latent_dim=2, memory=AttentionConfig((2, 2))).build(), here / "vectors")
    assert reading("vectors") == DataOptions()


def test_a_new_category_is_read_as_the_stream_was(here: Path) -> None:
    """And after it, pictures are read so by the model that was extended."""
    kept_run(here / "stream", "replay_gan/folder", built(KNOWS, ((0,), (1,), (2,))))
    for number in range(20):
        wide(here / "new" / f"{number:02d}.png", seed=number)
    config = extending.ExtendConfig(steps=1, batch_size=8, extractor="digits", num_samples=70)
    extending.extend("stream", data="new", label="three", out=here / "more_classes", config=config, console=False)
    assert reading("more_classes") == reading("stream") == replace(CROPPED, channels=1)
    model = extending._opened("stream", live=False)
    images = extending.new_images("new", model, 3, "three", options=reading("stream"))
    np.testing.assert_allclose(images.image[4, 0], cropped(np.asarray(Image.open("new/04.png"))), atol=1.01)


def test_a_fit_that_is_asked_for_is_taken(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept_run(here / "stream", "replay_gan/folder", built(KNOWS, ((0,), (1,), (2,))))
    wide(here / "new" / "a.png")
    for given, fit in (("", "crop"), ("--fit resize", "resize")):
        words = f"extend stream --data new --label three --out out_{fit} --steps 1 --num-samples 70 --extractor digits {given}"
        assert cli.main(shlex.split(words)) == 0
        assert f"of another size: {fit} (--fit)" in capsys.readouterr().err
        assert reading(f"out_{fit}").fit == fit
