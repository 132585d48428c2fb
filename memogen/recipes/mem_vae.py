"""The models of "Learning to Generate with Memory" (Li, Zhu and Zhang, ICML 2016) and their baselines, and recipes for any images or vectors.

Each function takes a ``variant``, one of ``VARIANTS``. Settings are those of the text and of the authors' code; printed numbers stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..data import DataOptions
from ..data.task_sequence import TaskConfig
from ..metrics.metric import ModelScoring
from ..models.mem_vae import ADAM, AttentionConfig, MemVAEConfig, MemVAEObjective
from ..training import SuccessionConfig, TrainingConfig
from ..types import DecayConfig
from .recipe import Claim, DataConfig, Recipe, ScoringConfig, check_variant

Variant = Literal[
    "vae",
    "mem_vae",
    "iwae_5",
    "mem_iwae_5",
    "iwae_50",
    "mem_iwae_50",
    "vis_mem_vae",
    "vae_large",
    "iwae_5_large",
    "iwae_50_large",
    "vae_lre",
    "mem_vae_no_lre",
    "code",
    "vamp_vae",
    "vamp_mem_vae",
]
FreyVariant = Literal["vae", "mem_vae", "vae_batch_10", "mem_vae_batch_10"]
StreamVariant = Literal[
    "sample_replay",  # a frozen copy of the decoder replays samples of the prior
    "fine_tuning",  # nothing is replayed
    "joint_training",  # all tasks at once: the reference for the others
]


@dataclass(frozen=True)
class _Row:
    """A variant: importance samples in training, a memory in every hidden layer of the decoder, the local reconstruction term, layers of 530 in the
    place of 500 (as many parameters as with a memory), softmax addressing and a sum, so that slots can be seen (appendix D), a second draw of z
    for the local reconstruction term, as in the authors' code, and a learned prior (Tomczak and Welling 2018), which the paper does not have."""

    num_samples: int = 1
    memory: bool = False
    local_reconstruction: bool = False
    large: bool = False
    visible: bool = False
    batch_size: int = 100
    second_draw: bool = False
    learned_prior: bool = False


VARIANTS: dict[str, _Row] = {
    "vae": _Row(),
    "mem_vae": _Row(1, True, True),
    "iwae_5": _Row(5),
    "mem_iwae_5": _Row(5, True, True),
    "iwae_50": _Row(50),
    "mem_iwae_50": _Row(50, True, True),
    "vis_mem_vae": _Row(1, True, True, visible=True),
    "vae_large": _Row(large=True),
    "iwae_5_large": _Row(5, large=True),
    "iwae_50_large": _Row(50, large=True),
    "vae_lre": _Row(1, False, True),
    "mem_vae_no_lre": _Row(1, True),
    "code": _Row(1, True, True, second_draw=True),
    "vamp_vae": _Row(learned_prior=True),
    "vamp_mem_vae": _Row(1, True, True, learned_prior=True),
    "vae_batch_10": _Row(batch_size=10),
    "mem_vae_batch_10": _Row(1, True, True, batch_size=10),
}

TABLE_1 = {
    "mnist": {"vae": -85.67, "mem_vae": -84.41, "iwae_5": -84.49, "mem_iwae_5": -83.26, "iwae_50": -83.67, "mem_iwae_50": -82.84},
    "ocr_letters": {"vae": -30.09, "mem_vae": -29.09, "iwae_5": -28.69, "mem_iwae_5": -27.65, "iwae_50": -27.60, "mem_iwae_50": -26.90},
}
"""Printed log-likelihoods in nats, without a spread: one run each."""

TEXT = {
    "mnist": {
        "vae_large": ("section 5.2", -85.69),
        "iwae_5_large": ("section 5.2", -84.43),
        "iwae_50_large": ("section 5.2", -83.58),
        "mem_vae_no_lre": ("section 5.2", -84.44),
        "vae_lre": ("section 5.2", -85.68),
        "vis_mem_vae": ("appendix D", -84.68),
    }
}
FREY = {"vae": 1308.0, "mem_vae": 1330.0, "vae_batch_10": 1055.0, "mem_vae_batch_10": 1240.0}
"""Section 5.3: densities by one posterior sample for each frame, that is, the evidence lower bound."""

TABLE_2 = {
    "vae": {"rect-12": 0.1403, "rand-0.6": 0.0194, "half": 0.0550},
    "mem_vae": {"rect-12": 0.1362, "rand-0.6": 0.0187, "half": 0.0539},
}
TABLE_3 = {
    "mnist": {"vae": 1_441_000, "mem_vae": 1_550_000, "vae_large": 1_559_000},
    "ocr_letters": {"vae": 164_000, "mem_vae": 208_000},
}
"""Numbers of parameters, printed in thousands. k changes none of them: IWAE-5 is a VAE, MEM-IWAE-5 a MEM-VAE."""

