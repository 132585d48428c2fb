"""The tables of memoryGAN (Kim, Kim and Kim, ICLR 2018) as data, and this library's own tables of it: equal size, claims, edits, tasks."""

from __future__ import annotations

from dataclasses import replace

from . import memory_gan, memory_gan_tasks
from .memory_gan import CHECKPOINTS
from .recipe import Claim
from .table import Budget, Table, TableRow


def _budgets(short: Budget, *, images: int, smoke: int = 20, setup: float = 0.01) -> dict[str, Budget]:
    """The ``short`` budget with the smoke and the paper's budget, for a data set of so many ``images``; ``setup`` hours pass before the first step.

    "smoke" shows that everything works, and nothing else; "paper" is the limit of 1,500 epochs in the authors' code, as the paper states none.
    """
    hours = setup + smoke * (short.hours or 0) / short.steps
    quick = replace(short, steps=smoke, num_samples=1000, hours=hours, seeds=1, curves=False)
    return {"smoke": quick, "short": short, "paper": replace(short, steps=1500 * images // 64, hours=None, seeds=1)}


def _printed_budgets(*, images: int, samples: int, steps: int, hours: float, long: int, seeds: int = 1, smoke: int = 20) -> dict[str, Budget]:
    """For a data set of so many ``images`` whose printed score is of so many ``samples``. "long" is for minutes on a large GPU."""
    short = Budget(steps, 10_000, hours, seeds, precision="bf16", channels_last=True)
    found = _budgets(short, images=images, smoke=smoke)
    longer = replace(short, steps=long, hours=0.02 + long / 1e6, seeds=1, cuda_graphs=True, evaluations=20, curve_samples=2000)
    return {"smoke": found["smoke"], "short": short, "long": longer, "paper": Budget(found["paper"].steps, samples, hours=None)}


_BUDGETS = {
    "memory_gan/fashion_mnist": _printed_budgets(images=60_000, samples=64_000, steps=5000, hours=0.4, long=50_000, seeds=3),
    "memory_gan/affine_mnist": _printed_budgets(images=60_000, samples=640_000, steps=2000, hours=0.2, long=20_000),
    "memory_gan/cifar10": _printed_budgets(images=50_000, samples=640_000, steps=1000, hours=0.5, long=5000, smoke=10),
}
_PRINTED_1 = {
    "ALI (Dumoulin et al. 2017)": (5.34, 0.05),
    "BEGAN (Berthelot et al. 2017)": (5.62, None),
    "DCGAN (Radford et al. 2016)": (6.54, 0.067),
    "Improved GAN (Salimans et al. 2016)": (6.86, 0.06),
    "EGAN-Ent-VI (Dai et al. 2017)": (7.07, 0.10),
    "DFM (Warde-Farley and Bengio 2017)": (7.72, 0.13),
    "WGAN-GP (Gulrajani et al. 2017)": (7.86, 0.07),
    "Fisher GAN (Mroueh et al. 2017)": (7.90, 0.05),
}


def _printed(value: float, spread: float | None, table: str) -> Claim:
    return Claim("inception_score", value, spread, f"Kim et al. 2018, {table}")


def table_1() -> Table:
    others = [TableRow("", method, _printed(*printed, "Table 1")) for method, printed in _PRINTED_1.items()]
    ours = TableRow("memory_gan/cifar10", "memory_gan", _printed(*memory_gan.TABLE_2["cifar10"]["memory_gan"], "Table 1"))
    note = "Unverified: the printed scores are by the standard Inception network; ours are by whatever extractor their protocol names."
    return Table("memory_gan/table1", "CIFAR-10 without labels, beside the methods of others", (*others, ours), _BUDGETS, note)


def table_2() -> Table:
    rows = [
        TableRow(f"memory_gan/{data}", variant, _printed(*memory_gan.TABLE_2[data][variant], "Table 2"))
        for data in ("fashion_mnist", "affine_mnist", "cifar10")
        for variant in memory_gan.TABLE_2[data]
    ]
    note = "The printed scores are by the authors' own classifiers (CIFAR-10: the standard Inception network), ours by those that ship with memogen."
    return Table("memory_gan/table2", "What each part of memoryGAN is worth", tuple(rows), _BUDGETS, note)


def equal_size() -> Table:
    """The worth of memory and contrast, each alone and together. Nobody printed it."""
    small = _printed_budgets(images=60_000, samples=64_000, steps=5000, hours=0.25, long=50_000, seeds=3)
    digits = {name: replace(cost, precision="float32", channels_last=False, hours=0.06) for name, cost in small.items()}
    digits["short"] = replace(digits["short"], seeds=5)
    colour = _printed_budgets(images=50_000, samples=640_000, steps=1000, hours=0.2, long=5000, seeds=3, smoke=10)
    budgets = _BUDGETS | {"memory_gan/digits": digits, "memory_gan/fashion_mnist_small": small, "memory_gan/cifar10_small": colour}
    for name, of, steps in (("digits", digits, 9500), ("fashion_mnist_small", small, 6300)):  # as many processor seconds as with memory
        budgets[f"memory_gan/{name}/no_memory"] = of | {"equal_time": replace(of["short"], steps=steps, seeds=3)}
    data = ("digits", "fashion_mnist_small", "fashion_mnist", "cifar10_small", "cifar10")
    arms = ("memory_gan", "no_contrast", "no_memory_contrast", "no_memory")
    rows = tuple(TableRow(f"memory_gan/{name}", arm, None) for name in data for arm in arms)
    note = (
        "Networks without memory are as wide as it takes to have as many parameters as those with it; data and scoring are equal, and so are steps, "
        "or processor seconds with the budget equal_time."
    )
    return Table("memory_gan/equal_size", "What memory and contrast are worth at equal size", rows, budgets, note)


def claims() -> Table:
    """The paper's claims of a memory as numbers, for it and both plain arms at equal size; nobody printed them.

    Quality; structural discontinuity (Fig. 1); a discriminator that forgets (section 1); rare samples, on long-tailed sets; modes, on stacked digits.
    """
    digits = Budget(5000, 10_000, 0.06, seeds=3, checkpoints=CHECKPOINTS)
    fashion = _budgets(replace(digits, steps=1500, hours=0.11, seeds=1, precision="bf16", channels_last=True), images=60_000)
    budgets = {
        "memory_gan/digits": _budgets(digits, images=1437),
        "memory_gan/digits_long_tail": _budgets(digits, images=1437),
        "memory_gan/stacked_digits": _budgets(replace(digits, steps=4000), images=50_000),
        "memory_gan/fashion_mnist_small": fashion,
        "memory_gan/fashion_mnist_small_long_tail": fashion,
    }
    rows = tuple(TableRow(recipe, arm, None) for recipe in budgets for arm in ("memory_gan", "no_memory_contrast", "no_memory"))
    note = (
        "Networks without memory are as wide as it takes to have as many parameters as those with it. Off the data: outside the balls around test "
        "images that precision is taken by; of samples, of images between two samples, and of ways between two samples on the data which leave it. "
        "D: the last discriminator judges fakes of earlier checkpoints, and held-out real images beside, as one that calls all fake would look "
        "perfect. Rare: the three rarest classes of the training images; their share among the samples is 1 where it is the true one."
    )
    plain = ("is", "fid", "prdc", "copies", "paths", "critic")
    metrics = {f"memory_gan/{name}": plain for name in ("digits", "fashion_mnist_small")}
    return Table("memory_gan/claims", "Claims of the paper at equal size", rows, budgets, note, metrics)


def edits() -> Table:
    """Edits of a trained memory, without training: classes forgotten, and a class added from five pictures. Nobody printed them."""
    short = Budget(5000, 10_000, 0.08, seeds=3)
    fashion = replace(short, hours=0.3, seeds=1, precision="bf16", channels_last=True)
    budgets = {
        "memory_gan/digits": _budgets(short, images=1437, setup=0.02),
        "memory_gan/digits_without_9": _budgets(short, images=1293, setup=0.02),
        "memory_gan/fashion_mnist_small": _budgets(fashion, images=60_000, setup=0.02),
    }
    note = (
        "Forgotten: each class by itself, by the slots that labelled training images of it belong to; what is left is its share of the samples less "
        "the rate at which the classifier sees it in held-out images of other classes, the cost a part of the other classes' Fréchet distance; "
        "means over the classes, and the worst one. Unseen: five pictures of the class that training lacked are written as slots; nothing is trained."
    )
    metrics = {f"memory_gan/{name}": ("fid", "forgotten") for name in ("digits", "fashion_mnist_small")}
    rows = tuple(TableRow(recipe, "memory_gan", None) for recipe in budgets)
    return Table("memory_gan/edits", "Edits of a memory", rows, budgets, note, metrics)


def stream() -> Table:
    """What a memory keeps of tasks without labels. Nobody printed it."""
    short = Budget(1000, 2000, 0.03, seeds=3)
    smoke = replace(short, steps=2, num_samples=200, hours=0.01, seeds=1, curves=False)
    rows = tuple(TableRow("memory_gan/digits_stream", variant, None) for variant in memory_gan_tasks.VARIANTS if variant != "joint_training")
    note = (
        "Iterations are those of all five tasks together. The distance is to the test images of all ten digits, the divergence that of the samples' "
        "classes from the uniform distribution, in nats; recalled and recognised slots are those of held-out images of earlier tasks."
    )
    budgets = {"memory_gan/digits_stream": {"smoke": smoke, "short": short, "paper": replace(short, steps=5000, num_samples=10_000, hours=None)}}
    return Table("memory_gan/stream", "Ten digits in five tasks without labels", rows, budgets, note)
