"""Layers of K networks at once, on values (K, c, ..., b): the rows of a minibatch come last.

In this order products with weights (K, o, i) need no transposition, flattening moves nothing, and
every operation runs over numbers that lie side by side.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional

_TINY = 1e-38


class _Product(Function):
    """Weights (K, o, i) times columns (K, i, l), or (S, i, l) of S blocks of networks."""

    @staticmethod
    def forward(ctx: Any, columns, weight, bias, sizes):
        ctx.save_for_backward(columns, weight)
        ctx.sizes, ctx.has_bias = sizes, bias is not None
        if sizes is None:
            if bias is None:
                return torch.bmm(weight, columns)
            return torch.baddbmm(bias[:, :, None], weight, columns)
        found = weight.new_empty(*weight.shape[:2], columns.shape[-1])
        for own, part, place in zip(columns, weight.split(sizes), found.split(sizes), strict=True):
            torch.mm(part.flatten(0, 1), own, out=place.flatten(0, 1))
        return found if bias is None else found.add_(bias[:, :, None])

    @staticmethod
    def backward(ctx: Any, *gradients):
        columns, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_columns = None
        if ctx.sizes is None:
            if ctx.needs_input_grad[0]:
                of_columns = torch.bmm(weight.mT, gradient)
            of_weight = torch.bmm(gradient, columns.mT)
        else:
            of_weight = torch.empty_like(weight)
            parts = (gradient.split(ctx.sizes), of_weight.split(ctx.sizes))
            for own, part, place in zip(columns, *parts, strict=True):
                torch.mm(part.flatten(0, 1), own.T, out=place.flatten(0, 1))
        return of_columns, of_weight, gradient.sum(-1) if ctx.has_bias else None, None


def product(
    columns: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    sizes: list[int] | None = None,
) -> torch.Tensor:
    """Return weights times columns, plus biases.

    Parameters
    ----------
    columns : Tensor of shape (K, i, l), or (S, i, l)
        What is multiplied: of each network, or of each block of networks. The latter are data: no
        gradient flows to them.

    weight : Tensor of shape (K, o, i)
        Of each network.

    bias : Tensor of shape (K, o) or None
        Of each network.

    sizes : list of int, default=None
        Networks in each block; None if each network has columns of its own.

    Returns
    -------
    values : Tensor of shape (K, o, l)
        Products.
    """
    return _Product.apply(columns, weight, bias, sizes)


class _Columns(Function):
    """The patches of images (K, i, h, w, b) that a convolution multiplies."""

    @staticmethod
    def forward(ctx: Any, images, window):
        padded = window.padded(images).contiguous()
        ctx.shape, ctx.window, ctx.places = padded.shape, window, window.places(images.shape)
        *outer, down, right, one = padded.stride()
        patches = padded.as_strided(
            (*padded.shape[:2], *window.kernel, *ctx.places, padded.shape[-1]),
            (*outer, down * window.dilation[0], right * window.dilation[1])
            + (down * window.stride[0], right * window.stride[1], one),
        )
        n_columns = ctx.places[0] * ctx.places[1] * padded.shape[-1]
        return patches.reshape(len(padded), -1, n_columns)

    @staticmethod
    def backward(ctx: Any, *gradients):
        patches = gradients[0].reshape(
            *ctx.shape[:2], -1, ctx.places[0], ctx.places[1], ctx.shape[-1]
        )
        found = patches.new_zeros(ctx.shape)
        for k, place in enumerate(ctx.window.slices(found, ctx.places)):
            place += patches[:, :, k]
        return ctx.window.inner(found), None


@dataclass(frozen=True)
class Window:
    """The places that a convolution or pooling looks at, vertically and horizontally."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def places(self, shape: torch.Size) -> tuple[int, int]:
        """Return how many places there are in images (..., h, w, b)."""
        down, right = (
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(
                shape[-3:-1], self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return down, right

    def padded(self, images: torch.Tensor) -> torch.Tensor:
        """Put zeros around images (..., h, w, b)."""
        down, right = self.padding
        if not (down or right):
            return images
        return functional.pad(images, (0, 0, right, right, down, down))

    def inner(self, padded: torch.Tensor) -> torch.Tensor:
        """Return images without what was put around them."""
        down, right = self.padding
        height, width = padded.shape[-3:-1]
        return padded[..., down : height - down, right : width - right, :]

    def slices(self, padded: torch.Tensor, places: tuple[int, int]) -> list[torch.Tensor]:
        """Return, for each entry of the kernel, a view (..., h', w', b) of what it meets."""
        found = []
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                down, right = row * self.dilation[0], column * self.dilation[1]
                below = down + self.stride[0] * (places[0] - 1) + 1
                beside = right + self.stride[1] * (places[1] - 1) + 1
                found.append(
                    padded[..., down : below : self.stride[0], right : beside : self.stride[1], :]
                )
        return found


def patches_of(images: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the patches that a convolution multiplies.

    Parameters
    ----------
    images : Tensor of shape (K, i, h, w, b)
        Values.

    window : Window
        Of the convolution.

    Returns
    -------
    patches : Tensor of shape (K, i * kernel, h' * w' * b)
        A column for each place of each image.
    """
    return _Columns.apply(images, window)


class _LargestAlong(Function):
    """The largest value of each window along one axis."""

    @staticmethod
    def forward(ctx: Any, values, axis, kernel, stride):
        first, *others = _slices_along(values, axis, kernel, stride)
        best = torch.maximum(first, others[0]) if others else first.clone()
        for own in others[1:]:
            torch.maximum(best, own, out=best)
        ctx.save_for_backward(values, best)
        ctx.window = axis, kernel, stride
        return best

    @staticmethod
    def backward(ctx: Any, *gradients):
        values, best = ctx.saved_tensors
        axis, kernel, stride = ctx.window
        left, found = gradients[0], torch.zeros_like(values)
        parts = [_slices_along(each, *ctx.window) for each in (values, found)]
        for k, (own, place) in enumerate(zip(*parts, strict=True)):
            # Of equal values the first has the gradient, as in torch.
            share = left
            if k < kernel - 1:
                share = torch.ops.aten.threshold_backward(left, own - best, -_TINY)
                left = left - share
            if stride < kernel:
                place += share
            else:
                place.copy_(share)
        return found, None, None, None


def _slices_along(values: torch.Tensor, axis: int, kernel: int, stride: int) -> list[torch.Tensor]:
    """Return, for each entry of a kernel along an axis, a view of what it meets."""
    n_places = (values.shape[axis] - kernel) // stride + 1
    moved = values.movedim(axis, 0)
    found = [moved[k : k + stride * (n_places - 1) + 1 : stride] for k in range(kernel)]
    return [each.movedim(0, axis) for each in found]


def max_pooled(images: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the largest value (K, c, h', w', b) in each window of images (K, c, h, w, b)."""
    for axis in (-2, -3):
        kernel, stride = window.kernel[axis + 3], window.stride[axis + 3]
        images = _LargestAlong.apply(images, axis, kernel, stride)
    return images


def mean_pooled(images: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the mean (K, c, h', w', b) of each window of images (K, c, h, w, b)."""
    slices = window.slices(images, window.places(images.shape))
    return torch.stack(slices).mean(0)


class _BatchNorm(Function):
    """Batch normalisation of values (K, c, l) by weighted moments, with scales and shifts."""

    @staticmethod
    def forward(ctx: Any, values, share, weight, bias, epsilon):
        # Products this way round take a tenth of the time.
        mean = torch.bmm(share[:, None], values.mT).mT
        centred = values - mean
        variance = torch.bmm(share[:, None], centred.square().mT).mT
        scale = (variance + epsilon).rsqrt()
        ctx.save_for_backward(centred, scale, share, weight)
        ctx.mark_non_differentiable(mean, variance)
        if weight is None:
            return centred * scale, mean, variance
        factor = scale * weight[..., None]
        return torch.addcmul(bias[..., None], centred, factor), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients):
        centred, scale, share, weight = ctx.saved_tensors
        gradient = gradients[0]
        of_bias = gradient.sum(-1, keepdim=True)
        of_weight = torch.linalg.vecdot(gradient, centred)[..., None] * scale
        own = torch.addcmul(of_bias, centred, of_weight * scale)
        own *= share[:, None]
        torch.sub(gradient, own, out=own)
        own *= scale if weight is None else scale * weight[..., None]
        if weight is None:
            return own, None, None, None, None
        return own, None, of_weight[..., 0], of_bias[..., 0], None


def batch_normalised(
    values: torch.Tensor,
    share: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise each feature by its weighted moments.

    Parameters
    ----------
    values : Tensor of shape (K, c, l)
        What is normalised along the last axis.

    share : Tensor of shape (K, l)
        Weights, which sum to 1.

    weight, bias : Tensor of shape (K, c) or None
        Scales and shifts; both or none.

    epsilon : float
        Added to the variance.

    Returns
    -------
    normalised : Tensor of shape (K, c, l)
        Differentiable by values, scales and shifts.

    mean, variance : Tensor of shape (K, c)
        The moments; not differentiable.
    """
    found, mean, variance = _BatchNorm.apply(values, share, weight, bias, epsilon)
    return found, mean[..., 0], variance[..., 0]


class _LayerNorm(Function):
    """Layer normalisation of rows (K, c, b), with scales."""

    @staticmethod
    def forward(ctx: Any, values, weight, epsilon):
        normalised = values - values.mean(1, keepdim=True)
        scale = (normalised.square().mean(1, keepdim=True) + epsilon).rsqrt()
        normalised *= scale
        ctx.save_for_backward(normalised, scale, weight)
        return normalised * weight[..., None]

    @staticmethod
    def backward(ctx: Any, *gradients):
        normalised, scale, weight = ctx.saved_tensors
        of_weight = torch.linalg.vecdot(gradients[0], normalised)
        gradient = gradients[0] * weight[..., None]
        along = (gradient * normalised).mean(1, keepdim=True)
        gradient -= gradient.mean(1, keepdim=True)
        gradient.addcmul_(normalised, along, value=-1)
        return gradient.mul_(scale), of_weight, None


def layer_normalised(values: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Normalise each row.

    Parameters
    ----------
    values : Tensor of shape (K, c, b)
        What is normalised along the features.

    weight : Tensor of shape (K, c)
        Scales.

    epsilon : float
        Added to the variance.

    Returns
    -------
    normalised : Tensor of shape (K, c, b)
        Differentiable by values and scales.
    """
    return _LayerNorm.apply(values, weight, epsilon)
