"""--label on the command line: a number is an index, a name is a name, and what is both is refused."""

from __future__ import annotations

import pytest

from memogen.cli.files import class_number
from memogen.types import InputError

NAMES = ("1", "2", "5")


@pytest.mark.parametrize(
    ("label", "names", "index"),
    [
        (None, NAMES, None),
        ("0", NAMES, 0),
        ("5", NAMES, 2),
        ("name:1", NAMES, 0),
        ("name:2", NAMES, 1),
        ("index:1", NAMES, 1),
        ("index:2", NAMES, 2),
        ("1", ("0", "1", "2"), 1),
        ("7", (), 7),
        ("index:7", (), 7),
        ("9", ("cat", "dog"), 9),
        ("dog", ("cat", "dog"), 1),
        ("name:dog", ("cat", "dog"), 1),
        ("name:dog", ("dog", "name:dog"), 1),
        ("-1", ("cat", "dog"), -1),
    ],
)
def test_one_label_is_one_class(label: str | None, names: tuple[str, ...], index: int | None) -> None:
    assert class_number(label, names) == index


@pytest.mark.parametrize(
    ("label", "names", "words"),
    [
        ("1", NAMES, "is the name of class 0 and the index of class 1 (2): write name:1 or index:1"),
        ("2", NAMES, "is the name of class 1 and the index of class 2 (5): write name:2 or index:2"),
        ("owl", ("cat", "dog"), "neither a class's number nor one of cat, dog"),
        ("name:1", ("cat", "dog"), "neither"),
        ("index:cat", ("cat", "dog"), "neither"),
        ("9" * 5000, ("cat", "dog"), "neither"),
        ("٣", ("cat", "dog"), "neither"),
    ],
)
def test_what_may_mean_two_classes_or_none_is_refused(label: str, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError) as caught:
        class_number(label, names)
    assert words in str(caught.value)
