"""A von Mises-Fisher memory as the head of your own discriminator, and as the prior of your own generator."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from memogen.memory import VMFMemory


def train(steps: int = 2000, batch_size: int = 64, *, seed: int = 0) -> tuple[VMFMemory, nn.Module, torch.Tensor]:
    """A toy GAN on eight Gaussians in the plane. Returns the memory, the generator and the data's eight centres (8, 2)."""
    torch.manual_seed(seed)
    angle = torch.arange(8) * torch.pi / 4
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    encoder = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 16))
    generator = nn.Sequential(nn.Linear(16 + 2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    critic_adam = torch.optim.Adam(encoder.parameters(), 1e-3, betas=(0.5, 0.999))
    generator_adam = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))

    memory = VMFMemory(num_slots=256, key_dim=16, top_k=64, concentration=5.0)  # 1: the memory

    def draw() -> torch.Tensor:
        keys, _ = memory.draw(batch_size)  # 2: the generator is given a query drawn around a slot of real data
        return generator(torch.cat([keys, torch.randn(batch_size, 2)], 1))

    label = torch.arange(2 * batch_size) < batch_size
    for _ in range(steps):
        real = centres[torch.randint(8, (batch_size,))] + 0.05 * torch.randn(batch_size, 2)
        query = encoder(torch.cat([real, draw().detach()]))
        read = memory(query)  # 3: the discriminator's answer
        loss = F.binary_cross_entropy_with_logits(read.logit, label.float())  # 4: any adversarial loss on the logit
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()
        memory.write(query, label, read)  # 5: learn the queries

        loss = F.softplus(-memory(encoder(draw())).logit).mean()  # 6: the generator's turn
        generator_adam.zero_grad()
        loss.backward()
        generator_adam.step()
    return memory, generator, centres


def look(memory: VMFMemory, generator: nn.Module, centres: torch.Tensor, num: int = 1000) -> tuple[float, list[int]]:
    """The mean distance of ``num`` samples to their nearest centre, and how many samples each centre got."""
    keys, _ = memory.draw(num)
    with torch.no_grad():
        distance = torch.cdist(generator(torch.cat([keys, torch.randn(num, 2)], 1)), centres)
    return distance.amin(1).mean().item(), torch.bincount(distance.argmin(1), minlength=8).tolist()


if __name__ == "__main__":
    mean, reached = look(*train())
    print(f"mean distance to the nearest centre {mean:.3f} (neighbouring centres are 0.765 apart); samples per centre {reached}")
