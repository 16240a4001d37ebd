"""A trained network as a function of its weights, checked to be one."""

import copy
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.func import functional_call

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._network.checks import check_output, first_of, probe, trainable_parameters
from sklearn_synset._network.depth import depth_of, shrinking
from sklearn_synset._network.last_layer import check_several_logits, read_last_layer
from sklearn_synset._network.plain.plain_layers import with_plain_layers
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._network.transform_checks import check_transforms
from sklearn_synset._runtime.torch_interop import as_tensor, plain_attention, resolve_device

_NEVER = 1e-12  # a probability, of classes without rows
_N_ROWS = 256  # that a network's depth is measured on
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class FunctionalModel:
    r"""A trained network as a function of its trainable weights and its input.

    Parameters
    ----------
    module : Module
        A copy of its own, in evaluation mode; no parameter requires a gradient.
    theta : Tensor of shape (D,)
        The trained weights: every parameter that was trainable, flattened, tied ones once.
    names : tuple of str
        Name of every trainable parameter, in the order of `theta`.
    shapes : tuple of tuple of int
        Shape of every trainable parameter.
    loss : {"cross_entropy", "binary_cross_entropy", "squared_error"}
        Loss :math:`\ell` of a row: cross-entropy of the logits, the sum over several labels of
        theirs, or :math:`\frac{1}{2}` `loss_scale` :math:`\lVert f(x) - y \rVert^2`.
    loss_scale : float
        1 for cross-entropy. 1 / C for several labels, which is :class:`torch.nn.BCEWithLogitsLoss`,
        and 2 / C for squared error, which is :class:`torch.nn.MSELoss`.
    weight_decay : float
        :math:`\lambda` in the training objective :math:`\frac{1}{n} \sum_i \ell_i(\theta) +
        \frac{\lambda}{2} \lVert \theta \rVert^2`.
    n_outputs : int
        C, the number of logits or predictions of a row.
    link : {"identity", "single_logit", "probability", "softmax", "sigmoid"}, default="identity"
        What makes the logits: the module's output as it is; (0, z) of its single logit z; the
        logarithm of its probabilities, as skorch's loss takes it or exactly; (0, z) of its single
        probability of the second class.
    output_order : tuple of int, default=None
        Column of the module for each class; None if they are in order.
    input_shape : tuple of int, default=None
        Shape that flat rows are given for the module.
    is_attention_plain : bool, default=False
        Whether attention is computed without fused kernels, which lack second derivatives.
    live_norms : tuple of str, default=()
        Names of normalisations that use statistics of the rows that they are given.
    recipe : Recipe or str, default=None
        How the network was trained; the reason why its training cannot be repeated; or None if
        nothing is known of it.
    threshold : float, default=0.5
        Probability of the second of two classes above which it is predicted.
    activation : str, default=None
        Name of a last layer that is left out of `module`, as its input is what is explained.

    depth : float, default=1.0
        Power of the weights that the outputs grow with, see `depth_of`.

    Notes
    -----
    Threads take turns: while the module runs on other weights, these are inside it.
    """

    module: torch.nn.Module
    theta: torch.Tensor
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    loss: str
    loss_scale: float
    weight_decay: float
    n_outputs: int
    link: str = "identity"
    output_order: tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    is_attention_plain: bool = False
    live_norms: tuple[str, ...] = ()
    recipe: Recipe | str | None = None
    threshold: float = 0.5
    activation: str | None = None
    depth: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "_turn", threading.RLock())
        if self.activation is not None:
            parent, _, name = self.activation.rpartition(".")
            setattr(self.module.get_submodule(parent), name, torch.nn.Identity())

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_turn"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self.__post_init__()

    def __call__(
        self, theta: torch.Tensor, X: torch.Tensor, row_weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        r"""Evaluate the network; differentiable, and fit for `vmap` over either argument.

        Parameters
        ----------
        theta : Tensor of shape (D,)
            Weights.
        X : Tensor of shape (n, d) or (n, \*input_shape)
            Rows.
        row_weight : Tensor of shape (n,), default=None
            How much each row counts in statistics of `live_norms`; 1 if None.

        Returns
        -------
        outputs : Tensor of shape (n, C)
            Logits in the order of the classes, or predictions.
        """
        output = linked(self.module_outputs(theta, X, row_weight), self.link)
        return output if self.output_order is None else output[:, list(self.output_order)]

    def module_outputs(
        self, theta: torch.Tensor, X: torch.Tensor, row_weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what the module itself returns, (n, c); parameters as of a call."""
        is_flat = self.input_shape is not None and X.ndim == 2
        rows = X.reshape(len(X), *self.input_shape) if is_flat else X  # type: ignore[misc]
        attention = plain_attention() if self.is_attention_plain else nullcontext()
        state = self.unflatten(theta)
        if row_weight is not None:
            state |= {f"{name}.row_weight": row_weight for name in self.live_norms}
        with self._turn, attention:  # type: ignore[attr-defined]
            output = first_of(functional_call(self.module, state, (rows,)))
        return output.reshape(len(X), -1)

    def unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cut a weight vector into the module's parameters.

        Parameters
        ----------
        theta : Tensor of shape (D,)
            Weights.

        Returns
        -------
        parameters : dict of str to Tensor
            Views of `theta` by parameter name.
        """
        pieces = theta.split([math.prod(shape) for shape in self.shapes])
        named = zip(self.names, pieces, self.shapes, strict=True)
        return {name: piece.reshape(shape) for name, piece, shape in named}

    def shrunk(self, factor: float) -> torch.Tensor:
        """Return the weights (D,) times a factor, but for layers in front of a normalisation."""
        scale = shrinking(self.module, self.names, self.shapes, factor)
        return self.theta * scale.to(self.theta)

    def copied_module(self) -> torch.nn.Module:
        """Return a copy of the module, with its own weights in it."""
        with self._turn:  # type: ignore[attr-defined]
            return copy_module(self.module)

    @property
    def n_parameters(self) -> int:
        """D, the number of trainable weights."""
        return len(self.theta)

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype of weights, rows and outputs."""
        return self.theta.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.theta.device


def linked(output: torch.Tensor, link: str) -> torch.Tensor:
    """Make logits, or predictions, of a module's outputs.

    Parameters
    ----------
    output : Tensor of shape (n, c)
        What the module returned.
    link : {"identity", "single_logit", "probability", "softmax", "sigmoid"}
        As of :class:`FunctionalModel`.

    Returns
    -------
    outputs : Tensor of shape (n, C)
        Two columns for a single logit, as many as came otherwise.
    """
    if link == "single_logit":
        return torch.cat([torch.zeros_like(output), output], dim=-1)
    if link == "probability":
        # The same epsilon as in skorch's loss.
        return (output + torch.finfo(output.dtype).eps).log()
    if link == "softmax":
        return output.clamp(min=torch.finfo(output.dtype).tiny).log()
    if link == "sigmoid":
        info = torch.finfo(output.dtype)
        logit = output.clamp(info.tiny, 1 - info.eps / 2).logit()
        return torch.cat([torch.zeros_like(logit), logit], dim=-1)
    return output


def loss_scale_of(loss: str, n_outputs: int) -> float:
    """Return what makes a loss of several outputs the mean that torch takes."""
    share = {"cross_entropy": 1.0, "binary_cross_entropy": 1 / n_outputs}
    return share.get(loss, 2 / n_outputs)


def freeze(
    module: torch.nn.Module,
    X: np.ndarray,
    *,
    n_outputs: int,
    loss: str,
    link: str | None = None,
    output_order: tuple[int, ...] | None = None,
    weight_decay: float = 0.0,
    input_shape: tuple[int, ...] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> FunctionalModel:
    """Check a module on two rows and make a function of a copy of it.

    Parameters
    ----------
    module : Module
        Left as it is.
    X : ndarray of shape (n, d...)
        Training rows, of which the first and the last are tried.
    n_outputs : int
        Expected number of classes, or of targets.
    loss, link, output_order, weight_decay, input_shape
        As of :class:`FunctionalModel`. A `link` of None is read off the outputs on training rows.
    device : torch.device or str, default=None
        Where to compute; where the module is if None.
    dtype : torch.dtype, default=None
        What to compute in; the dtype of the first trainable parameter if None, and float32 in the
        place of half precision.

    Raises
    ------
    TypeError
        If the module returns something else than a tensor.
    ValueError
        If the weights are not finite, none is trainable, the module cannot take the rows, its
        output is of another width, a row's output depends on the rest of its batch, or it cannot
        be differentiated twice.
    """
    trainable = trainable_parameters(module)
    own = with_plain_layers(copy_module(module)).eval().requires_grad_(False)
    dtype = dtype or trainable[0][1].dtype
    dtype = torch.float32 if dtype in _HALF else dtype
    own.to(device=resolve_device(device, module), dtype=dtype)
    own_parameters = dict(own.named_parameters())
    theta = torch.cat([own_parameters[name].detach().flatten() for name, _ in trainable])
    output = probe(own, X, input_shape=input_shape, dtype=theta.dtype, device=theta.device)
    activation = None
    if link is None and loss == "cross_entropy" and output.isfinite().all():
        link, activation = read_last_layer(
            own,
            X,
            n_outputs=n_outputs,
            input_shape=input_shape,
            dtype=theta.dtype,
            device=theta.device,
        )
    if link is None and loss == "binary_cross_entropy":
        check_several_logits(output)
    link = link or "identity"
    check_output(output, n_outputs, loss, link)
    model = FunctionalModel(
        module=own,
        theta=theta,
        names=tuple(name for name, _ in trainable),
        shapes=tuple(tuple(parameter.shape) for _, parameter in trainable),
        loss=loss,
        loss_scale=loss_scale_of(loss, n_outputs),
        weight_decay=weight_decay,
        n_outputs=n_outputs,
        link=link,
        output_order=output_order,
        input_shape=input_shape,
        activation=activation,
    )
    model = _differentiable(
        model, as_tensor(X[[0, -1]], dtype=row_dtype(X, model.dtype), device=model.device)
    )
    spread = np.linspace(0, len(X) - 1, min(len(X), _N_ROWS)).round().astype(int)
    rows = as_tensor(X[spread], dtype=row_dtype(X, model.dtype), device=model.device)

    is_seen: slice | torch.Tensor = slice(None)
    if loss == "cross_entropy":
        with torch.no_grad():
            is_seen = model(model.theta, rows).softmax(1).mean(0) > _NEVER

    def outputs(factor: float) -> torch.Tensor:
        found = model(model.shrunk(factor), rows)[:, is_seen]
        # A shift of all logits, or a class that is never predicted, changes no probability.
        return found - found.mean(1, keepdim=True) if loss == "cross_entropy" else found

    return replace(model, depth=depth_of(outputs))


def _differentiable(model: FunctionalModel, X: torch.Tensor) -> FunctionalModel:
    """Return the model, with plain attention if it cannot be differentiated otherwise."""
    try:
        check_transforms(model, model.theta, X)
        return model
    except ValueError as error:
        plain = replace(model, is_attention_plain=True)
        try:
            check_transforms(plain, plain.theta, X)
        except ValueError:
            raise error from error.__cause__
        return plain


def copy_module(module: torch.nn.Module) -> torch.nn.Module:
    """Copy a module without its gradients, even one that keeps intermediate results.

    Returns
    -------
    copied : Module
        Of the same class, mode, device and `requires_grad`.
    """
    # deepcopy refuses tensors that hang in an autograd graph, such as a cached activation.
    attributes = [value for part in module.modules() for value in vars(part).values()]
    tensors = [value for value in attributes if isinstance(value, torch.Tensor)]
    memo: dict[int, object] = {id(t): t.detach().clone() for t in tensors if not t.is_leaf}
    return copy.deepcopy(module, memo)
