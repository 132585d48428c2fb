"""What slots know of classes, in worked cases and in memories that know something or nothing."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.metrics.life_signs import knowing
from memogen.metrics.slots import (
    Placed,
    Sorting,
    agreement,
    agreement_estimate,
    effective_rank,
    kmeans,
    knowledge,
    lead,
    majority,
    name_slots,
    placed,
    share,
    share_difference,
    slot_names,
    slots_beside_pixels,
    told_by_cluster,
    told_by_neighbours,
    untrained,
    variance_between,
)
from memogen.types import ImageData, InputError
from tests.metrics.patterns import CLASSES, model, patterns
from tests.report import toy


def test_names_worked_by_hand() -> None:
    slot, label = torch.tensor([0, 0, 0, 2, 2, -1, 3]), torch.tensor([1, 1, 0, 2, 2, 0, 3])
    names = slot_names(slot, label, ("T-shirt", "Sneaker", "Bag"), 5)
    assert [names[each] for each in range(5)] == ["Sneaker 0.67", "", "Bag 1.00", "3 1.00", ""]
    assert names.label.tolist() == [1, -1, 2, 3, -1] and len(names) == 5


def test_images_are_placed_in_their_best_real_slots() -> None:
    built, data = toy.model(), toy.images(40)
    assert built.memory is not None
    found = placed(built, data, num=100)
    query = built.encode(torch.from_numpy(data.image))
    torch.testing.assert_close(found.query, query)
    assert torch.equal(found.slot, (built.memory.posterior(query) * (built.memory.values > 0.5)).argmax(1))
    part = placed(built, data, num=15)
    assert (len(part.slot), part.of) == (15, 40) and torch.equal(part.slot, placed(built, data, num=15).slot), "the same ones always"


def test_slots_that_hold_the_means_of_classes_know_them() -> None:
    known, asked = (placed(model(knows=True), patterns(num, seed=num)) for num in (200, 120))
    found = knowledge(model(knows=True), known, asked)
    slots, pixels, fresh, random, means = found.sortings
    assert slots.told.value == 1 and slots.agreement.value == pytest.approx(1) and slots.told.error == 0
    assert [each.clusters for each in (slots, pixels, means)] == [4, 4, 4] and max(fresh.clusters, random.clusters) <= 4
    assert means.told.value == 1
    assert lead(slots, pixels).value == pytest.approx(1 - pixels.told.value)
    assert [name_slots(known, 8)[each] for each in range(5)] == [*(f"{name} 1.00" for name in CLASSES), ""]
    assert set(found.neighbours) == {"queries", "pixels", "an untrained critic's queries"} and found.neighbours["queries"].all()


def test_every_mark_sorts_its_own_rows() -> None:
    built = model(knows=False)
    known, asked = placed(built, patterns(200, seed=1)), placed(built, patterns(120, seed=2))
    found = knowledge(built, known, asked, seed=3, fresh_seed=4)
    slots, pixels, fresh, random, means = found.sortings
    assert torch.equal(slots.known[0], known.slot) and torch.equal(slots.asked[0], asked.slot) and len(slots.known) == 1
    torch.manual_seed(4)
    first = [built.config.build().encode(torch.from_numpy(known.images.image))]
    torch.manual_seed(4)
    first.append(built.config.build().encode(torch.from_numpy(asked.images.image)))
    for start in (0, 9):
        for mark, rows, queries in ((pixels, known.pixels, asked.pixels), (means, known.query, asked.query)):
            cluster, fallen = kmeans(rows, queries, slots.clusters, seed=3 + start)
            assert torch.equal(mark.known[start], cluster) and torch.equal(mark.asked[start], fallen)
        chosen = np.random.default_rng(3 + start).permutation(200)[: slots.clusters]
        for mark, (bank, query) in ((fresh, first), (random, [known.query, asked.query])):
            for sorted_by, rows in ((mark.known, bank), (mark.asked, query)):
                cosine = rows @ bank[chosen].T
                torch.testing.assert_close(cosine.gather(1, sorted_by[start][:, None])[:, 0], cosine.amax(1), atol=1e-6, rtol=0)
    near = told_by_neighbours(known.pixels, known.label, asked.pixels, asked.label)
    assert torch.equal(found.neighbours["pixels"], near)


def test_right_is_a_share_of_starts() -> None:
    """Four test images; the second start sorts the last one otherwise."""
    label, asked_label = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1, 0])
    known, asked = torch.tensor([[0, 0, 1], [0, 0, 1]]), torch.tensor([[0, 0, 1, 0], [0, 0, 1, 1]])
    found = Sorting("by hand", known, asked, label, asked_label)
    assert found.right.tolist() == [1, 0, 1, 0.5] and found.told.value == 0.625 and found.clusters == 2
    assert found.agreement.value == pytest.approx((agreement(asked[0], asked_label) + agreement(asked[1], asked_label)) / 2)


def test_an_untrained_model_starts_as_its_run_did_and_disturbs_nobody() -> None:
    model = toy.model()
    torch.manual_seed(7)
    start, state = model.config.build(), torch.get_rng_state()
    fresh = untrained(model, 7)
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), fresh.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def _sign(knows: bool, *, shuffled: bool = False) -> tuple[Placed, Placed]:
    built = model(knows=knows)
    return placed(built, patterns(200, seed=1, split="train", shuffled=shuffled)), placed(built, patterns(200, seed=2, shuffled=shuffled))


def test_the_sign_lives_where_slots_know_and_dies_where_they_do_not() -> None:
    well, ill = knowing(*_sign(True)), knowing(*_sign(False))
    assert well is not None and well.alive and well.last == 1 and well.earlier is None
    slots, pixels = slots_beside_pixels(*_sign(False))
    assert ill is not None and not ill.alive and ill.last == slots.told.value
    both = slots.right.double() - pixels.right.double()
    assert ill.limit == pytest.approx(pixels.told.value - 2 * float(both.std()) / math.sqrt(200))


def test_nobody_knows_what_labels_do_not_say() -> None:
    """Where labels are drawn at random, pixels know no more than slots, so nothing is held against these."""
    known, asked = _sign(True, shuffled=True)
    slots, _ = slots_beside_pixels(known, asked)
    assert abs(slots.told.value - 0.25) < 0.12 and abs(slots.agreement.value) < 0.05
    sign = knowing(known, asked)
    assert sign is not None and sign.alive


def test_without_labels_there_is_no_sign_and_there_are_no_names() -> None:
    built = toy.model()
    unlabelled = placed(built, toy.images())
    labelled = placed(built, ImageData(unlabelled.images.image, np.arange(40) % 3, name="toys"))
    assert knowing(labelled, unlabelled) is None and knowing(unlabelled, labelled) is None
    with pytest.raises(InputError, match="no labels"):
        name_slots(unlabelled, 64)


def test_what_has_no_slots_is_refused() -> None:
    with pytest.raises(InputError, match="without a memory"):
        placed(toy.model(memory=False), toy.images())
    with pytest.raises(InputError, match="of its shape"):
        placed(toy.model(), toy.images(channels=3))
    built = toy.model()
    assert built.memory is not None
    built.memory.values.zero_()
    with pytest.raises(InputError, match="the memory has no real slots yet"):
        placed(built, toy.images())


# --- What clusters explain and what neighbours know, against definitions written out row by row ---


def _variance(rows: np.ndarray) -> float:
    return float(((rows - rows.mean(0)) ** 2).sum())


@given(seed=st.integers(0, 1000), groups=st.integers(1, 6), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_between_is_one_less_the_pooled_variance_within(seed: int, groups: int, scale: float, shift: float) -> None:
    """n - 1 for every cluster of n; and neither the origin, the scale nor the cluster's names matter."""
    random = np.random.default_rng(seed)
    cluster, rows = random.integers(0, groups, 20), random.normal(size=(20, 3))
    members = [rows[cluster == name] for name in np.unique(cluster)]
    within = sum(_variance(part) for part in members) / sum(len(part) - 1 for part in members)
    expected = 1 - within / (_variance(rows) / 19)
    found = variance_between(torch.from_numpy(rows), torch.from_numpy(cluster))
    assert found == pytest.approx(expected, abs=1e-12)
    moved = variance_between(torch.from_numpy(scale * rows + shift), torch.from_numpy(100 - 7 * cluster))
    assert moved == pytest.approx(expected, abs=1e-9)


