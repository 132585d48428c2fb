"""What the variant "code" of a memoryGAN adds to its networks and its losses: batch norm of queries, and lighter and darker real images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from memogen.augment import STILL, augment
from memogen.models import MemoryGANConfig, MemoryGANObjective
from memogen.noise import Stream
from tests.models.test_memory_gan import PRINTED, SILENT, TINY, VARIANTS, batch, built


def test_augmentation_of_real_images_alone() -> None:
    config = replace(TINY, memory=None, norm="none")
    light = replace(STILL, offset=0.1, contrast=0.2)
    model, one = built(config).train(), batch()
    critic, generator = MemoryGANObjective(adversarial="saturating", contrast=SILENT, augmentation=light, augment_fake=False).phases(model)
    fake = model.generate(model.latents_at(one.index, seed=one.seed, stream=0))
    seen = augment(model.pixels(one.image), one.index, seed=one.seed, stream=Stream.REAL_VIEW, config=light, image_range=model.image_range)
    real, drawn = (torch.sigmoid(model.logit(model.critic(image), None)) for image in (seen, fake))
    torch.testing.assert_close(critic.loss(one).total, -torch.log(real).mean() - torch.log(1 - drawn).mean())
    torch.testing.assert_close(generator.loss(one).total, torch.log(1 - drawn).mean())


def test_query_norm_is_batch_norm_of_the_head_with_the_statistics_of_real_and_fake_apart() -> None:
    model, one = built(VARIANTS["code"]).train(), batch()
    phases = MemoryGANObjective(adversarial="saturating", information=0.3, information_form="squared", contrast=SILENT).phases(model)
    latents = model.latents_at(one.index, seed=one.seed, stream=0)
    fake = model.generate(latents)
    flat, linear, norm = model.critic.head
    shift = norm.bias.data.uniform_(-0.5, 0.5)
    raw = [linear(flat(model.critic.body(image))) for image in (model.pixels(one.image), fake)]
    query = [F.batch_norm(one, None, None, bias=shift, training=True, eps=1e-3) for one in raw]
    d_real, d_fake = (model.memory(q).value.clamp(1e-3, 1 - 1e-3) for q in query)
    information = (query[1] - latents.key).square().mean()
    torch.testing.assert_close(phases[0].loss(one).total, -torch.log(d_real).mean() - torch.log(1 - d_fake).mean() + 0.3 * information)
    torch.testing.assert_close(phases[1].loss(one).total, torch.log(1 - d_fake).mean() + 0.3 * information)
    assert not norm.weight.requires_grad, "no gain"
    for statistic, expected in ((norm.running_mean, raw[0].mean(0)), (norm.running_var, raw[0].var(0) + 9)):
        torch.testing.assert_close(statistic, 0.1 * expected, msg="of real images alone")


@pytest.mark.parametrize("wrong", [TINY, replace(PRINTED, network="resnet"), replace(PRINTED, memory=None)])
def test_query_norm_is_refused_where_there_is_none(wrong: MemoryGANConfig) -> None:
    with pytest.raises(ValueError, match="query_norm"):
        replace(wrong, query_norm=True)
