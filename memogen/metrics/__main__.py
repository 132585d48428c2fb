"""Training of a data-set classifier from the command line: ``python -m memogen.metrics NAME --data DIR``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from memogen.data import load
from memogen.metrics.classifiers import RECIPES, WEIGHTS, Classifier, accuracy, save_classifier, train_classifier


def main(arguments: list[str] | None = None) -> Path:
    """Train, measure on the test split after rounding, write the weights; the command line of this file."""
    parser = argparse.ArgumentParser(prog="python -m memogen.metrics", description="Train a data-set classifier.", allow_abbrev=False)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=None, help="folder with the data set's published files; downloaded where not given")
    parser.add_argument("--out", type=Path, default=None, help="file to write; the package's own weights by default")
    given = parser.parse_args(arguments)
    train, test = (load(given.name, folder=given.data, split=split) for split in ("train", "test"))
    began = time.perf_counter()
    trained = train_classifier(given.name, train)
    path = save_classifier(trained, given.out or WEIGHTS / f"{given.name}-v1.safetensors", accuracy=accuracy(trained, test))
    frozen = Classifier.read(path)
    print(f"{frozen.version}: test accuracy {frozen.accuracy:.4%}, {time.perf_counter() - began:.0f} s, {path.stat().st_size} bytes, {path}")
    return path


if __name__ == "__main__":
    main()
