"""From changes of outputs to a change of the weights that makes them."""

import torch
from torch.func import jacrev, vmap

from sklearn_synset._network.functional_model import FunctionalModel

_RIDGE = 0.05  # of the mean diagonal of J J^T
_N_ROUNDS = 2
_MOST_OUTPUTS, _MOST_ROWS, _FEWEST_ROWS = 1500, 400, 20
_MOST_MULTIPLICATIONS = 1e10  # of J J^T
_MOST_NUMBERS = 2**26
_OUTPUTS_AT_ONCE = 2**22


def n_lifted_rows(model: FunctionalModel) -> int:
    """Return on how many rows a network's outputs are to be matched."""
    by_memory = _MOST_NUMBERS // model.n_parameters
    by_time = int((_MOST_MULTIPLICATIONS / model.n_parameters) ** 0.5)
    most = min(_MOST_ROWS, min(_MOST_OUTPUTS, by_memory, by_time) // model.n_outputs)
    return max(_FEWEST_ROWS, most)


def lifted(
    model: FunctionalModel, X: torch.Tensor, change: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    r"""Find displacements of the weights that change a network's outputs as they should.

    Parameters
    ----------
    model : FunctionalModel
        The explained network, with outputs :math:`f_\theta`.

    X : Tensor of shape (m, d...)
        Rows on which outputs are matched.

    change : Tensor of shape (R, m, C)
        Wanted changes :math:`\Delta f` of the outputs; of logits, up to a shift of each row.

    start : Tensor of shape (R, D)
        Displacements to start from.

    Returns
    -------
    displacement : Tensor of shape (R, D)
        :math:`\delta`, after two rounds of :math:`\delta \leftarrow \delta + J^T (J J^T + \mu)^{-1}
        (\Delta f - f_{\theta + \delta} + f_\theta)`, where J is the Jacobian of the outputs at the
        explained network, and :math:`\mu` is 0.05 of the mean diagonal of :math:`J J^T`.
    """
    n_rows = n_lifted_rows(model)
    X, change = X[:n_rows], change[:, :n_rows]

    def outputs(theta: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return centred(model, model(theta, rows))

    def of_row(row: torch.Tensor) -> torch.Tensor:
        return jacrev(lambda theta: outputs(theta, row[None])[0])(model.theta)

    with torch.no_grad():
        jacobian = vmap(of_row, chunk_size=_rows_at_once(model))(X).flatten(0, 1)
        gram = jacobian @ jacobian.T
        ridge = _RIDGE * gram.diagonal().mean().clamp(min=torch.finfo(gram.dtype).tiny)
        factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram)).to(gram))
        before, displacement = outputs(model.theta, X), start.clone()
        for _ in range(_N_ROUNDS):
            now = torch.stack([outputs(model.theta + each, X) for each in displacement])
            missing = (centred(model, change) - now + before).flatten(1)
            displacement += torch.cholesky_solve(missing.T, factor).T @ jacobian
    return displacement


def centred(model: FunctionalModel, outputs: torch.Tensor) -> torch.Tensor:
    """Take the mean off logits (..., C), which mean the same with any shift; leave values."""
    if model.loss != "cross_entropy":
        return outputs
    return outputs - outputs.mean(-1, keepdim=True)


def _rows_at_once(model: FunctionalModel) -> int:
    return max(1, _OUTPUTS_AT_ONCE // (model.n_outputs * model.n_parameters))