def test_between_is_all_where_clusters_are_points_and_nothing_where_they_are_drawn() -> None:
    cluster = torch.arange(400) % 100
    point = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))[cluster]
    assert variance_between(point, cluster) == pytest.approx(1, abs=1e-12)
    drawn = [variance_between(torch.randn(400, 5, generator=torch.Generator().manual_seed(seed)), cluster) for seed in range(40)]
    assert abs(np.mean(drawn)) < 4 * np.std(drawn) / math.sqrt(40), "100 clusters of four explain nothing, where a plain R squared would be 0.25"
    assert np.mean(drawn) < 0.02


def test_between_is_not_a_number_where_nothing_can_be_told() -> None:
    rows = torch.randn(5, 2)
    assert math.isnan(variance_between(rows, torch.arange(5)))
    assert math.isnan(variance_between(rows[:1].expand(5, -1), torch.zeros(5, dtype=torch.long)))
    assert math.isnan(variance_between(torch.full((360, 1), 0.1 / 3, dtype=torch.float64), torch.arange(360) % 7))


@given(seed=st.integers(0, 1000), rank=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_effective_rank_counts_equal_directions_and_is_at_most_the_rank(seed: int, rank: int) -> None:
    random = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.cat([torch.ones(30, 1), torch.randn(30, rank, generator=random)], 1).double())
    flat = basis[:, 1:]  # columns of mean 0, equally long, at right angles
    assert effective_rank(3 * flat + 2) == pytest.approx(rank, abs=1e-9)
    mixed = flat @ torch.randn(rank, 8, generator=random).double()
    assert 1 - 1e-9 <= effective_rank(mixed) <= rank + 1e-9
    assert effective_rank(torch.cat([flat, torch.full((30, 2), 7.0)], 1)) == pytest.approx(rank, abs=1e-9), "a column that never moves is none"


