"""A net's own optimizer and schedules on a stack of networks."""

import torch

from sklearn_synset._network.recipe import Recipe


class StackedOptimizer:
    """One optimizer for all networks, or one for each where it does not act entry by entry.

    Parameters
    ----------
    recipe : Recipe
        Makes optimizers, and names the schedules and the clipping of gradients.

    parameters : dict of str to Tensor
        Weights (K, ...) that require gradients; changed in place.
    """

    def __init__(self, recipe: Recipe, parameters: dict[str, torch.Tensor]) -> None:
        self.recipe, self.parameters = recipe, parameters
        n_networks = len(next(iter(parameters.values())))
        self._views: list[dict[str, torch.Tensor]] = []
        if recipe.needs_own_optimizers:
            # Each optimizer has a view of its network's weights, and steps them where they are.
            self._views = [
                {name: value.detach()[k].requires_grad_() for name, value in parameters.items()}
                for k in range(n_networks)
            ]
        self.optimizers = [recipe.optimizer(own.items()) for own in self._views or [parameters]]
        self.schedulers = [
            [each.policy(optimizer, **each.params) for each in recipe.schedules]
            for optimizer in self.optimizers
        ]

    def step(self) -> None:
        """Take a step along the gradients of the weights, and those schedules that go by steps."""
        if self.recipe.clipping is not None:
            _clip(self.parameters, *self.recipe.clipping)
        for k, own in enumerate(self._views):
            for name, value in own.items():
                gradient = self.parameters[name].grad
                value.grad = None if gradient is None else gradient[k]
        for optimizer in self.optimizers:
            optimizer.step()
        self._step_schedules(is_by_batch=True, watched=None)

    def end_epoch(self, watched: dict[str, torch.Tensor]) -> None:
        """Step the schedules that go by epochs.

        Parameters
        ----------
        watched : dict of str to Tensor of shape (K,)
            What a `ReduceLROnPlateau` may look at.
        """
        self._step_schedules(is_by_batch=False, watched=watched)

    def _step_schedules(
        self, *, is_by_batch: bool, watched: dict[str, torch.Tensor] | None
    ) -> None:
        for k, schedulers in enumerate(self.schedulers):
            for schedule, scheduler in zip(self.recipe.schedules, schedulers, strict=True):
                if schedule.is_by_batch != is_by_batch:
                    continue
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    if watched is not None:
                        scheduler.step(float(watched[schedule.monitor][k]))
                else:
                    scheduler.step()

    def take(self, kept: torch.Tensor, parameters: dict[str, torch.Tensor]) -> None:
        """Go on with some of the networks only.

        Parameters
        ----------
        kept : Tensor of shape (K,), dtype bool
            Which.

        parameters : dict of str to Tensor
            Their weights, in the place of those of all.
        """
        (optimizer,) = self.optimizers
        for name, old in self.parameters.items():
            state = optimizer.state.pop(old, {})
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == old.shape:
                    state[key] = value[kept].clone()
            new = parameters[name]
            optimizer.state[new] = state
            for group in optimizer.param_groups:
                group["params"] = [new if each is old else each for each in group["params"]]
        self.parameters = parameters

    @property
    def can_take(self) -> bool:
        """Whether some of the networks can go on without the others."""
        return not self._views


def _clip(parameters: dict[str, torch.Tensor], largest: float, order: float) -> None:
    """Shorten each network's gradient to a norm."""
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    norms = torch.stack(
        [torch.linalg.vector_norm(g.reshape(len(g), -1), order, dim=1) for g in gradients]
    )
    norm = torch.linalg.vector_norm(norms, order, dim=0)
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *(1,) * (gradient.ndim - 1)))
