"""Saved models come back bit-equal, and whatever does not fit is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
import pytest
import torch
from torch import Tensor, nn

from memogen import pretrained
from memogen.models import FAMILIES, AttentionConfig, Family, MemoryConfig, MemoryGANConfig, MemVAEConfig
from memogen.models.replay_gan import ReplayGAN, ReplayGANConfig
from memogen.types import InputError


@dataclass(frozen=True)
class ToyMemory:
    num_slots: int = 6


@dataclass(frozen=True)
class ToyConfig:
    image_shape: tuple[int, int, int] = (1, 4, 4)
    width: int = 3
    memory: ToyMemory | None = field(default_factory=ToyMemory)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}; it must be positive")

    def build(self) -> ToyModel:
        return ToyModel(self)


@dataclass(frozen=True)
class OtherConfig:
    width: int = 3


class ToyModel(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = nn.Sequential(nn.Conv2d(2, config.width, 3), nn.BatchNorm2d(config.width))
        self.register_buffer("age", torch.arange(config.memory.num_slots if config.memory else 1))


@pytest.fixture(autouse=True)
def toy_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "FAMILIES", {"toy": Family(ToyConfig, object)})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    pretrained.save_pretrained(filled(), tmp_path / "model")
    return tmp_path / "model"


def filled(config: ToyConfig | None = None) -> ToyModel:
    model = (config or ToyConfig()).build()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randint(0, 9, tensor.shape) if not tensor.is_floating_point() else torch.randn(tensor.shape))
    return model


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left)


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("config", [ToyConfig(), ToyConfig(image_shape=(3, 8, 6), width=5, memory=None)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_round_trip_is_bit_equal(config: ToyConfig, dtype: torch.dtype, tmp_path: Path) -> None:
    model = filled(config).to(dtype)
    pretrained.save_pretrained(model, tmp_path / "new" / "model")
    back = pretrained.from_pretrained(str(tmp_path / "new" / "model"))
    assert back.config == config
    assert same(back.state_dict(), model.state_dict())
    assert not back.training
    assert all(parameter.requires_grad for parameter in back.parameters())


CONFIGS = {
    "memory_gan": (
        MemoryGANConfig(image_shape=(1, 8, 8), width=2, memory=MemoryConfig(num_slots=12, key_dim=4, top_k=4)),
        MemoryGANConfig(image_shape=(3, 9, 7), network="resnet", norm="layer", width=2, memory=None, image_range=(-1.0, 1.0)),
    ),
    "mem_vae": (
        MemVAEConfig(image_shape=(1, 6, 5), hidden=(9, 7), latent_dim=3, memory=AttentionConfig((5, 4)), num_classes=3),
        MemVAEConfig(image_shape=(3, 9, 7), hidden=(8,), latent_dim=2, memory=AttentionConfig(()), network="conv", output="gaussian"),
    ),
    "replay_gan": (
        ReplayGANConfig(image_shape=(1, 8, 8), width=2, noise_dim=3, num_classes=3, classes=("a", "b")),
        ReplayGANConfig(image_shape=(3, 8, 8), width=2, noise_dim=3, conditioning="none"),
    ),
}


def test_every_family_draws_the_same_images_after_a_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "FAMILIES", FAMILIES)
    assert CONFIGS.keys() == FAMILIES.keys()
    for config in (config for configs in CONFIGS.values() for config in configs):
        model = config.build().eval()
        if isinstance(model, ReplayGAN):
            model.begin_task(0, (0, 1))
            model.calibrate()
        pretrained.save_pretrained(model, tmp_path)
        back = pretrained.from_pretrained(tmp_path)
        assert back.config == config
        assert same(back.state_dict(), model.state_dict())
        assert torch.equal(back.sample(3, seed=5), model.sample(3, seed=5))


def test_saving_changes_neither_the_model_nor_its_memory_format(tmp_path: Path) -> None:
    model = filled().to(memory_format=torch.channels_last).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pretrained.save_pretrained(model, tmp_path)
    assert same(before, model.state_dict()) and model.training
    assert same(pretrained.from_pretrained(tmp_path).state_dict(), before)


def test_saving_twice_gives_the_same_bytes(saved: Path) -> None:
    first = {file.name: file.read_bytes() for file in saved.iterdir()}
    pretrained.save_pretrained(pretrained.from_pretrained(saved), saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == first
    assert sorted(first) == ["README.md", "config.json", "model.safetensors"]


def test_live_weights(tmp_path: Path) -> None:
    model = filled()
    live = {"generator.0.weight": torch.randn(3, 2, 3, 3)}
    pretrained.save_pretrained(model, tmp_path, live=live)
    assert same(pretrained.from_pretrained(tmp_path).state_dict(), model.state_dict())
    assert same(pretrained.from_pretrained(tmp_path, live=True).state_dict(), {**model.state_dict(), **live})
    pretrained.save_pretrained(model, tmp_path)
    with pytest.raises(InputError, match=r"live\.safetensors"):
        pretrained.from_pretrained(tmp_path, live=True)


@pytest.mark.parametrize("live", [{"other": torch.zeros(1)}, {"generator.0.bias": torch.zeros(7)}])
def test_live_weights_of_another_model_are_refused_before_anything_is_written(live: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(live))):
        pretrained.save_pretrained(filled(), tmp_path / "model", live=live)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["config"].update(widht=3), r"config\.widht: .*did you mean 'width'"),
        (lambda d: d["config"].pop("width"), r"config\.width: missing"),
        (lambda d: d["config"]["memory"].update(num_slots="many"), r"config\.memory\.num_slots"),
        (lambda d: d["config"].update(width=0), r"config: width is 0"),
        (lambda d: d["config"].update(width=4), r"tensor generator\.0\.bias is \(3,\) where the model has \(4,\) \(and 5 more\): .*config\.json"),
        (lambda d: d.update(format=3), r"format 3; .*upgrade"),
        (lambda d: d.update(format=1), r"format 1; .*train it again"),
        (lambda d: d.update(format="1"), r"format: .*whole number"),
        (lambda d: d.update(family="toi"), r"family 'toi' is unknown: did you mean 'toy'"),
        (lambda d: d.update(extra=1), r"extra: unknown option"),
        (lambda d: d.pop("family"), r"family: missing"),
    ],
)
def test_config_is_read_strictly(saved: Path, change: Callable[[dict[str, object]], object], complaint: str) -> None:
    edit(saved / "config.json", change)
    with pytest.raises(InputError, match=complaint) as caught:
        pretrained.from_pretrained(saved)
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff"])
def test_config_that_is_no_mapping_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json"):
        pretrained.from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(InputError, match=name):
        pretrained.from_pretrained(saved)


def sign(saved: Path) -> None:
    """Make config.json name the weights as they are now."""
    edit(saved / "config.json", lambda d: d["files"].update({name: pretrained.sha256(saved / name) for name in d["files"]}))


def test_no_flipped_bit_of_the_weights_is_silent(tmp_path: Path) -> None:
    """Wherever it is, in either file; and weights of one save are not taken for those of another."""
    pretrained.save_pretrained(filled(), tmp_path, live={"generator.0.weight": torch.randn(3, 2, 3, 3)})
    for name in ("model.safetensors", "live.safetensors"):
        path = tmp_path / name
        whole = path.read_bytes()
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
            with pytest.raises(InputError, match=name):
                pretrained.from_pretrained(tmp_path, live=True)
        path.write_bytes(whole)
    pretrained.from_pretrained(tmp_path, live=True)
    pretrained.save_pretrained(filled(), tmp_path / "other", live={"generator.0.weight": torch.randn(3, 2, 3, 3)})
    (tmp_path / "other" / "live.safetensors").replace(tmp_path / "live.safetensors")
    with pytest.raises(InputError, match="saved with"):
        pretrained.from_pretrained(tmp_path, live=True)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(number: float, tmp_path: Path) -> None:
    model = filled()
    with torch.no_grad():
        model.generator[0].bias[1] = number
    pretrained.save_pretrained(model, tmp_path)
    with pytest.raises(InputError, match=r"generator\.0\.bias"):
        pretrained.from_pretrained(tmp_path)


def test_files_have_the_modes_of_any_other(saved: Path) -> None:
    (saved.parent / "ordinary").touch()
    modes = {file.stat().st_mode for file in saved.iterdir()}
    assert modes == {(saved.parent / "ordinary").stat().st_mode}


@pytest.mark.parametrize("keep", [0, 7, 40, -5])
def test_damaged_weights_are_refused(saved: Path, keep: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors: not the file that was saved"):
        pretrained.from_pretrained(saved)


def test_a_pickle_in_the_place_of_the_weights_is_not_opened(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "opened",))

    torch.save(Trap(), saved / "model.safetensors")
    for _ in range(2):  # refused by its digest, and where config.json was changed with it, by its format
        with pytest.raises(InputError, match=r"model\.safetensors"):
            pretrained.from_pretrained(saved)
        sign(saved)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("age"), r"tensor age is missing"),
        (lambda s: s.update(other=torch.zeros(1)), r"tensor other is not the model's"),
        (lambda s: s.update(age=torch.zeros(6)), r"tensor age is torch.float32"),
        (lambda s: (s.pop("age"), s.pop("generator.1.bias")), r"missing \(and 1 more\)"),
    ],
)
def test_weights_are_read_strictly(saved: Path, change: Callable[[dict[str, Tensor]], object], complaint: str) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(saved / "model.safetensors")
    change(state)
    save_file(state, saved / "model.safetensors")
    sign(saved)
    with pytest.raises(InputError, match=complaint):
        pretrained.from_pretrained(saved)


def test_a_save_that_breaks_off_leaves_the_former_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match="no space"):
        pretrained.save_pretrained(filled(), saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


@pytest.mark.parametrize("source", ["no/such/folder", "./nothing", "nothing", "/nowhere/at/all", "", "a/b/", "../x"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    monkeypatch.chdir("/")
    with pytest.raises(InputError):
        pretrained.from_pretrained(source)


def test_a_run_folder_stands_for_the_model_in_it(saved: Path) -> None:
    (saved.parent / "config.yaml").write_text("recipe: toy\n")
    assert same(pretrained.from_pretrained(saved.parent).state_dict(), pretrained.from_pretrained(saved).state_dict())
    assert same(pretrained.from_pretrained(str(saved.parent)).state_dict(), pretrained.from_pretrained(saved).state_dict())


@pytest.mark.parametrize(
    ("files", "pictures"),
    [
        (["a.png", "b.JPG"], True),
        (["cats/a.webp", "dogs/b.png"], True),
        (["config.yaml", "samples/step-1.png"], False),
        (["a.txt"], False),
        (["checkpoints"], False),
        ([], False),
    ],
)
def test_a_folder_of_pictures_is_told_from_one_that_lacks_a_model(tmp_path: Path, files: list[str], pictures: bool) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name == "checkpoints" else (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"holds no saved model \(no config\.json, no model/config\.json\)") as caught:
        pretrained.from_pretrained(tmp_path)
    assert ("is a folder of pictures" in str(caught.value)) == pictures
    assert ("the same command continues it" in str(caught.value)) == ("checkpoints" in files)


def test_a_file_is_not_a_model(saved: Path) -> None:
    with pytest.raises(InputError, match="is a file"):
        pretrained.from_pretrained(saved / "config.json")
    with pytest.raises(InputError, match="is a file"):
        pretrained.save_pretrained(filled(), saved / "config.json")


def test_hub_id_and_revision_are_passed_on(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo_id, revision))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert isinstance(pretrained.from_pretrained("org/name", revision="v1"), ToyModel)
    assert asked == [("org/name", "v1")]


@pytest.mark.parametrize("error", [OSError("no\nnetwork"), ValueError("bad name"), RuntimeError()])
def test_a_failure_of_the_hub_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"^org/name: ") as caught:
        pretrained.from_pretrained("org/name")
    assert "\n" not in str(caught.value)


class FakeHub:
    files: dict[str, bytes]

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert repo_id == "org/name" and exist_ok

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> FakeHub:
        FakeHub.files = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}
        return self

    commit_url = "address"


def test_push_uploads_what_save_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    model = filled()
    assert pretrained.push_to_hub(model, "org/name") == "address"
    pretrained.save_pretrained(model, tmp_path)
    assert FakeHub.files == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_failed_push_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("401\nunauthorised")

    monkeypatch.setattr(FakeHub, "create_repo", refuse)
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    with pytest.raises(InputError, match="auth login") as caught:
        pretrained.push_to_hub(filled(), "org/name")
    assert "\n" not in str(caught.value)


def test_a_model_outside_the_table_is_a_programming_error(tmp_path: Path) -> None:
    model = filled()
    model.config = OtherConfig()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="OtherConfig"):
        pretrained.save_pretrained(model, tmp_path)


def test_card_says_what_the_model_is_and_how_to_draw(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: memogen\n")
    assert "| `image_shape` | 1 x 4 x 4 |" in card and "num_slots 6" in card
    named = pretrained.model_card(pretrained.Document("replay_gan", 2, "0", {"classes": ["a shoe", "a hat"], "image_range": [0.0, 1.0]}, {}))
    assert "| `classes` | a shoe, a hat |" in named and "| `image_range` | 0.0, 1.0 |" in named, "only a shape is a product"
    assert "from_pretrained" in card and "sample(64, seed=0)" in card
