"""Statistics of real data: cached under what they depend on, measured again where the file is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from memogen.metrics.fid import reference_statistics
from memogen.metrics.stream import Reference, default_cache, shuffled
from memogen.types import ImageData
from tests.metrics.conftest import Moments


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def test_second_time_comes_from_the_cache(tiny: ImageData, tmp_path: Path) -> None:
    class Once(Moments):
        read = 0

        def features(self, image: torch.Tensor) -> torch.Tensor:
            self.read += len(image)
            return super().features(image)

    extractor = Once()
    first = reference_statistics(Reference(tiny, extractor, tmp_path))
    assert extractor.read == len(tiny) and len(_files(tmp_path)) == 1
    second = reference_statistics(Reference(tiny, extractor, tmp_path))
    assert extractor.read == len(tiny)
    assert second.count == first.count and torch.equal(second.mean, first.mean) and torch.equal(second.scatter, first.scatter)


def test_other_data_or_another_extractor_have_their_own(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    class Other(Moments):
        version = "moments:2"

    for data, reader in ((tiny, extractor), (replace(tiny, digest="tiny-2"), extractor), (tiny, Other()), (replace(tiny, split="train"), extractor)):
        reference_statistics(Reference(data, reader, tmp_path))
    assert len(_files(tmp_path)) == 4


def test_damaged_file_is_measured_again(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    first = reference_statistics(Reference(tiny, extractor, tmp_path))
    (path,) = _files(tmp_path)
    for damage in (b"", b"no safetensors", path.read_bytes()[:-7]):
        path.write_bytes(damage)
        assert torch.equal(reference_statistics(Reference(tiny, extractor, tmp_path)).scatter, first.scatter)
    assert _files(tmp_path) == [path]


def test_a_cache_that_cannot_be_written_costs_no_score(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert reference_statistics(Reference(tiny, extractor, tmp_path / "file" / "cache")).count == 120


def test_features_of_a_part_are_drawn_from_all_of_it(tiny: ImageData, extractor: Moments) -> None:
    features = Reference(tiny, extractor).features(40)
    chosen = shuffled(120, 0)[:40]
    assert len({int(tiny.label[i]) for i in chosen}) >= 9  # type: ignore[index]
    torch.testing.assert_close(features, extractor.features(torch.from_numpy(tiny.image[chosen])))
    assert len(Reference(tiny, extractor).features(1000)) == 120


def test_features_are_read_once_and_do_not_depend_on_how_many_are_asked_for() -> None:
    class Counting(Moments):
        read = 0

        def features(self, image: torch.Tensor) -> torch.Tensor:
            self.read += len(image)
            return super().features(image)

    data = ImageData(np.random.default_rng(0).integers(0, 256, (600, 1, 4, 4)).astype(np.uint8))
    extractor = Counting()
    reference = Reference(data, extractor)
    first, all_of_them, again = reference.features(40), reference.features(), reference.features(40)
    assert extractor.read == 600 and torch.equal(first, again) and torch.equal(first, all_of_them[:40])
    assert torch.equal(all_of_them, Reference(data, Counting()).features())


def test_cache_follows_the_environment(own_cache: Path) -> None:
    assert default_cache() == own_cache / "statistics"
