"""Embedding bags in plain operations, which torch can differentiate twice and vectorise."""

import torch
from torch import nn
from torch.nn import functional


class PlainEmbeddingBag(nn.EmbeddingBag):
    """An embedding bag that looks up each row of its table, and adds up."""

    def forward(self, input, offsets=None, per_sample_weights=None):
        """Return the sum, mean or maximum (b, d) of each bag's embeddings."""
        values = functional.embedding(input, self.weight)
        counts = torch.ones_like(input, dtype=values.dtype)
        if self.padding_idx is not None:
            counts = (input != self.padding_idx).to(values.dtype)
        share = counts if per_sample_weights is None else counts * per_sample_weights
        if input.ndim == 2:
            if self.mode == "max":
                least = values.masked_fill((counts == 0)[..., None], -torch.inf).amax(1)
                return torch.where(least.isfinite(), least, 0)
            total, number = (share[..., None] * values).sum(1), counts.sum(1)
        else:
            if self.mode == "max":
                raise NotImplementedError("EmbeddingBag with offsets and mode='max'")
            n_bags = len(offsets) - int(self.include_last_offset)
            positions = torch.arange(len(input), device=input.device)
            bag = torch.searchsorted(offsets[:n_bags].contiguous(), positions, right=True) - 1
            is_in = functional.one_hot(bag, n_bags).to(values).T  # (b, i)
            total, number = is_in @ (share[:, None] * values), is_in @ counts
        return total / number.clamp(min=1)[:, None] if self.mode == "mean" else total
