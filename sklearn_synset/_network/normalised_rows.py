"""Normalising rows by their own weighted mean and variance, with few passes over them."""

from typing import Any

import torch


def moments_of_rows(values: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return the weighted mean and variance of each channel.

    Parameters
    ----------
    values : Tensor of shape (n, c, p)
        Rows, with c channels at p positions.
    share : Tensor of shape (n,)
        Each row's share of the weight of all rows.

    Returns
    -------
    mean, variance : Tensor of shape (c,)
        :math:`m = \sum_i s_i \bar x_i` and :math:`\sum_i s_i \overline{(x_i - m)^2}`, bars for
        means over positions.
    """
    mean = share @ values.mean(2)
    return mean, share @ (values - mean[:, None]).square().mean(2)


def normalised_by_rows(
    values: torch.Tensor,
    share: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    r"""Normalise rows by the moments that they have themselves.

    Parameters
    ----------
    values, share
        As of `moments_of_rows`, with shares that sum to 1.
    weight, bias : Tensor of shape (c,)
        Scale w and shift b.
    eps : float
        Added to the variance v.

    Returns
    -------
    normalised : Tensor of shape (n, c, p)
        :math:`w (x - m) / \sqrt{v + \epsilon} + b`. It can be differentiated twice in reverse, and
        mapped over; its gradient takes fewer passes over the values than those of each operation.
    """
    return _NormalisedByRows.apply(values, share, weight, bias, eps)[0]


class _NormalisedByRows(torch.autograd.Function):
    """What is normalised, the mean, and the root of the variance.

    The last two are results so that the gradient, made of them, can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        values: torch.Tensor,
        share: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, variance = moments_of_rows(values, share)
        root = (variance + eps).sqrt()
        scale = weight / root
        shift = bias - mean * scale
        return torch.addcmul(shift[:, None], values, scale[:, None]), mean, root

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        values, share, weight, _, _ = inputs
        _, mean, root = output
        ctx.save_for_backward(values, share, weight, mean, root)

    @staticmethod
    def backward(
        ctx: Any, by_normalised: torch.Tensor, by_mean: torch.Tensor, by_root: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        values, share, weight, mean, root = ctx.saved_tensors
        standard = torch.addcmul(-(mean / root)[:, None], values, (1 / root)[:, None])
        by_bias = by_normalised.sum((0, 2))
        by_weight = (by_normalised * standard).sum((0, 2))
        scale, each = weight / root, (share / values.shape[2])[:, None]
        by_mean, by_root = by_mean - scale * by_bias, by_root - scale * by_weight
        # The root's derivatives are s (x - m) / (p root) by a value, and half the mean of
        # (x - m)^2 / root by a share.
        constant, slope = each * by_mean, each * by_root
        by_values = torch.addcmul(constant[..., None], standard, slope[..., None])
        by_values = torch.addcmul(by_values, by_normalised, scale[:, None])
        by_share = None
        if ctx.needs_input_grad[1]:
            by_share = values.mean(2) @ by_mean + standard.square().mean(2) @ (by_root * root / 2)
        return by_values, by_share, by_weight, by_bias, None
