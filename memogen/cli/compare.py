"""The command that compares two models image by image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from memogen.metrics.paired import Paired, PerImage

SIDE = "a run folder, or several seeds of one model, comma-separated; with --rows the name of a variant"


def compare(
    first: Annotated[str, SIDE],
    second: Annotated[str, "the same for the other model"],
    *,
    rows: Annotated[Path | None, "a .jsonl file of result rows that holds both, such as that of a reproduced table"] = None,
    recipe: Annotated[str | None, "the recipe, if --rows holds several"] = None,
    budget: Annotated[str | None, "the budget, if --rows holds several"] = None,
    metric: Annotated[str, "what to compare: log_likelihood or elbo"] = "log_likelihood",
) -> None:
    """Print by how much the first model is better than the second on the same images, with the standard error over pairs.

    Both must have been scored by nll on the same images, drawn black and white by the same seed.
    """
    from memogen.metrics.paired import paired

    if rows is not None:
        sides = [_of_variant(rows, side, recipe, budget, metric) for side in (first, second)]
    else:
        sides = [_of_runs(side, metric) for side in (first, second)]
    seeds = sorted(sides[0], key=str) if set(sides[0]) == set(sides[1]) else []  # else all runs of a side against all of the other
    ordered = [[side[seed] for seed in seeds] or list(side.values()) for side in sides]
    found = paired(*ordered)
    samples = ordered[0][0].settings.get("importance_samples")
    print(f"{metric} of {found.num_images:,} images, {samples:,} importance samples each" if isinstance(samples, int) else metric)
    for name, value, side in ((first, found.first, ordered[0]), (second, found.second, ordered[1])):
        print(f"{value:>10.3f}  {name}{f', mean of {len(side)} runs' if len(side) > 1 else ''}")
    print("\n".join(_lines(found, seeds)))


def _lines(found: Paired, seeds: list[object]) -> list[str]:
    times = f", {abs(found.mean) / found.error:.1f} times it" if found.error > 0 else ""
    lines = [f"{found.mean:>+10.3f} ± {found.error:.3f} (standard error over the images){times}"]
    if len(seeds) > 1:
        pairs = ", ".join(f"{value:+.3f}" for value in found.by_seed)
        spread = f" ± {found.seed_error:.3f} between them" if math.isfinite(found.seed_error) else ""
        lines.append(f"pairs of runs (seeds {', '.join(map(str, seeds))}): {pairs}{spread}")
    return lines


def _of_runs(names: str, metric: str) -> dict[object, PerImage]:
    """What the newest rows of run folders kept, by seed."""
    from memogen.metrics.paired import per_image_of
    from memogen.report.history import read_rows

    found: dict[object, PerImage] = {}
    for name in names.split(","):
        folder = Path(name).expanduser()
        if not (folder / "results.jsonl").is_file():
            raise UsageError(f"{name}: no run folder with results.jsonl; name runs that were scored by nll, or give --rows and two variants")
        kept = per_image_of(read_rows(folder / "results.jsonl"), folder, metric=metric)
        if not kept:
            raise UsageError(f"{name}: its rows keep no {metric} of single images; score it: memogen evaluate {name} --metrics nll")
        for seed, scores in kept.items():
            found[seed if seed not in found else (seed, name)] = scores
    return found


def _of_variant(rows: Path, variant: str, recipe: str | None, budget: str | None, metric: str) -> dict[object, PerImage]:
    """What the rows of a variant kept, by seed."""
    from memogen.metrics.paired import per_image_of
    from memogen.report.history import read_rows

    if not rows.is_file():
        raise UsageError(f"--rows {rows}: no such file; name the .jsonl file of a reproduced table")
    asked = [row for row in read_rows(rows) if row.variant == variant and row.metric == metric]
    for key, wanted in (("recipe", recipe), ("budget", budget)):
        known = sorted({str(row.get(key)) for row in asked})
        if wanted is None and len(known) > 1:
            raise UsageError(f"--{key}: {rows} holds {variant} of {', '.join(known)}; name one of them")
        asked = [row for row in asked if wanted in (None, row.get(key))]
    kept = per_image_of(asked, rows.parent, metric=metric)
    if not kept:
        raise UsageError(f"{variant}: {rows} keeps no {metric} of single images of such a variant; it is made by memogen reproduce")
    return kept
