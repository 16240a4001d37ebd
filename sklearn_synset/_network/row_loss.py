"""The loss of a single row under a net's own criterion, for many networks at once."""

import copy
from dataclasses import dataclass, replace

import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch.func import vmap

_LABELS = (torch.nn.CrossEntropyLoss, torch.nn.NLLLoss)
_RELATIVE_ERROR = 1e-3
_PLAIN_CRITERIA = (
    "torch.nn.CrossEntropyLoss, torch.nn.NLLLoss, torch.nn.BCEWithLogitsLoss and "
    "torch.nn.MSELoss, with reduction='mean' and neither class weights nor label smoothing"
)


@dataclass(frozen=True, eq=False)
class RowLoss:
    r"""Loss of each row, and the row's share in the mean that the criterion takes.

    Parameters
    ----------
    kind : {"logits", "probabilities", "log_probabilities", "elements"}
        What the criterion compares a target with: logits of classes, their probabilities, the
        logarithms of these, or numbers that are compared one by one.
    criterion : Module
        The criterion, with `reduction="none"`; only "elements" calls it.
    class_weight : Tensor of shape (C,) or None
        Weights of the classes, in the order of the module's outputs.
    label_smoothing : float
        Share of the target that is spread evenly over the classes.
    is_sum : bool
        Whether the criterion adds the rows up instead of taking their mean.
    positive_column : int or None
        For two classes and a single output: the target column that this output is compared with.
    is_soft : bool
        Whether training targets are probabilities. torch then divides by the number of rows, and
        by their total class weight otherwise.

    ignored : int or None
        Output whose label has neither loss nor share (`ignore_index`).
    """

    kind: str
    criterion: torch.nn.Module
    class_weight: torch.Tensor | None = None
    label_smoothing: float = 0.0
    is_sum: bool = False
    positive_column: int | None = None
    is_soft: bool = False
    ignored: int | None = None

    def __call__(
        self, outputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss and share of each row.

        Parameters
        ----------
        outputs : Tensor of shape (K, b, c)
            What the module returned for b rows, by K networks.
        targets : Tensor of shape (b, C) or (K, b, C)
            Class probabilities in the order of the outputs, or values.

        Returns
        -------
        loss : Tensor of shape (K, b)
            Loss of each row.
        share : Tensor of shape (b,) or (K, b)
            What the sum of the losses is divided by is the sum of these.
        """
        if self.kind == "elements":
            if self.positive_column is not None:
                targets = targets[..., self.positive_column, None]
            loss = self.criterion(outputs, targets.expand_as(outputs))
            loss = loss.flatten(2)
            return loss.sum(2) if self.is_sum else loss.mean(2), torch.ones_like(targets[..., 0])
        if self.kind == "logits":
            # Rows last: torch is slow along a last dimension that is short.
            log_probability = outputs.mT.log_softmax(-2).mT
        elif self.kind == "probabilities":
            # The same epsilon as in skorch's loss.
            log_probability = (outputs + torch.finfo(outputs.dtype).eps).log()
        else:
            log_probability = outputs
        if self.ignored is not None:
            targets = targets.clone()
            targets[..., self.ignored] = 0
        share = targets.sum(-1)
        smoothed = targets
        if self.label_smoothing:
            even = share[..., None] / targets.shape[-1]
            smoothed = torch.lerp(targets, even.expand_as(targets), self.label_smoothing)
        if self.class_weight is not None:
            weight = self.class_weight.to(targets)
            smoothed = smoothed * weight
            if not self.is_soft:
                share = targets @ weight
        return -(smoothed * log_probability).sum(-1), share

    def targets_of(self, y: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        """Return targets as a call takes them.

        Parameters
        ----------
        y : Tensor of shape (b,) or (b, C)
            Targets as the criterion takes them.
        outputs : Tensor of shape (b, c)
            What the module returned.

        Returns
        -------
        targets : Tensor of shape (b, C)
            All 0 for an ignored label, which then has no share.
        """
        if self.positive_column is not None:
            positive = y.to(outputs).reshape(len(y))
            return torch.stack([1 - positive, positive], dim=1)
        if self.kind == "elements" or y.is_floating_point():
            return y.to(outputs).reshape(len(y), -1)
        is_kept = y != getattr(self.criterion, "ignore_index", -1)
        codes = torch.where(is_kept, y, 0)
        one_hot = torch.nn.functional.one_hot(codes, outputs.shape[-1]).to(outputs)
        return one_hot * is_kept[:, None]

    def mean(self, outputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor):
        """Return what each network minimises on a minibatch.

        Parameters
        ----------
        outputs : Tensor of shape (K, b, c)
            As of `__call__`.
        targets : Tensor of shape (b, C)
            As of `__call__`.
        weight : Tensor of shape (K, b)
            Weight of each row for each network; 0 for a row that was left out.

        Returns
        -------
        loss : Tensor of shape (K,)
            The criterion of the rows that remain; 0 where none does.
        """
        loss, share = self(outputs, targets)
        total = (weight * loss).sum(1)
        if self.is_sum:
            return total
        return total / (weight * share).sum(1).clamp(min=torch.finfo(loss.dtype).tiny)


def row_loss_of(net: NeuralNet, *, link: str, n_outputs: int, is_soft: bool = False) -> RowLoss:
    """Read the loss of single rows off a net's criterion.

    Parameters
    ----------
    net : NeuralNet
        Initialised.
    link : str
        As of :class:`FunctionalModel`.
    n_outputs : int
        Classes, or targets.
    is_soft : bool, default=False
        Whether labels are given as probabilities.

    Returns
    -------
    row_loss : RowLoss
        Takes targets in the order of the module's outputs.

    Raises
    ------
    ValueError
        If the criterion does not give one loss a row.
    """
    criterion = net.criterion_
    reduction = getattr(criterion, "reduction", None)
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"the criterion {criterion!r} does not say that it takes the mean or the sum of one "
            "loss a row (attribute reduction='mean' or 'sum')"
        )
    single = copy.deepcopy(criterion)
    single.reduction = "none"
    weight = getattr(criterion, "weight", None)
    common = RowLoss("elements", single, is_sum=reduction == "sum")
    if isinstance(criterion, _LABELS):
        is_probability = isinstance(criterion, torch.nn.NLLLoss)
        is_a_class = 0 <= criterion.ignore_index < n_outputs
        if not is_probability:
            kind = "logits"
        elif isinstance(net, NeuralNetClassifier):
            kind = "probabilities"
        else:
            kind = "log_probabilities"
        return replace(
            common,
            kind=kind,
            class_weight=None if weight is None else weight.detach().cpu(),
            label_smoothing=float(getattr(criterion, "label_smoothing", 0.0)),
            is_soft=is_soft and not is_probability,
            ignored=criterion.ignore_index if is_a_class and not is_soft else None,
        )
    if link in ("single_logit", "sigmoid"):
        return replace(common, positive_column=1)
    _check_elements(criterion, single, n_outputs)
    return common


def _check_elements(criterion: torch.nn.Module, single: torch.nn.Module, n_outputs: int) -> None:
    """Raise unless a criterion is the mean (or sum) of one loss for each number."""
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand((2, 5, n_outputs), generator=generator)
    try:
        together = criterion(outputs, targets)
        each = vmap(single)(torch.stack([outputs, outputs]), torch.stack([targets, targets]))
    except Exception as error:
        raise ValueError(
            f"the criterion {criterion!r} does not compare values with values ({error})"
        ) from error
    if each.shape[:2] != (2, 5):
        raise ValueError(f"the criterion {criterion!r} does not give one loss a row")
    joined = each[0].mean() if criterion.reduction == "mean" else each[0].sum()
    if not torch.isclose(joined, together, rtol=_RELATIVE_ERROR):
        raise ValueError(f"the criterion {criterion!r} is not the mean of one loss a row")


def why_not_rewound(net: NeuralNet) -> str | None:
    """Return why a net's criterion cannot be imitated by descent; None if it can.

    Returns
    -------
    reason : str or None
        For criteria other than the mean of cross-entropy or of the squared error, and for weight
        decays that differ.
    """
    criterion = net.criterion_
    kinds = (
        torch.nn.CrossEntropyLoss,
        torch.nn.NLLLoss,
        torch.nn.BCEWithLogitsLoss,
        torch.nn.MSELoss,
    )
    is_plain = (
        getattr(criterion, "weight", None) is None
        and getattr(criterion, "pos_weight", None) is None
        and getattr(criterion, "label_smoothing", 0.0) == 0.0
        and getattr(criterion, "reduction", "mean") == "mean"
        and getattr(criterion, "ignore_index", -1) < 0
    )
    decays = {group.get("weight_decay", 0.0) for group in net.optimizer_.param_groups}
    if len(decays) > 1:
        return f"parameter groups have different weight decays ({sorted(decays)})"
    if type(criterion) in kinds and is_plain:
        return None
    weights = {
        name: value.tolist()
        for name in ("weight", "pos_weight")
        if isinstance(value := getattr(criterion, name, None), torch.Tensor)
    }
    smoothing = getattr(criterion, "label_smoothing", 0.0)
    details = weights | ({"label_smoothing": smoothing} if smoothing else {})
    ignored = getattr(criterion, "ignore_index", -1)
    details |= {"ignore_index": ignored} if ignored >= 0 else {}
    return (
        f"the criterion is {type(criterion).__name__}"
        + (f" with {details}" if details else "")
        + f"; known are {_PLAIN_CRITERIA}"
    )
