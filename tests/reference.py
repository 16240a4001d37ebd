"""Slow oracles: loops, dense matrices and closed forms that the batched code must equal."""

import numpy as np
import torch
from scipy.stats import spearmanr


def group_gradients_by_loop(model, theta, X, targets, codes, weight=None):
    """Return (K, D): every row's gradient of its weighted loss, added up by group, over n."""
    n_rows = len(X) if weight is None else float(weight.sum())
    weight = torch.ones(len(X)) if weight is None else weight
    gradients = torch.zeros(int(codes.max()) + 1, len(theta), dtype=theta.dtype)
    for row in range(len(X)):
        point = theta.clone().requires_grad_()
        output = model(point, X[row : row + 1])[0]
        loss = weight[row] * loss_of_row(model, output, targets[row])
        gradients[int(codes[row])] += torch.autograd.grad(loss, point)[0] / n_rows
    return gradients


def loss_of_row(model, output, target):
    """Return the loss of a single row by torch's own functions."""
    if model.loss == "cross_entropy":
        return torch.nn.functional.cross_entropy(output[None], target[None])
    return torch.nn.functional.mse_loss(output, target)


def gradients_by_loop(model, theta, X, targets):
    """Return the gradient (n, D) of each row's loss."""
    gradients = []
    for x, target in zip(X, targets, strict=True):
        point = theta.clone().requires_grad_()
        loss = loss_of_row(model, model(point, x[None])[0], target)
        gradients.append(torch.autograd.grad(loss, point)[0])
    return torch.stack(gradients)


def nesterov_by_loop(gradient, start, n_steps, step_size, momentum=0.9):
    """Minimise by gradient descent with Nesterov momentum, one network at a time."""
    theta, velocity = start.clone(), torch.zeros_like(start)
    for _ in range(n_steps):
        velocity = momentum * velocity - step_size * gradient(theta + momentum * velocity)
        theta = theta + velocity
    return theta


def training_objective(model, X, targets, theta, weight_decay):
    """Return mean loss plus weight decay, row by row."""
    rows = [loss_of_row(model, model(theta, X[[i]])[0], targets[i]) for i in range(len(X))]
    return torch.stack(rows).mean() + 0.5 * weight_decay * theta.square().sum()


def gauss_newton_matrix(model, theta, X):
    """Return the dense Gauss-Newton matrix (D, D) of the mean loss."""
    matrix = torch.zeros(len(theta), len(theta), dtype=theta.dtype)
    for row in range(len(X)):
        x = X[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda t, x=x: model(t, x)[0], theta)
        output = model(theta, x)[0].detach()
        if model.loss == "cross_entropy":
            p = output.softmax(-1)
            hessian = torch.diag(p) - torch.outer(p, p)
        else:
            hessian = model.loss_scale * torch.eye(len(output), dtype=theta.dtype)
        matrix += jacobian.T @ hessian @ jacobian / len(X)
    return matrix


def ridge(X, y, weight_decay):
    """Return (d + 1,), the minimiser of mean (f - y)^2 + weight_decay / 2 |theta|^2, bias last."""
    rows = np.column_stack([X, np.ones(len(X))])
    curvature = 2 / len(X) * rows.T @ rows + weight_decay * np.eye(rows.shape[1])
    return np.linalg.solve(curvature, 2 / len(X) * rows.T @ y)


def ridge_leave_group_out(X, y, groups, queries, weight_decay):
    """Return (q, K): prediction with all rows minus prediction without each group."""
    queries = np.column_stack([queries, np.ones(len(queries))])
    full = queries @ ridge(X, y, weight_decay)
    return np.stack(
        [
            full - queries @ ridge(X[groups != group], y[groups != group], weight_decay)
            for group in np.unique(groups)
        ],
        axis=1,
    )


def softmax_regression(X, y, n_classes, weight_decay):
    """Return (d + 1, C), softmax regression trained to convergence by L-BFGS in float64."""
    rows = torch.as_tensor(np.column_stack([X, np.ones(len(X))]), dtype=torch.float64)
    labels = torch.as_tensor(y)
    theta = torch.zeros(rows.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(rows @ theta, labels)
        loss = loss + 0.5 * weight_decay * theta.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return theta.detach()


def linear_module(theta):
    """Return a torch.nn.Linear with weights (d + 1, C), bias last."""
    theta = torch.as_tensor(theta, dtype=torch.float64)
    theta = theta[:, None] if theta.ndim == 1 else theta
    module = torch.nn.utils.skip_init(
        torch.nn.Linear, len(theta) - 1, theta.shape[1], dtype=torch.float64
    )
    with torch.no_grad():
        module.weight.copy_(theta[:-1].T)
        module.bias.copy_(theta[-1])
    return module


def log_odds(outputs, y):
    """Return log p_y / (1 - p_y) of logits (n, C)."""
    p = torch.as_tensor(outputs).softmax(-1).numpy()[np.arange(len(y)), y]
    return np.log(p) - np.log1p(-p)


def mean_spearman(a, b):
    """Return the mean over rows of scipy's Spearman correlation."""
    return float(np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]))
