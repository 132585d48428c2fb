"""The equations of the von Mises-Fisher mixture memory as pure functions (Kim, Kim and Kim, ICLR 2018, section 3.1).

Everything is in log-space. Shapes: ``b`` queries, ``k`` slots, ``d`` key dimension.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Histogram = Literal["fraction", "unit"]
Prior = Literal["joint", "by_class"]

INITIAL_MASS = 1e-5  # h of a slot at the start
EMPTY = -1e30  # the logarithm of "no probability": finite, so that a class without slots gives no NaN in a gradient
DRAW_UNIFORMS = 1 + 3 * 16  # the uniform numbers of a draw with 16 proposals
_DEBYE_ORDER = 40  # from this order on, five Debye terms are exact to 1e-9
# u_1 .. u_5 of the Debye expansion (Abramowitz and Stegun 9.3.9), by falling powers p^(3j), p^(3j-2), .., p^j
_DEBYE = (
    (-5 / 24, 3 / 24),
    (385 / 1152, -462 / 1152, 81 / 1152),
    (-425425 / 414720, 765765 / 414720, -369603 / 414720, 30375 / 414720),
    (185910725 / 39813120, -446185740 / 39813120, 349922430 / 39813120, -94121676 / 39813120, 4465125 / 39813120),
    (
        -188699385875 / 6688604160,
        566098157625 / 6688604160,
        -614135872350 / 6688604160,
        284499769554 / 6688604160,
        -49286948607 / 6688604160,
        1519035525 / 6688604160,
    ),
)


def _log_scaled_bessel(order: float, kappa: Tensor) -> Tensor:
    """log I_order(kappa) - order log kappa by the uniform Debye expansion (Abramowitz and Stegun 9.7.7); order >= 40."""
    root = torch.sqrt(1 + (kappa / order) ** 2)
    p = 1 / root
    series = torch.ones_like(p)
    for power, coefficients in enumerate(_DEBYE, start=1):
        polynomial = torch.zeros_like(p)
        for coefficient in coefficients:
            polynomial = polynomial * p * p + coefficient
        series = series + polynomial * (p / order) ** power
    growth = order * (root - torch.log1p(root) - math.log(order))
    return growth - 0.5 * math.log(2 * math.pi * order) - 0.5 * torch.log(root) + torch.log(series)


def log_normaliser(kappa: Tensor | float, dim: int) -> Tensor:
    """log C_d(kappa) of the von Mises-Fisher density C_d(kappa) exp(kappa mu.x) on the unit sphere of R^dim.

    C_d(kappa) = kappa^(d/2-1) / ((2 pi)^(d/2) I_(d/2-1)(kappa)). Works in float64 inside, returns the dtype of ``kappa`` (float64 for a number),
    is differentiable in ``kappa`` and accurate to 1e-6 max(1, |log C|) for dim 2..4096 and kappa 1e-3..1e5.

    A high order is expanded directly; a low one is reached by the stable downward recurrence of the ratio I_(n+1)/I_n, divided by kappa so that
    no large logarithms cancel.
    """
    if dim < 2:
        raise ValueError(f"dim is {dim}; a sphere needs at least 2")
    given = torch.as_tensor(kappa, dtype=torch.float64 if not isinstance(kappa, Tensor) else None)
    kappa = given.double()
    order = dim / 2 - 1
    steps = max(0, math.ceil(_DEBYE_ORDER - order))
    top = _log_scaled_bessel(order + steps, kappa)
    ratio = torch.exp(_log_scaled_bessel(order + steps + 1, kappa) - top)  # I_(n+1) / (kappa I_n)
    total = torch.zeros_like(kappa)
    for step in range(steps, 0, -1):
        ratio = 1 / (2 * (order + step) + kappa**2 * ratio)
        total = total + torch.log(ratio)
    return (total - top - dim / 2 * math.log(2 * math.pi)).to(given.dtype)


def unit(x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Rows divided by their norm; a zero row stays zero."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny ** 0.5)


def slerp(start: Float[Tensor, "b d"], end: Float[Tensor, "b d"], share: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
    """The point at ``share`` of the shorter great circle between unit vectors (Shoemake 1985, Eq. 1); opposite vectors have none.

    sin((1 - t) a) / sin(a) start + sin(t a) / sin(a) end, with a the angle between the two.
    """
    angle = 2 * torch.atan2((end - start).norm(dim=1), (end + start).norm(dim=1))  # exact where an inverse cosine is not
    flat = angle.sin() < 1e-6
    safe = torch.where(flat, torch.ones_like(angle), angle)
    near, far = (torch.where(flat, part, (part * safe).sin() / safe.sin()) for part in (1 - share, share))
    return unit(near[:, None] * start + far[:, None] * end)


def log_prior(mass: Float[Tensor, " k"], values: Float[Tensor, " k"], *, smoothing: float = 1e-8, prior: Prior = "joint") -> Float[Tensor, " k"]:
    """log p(c): "joint" is (h + beta) / sum(h + beta) of Eq. 1; "by_class" gives each class one half of it."""
    weight = (mass + smoothing).clamp_min(torch.finfo(mass.dtype).tiny)
    if prior == "joint":
        return torch.log(weight) - torch.log(weight.sum())
    real = values > 0.5
    totals = torch.log((weight * real).sum()), torch.log((weight * ~real).sum())
    return torch.log(weight) - torch.where(real, *totals) - math.log(2)


def checked_weight(weight: Float[Tensor, " n"], values: Float[Tensor, " k"], value: int) -> Float[Tensor, " k"]:
    """``weight``. Raises ValueError unless it has one number for each slot, none below 0, and a finite sum above 0 over the class ``value``."""
    if weight.shape != values.shape:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; give one for each of {len(values)} slots")
    total = float((weight.double() * ((values > 0.5) == bool(value))).sum())
    if not (bool((weight >= 0).all()) and 0 < total < math.inf):
        raise ValueError("weight must be 0 or more, finite, and above 0 for a slot of the class that is drawn")
    return weight


def categorical(weight: Float[Tensor, " k"], uniform: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Indices drawn in proportion to ``weight``, by the inverse distribution function at ``uniform`` in [0, 1); never one of weight zero."""
    cumulative = weight.cumsum(0)
    last = torch.where(weight > 0, torch.arange(len(weight), device=weight.device), -1).amax()
    return torch.minimum(torch.searchsorted(cumulative, uniform.to(cumulative) * cumulative[-1], right=True), last)


