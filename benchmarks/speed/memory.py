"""What the vMF memory costs by itself: beside its matrix products, and beside a codebook with exponential averages."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.speed.processes import answer
from benchmarks.speed.team import Team
from benchmarks.speed.timing import Aim, Case, Cases, Floor, Prepared, Setting, Title, Work
from memogen.memory import VMFMemory
from memogen.memory.functional import unit

BATCH = 64
MANY = (65_536, 262_144, 1_048_576)
WIDTH = 256


def critic_step(setting: Setting) -> Cases:
    """The memory's part of a critic's step: real and fake images are read, the gradient goes back to them, and they are written."""
    for num_slots, key_dim, top_k, most in ((4096, 256, 128, 2.0), (16_384, 512, 256, 1.5)):
        num_slots = setting.size(num_slots, num_slots // 32)
        memory = lived_in(num_slots, key_dim, setting, top_k=top_k)
        title = Title(f"critic's part, {num_slots:,} x {key_dim}, k {top_k}", beside="VQ + EMA", aims=(Aim(most, "floor"), Aim(1.0, "beside")))
        yield Case(title, critic_part(memory), codebook_part(num_slots, key_dim, memory.keys.device), Floor(products(memory)))


def write(setting: Setting) -> Cases:
    """A batch of 64 real and 64 fake queries is written to a large memory, by the lookup of their read; beside it, to 65,536 slots.

    The last memory keeps an index under the writes.
    """
    sizes = [setting.size(num, num // 256) for num in MANY]
    first = Prepared(*writing(lived_in(sizes[0], WIDTH, setting)))
    yield Case(Title(f"write, {sizes[0]:,} x {WIDTH}"), first)
    for num_slots in sizes[1:]:
        aims = (Aim(3.0, "beside"),) if num_slots == sizes[-1] else ()
        title = Title(f"write, {num_slots:,} x {WIDTH}", beside=f"{sizes[0]:,} slots", aims=aims)
        yield Case(title, Prepared(*writing(lived_in(num_slots, WIDTH, setting))), first)
    memory, _ = indexed_memory(sizes[-1], setting)
    title = Title(f"indexed write, {sizes[-1]:,} x {WIDTH}", beside=f"{sizes[0]:,} slots", aims=(Aim(3.0, "beside"),))
    yield Case(title, Prepared(*writing(memory)), first)


def read(setting: Setting) -> Cases:
    """A large memory is read exactly, with the gradient of the queries: beside the products with all keys."""
    for num_slots in (MANY[0], MANY[2]):
        num_slots = setting.size(num_slots, num_slots // 256)
        memory = lived_in(num_slots, WIDTH, setting)
        query, _ = queries(memory)
        yield Case(
            Title(f"exact read and gradient, {num_slots:,} x {WIDTH}"),
            lambda memory=memory, query=query: torch.autograd.grad(memory(query).logit.sum(), query),
            floor=Floor(lambda memory=memory, query=query: query.detach() @ memory.keys.T),
        )


def indexed_read(setting: Setting) -> Cases:
    """A large memory is read through its index, with the gradient of the queries: beside the exact read of the same keys.

    The second line counts how much of the likelihood of the slots looked up the index misses, in both classes together: one minus the sum of
    exp(score) over the slots that it finds, by that over the best slots of all, as a mean over the queries.
    """
    num_slots = setting.size(MANY[2], MANY[2] // 256)
    memory, query = indexed_memory(num_slots, setting)
    exact = VMFMemory(num_slots, WIDTH)
    exact.load_state_dict({name: part for name, part in memory.state_dict().items() if not name.startswith("index.")}, assign=True)

    def work(memory: VMFMemory) -> Work:
        return lambda: torch.autograd.grad(memory(query).logit.sum(), query)

    name = f"{num_slots:,} x {WIDTH}"
    yield Case(Title(f"indexed read and gradient, {name}", beside="exact", aims=(Aim(0.1, "beside"),)), work(memory), work(exact))
    with torch.no_grad():
        found, best = (torch.logsumexp(each(query).score, 1) for each in (memory, exact))
    missed = 1e4 * float(1 - (found - best).exp().mean())
    yield Case(Title(f"likelihood missed by the index, {name}", "of 10,000", aims=(Aim(100.0, "value"),)), lambda: missed)


def peak(setting: Setting) -> Cases:
    """The most memory that a training step with a million slots holds beyond that of the networks; the floor is the keys themselves."""
    num_slots, key_dim = setting.size(MANY[2], 65_536), setting.size(WIDTH, 32)
    title = Title(f"peak of a step, {num_slots:,} x {key_dim}", "MiB", aims=(Aim(2.0, "floor"),), note="floor: the keys")
    keys = num_slots * key_dim * 4 / 2**20
    yield Case(title, lambda: answer("memory", "peak_beyond", num_slots, key_dim, setting=setting), floor=Floor(lambda: keys))


def divided(setting: Setting) -> Cases:
    """The critic's part of a step by two processes, each with one half of the keys: beside one process, and beside two with all keys each.

    Always 64 real and 64 fake queries together. Processor time is that of the process that takes most, the median of seven steps.
    """
    num_slots = setting.size(MANY[1], 2048)
    name = f"{num_slots:,} x {WIDTH}"
    with Team(1, num_slots, setting) as one, Team(2, num_slots, setting) as two, Team(2, num_slots, setting, sharded=True) as parts:
        if setting.clock == "wall":  # the other one does not see processes that are not finished
            yield Case(Title(f"critic's part, {name}, halves", beside="1 process"), parts.step, one.step)
        yield Case(Title(f"processor's ms, {name}, halves", "ms", beside="1 process"), parts.processor, one.processor)
        yield Case(Title(f"processor's ms, {name}, halves of 2", "ms", beside="2, all keys"), parts.processor, two.processor)
        title = Title(f"peak of a process, {name}, halves", "MiB", beside="1 process", note="floor: the keys of the process")
        yield Case(title, parts.peak, one.peak, Floor(parts.keys))


ENTRIES = (critic_step, write, read, indexed_read, peak, divided)


# --- the works ---


@torch.no_grad()
def lived_in(num_slots: int, key_dim: int, setting: Setting, *, top_k: int = 128) -> VMFMemory:
    """A memory with every slot written, all with the same mass: for its cost, near enough to its state after a first epoch."""
    device = setting.runtime().device
    memory = VMFMemory(num_slots, key_dim, top_k=min(top_k, num_slots))
    live_in(memory)
    return memory.to(device)


@torch.no_grad()
def live_in(memory: VMFMemory) -> None:
    """Write every slot, in blocks, to need no more memory than the slots themselves."""
    for rows in memory.keys.split(1 << 14):
        rows.copy_(unit(torch.randn(rows.shape)))
    memory.mass.fill_(1.0)
    memory.age.copy_(torch.arange(memory.num_slots))


@torch.no_grad()
def indexed_memory(num_slots: int, setting: Setting) -> tuple[VMFMemory, Tensor]:
    """A memory with an index, and queries, all of which a random layer makes of 7 normal numbers.

    An index needs keys that lie together, as those of images do. These are a little harder to find than queries of Fashion-MNIST.
    """
    inner, outer = torch.randn(7, WIDTH) * 1.5 / 7**0.5, torch.randn(WIDTH, WIDTH)
    memory = VMFMemory(num_slots, WIDTH, candidates=setting.size(1024, 128))
    for rows in memory.keys.split(1 << 14):
        rows.copy_(unit(torch.tanh(torch.randn(len(rows), 7) @ inner) @ outer))
    memory.mass.fill_(1.0)
    memory.age.copy_(torch.arange(num_slots))
    memory.to(setting.runtime().device).refresh()
    query = unit(torch.tanh(torch.randn(2 * BATCH, 7) @ inner) @ outer).to(memory.keys)
    return memory, query.requires_grad_()


def queries(memory: VMFMemory, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """A batch of real and a batch of fake queries, which require a gradient, and their labels."""
    device = memory.keys.device
    query = torch.randn(2 * batch, memory.key_dim, device=device, requires_grad=True)
    return query, (torch.arange(2 * batch, device=device) < batch).float()


def critic_part(memory: VMFMemory, batch: int = BATCH) -> Work:
    """Read, gradient, write."""
    query, value = queries(memory, batch)

    def work() -> None:
        read = memory(query)
        torch.autograd.grad(read.logit.sum(), query)
        memory.write(query, value, read)

    return work


def writing(memory: VMFMemory):
    """The read, which is not measured, and the write that uses it."""
    query, value = queries(memory)
    query = query.detach()
    return lambda: memory(query), lambda read: memory.write(query, value, read)


def products(memory: VMFMemory) -> Work:
    """The floor of a critic's part: queries by keys, back to the queries, and the write's responsibilities by queries."""
    keys, query = memory.keys, torch.randn(2 * BATCH, memory.key_dim, device=memory.keys.device)
    score = torch.randn(len(query), len(keys), device=keys.device)
    return lambda: (query @ keys.T, score @ keys, score.T @ query)


def codebook_part(num_codes: int, dim: int, device: torch.device) -> Work:
    """The same batch through a codebook: nearest code, straight-through gradient with commitment, and the codes' move by exponential averages.

    van den Oord et al. 2017, "Neural discrete representation learning", section 3 and appendix A.1, in plain torch.
    """
    codes = torch.randn(num_codes, dim, device=device)
    number, total = torch.ones(num_codes, device=device), codes.clone()
    query = torch.randn(2 * BATCH, dim, device=device, requires_grad=True)

    def work() -> Tensor:
        with torch.no_grad():
            distance = query.square().sum(1, keepdim=True) - 2 * query @ codes.T + codes.square().sum(1)
            index = distance.argmin(1)
        quantised = codes[index]
        passed = query + (quantised - query).detach()
        (gradient,) = torch.autograd.grad(passed.sum() + 0.25 * F.mse_loss(query, quantised), query)
        with torch.no_grad():
            chosen = F.one_hot(index, num_codes).to(query.dtype)
            number.mul_(0.99).add_(chosen.sum(0), alpha=0.01)
            total.mul_(0.99).add_(chosen.T @ query, alpha=0.01)
            smooth = (number + 1e-5) / (number.sum() + num_codes * 1e-5) * number.sum()
            codes.copy_(total / smooth[:, None])
        return gradient

    return work


def peak_beyond(setting: Setting, num_slots: int, key_dim: int) -> float:
    """Peak MiB of a memoryGAN's training step with that many slots, beyond the peak with 256 slots. Must run in a new process."""
    from dataclasses import replace

    from benchmarks.speed.step import training_step
    from memogen.recipes import RECIPES

    recipe = RECIPES["memory_gan/digits" if setting.quick else "memory_gan/fashion_mnist"]()
    runtime = setting.runtime(recipe)

    def held(slots: int) -> float:
        memory = replace(recipe.model.memory, num_slots=slots, key_dim=key_dim, top_k=min(128, slots))
        step = training_step(replace(recipe, model=replace(recipe.model, memory=memory)), runtime, setting.size(BATCH, 4))
        step(), step()
        return most_held(runtime.device)

    few = held(256)
    return held(num_slots) - few


def most_held(device: torch.device) -> float:
    """The peak memory of this process in MiB, on the GPU if it uses one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    told = Path("/proc/self/status")
    if told.exists():  # the figure that every system knows is on Linux that of the parent, where the parent held more
        return int(told.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    each = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * each / 2**20
