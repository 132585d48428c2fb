"""The tables and the numbers in the text of Li, Zhu and Zhang (ICML 2016) as data; all of them share one set of runs."""

from __future__ import annotations

from dataclasses import replace

from . import mem_vae
from .recipe import Claim
from .table import Budget, Table, TableRow

RUNS = "mem_vae/runs"
_FRAMES, _TEST = 100, 10_000  # test images of Frey faces; of MNIST and of OCR-letters
_OTHERS = {
    "DBN (Murray and Salakhutdinov 2009)": (-84.55, None),
    "S2-IWAE-50 (Burda et al. 2015)": (-82.90, None),
    "RWS-SBN/SBN (Bornschein and Bengio 2015), fixed black and white": (-85.48, -29.99),
    "RWS-NADE/NADE (Bornschein and Bengio 2015), fixed black and white": (-85.23, -26.43),
    "NADE (Larochelle and Murray 2011), fixed black and white": (-88.86, -27.22),
    "DARN (Gregor et al. 2014), fixed black and white": (-84.13, -28.17),
}
"""Printed in Table 1 beside the paper's own, on MNIST and on OCR-letters."""
_OTHERS_IN_TEXT = {
    "VAE, smaller (Burda et al. 2015)": -86.76,
    "IWAE-5, smaller (Burda et al. 2015)": -85.54,
    "IWAE-50, smaller (Burda et al. 2015)": -84.78,
    "DRAW (Gregor et al. 2015)": -80.97,
}


def _budgets(*, epoch: int, short: int, paper: int, hours: float, images: int = 1000, last: int = _TEST, samples: int = 5000) -> dict[str, Budget]:
    """``epoch`` steps make an epoch; the short budget trains ``short`` epochs in ``hours`` and scores ``images`` test images by 5,000 importance
    samples each, the paper's ``paper`` epochs, ``last`` images and ``samples``. "smoke" shows that everything works, and nothing else.

    Whatever the budget, the learning rate takes the whole course of the paper's 3,000 epochs.
    """
    smoke = Budget(20, min(50, images), hours=0.02, importance_samples=20, curves=False)
    quick = Budget(short * epoch, images, hours, precision="bf16", importance_samples=5000)
    return {"smoke": smoke, "short": quick, "paper": Budget(paper * epoch, last, hours=None, importance_samples=samples)}


def _every_budget() -> dict[str, dict[str, Budget]]:
    """Those of k = 1 under the recipe, with several seeds, and others, with one, under RECIPE/VARIANT."""
    mnist = _budgets(epoch=600, short=100, paper=3000, hours=0.4)
    letters = _budgets(epoch=321, short=300, paper=3000, hours=0.2, samples=100_000)
    frames = _budgets(epoch=18, short=1000, paper=3000, hours=0.05, images=_FRAMES, last=_FRAMES)
    tens = _budgets(epoch=186, short=300, paper=1000, hours=0.08, images=_FRAMES, last=_FRAMES)
    budgets = {"mem_vae/mnist": _seeds(mnist), "mem_vae/ocr_letters": _seeds(letters), "mem_vae/frey_faces": _seeds(frames)}
    for variant, row in mem_vae.VARIANTS.items():
        if row.num_samples > 1:
            slower = {5: 2.2, 50: 20.0}[row.num_samples]  # steps of k samples, beside those of one
            budgets[f"mem_vae/mnist/{variant}"] = _slower(mnist, slower)
            budgets[f"mem_vae/ocr_letters/{variant}"] = _slower(letters, slower)
        elif variant not in ("vae", "mem_vae"):
            budgets[f"mem_vae/mnist/{variant}"] = mnist
    return budgets | {f"mem_vae/frey_faces/{variant}": _seeds(tens) for variant in ("vae_batch_10", "mem_vae_batch_10")}


def _one_step() -> dict[str, dict[str, Budget]]:
    """What counting parameters takes."""
    step = {name: Budget(1, 50, hours=0.01, curves=False) for name in ("smoke", "short", "paper")}
    return {"mem_vae/mnist": step, "mem_vae/ocr_letters": step}


