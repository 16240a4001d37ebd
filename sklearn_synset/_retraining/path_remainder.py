"""What a synset's gradients lack of the training rows', to first order around a path."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, eq=False)
class PathRemainder:
    r"""The difference of the rows' and the synset's gradients, group by group.

    Parameters
    ----------
    steps : Tensor of shape (T,)
        Steps of the path with all groups at which it was measured, rising from 0.
    gradient : Tensor of shape (T, K, D)
        :math:`\rho_k = g_k - g_{S_k}` at the weights that the gradient of this step is taken at.
    directions : Tensor of shape (r, D)
        Orthonormal directions Q, in which curvature was measured.
    curvature : Tensor of shape (T, r, r)
        :math:`Q (H - H_S) Q^\top` of all groups together, made positive semi-definite.
    own_vectors : Tensor of shape (T, K, q, r)
        Leading eigenvectors of each group's part :math:`Q (H_k - H_{S_k}) Q^\top`.
    own_curvature : Tensor of shape (T, K, q)
        Their eigenvalues, of either sign.

    Notes
    -----
    A group that is left out of the synset takes the synset's gradient and curvature along, not
    that of its rows, and the groups that remain bend the loss as their synset rows do. Near the
    weights :math:`\bar\theta` on the path with all groups, the rows' gradients are

    .. math:: g_k(\theta) \approx g_{S_k}(\theta) + \rho_k
        + (H_k - H_{S_k}) (\theta - \bar\theta),

    which is right to first order there, while what is farther away is the synset's. It is the
    exact gradient where the loss is quadratic in the weights.
    """

    steps: torch.Tensor
    gradient: torch.Tensor
    directions: torch.Tensor
    curvature: torch.Tensor
    own_vectors: torch.Tensor
    own_curvature: torch.Tensor

    @property
    def largest_curvature(self) -> float:
        """Largest eigenvalue of the curvature of all groups at any of the steps."""
        return float(torch.linalg.eigvalsh(self.curvature).max())

    def slower(self, factor: float) -> "PathRemainder":
        """Return the same along a path that takes `factor` times as many steps."""
        return replace(self, steps=(self.steps * factor).round().to(self.steps))

    def regrouped(self, shares: torch.Tensor) -> "PathRemainder":
        """Return the remainder of other groups, each made of shares of these.

        Parameters
        ----------
        shares : Tensor of shape (G, K)
            How much of each old group is in each new one.
        """
        n_steps, _, _, rank = self.own_vectors.shape
        vectors = self.own_vectors.reshape(n_steps, 1, -1, rank)
        own = torch.einsum("gk,tkq->tgkq", shares, self.own_curvature)
        return replace(
            self,
            gradient=torch.einsum("gk,tkd->tgd", shares, self.gradient),
            own_vectors=vectors.expand(-1, len(shares), -1, -1),
            own_curvature=own.flatten(2),
        )

    def of_networks(self, kept: torch.Tensor, group_size: torch.Tensor) -> "NetworksRemainder":
        """Return what it adds to the gradients of networks that keep some groups each.

        Parameters
        ----------
        kept : Tensor of shape (R, K)
            1 for the groups that a network keeps.
        group_size : Tensor of shape (K,)
            Training rows in each group.

        Returns
        -------
        remainder : NetworksRemainder
            Nothing for a network that keeps all groups.
        """
        scale = group_size.sum() / (kept * group_size).sum(1, keepdim=True)
        return NetworksRemainder(self, 1 - kept, scale)


@dataclass(frozen=True, eq=False)
class NetworksRemainder:
    """A remainder as it adds to the gradients of several networks.

    Parameters
    ----------
    of_groups : PathRemainder
        The remainder of each group.
    removed : Tensor of shape (R, K)
        1 for the groups that a network is trained without.
    scale : Tensor of shape (R, 1)
        All training rows over those that are kept.
    """

    of_groups: PathRemainder
    removed: torch.Tensor
    scale: torch.Tensor

    def at(self, step: int, deviation: torch.Tensor) -> torch.Tensor:
        r"""Return what to add to the gradients of the mean loss at a step.

        Parameters
        ----------
        step : int
            Step of the path, from 0.
        deviation : Tensor of shape (R, D)
            How far the networks are from the one with all groups.

        Returns
        -------
        gradients : Tensor of shape (R, D)
            :math:`\sum_j (s\, 1_{j \in R} - 1) \rho_j
            + s \sum_{j \in R} (H_j - H_{S_j}) (\theta_R - \bar\theta)` with the scale s,
            interpolated between the steps at which it was measured.
        """
        whole = self.of_groups
        reduced = deviation @ whole.directions.T
        weight = self.scale * (1 - self.removed) - 1
        before = max(int(torch.searchsorted(whole.steps, step, right=True)) - 1, 0)
        after = min(before + 1, len(whole.steps) - 1)
        first, last = int(whole.steps[before]), int(whole.steps[after])
        part = (step - first) / (last - first) if last > first else 0.0
        gradient = torch.lerp(whole.gradient[before], whole.gradient[after], part)
        pull = torch.lerp(self._pull(before, reduced), self._pull(after, reduced), part)
        return weight @ gradient + pull @ whole.directions

    def _pull(self, index: int, reduced: torch.Tensor) -> torch.Tensor:
        """Multiply deviations (R, r) by the networks' curvature at one of the steps."""
        whole = self.of_groups
        vectors = whole.own_vectors[index].flatten(0, 1)
        own = (self.removed[:, :, None] * whole.own_curvature[index]).flatten(1)
        taken = ((reduced @ vectors.T) * own) @ vectors
        return self.scale * (reduced @ whole.curvature[index] - taken)