TABLE_4 = (
    (0.27, 0.82, 0.33, 0.11, 0.34, 0.15, 0.49, 0.27, 0.09, 0.28),
    (0.24, 0.09, 0.06, 0.11, 0.30, 0.13, 0.12, 0.27, 0.09, 0.21),
    (0.18, 0.05, 0.06, 0.11, 0.07, 0.07, 0.05, 0.11, 0.09, 0.18),
)
"""Mean preference of the classes 0 to 9 for the slot they want most, second and third, in the layer next to the data of VIS-MEM-VAE."""

SVM = {"vae": 0.9790, "mem_vae": 0.9803}
LARGER = 1.06  # 500 becomes 530
PRIOR_SLOTS = {"mem_vae/digits": 50}
"""Pseudo-inputs of a learned prior, where they are not the 500 of Tomczak and Welling 2018."""

EPOCHS = {"mnist": 600, "ocr_letters": 321}
"""Steps of an epoch, in batches of 100. departs: batches reach over from one epoch into the next, where the authors drop the 52 letters left over."""

PAPER_EPOCHS = 3000


def mnist(variant: Variant = "mem_vae") -> Recipe:
    """MNIST, binarised anew every epoch, 500-500-100 with 70 and 30 slots; test images in black and white by one draw for all models."""
    recipe = _recipe("mnist", DataConfig("mnist"), MemVAEConfig(), steps=PAPER_EPOCHS * EPOCHS["mnist"])
    return _variant(recipe, variant)


def ocr_letters(variant: Variant = "mem_vae") -> Recipe:
    """OCR-letters, 200-200-50 with 70 and 30 slots, trained on the 32,152 letters of the training split alone."""
    model = MemVAEConfig((1, 16, 8), hidden=(200, 200), latent_dim=50, pixel_levels=255)
    return _variant(_recipe("ocr_letters", DataConfig("ocr-letters"), model, steps=PAPER_EPOCHS * EPOCHS["ocr_letters"]), variant)


def frey_faces(variant: FreyVariant = "mem_vae") -> Recipe:
    """Frey faces, real pixels under a normal with a variance of its own for each, 200-10 with 20 slots; ``data.options.split_seed`` draws the split.

    Batches of 10 are trained for 1,000 epochs at a constant learning rate, as in the authors' README. No local reconstruction term.
    """
    model = MemVAEConfig((1, 28, 20), hidden=(200,), latent_dim=10, memory=AttentionConfig((20,)), output="gaussian")
    steps = 1000 * 186 if variant.endswith("batch_10") else PAPER_EPOCHS * 18
    recipe = _recipe("frey_faces", DataConfig("frey-faces"), model, steps=steps)
    # departs: the text fixes lambda at 0.1 for all data; the authors' README trains the faces without the term.
    recipe = replace(recipe, objective=MemVAEObjective(local_reconstruction=()))
    if variant.endswith("batch_10"):
        recipe = replace(recipe, objective=replace(_parts(recipe)[1], optimiser=replace(ADAM, decay=DecayConfig(stages=1000, hold=1000))))
    return _variant(recipe, variant)


def digits(variant: Variant = "mem_vae") -> Recipe:
    """scikit-learn's 8x8 digits: no paper printed it; it needs no download and trains in a minute on a CPU."""
    model = MemVAEConfig((1, 8, 8), hidden=(100, 100), latent_dim=20, memory=AttentionConfig((20, 10)), pixel_levels=255)
    recipe = _recipe("digits", DataConfig("digits"), model, steps=100 * 14)
    training = replace(recipe.training, sample_every=350, checkpoint_every=350, log_every=14)
    scoring = replace(recipe.scoring, likelihood_every=350, model=ModelScoring(importance_samples=500, masks=("half", "rand-0.6")))
    return _variant(replace(recipe, training=training, scoring=scoring), variant)


def folder(variant: Variant = "mem_vae") -> Recipe:
    """Any images, or vectors of binary or real numbers in [0, 1] (an npz): black and white by chance, as MNIST is. Give it with ``data``.

    For real numbers with a density: ``model.output`` "gaussian".
    """
    recipe = _recipe("folder", DataConfig("folder", options=DataOptions()), MemVAEConfig(pixel_levels=255), steps=60_000)
    return _variant(replace(recipe, scoring=replace(recipe.scoring, metrics=())), variant)