def test_effective_rank_is_that_of_the_correlations() -> None:
    rows = (
        torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()
        @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double()
    )
    share = np.linalg.eigvalsh(np.corrcoef(rows.numpy().T)) / 6
    assert effective_rank(rows) == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_effective_rank_of_nothing_is_not_a_number() -> None:
    assert math.isnan(effective_rank(torch.ones(6, 3)))


@given(seed=st.integers(0, 1000), k=st.integers(1, 5), chunk=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_neighbours_vote_and_the_nearest_decides_a_draw(seed: int, k: int, chunk: int) -> None:
    random = np.random.default_rng(seed)
    rows, label, asked, asked_label = random.normal(size=(17, 2)), random.integers(0, 3, 17), random.normal(size=(11, 2)), random.integers(0, 3, 11)
    right = []
    for query, own in zip(asked, asked_label, strict=True):
        near = sorted(range(17), key=lambda j: ((query - rows[j]) ** 2).sum())[:k]
        votes = Counter(int(label[j]) for j in near)
        right.append(next(int(label[j]) for j in near if votes[int(label[j])] == max(votes.values())) == own)
    found = told_by_neighbours(*map(torch.from_numpy, (rows, label, asked, asked_label)), k=k, chunk=chunk)
    assert found.tolist() == right


def test_neighbours_need_to_be_there() -> None:
    with pytest.raises(InputError, match="at least 5"):
        told_by_neighbours(torch.randn(4, 2), torch.zeros(4, dtype=torch.long), torch.randn(3, 2), torch.zeros(3, dtype=torch.long))


def test_a_share_and_its_lead_have_the_errors_of_their_means() -> None:
    """3 of 4 right: p (1 - p) / (n - 1) is the squared error. The lead is paired: images that both get right or wrong tell nothing."""
    right, beside = torch.tensor([True, True, True, False]), torch.tensor([True, False, True, False])
    for found, value, square in (
        (share(right), 0.75, 0.75 * 0.25 / 3),
        (share_difference(right, beside), 0.25, (3 * 0.25**2 + 0.75**2) / 3 / 4),
        (share_difference(right, right), 0, 0),
    ):
        assert (found.value, found.error) == (value, pytest.approx(math.sqrt(square)))
    assert math.isnan(share(right[:1]).error)


def test_the_majority_of_a_cluster_worked_by_hand() -> None:
    """Cluster 0 holds classes 1, 1, 0; 1 nothing; 2 one image of each of two classes, of which the first counts; 3 class 2."""
    cluster, label = torch.tensor([0, 2, 0, 0, 2, 3]), torch.tensor([1, 2, 1, 0, 0, 2])
    found, part = majority(cluster, label, 4)
    assert found.tolist() == [1, -1, 0, 2]
    assert part[[0, 2, 3]].tolist() == pytest.approx([2 / 3, 1 / 2, 1]) and math.isnan(part[1])


def test_a_cluster_tells_its_majority_and_an_empty_one_tells_nothing() -> None:
    cluster, label = torch.tensor([0, 0, 0, 2]), torch.tensor([1, 1, 0, 0])
    asked = torch.tensor([0, 0, 1, 2, 2, 5])
    asked_label = torch.tensor([1, 0, 0, 0, 1, 0])
    assert told_by_cluster(cluster, label, asked, asked_label).tolist() == [True, False, False, True, False, False]


def test_agreement_is_one_for_the_same_partition_and_none_for_a_drawn_one() -> None:
    label = torch.arange(600) % 10
    assert agreement(label * 3 + 1, label) == pytest.approx(1)
    drawn = torch.randint(0, 200, (600,), generator=torch.Generator().manual_seed(0))
    assert abs(agreement(drawn, label)) < 0.03


def test_agreement_worked_by_hand() -> None:
    """Two halves that cross: no mutual information, where chance expects log(2) / 3 of it; over the mean entropy log(2), -1/2 when adjusted."""
    assert agreement(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])) == pytest.approx(-1 / 2)


def test_the_error_of_agreement_is_its_spread_over_samples() -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(15):
        label = random.integers(0, 4, 400)
        cluster = np.where(random.random(400) < 0.7, label, random.integers(0, 4, 400))
        found.append(agreement_estimate(torch.from_numpy(cluster), torch.from_numpy(label)))
    spread = np.std([each.value for each in found], ddof=1)
    assert 0.5 < np.mean([each.error for each in found]) / spread < 2, "15 samples know their spread to a factor of 1.5"


def test_kmeans_finds_what_lies_apart_and_sorts_others_by_it() -> None:
    middle = 10 * torch.eye(3)
    label, asked_label = torch.arange(30) % 3, torch.arange(12) % 3
    random = torch.Generator().manual_seed(0)
    rows, asked = middle[label] + torch.randn(30, 3, generator=random), middle[asked_label] + torch.randn(12, 3, generator=random)
    cluster, fallen = kmeans(rows, asked, 3, seed=1)
    assert agreement(cluster, label) == pytest.approx(1) and told_by_cluster(cluster, label, fallen, asked_label).all()
    assert torch.equal(cluster, kmeans(rows, asked, 3, seed=1)[0])
    with pytest.raises(InputError, match="as many images"):
        kmeans(rows[:2], asked, 3)
