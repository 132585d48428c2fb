"""What a training step costs in every family, on random images: beside the plain model of equal size, and its matrix products.

Kim et al. 2018 report 135 s against 124 s for an epoch of CIFAR-10 with and without memory, a ratio of 1.089 (section 4.2).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

from benchmarks.speed.step import operations, operators, training_step
from benchmarks.speed.timing import Aim, Case, Cases, Setting, Title, products_of
from benchmarks.speed.vae import ABSENT, products, pythae_step
from memogen.recipes import RECIPES

PAPER = 135 / 124
PAST, LAST = 5, 6  # classes that are replayed while one more is learned


def fashion(setting: Setting) -> Cases:
    """memoryGAN of Fashion-MNIST beside the plain GAN of its size, which has no memory."""
    yield from memory_gan("fashion_mnist_small" if setting.quick else "fashion_mnist", setting, (Aim(1.15, "beside"),))


def cifar10(setting: Setting) -> Cases:
    """memoryGAN of CIFAR-10 beside the plain GAN of its size; the paper's ratio is 1.089."""
    yield from memory_gan("cifar10", setting, (Aim(1.6, "floor"), Aim(PAPER, "beside")))


def digits(setting: Setting) -> Cases:
    """memoryGAN of the embedded digits beside the plain GAN of its size, and how many operators its step dispatches."""
    yield from memory_gan("digits", setting, (Aim(0.5, "before"),))
    step = training_step(RECIPES["memory_gan/digits"](), setting.runtime(), setting.size(64, 8))
    step()
    yield Case(Title("digits step, operators", "operators", aims=(Aim(0.5, "before"),)), lambda: operators(step))


def memory_gan(name: str, setting: Setting, aims: tuple[Aim, ...]) -> Cases:
    """A recipe with its memory and without."""
    recipe, batch = RECIPES[f"memory_gan/{name}"], setting.size(64, 2)
    runtime = setting.runtime(recipe())
    with_memory, without = (training_step(recipe(variant=arm), runtime, batch) for arm in ("memory_gan", "no_memory"))
    floor = products_of(operations(with_memory), setting, runtime.device)
    yield Case(Title(f"{name} step, batch {batch}", beside="no memory", aims=aims), with_memory, without, floor)


def vae(setting: Setting) -> Cases:
    """The VAE of MNIST, batch 100, beside pythae's with a fused Adam where it is installed."""
    runtime, batch, plain = setting.runtime(), setting.size(100, 8), RECIPES["mem_vae/mnist"](variant="vae")
    other = pythae_step(plain.model, 1, runtime, batch, fused=True) if find_spec("pythae") else None
    title = Title(f"VAE step, batch {batch}", beside="pythae" if other else "", aims=(Aim(1.4, "floor"),), note="" if other else ABSENT)
    yield Case(title, training_step(plain, runtime, batch), other, products(plain, runtime, batch))


def mem_vae(setting: Setting) -> Cases:
    """MEM-VAE of MNIST, batch 100, beside the VAE."""
    runtime, batch = setting.runtime(), setting.size(100, 8)
    memory, plain = (RECIPES["mem_vae/mnist"](variant=variant) for variant in ("mem_vae", "vae"))
    title = Title(f"MEM-VAE step, batch {batch}", beside="VAE", aims=(Aim(1.15, "beside"),))
    yield Case(title, training_step(memory, runtime, batch), training_step(plain, runtime, batch), products(memory, runtime, batch))


def iwae(setting: Setting) -> Cases:
    """IWAE of MNIST by five importance samples, beside pythae's with the Adam of its trainer where it is installed."""
    runtime, batch, samples = setting.runtime(), setting.size(100, 8), 5
    recipe = RECIPES["mem_vae/mnist"](variant="vae")
    recipe = replace(recipe, objective=replace(recipe.objective, num_samples=samples))
    other = pythae_step(recipe.model, samples, runtime, batch) if find_spec("pythae") else None
    aims, note = ((Aim(1 / 1.5, "beside"),), "") if other else ((), ABSENT)
    title = Title(f"IWAE-{samples} step, batch {batch}", beside="pythae" if other else "", aims=aims, note=note)
    yield Case(title, training_step(recipe, runtime, batch), other, products(recipe, runtime, batch))


def replay_gan(setting: Setting) -> Cases:
    """MeRGAN of MNIST: all classes at once, and one class with five earlier ones replayed."""
    name, batch = "digits" if setting.quick else "mnist", setting.size(64, 12)
    runtime = setting.runtime(RECIPES[f"replay_gan/{name}"]())
    arms = {
        "all classes at once": partial(RECIPES[f"replay_gan/{name}"], variant="joint_training"),
        f"{PAST} classes replayed": partial(RECIPES[f"replay_gan/{name}"], variant="joint_replay"),
    }
    for (told, recipe), classes in zip(arms.items(), (0, LAST), strict=True):
        step = training_step(recipe(), runtime, batch, classes=classes)
        floor = products_of(operations(step), setting, runtime.device)
        yield Case(Title(f"replay GAN step, {told}", aims=(Aim(1.5, "floor"),)), step, floor=floor)


ENTRIES = (fashion, cifar10, digits, vae, mem_vae, iwae, replay_gan)