def _recipe(name: str, data: DataConfig, model: MemVAEConfig, *, steps: int) -> Recipe:
    """What all of them share: batches of 100, no averages, scored by the likelihood of the test split."""
    every = max(1, min(6000, steps // 10))
    return Recipe(
        recipe=f"mem_vae/{name}",
        variant="mem_vae",
        data=data,
        model=model,
        objective=MemVAEObjective(),
        training=TrainingConfig(steps=steps, batch_size=100, ema_decay=0.0, checkpoint_every=every, sample_every=every, log_every=100),
        scoring=ScoringConfig(metrics=("nll",), likelihood_every=every, model=ModelScoring()),
    )


def _variant(recipe: Recipe, variant: str) -> Recipe:
    """A row of a table, with the numbers printed for it."""
    check_variant(variant, get_args(FreyVariant if recipe.recipe == "mem_vae/frey_faces" else Variant))
    row, (model, objective) = VARIANTS[variant], _parts(recipe)
    memory = AttentionConfig(()) if not row.memory else model.memory
    if row.visible:
        memory = replace(memory, addressing="softmax", compose="additive")
    hidden = tuple(round(LARGER * width) for width in model.hidden) if row.large else model.hidden
    weights = objective.local_reconstruction if row.local_reconstruction else ()
    return replace(
        recipe,
        variant=variant,
        model=replace(model, memory=memory, hidden=hidden, prior_slots=PRIOR_SLOTS.get(recipe.recipe, 500) if row.learned_prior else 0),
        objective=replace(objective, num_samples=row.num_samples, local_reconstruction=weights, second_draw=row.second_draw),
        training=replace(recipe.training, batch_size=row.batch_size),
        claims=printed(recipe.recipe.partition("/")[2], "mem_vae" if variant == "code" else variant),
    )


def printed(data: str, variant: str) -> tuple[Claim, ...]:
    """Everything that the paper prints of a variant on a data set; the metrics are named as :func:`memogen.metrics.registry.measured` does."""
    where, value = TEXT.get(data, {}).get(variant, ("", None))
    found = [("log_likelihood", TABLE_1.get(data, {}).get(variant), "Table 1"), ("log_likelihood", value, where)]
    found.append(("parameters", TABLE_3.get(data, {}).get(variant), "Table 3"))
    if data == "frey_faces":
        found.append(("elbo", FREY.get(variant), "section 5.3"))
    if data == "mnist":
        found += [(f"imputation_mse {mask} by batch", error, "Table 2") for mask, error in TABLE_2.get(variant, {}).items()]
        found.append(("svm_accuracy", SVM.get(variant), "appendix A"))
    if (data, variant) == ("mnist", "vis_mem_vae"):
        found += [(f"slot_preference {rank}", round(sum(row) / 10, 3), "Table 4, mean of its row") for rank, row in enumerate(TABLE_4, start=1)]
    return tuple(Claim(metric, float(value), None, f"Li et al. 2016, {where}") for metric, value, where in found if value is not None)


def _parts(recipe: Recipe) -> tuple[MemVAEConfig, MemVAEObjective]:
    """The model's and the objective's options under their own types."""
    assert isinstance(recipe.model, MemVAEConfig) and isinstance(recipe.objective, MemVAEObjective)
    return recipe.model, recipe.objective


# --- two classes a task, five tasks, without labels: an experiment of this library, which joins Li et al. 2016 and Shin et al. 2017 ---


def digits_stream(variant: StreamVariant = "sample_replay") -> Recipe:
    """Two of the embedded 8x8 digits a task, with the networks of ``mem_vae/digits`` and a learned prior."""
    return _stream(digits(), variant, prior_slots=50)


def mnist_stream(variant: StreamVariant = "sample_replay") -> Recipe:
    """Two digits of MNIST a task, with layers of half the width and a learned prior."""
    return _stream(_half(mnist()), variant)


def fashion_mnist_stream(variant: StreamVariant = "sample_replay") -> Recipe:
    """Two articles of Fashion-MNIST a task, with layers of half the width; grey pixels are made black or white by chance, as those of MNIST are."""
    recipe = _half(mnist())
    return _stream(replace(recipe, recipe="mem_vae/fashion_mnist", data=DataConfig("fashion-mnist")), variant)


def _half(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.model, MemVAEConfig)
    return replace(recipe, model=replace(recipe.model, hidden=(250, 250)))


def _stream(recipe: Recipe, variant: StreamVariant, prior_slots: int = 100) -> Recipe:
    """Two classes a task, 250 steps each, in batches as large as those of the other families.

    A learned prior and a higher rate: copies of samples from the normal prior lose the earlier classes (docs/results/continual.md, "Learning rate").
    """
    check_variant(variant, get_args(StreamVariant))
    model, objective = _parts(recipe)
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_stream",
        variant=variant,
        model=replace(model, prior_slots=prior_slots),
        objective=replace(objective, replay=variant == "sample_replay", optimiser=replace(objective.optimiser, learning_rate=3e-3)),
        training=replace(recipe.training, steps=250, batch_size=64, checkpoint_every=125, sample_every=125, log_every=25, keep=1),
        scoring=ScoringConfig(recipe.data.name, ("continual",), num_samples=2000, likelihood_every=0),
        claims=(),
        succession=SuccessionConfig(TaskConfig(classes_per_task=2, joint=variant == "joint_training"), teacher="averaged"),
    )


RECIPES = (digits, mnist, ocr_letters, frey_faces, folder, digits_stream, mnist_stream, fashion_mnist_stream)
