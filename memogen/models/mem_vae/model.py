"""MEM-VAE as a model: it encodes, decodes, samples, scores images and shows its memory. :mod:`.objective` trains it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ... import noise
from ...losses import bernoulli_log_prob, normal_log_prob, widen
from ...memory.attention import Fill
from ...nets.norm import evaluating
from ...types import ImageData, InputError, Latents, Pixels, check_count, check_images, check_shape
from .config import MemVAEConfig
from .joint import Beside
from .networks import Decoded, Decoder, Encoder
from .prior import Mixture, Prior, PseudoInputs, StandardNormal

_CALIBRATED = 100_000  # images that are looked at when the statistics are set
_OUTSIDE = 0.5  # of the range: how far means of a normal may lie outside and still be images


class MemVAE(nn.Module):
    """Recognition network ``encoder`` and generative network ``decoder``, whose layers hold the memories. Its methods evaluate and change nothing,
    but for ``calibrate``, which sets the batch statistics that they all use: call it after the weights have moved.

    Images are bytes, read as ``config.pixel_levels`` says, or floats in [0, 1]. Layers are numbered from the data up, as in ``config.hidden``.
    """

    def __init__(self, config: MemVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.image_range = config.image_range
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.averaged_parts: tuple[str, ...] = ("encoder", "decoder")
        self.pseudo_inputs: PseudoInputs | None = None
        if config.prior_slots:  # drawn last, so that the same seed gives the same networks with either prior
            self.pseudo_inputs = PseudoInputs(config.prior_slots, config.image_shape)
            self.averaged_parts += ("pseudo_inputs",)

    # --- the two networks ---

    @torch.no_grad()
    def encode(self, image: Pixels, label: Int[Tensor, " b"] | None = None) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b z"]]:
        """Mean and log variance of q(z | x). Raises InputError for images of another shape or range."""
        with evaluating(self):
            encoded = self.encoder(self.given(image), self.condition(label))
        return encoded.mean, encoded.log_variance

    @torch.no_grad()
    def features(self, image: Pixels, label: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b f"]:
        """The last hidden layer of the encoder, after batch norm and ReLU (appendix A)."""
        with evaluating(self):
            features: Tensor = self.encoder(self.given(image), self.condition(label)).layers[-1].output
        return features

    @torch.no_grad()
    def decode(self, latents: Latents, *, without_memory: Collection[int] = (), fill: Fill = "ones") -> Float[Tensor, "b c h w"]:
        """The means of p(x | z): probabilities of white, or the means of the normal.

        In the layers ``without_memory`` the memory's answer is replaced by ``fill`` (appendix C: ones; (0,), then (0, 1)).
        """
        self._check_layers(without_memory)
        with evaluating(self):
            decoded = self.decoder(latents.noise.to(self.dtype), self.condition(latents.label), without=without_memory, fill=fill)
        return self.mean(decoded.raw)

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        """z ~ p(z) of the images ``start`` .. ``start + num - 1`` of stream ``seed``; a conditional model draws labels, or takes ``label``."""
        check_count(num)
        if slot is not None:
            raise InputError("slot: this decoder asks its memory by itself: draw a slot with slot_picture, or memogen memory slots MODEL")
        index = torch.arange(start, start + num, device=self.device)
        z = self.drawn_latents(index, seed=seed)
        if label is not None:
            self.condition(torch.tensor([label]))
            return Latents(z, label=torch.full_like(index, label))
        return Latents(z, label=self._drawn_labels(index, 1, seed=seed)[:, 0] if self.config.num_classes else None)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """``decode(latents(...))``: means, not draws."""
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start))

    # --- the prior ---

    def prior(self, given: Float[Tensor, "b c h w"] | None = None) -> Prior:
        """p(z), differentiable. In training a learned one needs ``given``, the batch: pseudo-inputs are normalised by its statistics, as they are by
        those of the whole data in evaluation, so that the bound that is trained is the one that is scored.
        """
        if self.pseudo_inputs is None:
            return StandardNormal()
        image = self.pseudo_inputs().to(self.dtype)
        encoded = self.encoder(image) if given is None else self.encoder.beside(image, given)
        return Mixture(encoded.mean, encoded.log_variance)

    @torch.no_grad()
    def drawn_latents(self, index: Int[Tensor, " b"], *, seed: int, stream: int = 0) -> Float[Tensor, "b z"]:
        """z ~ p(z), row i a function of (``seed``, ``stream``, ``index[i]``); a mixture chooses its component by noise of its own stream."""
        eps = noise.normal(index, self.config.latent_dim, seed=seed, stream=stream, dtype=self.dtype)
        with evaluating(self):
            component = stream + noise.Stream.COMPONENT
            return self.prior().latents(eps, lambda: noise.uniform(index, 1, seed=seed, stream=component, dtype=torch.float64)[:, 0])

    @property
    def prior_slots(self) -> int:
        """The number of pseudo-inputs of a learned prior; 0 for N(0, I)."""
        return self.config.prior_slots

    @torch.no_grad()
    def prior_picture(self, *, decoded: bool = False) -> Float[Tensor, "k c h w"]:
        """The pseudo-inputs as images, or the means of their posteriors ``decoded``. Raises InputError for a model without."""
        if self.pseudo_inputs is None:
            raise InputError("prior: this model's prior is the standard normal, which has no pseudo-inputs: train one with model.prior_slots")
        image: Tensor = self.pseudo_inputs()
        return self.decode(Latents(self.encode(image)[0])) if decoded else image

    # --- the posterior of given images ---

    @torch.no_grad()
    def reconstruct(
        self, image: Pixels, *, seed: int, step: int, start: int, label: Int[Tensor, " b"] | None = None, batch_statistics: bool = False
    ) -> Float[Tensor, "b c h w"]:
        """Encode, draw one z, decode to means, those of real pixels cut to [0, 1]. Row i's z is a function of (``seed``, ``step``, ``start`` + i).

        ``batch_statistics`` normalises by these very images, as the authors' imputation does; the stored statistics are left alone.
        """
        index = torch.arange(start, start + len(image), device=self.device)
        with evaluating(self):
            self.train(batch_statistics)
            found = self.mean(self._through(self.given(image), label, index, seed=seed, stream=noise.Stream.RECONSTRUCTION + step).raw)
        # departs: the mean of a normal may lie where no pixel can; a chain of imputation that is fed with it runs away
        return found.clamp(0, 1) if self.config.output == "gaussian" else found

    @torch.no_grad()
    def addresses(self, image: Pixels, *, seed: int = 0, start: int = 0, label: Int[Tensor, " b"] | None = None) -> tuple[Float[Tensor, "b _"], ...]:
        """The weights of every memory's slots, h_a, for one z ~ q(z | x) of each image; row i's z is a function of (``seed``, ``start`` + i)."""
        if not self.config.memory.slots:
            raise InputError("model: it has no memory, so images address no slots: use a model trained with one")
        index = torch.arange(start, start + len(image), device=self.device)
        with evaluating(self):
            layers = self._through(self.given(image), label, index, seed=seed, stream=noise.Stream.POSTERIOR).layers
        return tuple(layer.weights for layer in layers if layer.weights is not None)

    @torch.no_grad()
    def slot_picture(self, slots: Sequence[int] | None = None, *, layer: int = 0) -> Float[Tensor, "b c h w"]:
        """What a layer's slots (all of them, by default) look like by themselves: h_g = 0, the slot alone answers, decoded to means (appendix D)."""
        self._check_layers((layer,))
        memory = self.decoder.stack[layer].memory
        assert memory is not None
        wanted = range(memory.num_slots) if slots is None else slots
        if not all(0 <= slot < memory.num_slots for slot in wanted):
            raise InputError(f"slots: {list(wanted)}: layer {layer} holds slots 0 to {memory.num_slots - 1}")
        mix = memory.slots[torch.tensor(list(wanted), device=self.device)]
        with evaluating(self):
            return self.mean(self.decoder.below(memory.compose(torch.zeros_like(mix), mix), layer))

    # --- densities ---

    @torch.no_grad()
    def log_weights(
        self,
        image: Pixels,
        *,
        num_samples: int,
        label: Int[Tensor, " b"] | None = None,
        seed: int = 0,
        start: int = 0,
        index: Int[Tensor, " b"] | None = None,
        without_memory: Collection[int] = (),
        fill: Fill = "ones",
    ) -> Float[Tensor, "s b"]:
        """log p(x, z) - log q(z | x) for the samples ``start`` .. ``start + num_samples - 1`` of z ~ q(z | x), all constants kept.

        Sample j of image i is a function of (``seed``, ``index[i]``, j), so many samples may be drawn in parts; ``index`` numbers the images of the
        data set, by default from 0. A conditional model without ``label`` draws one, uniformly, for each sample: the weights are those of p(x).
        ``without_memory`` and ``fill`` as in :meth:`decode`. Raises InputError for grey images where pixels are black or white.
        """
        self._check(image)
        self._check_layers(without_memory)
        x = self.scored(image)
        index = torch.arange(len(x), device=self.device) if index is None else index.to(self.device)
        eps = self.draws(index, num_samples, seed=seed, stream=noise.Stream.POSTERIOR, first=start)
        with evaluating(self):
            mean, log_variance, condition = self._posterior(x, label, index, num_samples, seed, start)
            z = mean + torch.exp(0.5 * log_variance) * eps
            raw = self.decoder(z.flatten(0, 1), condition, without=without_memory, fill=fill).raw
            return self.log_prob(x, raw, num_samples) - self.prior().divergence(z, log_variance, eps)

    def beside(self, image: Pixels, label: Int[Tensor, " b"] | None = None) -> Beside:
        """p(x, z) of the images as a function of z, for annealed importance sampling."""
        with evaluating(self), torch.no_grad():
            return Beside(self, self.scored(image), self.condition(label), self.prior())

    def log_prob(self, x: Float[Tensor, "b c h w"], raw: Float[Tensor, "sb p"], num_samples: int) -> Float[Tensor, "s b"]:
        """log p(x | z) from the decoder's raw output, all constants kept."""
        flat, raw = x.flatten(1), raw.unflatten(0, (num_samples, -1))
        if self.config.output == "bernoulli":
            return bernoulli_log_prob(raw, flat)
        return normal_log_prob(*self.normal(raw), flat)

    def normal(self, raw: Float[Tensor, "*b p2"]) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b p"]]:
        """Mean and log variance of every pixel from the decoder's raw output, where pixels are real; in float32 at least."""
        mean, log_variance = widen(raw).chunk(2, dim=-1)
        options = self.config.gaussian
        if options.mean == "sigmoid":
            mean = torch.sigmoid(mean)
        if (least := options.least_log_variance) is not None:
            log_variance = least + F.softplus(log_variance - least)
        return mean, log_variance

    def draws(self, index: Int[Tensor, " b"], num: int, *, seed: int, stream: int, first: int = 0) -> Float[Tensor, "s b z"]:
        """eps ~ N(0, I) of the samples ``first`` .. ``first + num - 1`` of each image."""
        width = self.config.latent_dim
        eps = noise.normal(index, num * width, seed=seed, stream=stream, first=first * width, dtype=self.dtype)
        return eps.view(len(index), num, width).transpose(0, 1)

    # --- statistics ---

    @torch.no_grad()
    def calibrate(self, data: ImageData, *, seed: int = 0, chunk: int = 1000) -> None:
        """Set the statistics of every batch norm to those of the whole of ``data``, binarised once, with one z for each image (the authors' code).

        Every layer sees inputs that were normalised by the statistics of all images. Of more than 100,000 images, so many are taken, evenly spaced.
        """
        rows = np.linspace(0, len(data) - 1, min(len(data), _CALIBRATED)).round().astype(np.int64)
        parts = np.array_split(rows, -(-len(rows) // chunk))
        conditions = [self.condition(self._labels(data, part)) for part in parts]
        with evaluating(self):
            found = self.encoder.calibrate(zip((self._drawn(data, part, seed) for part in parts), conditions, strict=True))
            z = [
                mean
                + torch.exp(0.5 * log_variance) * self.draws(torch.from_numpy(part).to(self.device), 1, seed=seed, stream=noise.Stream.CALIBRATION)[0]
                for (mean, log_variance, _), part in zip(found, parts, strict=True)
            ]
            self.decoder.calibrate(list(zip(z, conditions, strict=True)))

    def observed(self, image: Pixels, index: Int[Tensor, " b"], *, seed: int, stream: int) -> Float[Tensor, "b c h w"]:
        """Training images as the networks see them: a new binarisation of each, or for real-valued pixels the images themselves."""
        if self.config.output == "gaussian":
            return self.pixels(image)
        check_shape(image, self.config.image_shape)
        return binarised(image.to(self.device), index, levels=self.config.pixel_levels, seed=seed, stream=stream).to(self.dtype)

    # --- from and to images and labels ---

    def given(self, image: Pixels) -> Float[Tensor, "b c h w"]:
        """Images from a caller, checked, as numbers. Raises InputError for images of another shape or range."""
        self._check(image)
        return self.pixels(image)

    def pixels(self, image: Pixels) -> Float[Tensor, "b c h w"]:
        """Images as numbers: bytes divided by ``config.pixel_levels``, floats as they are."""
        check_shape(image, self.config.image_shape)
        return pixel_values(image.to(self.device), self.config.pixel_levels, self.dtype)

    def scored(self, image: Pixels) -> Float[Tensor, "b c h w"]:
        """Images as the likelihood takes them: 0 and 1 for binary pixels (bytes 0 and 255), else as :meth:`pixels`.

        Raises InputError for grey pixels where the model is binary.
        """
        if self.config.output == "gaussian":
            return self.pixels(image)
        check_shape(image, self.config.image_shape)
        x = pixel_values(image.to(self.device), 255, self.dtype)
        if not bool(((x == 0) | (x == 1)).all()):
            raise InputError("image: it has grey pixels, of which a Bernoulli model has no likelihood: binarise the images first")
        return x

    def mean(self, raw: Float[Tensor, "b p"]) -> Float[Tensor, "b c h w"]:
        """The means of p(x | z) from the decoder's raw output."""
        means = torch.sigmoid(widen(raw)) if self.config.output == "bernoulli" else self.normal(raw)[0]
        return means.unflatten(1, self.config.image_shape)

    def condition(self, label: Int[Tensor, " b"] | None) -> Float[Tensor, "b classes"] | None:
        """Labels as one-hot rows; None for a model without labels. Raises InputError."""
        classes = self.config.num_classes
        if classes == 0:
            if label is not None:
                raise InputError("label: this model was trained without labels: leave the label out")
            return None
        if label is None:
            raise InputError(f"label: this model is conditional on {classes} classes: give a label for each image")
        looked_at = label.device.type == "cpu" and not torch.compiler.is_exporting()  # a GPU would have to be waited for
        if looked_at and len(label) and not 0 <= int(label.min()) <= int(label.max()) < classes:
            raise InputError(f"label: {int(label.min())} to {int(label.max())}: this model knows labels 0 to {classes - 1}")
        return F.one_hot(label.to(self.device), classes).to(self.dtype)

    @property
    def slot_counts(self) -> tuple[int, ...]:
        """How many slots the memory of each layer holds, from the data up; () without memory."""
        return self.config.memory.slots

    @property
    def num_labels(self) -> int:
        """The number of labels that a conditional model knows; 0 for none."""
        return self.config.num_classes

    @property
    def binary_levels(self) -> int | None:
        """For binary pixels, the number L such that a byte v is white with probability v / L; None for real-valued pixels."""
        return self.config.pixel_levels if self.config.output == "bernoulli" else None

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype

    def _through(self, x: Tensor, label: Tensor | None, index: Tensor, *, seed: int, stream: int) -> Decoded:
        """Encode, draw one z for each image, decode."""
        condition = self.condition(label)
        mean, log_variance, _ = self.encoder(x, condition)
        return self.decoder(mean + torch.exp(0.5 * log_variance) * self.draws(index, 1, seed=seed, stream=stream)[0], condition)

    def _posterior(
        self, x: Tensor, label: Tensor | None, index: Tensor, num: int, seed: int, start: int
    ) -> tuple[Float[Tensor, "s b z"], Float[Tensor, "s b z"], Float[Tensor, "sb classes"] | None]:
        """Mean and log variance of q(z | x) for all samples or for each, and the decoder's one-hot labels. Labels are drawn if none are given."""
        classes = self.config.num_classes
        if classes == 0 or label is not None:
            condition = self.condition(label)
            mean, log_variance, _ = self.encoder(x, condition)
            return mean[None], log_variance[None], None if condition is None else condition.repeat(num, 1)
        drawn = self._drawn_labels(index, num, seed=seed, first=start).T
        every = torch.eye(classes, device=self.device, dtype=self.dtype)
        mean, log_variance, _ = self.encoder(x.repeat_interleave(classes, 0), every.repeat(len(x), 1))
        row = drawn + classes * torch.arange(len(x), device=self.device)
        return mean[row], log_variance[row], every[drawn.flatten()]

    def _drawn_labels(self, index: Tensor, num: int, *, seed: int, first: int = 0) -> Int[Tensor, "b s"]:
        uniform = noise.uniform(index, num, seed=seed, stream=noise.Stream.PRIOR_LABEL, first=first, dtype=torch.float64)
        return (uniform * self.config.num_classes).long()

    def _drawn(self, data: ImageData, rows: np.ndarray, seed: int) -> Float[Tensor, "b c h w"]:
        """Some images of the data, as :meth:`observed` gives them."""
        image, index = torch.from_numpy(np.array(data.image[rows])), torch.from_numpy(rows).to(self.device)
        return self.observed(image, index, seed=seed, stream=noise.Stream.CALIBRATION + 1)

    def _labels(self, data: ImageData, rows: np.ndarray) -> Int[Tensor, " b"] | None:
        if self.config.num_classes == 0 or data.label is None:
            return None
        return torch.from_numpy(np.array(data.label[rows]))

    def _check(self, image: Tensor) -> None:
        """Raises InputError for images of another shape or range. Samples of a normal model may lie a little outside the range."""
        slack = {"slack": _OUTSIDE} if self.config.output == "gaussian" else {}
        check_images(image, self.config.image_shape, (0.0, 1.0), **slack)  # what real numbers of the data may be

    def _check_layers(self, layers: Collection[int]) -> None:
        count = len(self.config.memory.slots)
        if count == 0 and layers:
            raise InputError("layer: this model has no memory: use a model trained with one")
        if not all(0 <= layer < count for layer in layers):
            raise InputError(f"layer: {list(layers)}: memories are in layers 0 (next to the data) to {count - 1}")


def pixel_values(image: Pixels, levels: int, dtype: torch.dtype) -> Float[Tensor, "b c h w"]:
    """A byte v is v / ``levels``; floats stay what they are."""
    return image.to(dtype) / levels if image.dtype == torch.uint8 else image.to(dtype)


def binarised(image: Pixels, index: Int[Tensor, " b"], *, levels: int, seed: int, stream: int) -> Bool[Tensor, "b c h w"]:
    """Black and white (True), a pixel being white with the probability that its value is, by noise addressed by (seed, stream, index, pixel).

    As the global number of an image in training counts epochs too, every epoch is binarised anew (Li et al. 2016, section 5.1).
    """
    size = image[0].numel()
    if image.dtype == torch.uint8 and levels == 256:
        drawn = noise.bits(index, -(-size // 8), seed=seed, stream=stream).view(torch.uint8)  # a byte is below v with probability v / 256
        return drawn[:, :size].view(image.shape) < image
    return noise.uniform(index, size, seed=seed, stream=stream, dtype=torch.float32).view(image.shape) < pixel_values(image, levels, torch.float32)