def _seeds(budgets: dict[str, Budget]) -> dict[str, Budget]:
    return budgets | {"short": replace(budgets["short"], seeds=3)}


def _slower(budgets: dict[str, Budget], factor: float) -> dict[str, Budget]:
    return budgets | {"short": replace(budgets["short"], hours=(budgets["short"].hours or 0) * factor)}


def _row(data: str, variant: str, metric: str) -> TableRow:
    """A number of ours beside the one that the paper prints."""
    return TableRow(f"mem_vae/{data}", variant, next((claim for claim in mem_vae.printed(data, variant) if claim.metric == metric), None))


def _rows(data: str, variants: tuple[str, ...], metric: str) -> list[TableRow]:
    return [_row(data, variant, metric) for variant in variants]


def _other(method: str, value: float, where: str) -> TableRow:
    return TableRow("", method, Claim("log_likelihood", value, None, f"Li et al. 2016, {where}"))


def _table_1() -> Table:
    others = [
        _other(f"{name}, {data}", value, "Table 1") for place, data in enumerate(("MNIST", "OCR-letters")) for name, value in _printed_on(place)
    ]
    ours = [row for data in ("mnist", "ocr_letters") for row in _rows(data, tuple(mem_vae.TABLE_1[data]), "log_likelihood")]
    note = (
        "Nats of test images: MNIST binarised by one draw with p = v / 256, 5,000 importance samples; OCR-letters as they are, 100,000 samples. "
        "Budget short: 1,000 images, 5,000 samples. The black and white MNIST of the methods marked as fixed is another one."
    )
    return _table("table1", "Log-likelihood, beside the methods of others", (*others, *ours), note, ("nll",))


def _printed_on(place: int) -> list[tuple[str, float]]:
    return [(name, value) for name, values in _OTHERS.items() if (value := values[place]) is not None]


def _table(name: str, title: str, rows: tuple[TableRow, ...], note: str, metrics: tuple[str, ...]) -> Table:
    return Table(f"mem_vae/{name}", title, rows, _every_budget(), note, metrics, RUNS)


def mem_vae_tables() -> tuple[Table, ...]:
    """Tables 1 to 4, then what the text says."""
    masks = [
        TableRow("mem_vae/mnist", variant, claim)
        for variant in mem_vae.TABLE_2
        for claim in mem_vae.printed("mnist", variant)
        if claim.metric.startswith("imputation")
    ]
    ranks = [TableRow("mem_vae/mnist", "vis_mem_vae", claim) for claim in mem_vae.printed("mnist", "vis_mem_vae") if claim.metric[:4] == "slot"]
    sizes = [row for data, variants in mem_vae.TABLE_3.items() for row in _rows(data, tuple(variants), "parameters")]
    ablations = _rows("mnist", tuple(mem_vae.TEXT["mnist"]), "log_likelihood")
    printed = [_other(name, value, "section 5.1") for name, value in _OTHERS_IN_TEXT.items()]
    return (
        _table_1(),
        _table(
            "table2",
            "Mean squared error over missing pixels",
            tuple(masks),
            "The authors' code normalises by the batch of 1,000 partly filled images; beside it, by the training data.",
            ("imputation",),
        ),
        Table(
            "mem_vae/table3", "Numbers of parameters", tuple(sizes), _one_step(), "Printed in thousands; of models after one step.", ("parameters",)
        ),
        _table("table4", "Preference of classes for their slots", tuple(ranks), "Means over classes; memogen memory usage prints all.", ("slots",)),
        _table("ablations", "What the parts are worth on MNIST", (*printed, *ablations), "Log-likelihood as in Table 1.", ("nll",)),
        _table("svm", "A linear machine on the encoder's features", tuple(_rows("mnist", ("vae", "mem_vae"), "svm_accuracy")), "", ("svm",)),
        _table(
            "frey",
            "Density of Frey faces",
            tuple(_rows("frey_faces", tuple(mem_vae.FREY), "elbo")),
            "The printed numbers are lower bounds by one sample for each of 100 frames; ours are means over 5,000 samples, for less noise.",
            ("nll",),
        ),
    )
