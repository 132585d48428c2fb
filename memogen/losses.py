"""The adversarial terms, gradient penalties and variational bounds, as pure functions of the networks' outputs.

A logit l stands for D = sigmoid(l). Everything is computed in log-space, and half-precision logits are widened to float32 first, so that no
term overflows under autocast. Losses and bounds are scalars, the mean over the batch; log probabilities have a row for each sample ``s`` and a
column for each image ``b``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

AdversarialKind = Literal["saturating", "non_saturating", "reverse_kl", "updown"]
"""What the generator minimises: E log(1 - D); -E log D; E log((1 - D) / D); -E D."""


def widen(logit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """float32 for anything narrower; float32 and float64 pass through."""
    return logit.float() if logit.dtype in (torch.float16, torch.bfloat16) else logit


def clip_logit(logit: Float[Tensor, "*shape"], eps: float) -> Float[Tensor, "*shape"]:
    """The logit of D clipped to [eps, 1 - eps]; no gradient outside. ``eps`` 0 clips nothing.

    Kim et al. 2018, below Eq. 4 (eps = 1e-3).
    """
    if not 0 <= eps < 0.5:
        raise ValueError(f"eps is {eps}; a probability is clipped to [eps, 1 - eps], so it must lie in [0, 0.5)")
    if eps == 0:
        return widen(logit)
    bound = math.log1p(-eps) - math.log(eps)
    return widen(logit).clamp(-bound, bound)


def real_term(logit: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """-E log D."""
    return F.softplus(-widen(logit)).mean()


def fake_term(logit: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """-E log(1 - D)."""
    return F.softplus(widen(logit)).mean()


def critic_loss(
    real_logit: Float[Tensor, " b_real"], fake_logit: Float[Tensor, " b_fake"], kind: AdversarialKind = "saturating", *, clip: float = 0.0
) -> Float[Tensor, ""]:
    """The critic's loss: the binary cross-entropy of Eq. 7 (Kim et al. 2018), the means over real and over fake images added.

    With ``kind`` "updown" it is E D(fake) - E D(real), the total variation bound, and ``clip`` has no effect.
    """
    match kind:
        case "saturating" | "non_saturating" | "reverse_kl":
            return real_term(clip_logit(real_logit, clip)) + fake_term(clip_logit(fake_logit, clip))
        case "updown":
            return torch.sigmoid(widen(fake_logit)).mean() - torch.sigmoid(widen(real_logit)).mean()
        case _:
            assert_never(kind)


def generator_loss(fake_logit: Float[Tensor, " b"], kind: AdversarialKind = "non_saturating", *, clip: float = 0.0) -> Float[Tensor, ""]:
    """The generator's loss; see :data:`AdversarialKind`. "saturating" is Eq. 8 (Kim et al. 2018). ``clip`` has no effect on "updown"."""
    logit = clip_logit(fake_logit, 0.0 if kind == "updown" else clip)
    match kind:
        case "saturating":
            return -fake_term(logit)
        case "non_saturating":
            return real_term(logit)
        case "reverse_kl":
            return -logit.mean()
        case "updown":
            return -torch.sigmoid(logit).mean()
        case _:
            assert_never(kind)


def input_gradient(logit: Float[Tensor, " b"], image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """d logit_i / d image_i for every image, itself differentiable. ``image`` must require a gradient."""
    (gradient,) = torch.autograd.grad(logit.sum(), image, create_graph=True)
    return widen(gradient)


def r1_penalty(logit: Float[Tensor, " b"], image: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """E ||d logit / d image||^2 over real images; the caller multiplies by gamma / 2. Mescheder et al. 2018, Eq. 9."""
    return input_gradient(logit, image).square().flatten(1).sum(1).mean()


def wgan_penalty(
    critic: Callable[[Tensor], Tensor], real: Float[Tensor, "b c h w"], fake: Float[Tensor, "b c h w"], mix: Float[Tensor, " b"]
) -> Float[Tensor, ""]:
    """E (||d critic / d x|| - 1)^2 at x = mix real + (1 - mix) fake, with ``mix`` uniform on [0, 1]. Gulrajani et al. 2017, Eq. 3."""
    share = mix.view(-1, 1, 1, 1)
    image = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    return slope_penalty(input_gradient(critic(image), image))


def slope_penalty(gradient: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """E (||gradient|| - 1)^2, the norm over all pixels of an image. Gulrajani et al. 2017, Eq. 3."""
    return (torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1).square().mean()


def info_nce(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """The contrastive loss of two views, rows of unit length: each vector is to find its other view among all 2b - 1 other vectors.

    The mean of -log softmax over cos / ``temperature``; log(2b - 1) if all vectors are equal. Chen et al. 2020, "SimCLR", Eq. 1 (NT-Xent).
    """
    both = widen(torch.cat([first, second]))
    score = both @ both.T / temperature
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(score.fill_diagonal_(-math.inf), partner)


def bernoulli_log_prob(logit: Float[Tensor, "s b d"], x: Float[Tensor, "b d"]) -> Float[Tensor, "s b"]:
    """log prod_d p^x (1 - p)^(1 - x) with p = sigmoid(logit)."""
    # departs: the authors clip p to [1e-6, 1 - 1e-6], beyond which nothing is learned; from logits the value is exact everywhere.
    logit = widen(logit)
    return (logit * x).sub_(F.softplus(logit)).sum(-1)


def normal_log_prob(mean: Float[Tensor, "s b d"], log_variance: Float[Tensor, "s b d"], x: Float[Tensor, "b d"]) -> Float[Tensor, "s b"]:
    """log prod_d N(x; mean, exp(log_variance))."""
    mean, log_variance = widen(mean), widen(log_variance)
    return -0.5 * ((x - mean).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)).sum(-1)


def importance_bound(log_weights: Float[Tensor, "s b"]) -> Float[Tensor, ""]:
    """L_k, to be maximised: the mean over images of log 1/k sum_j w_j; for k = 1 the evidence lower bound. Burda et al. 2016, Eq. 8."""
    log_weights = widen(log_weights)
    return (torch.logsumexp(log_weights, 0) - math.log(len(log_weights))).mean()


def local_reconstruction(encoder_feature: Float[Tensor, "b d"], decoder_feature: Float[Tensor, "s b d"]) -> Float[Tensor, ""]:
    """The mean squared distance between an encoder's normalised features and the decoder's at the same layer, these averaged over the samples."""
    found = decoder_feature[0] if len(decoder_feature) == 1 else widen(decoder_feature).mean(0)
    # departs: the paper prints a squared norm, the sum over features, which is hundreds of times as strong; the authors' code takes their mean.
    return F.mse_loss(widen(encoder_feature), widen(found))