def masked_softmax(score: Float[Tensor, "b t"], keep: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Softmax over the kept entries of each row; a row with none is all zero."""
    return torch.softmax(score.masked_fill(~keep, EMPTY), dim=-1) * keep


class EMState(NamedTuple):
    """A mixture during the incremental EM of one batch: its present keys and mass, and those without the statistics of the batch."""

    keys: Float[Tensor, "k d"]
    mass: Float[Tensor, " k"]
    base_keys: Float[Tensor, "k d"]
    base_mass: Float[Tensor, " k"]


class Statistics(NamedTuple):
    """What a batch adds to each slot: ``sums`` = gamma^T Q and ``total`` = gamma^T 1, with responsibilities gamma (b, k) and queries Q (b, d)."""

    sums: Float[Tensor, "k d"]
    total: Float[Tensor, " k"]

    @classmethod
    def of(cls, query: Float[Tensor, "b d"], responsibility: Float[Tensor, "b k"]) -> Self:
        """The statistics of every slot, as one matrix product."""
        return cls(responsibility.T @ query, responsibility.sum(0))


def m_step(state: EMState, batch: Statistics, *, histogram: Histogram = "fraction") -> EMState:
    """Eq. 5 for a whole batch, summed over the telescope of its iterations.

    With gamma (b, k): h = h0 + gamma^T 1 and K = normalise(h0 K0 + gamma^T Q), which is K0 + (gamma^T Q - diag(gamma^T 1) K0) / h, normalised.
    With "unit" the base mass already counts one for every slot looked at, however small its responsibility, as the authors' code does.
    ``batch.sums`` is overwritten.
    """
    total = batch.total
    mass = state.base_mass + total if histogram == "fraction" else state.base_mass
    # departs: the rate is bounded by one; unbounded, clustered queries of one batch push a unit-histogram key past them and away.
    inertia = torch.where(total > 0, (mass - total).clamp_min(0), 1)  # a slot that nothing reached keeps its key to the bit
    sums = batch.sums.addcmul_(inertia[:, None], state.base_keys)
    scale = sums.norm(dim=1).clamp_min(torch.finfo(sums.dtype).tiny ** 0.5).masked_fill_(total <= 0, 1)
    return state._replace(keys=sums.div_(scale[:, None]), mass=mass)


def em_step(
    state: EMState,
    query: Float[Tensor, "b d"],
    support: Bool[Tensor, "b k"],
    *,
    concentration: float,
    smoothing: float = 1e-8,
    histogram: Histogram = "fraction",
    frozen: Bool[Tensor, " k"] | None = None,
) -> EMState:
    """One E-step (Eq. 1 restricted to ``support``) under the current keys and mass, then :func:`m_step`. Applied twice it is two iterations.

    ``frozen`` slots take part in the E-step only.
    """
    score = concentration * (query @ state.keys.T) + torch.log(state.mass + smoothing)
    responsibility = masked_softmax(score, support)
    return m_step(state, Statistics.of(query, responsibility if frozen is None else responsibility * ~frozen), histogram=histogram)


def mean_cosine(kappa: Tensor | float, dim: int) -> Tensor:
    """A_d(kappa) = I_(d/2)(kappa) / I_(d/2-1)(kappa): the mean cosine between a von Mises-Fisher draw on the unit sphere of R^dim and its mean.

    Accurate to 1e-4 of min(A, 1 - A) from dim 3 on (2e-4 on the circle), in some twenty operators. Float64 inside; returns the dtype of ``kappa``.

    The ratio of a higher order n, R = I_(n+1)/I_n, starts from the bound of Simpson and Spector (1984), takes one turn of its Riccati equation
    R' = 1 - (2n + 1) R / kappa - R^2 with R' of the bound, and comes down by R_(n-1) = kappa / (2n + kappa R_n).
    """
    given = torch.as_tensor(kappa, dtype=torch.float64 if not isinstance(kappa, Tensor) else None)
    return _mean_cosine(given.double(), dim).to(given.dtype)


def _mean_cosine(kappa: Tensor, dim: int) -> Tensor:
    steps = max(1, 10 - dim // 2)
    half = dim / 2 + steps - 0.5  # n + 1/2
    root = torch.sqrt(half * (half + 1) + kappa * kappa)
    bound = kappa / (half + root)
    rest = 1 - (1 - bound * kappa / root) / (half + root)
    ratio = rest * kappa / (half + torch.sqrt(half * half + rest * kappa * kappa))
    for step in range(steps - 1, -1, -1):
        ratio = kappa / (dim + 2 * step + kappa * ratio)
    return ratio


def fit_concentration(mean_cosine: Tensor | float, dim: int) -> Tensor:
    """The concentration kappa >= 0 with A_d(kappa) = ``mean_cosine``, to 1e-3: the maximum-likelihood fit to draws around a known mean.

    The cosine is clamped to [0, 1 - 1e-4]. The closed form of Banerjee et al. (2005, Eq. 4.4) and two Newton steps (Sra 2012, Eq. 6). Float64
    inside; returns the dtype of ``mean_cosine`` (float64 for a number).
    """
    given = torch.as_tensor(mean_cosine, dtype=torch.float64 if not isinstance(mean_cosine, Tensor) else None)
    cosine = given.double().clamp(0, 1 - 1e-4)
    square = cosine * cosine
    kappa = cosine * (dim - square) / (1 - square)
    for _ in range(2):
        length = _mean_cosine(kappa, dim)
        slope = 1 - length * length - (dim - 1) * length / kappa.clamp_min(1e-12)
        kappa = kappa - (length - cosine) / slope.clamp_min(1e-12)
    return kappa.clamp_min(0).to(given.dtype)


class DrawNumbers(NamedTuple):
    """The random numbers behind draws from a mixture.

    ``uniform`` on [0, 1), float64: one for the slot and three for each proposal of :func:`vmf_draw`; ``normal`` (n, d).
    """

    uniform: Float[Tensor, "n u"]
    normal: Float[Tensor, "n d"]

    @classmethod
    def random(cls, num: int, dim: int, *, generator: torch.Generator | None = None, device: torch.device | None = None) -> Self:
        """Numbers for 16 proposals from a generator, on its device, or from the global one of ``device``."""
        device = generator.device if generator else device
        uniform = torch.rand(num, DRAW_UNIFORMS, generator=generator, dtype=torch.float64, device=device)
        return cls(uniform, torch.randn(num, dim, generator=generator, device=device))


def vmf_draw(
    mean: Float[Tensor, "n d"], concentration: Float[Tensor, "#n"] | Float[Tensor, ""], uniform: Float[Tensor, "n p 3"], normal: Float[Tensor, "n d"]
) -> Float[Tensor, "n d"]:
    """Draws of the von Mises-Fisher distribution around the unit rows ``mean``, as a function of the random numbers they are made of.

    ``uniform`` on [0, 1), best in float64, makes p proposals of the cosine, of which the first accepted one is taken (the last one where none is:
    two in three or more are accepted, so 16 leave less than one draw in 10^7); ``normal`` makes the direction at right angles to the mean.
    A zero row has no direction to draw around: its draws are uniform on the sphere.

    Wood 1994, algorithm VM*, after Ulrich 1984; the symmetric beta variable by its polar form, (1 + sqrt(1 - U^(2/(d-2))) cos 2 pi V) / 2.
    """
    dim, kappa = mean.shape[1], concentration.to(uniform).reshape(-1, 1)
    first, second, third = uniform.unbind(2)
    beta = torch.cos(2 * math.pi * second)
    if dim > 2:
        beta = beta * torch.sqrt(1 - first ** (2 / (dim - 2)))
    b = (dim - 1) / (2 * kappa + torch.sqrt(4 * kappa * kappa + (dim - 1) ** 2))
    mode = (1 - b) / (1 + b)
    cosine = (1 - b - (1 + b) * beta) / (1 + b - (1 - b) * beta)  # (1 - (1 + b) z) / (1 - (1 - b) z) at z = (1 + beta) / 2
    gain = kappa * (cosine - mode) + (dim - 1) * torch.log((1 - mode * cosine) / (1 - mode * mode))
    accepted = (gain >= torch.log(third)).to(torch.uint8)
    accepted[:, -1] = 1
    cosine = cosine.gather(1, accepted.argmax(1, keepdim=True))
    across = torch.sqrt((1 - cosine * cosine).clamp_min(0)).to(mean)
    normal = normal.to(mean)
    tangent = unit(normal - (normal * mean).sum(1, keepdim=True) * mean)
    return unit(cosine.to(mean) * mean + across * tangent)


def canonical_order(query: Float[Tensor, "b d"], value: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """An order of the queries that depends only on their content: fakes first, then by a fixed irrational projection."""
    weight = torch.frac(torch.arange(1, query.shape[1] + 1, device=query.device, dtype=torch.float64) * math.sqrt(2)) - 0.5
    return torch.argsort((query.double() * weight).sum(-1) + 4 * math.sqrt(query.shape[1]) * value.double(), stable=True)


def gather_processes(tensor: Shaped[Tensor, "b ..."], counts: list[int] | None = None) -> Shaped[Tensor, "joint ..."]:
    """The rows of all processes of ``torch.distributed``, however many each has, in rank order; without processes the tensor itself.

    ``counts``: how many rows each has, if that is known already (:func:`process_counts`).
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()) or torch.distributed.get_world_size() == 1:
        return tensor
    counts = process_counts(tensor) if counts is None else counts
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def process_counts(tensor: Shaped[Tensor, "b ..."]) -> list[int]:
    """The number of rows that each process of ``torch.distributed`` has."""
    counts = [torch.zeros(1, dtype=torch.long, device=tensor.device) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, torch.full_like(counts[0], len(tensor)))
    return torch.cat(counts).tolist()
