"""The tables and the numbers in the text of Li, Zhu and Zhang (ICML 2016) as data; they share one set of runs."""

from __future__ import annotations

from collections.abc import Iterable
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
    """``epoch``: steps of an epoch. The short budget trains ``short`` epochs in ``hours`` and scores ``images`` test images by 5,000 importance
    samples each; the paper's budget trains ``paper`` epochs and scores ``last`` images by ``samples``. "smoke" shows that everything works, and
    nothing else. For a large GPU, "short_gpu" and "long" train ``short`` and 1,000 epochs and score as the paper's does.

    In every budget, the learning rate follows the whole course of the paper's 3,000 epochs.
    """
    smoke = Budget(20, min(50, images), hours=0.02, importance_samples=20, curves=False)
    quick = Budget(short * epoch, images, hours, precision="bf16", importance_samples=5000)
    whole = Budget(paper * epoch, last, hours=None, importance_samples=samples)
    recorded = replace(whole, cuda_graphs=True, compile=True, curves=False, evaluations=4)
    gpu = {"short_gpu": replace(recorded, steps=quick.steps), "long": replace(recorded, steps=1000 * epoch)}
    return {"smoke": smoke, "short": quick, **gpu, "paper": whole}


def _every_budget() -> dict[str, dict[str, Budget]]:
    """Those of k = 1 under the recipe, with several seeds; the others, with one, under RECIPE/VARIANT."""
    mnist = _budgets(epoch=600, short=100, paper=3000, hours=0.4)
    letters = _budgets(epoch=321, short=300, paper=3000, hours=0.2, samples=100_000)
    frames = _budgets(epoch=18, short=1000, paper=3000, hours=0.05, images=_FRAMES, last=_FRAMES)
    tens = _budgets(epoch=186, short=300, paper=1000, hours=0.08, images=_FRAMES, last=_FRAMES)

    def short(budgets: dict[str, Budget], seeds: int = 1, slower: float = 1.0) -> dict[str, Budget]:
        cost = budgets["short"]
        return budgets | {"short": replace(cost, seeds=seeds, hours=(cost.hours or 0) * slower)}

    budgets = {"mem_vae/mnist": short(mnist, 3), "mem_vae/ocr_letters": short(letters, 3), "mem_vae/frey_faces": short(frames, 3)}
    for variant, row in mem_vae.VARIANTS.items():
        if row.num_samples > 1:
            slower = {5: 2.2, 50: 20.0}[row.num_samples]  # a step of k samples takes so many times as long
            budgets[f"mem_vae/mnist/{variant}"] = short(mnist, slower=slower)
            budgets[f"mem_vae/ocr_letters/{variant}"] = short(letters, slower=slower)
        elif variant not in ("vae", "mem_vae"):
            budgets[f"mem_vae/mnist/{variant}"] = short(mnist, slower=3.0) if row.learned_prior else mnist
    return budgets | {f"mem_vae/frey_faces/{variant}": short(tens, 3) for variant in ("vae_batch_10", "mem_vae_batch_10")}


def _rows(data: str, variants: Iterable[str], metric: str) -> list[TableRow]:
    """A row for each number that the paper prints of this metric (or of several, by how their names begin), and of each variant."""
    claims = [(variant, claim) for variant in variants for claim in mem_vae.printed(data, variant) if claim.metric.startswith(metric)]
    return [TableRow(f"mem_vae/{data}", variant, claim) for variant, claim in claims]


def _other(method: str, value: float, where: str) -> TableRow:
    return TableRow("", method, Claim("log_likelihood", value, None, f"Li et al. 2016, {where}"))


def mem_vae_tables() -> tuple[Table, ...]:
    """Tables 1 to 4, then the numbers in the text."""
    budgets = _every_budget()

    def table(name: str, title: str, rows: list[TableRow], note: str, metric: str) -> Table:
        return Table(f"mem_vae/{name}", title, tuple(rows), budgets, note, (metric,), RUNS)

    values = [(f"{name}, {data}", pair[place]) for place, data in enumerate(("MNIST", "OCR-letters")) for name, pair in _OTHERS.items()]
    likelihoods = [_other(name, value, "Table 1") for name, value in values if value is not None]
    likelihoods += [row for data, printed in mem_vae.TABLE_1.items() for row in _rows(data, printed, "log_likelihood")]
    nats = (
        "Nats of test images: MNIST binarised by one draw with p = v / 256, 5,000 importance samples; OCR-letters as they are, 100,000 samples. "
        "Budget short: 1,000 images, 5,000 samples. The black and white MNIST of the methods marked as fixed is another one."
    )
    batches = "The authors' code normalises by the batch of 1,000 partly filled images; beside it, by the training data."
    sizes = [row for data, printed in mem_vae.TABLE_3.items() for row in _rows(data, printed, "parameters")]
    step = {name: Budget(1, 50, hours=0.01, curves=False) for name in ("smoke", "short", "paper")}  # counting parameters takes no training
    one_step = {"mem_vae/mnist": step, "mem_vae/ocr_letters": step}
    ablations = [_other(name, value, "section 5.1") for name, value in _OTHERS_IN_TEXT.items()]
    ablations += _rows("mnist", mem_vae.TEXT["mnist"], "log_likelihood")
    ablations += [TableRow("mem_vae/mnist", variant, None) for variant in ("vamp_vae", "vamp_mem_vae")]
    bounds = "The printed numbers are lower bounds by one sample for each of 100 frames; ours are means over 5,000 samples, for less noise."
    preferences = _rows("mnist", ("vis_mem_vae",), "slot")
    return (
        table("table1", "Log-likelihood, beside the methods of others", likelihoods, nats, "nll"),
        table("table2", "Mean squared error over missing pixels", _rows("mnist", mem_vae.TABLE_2, "imputation"), batches, "imputation"),
        Table("mem_vae/table3", "Numbers of parameters", tuple(sizes), one_step, "Printed in thousands; of models after one step.", ("parameters",)),
        table("table4", "Preference of classes for their slots", preferences, "Means over classes; memogen memory usage prints all.", "slots"),
        table(
            "ablations",
            "What the parts are worth on MNIST",
            ablations,
            "Log-likelihood as in Table 1. The paper has no learned prior (Tomczak and Welling 2018).",
            "nll",
        ),
        table("svm", "A linear machine on the encoder's features", _rows("mnist", ("vae", "mem_vae"), "svm_accuracy"), "", "svm"),
        table("frey", "Density of Frey faces", _rows("frey_faces", mem_vae.FREY, "elbo"), bounds, "nll"),
    )
