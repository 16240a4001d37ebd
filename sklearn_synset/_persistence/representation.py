"""How an attributor shows itself: a short text, and what it knows of itself in a notebook."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils import estimator_html_repr
from skorch import NeuralNet
from torch import nn

LOW_FIDELITY, GOOD_FIDELITY = 0.35, 0.5  # rank correlations
_STYLE = "font-size: 0.9em; margin: 0.3em 0 0 0.3em; max-width: 60em;"


class Representation:
    """Mixin of a short `repr`, and of an HTML representation that tells the fidelity."""

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        if parameters["estimator"] is not None:
            parameters["estimator"] = _Text(network_name(parameters["estimator"]))
        # A class of the same name and parameters, whose text is scikit-learn's.
        kind = type(type(self).__name__, (BaseEstimator,), {"__init__": type(self).__init__})
        return BaseEstimator.__repr__(kind(**parameters), N_CHAR_MAX)

    @property
    def _repr_html_(self):
        if get_config()["display"] != "diagram":
            raise AttributeError("_repr_html_ is only there when the display is 'diagram'.")
        return self._html

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if get_config()["display"] == "diagram":
            bundle["text/html"] = self._html()
        return bundle

    def _html(self) -> str:
        """Return scikit-learn's diagram, and what was found out in `fit` below it."""
        diagram = estimator_html_repr(self)
        if not hasattr(self, "fidelity_"):
            return diagram
        lines = "<br>".join(html.escape(line) for line in fitted_summary(self))
        return f'{diagram}<div class="synset-summary" style="{_STYLE}">{lines}</div>'


class _Text(str):
    """A text that shows itself without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def network_name(network: object) -> str:
    """Return a text of one line for what is wrapped.

    Parameters
    ----------
    network : object
        Module, net or anything else.

    Returns
    -------
    name : str
        The type, without what is in it.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_synset._persistence.representation import network_name
    >>> network_name(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    'Sequential(...)'
    """
    if isinstance(network, FrozenEstimator):
        return f"FrozenEstimator({network_name(network.estimator)})"
    if isinstance(network, (nn.Module, NeuralNet)):
        return f"{type(network).__name__}(...)"
    return repr(network)


def fitted_summary(attributor: Any) -> list[str]:
    """Say in two lines what a fitted attributor holds, and how far to trust it.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    Returns
    -------
    lines : list of str
        Sizes, and fidelity.
    """
    n_rows, n_synset = len(attributor.group_labels_), len(attributor.X_synset_)
    return [
        f"Fitted: {_count(n_rows, 'training row')} in {_count(len(attributor.groups_), 'group')}, "
        f"synset of {_count(n_synset, 'row')} ({n_synset / n_rows:.0%}), "
        f"{_count(attributor.n_iter_, 'step')} of distillation.",
        _fidelity_line(attributor.fidelity_),
    ]


def _fidelity_line(fidelity: Any) -> str:
    correlation, n_probes = fidelity.rank_correlation, len(fidelity.groups)
    if not np.isfinite(correlation):
        reason = fidelity.get("reason") or "that needs at least 2 probes (n_probes)"
        return f"Fidelity: not measured; {reason}."
    if correlation < LOW_FIDELITY:
        verdict = "low: do not trust the attributions"
    elif correlation < GOOD_FIDELITY:
        verdict = "fair: trust the strongest groups only"
    else:
        verdict = "good"
    rank = f"{correlation:.2f}{_interval(fidelity.rank_correlation_interval)}"
    slope = f"{fidelity.slope:.2f}{_interval(fidelity.slope_interval)}"
    return (
        f"Fidelity: {verdict}. Rank correlation {rank}, slope {slope}, on "
        f"{_count(n_probes, 'group')} left out of the real rows; 1 is perfect."
    )


def _interval(ends: tuple[float, float]) -> str:
    return f" ({ends[0]:.2f} to {ends[1]:.2f})" if np.isfinite(ends).all() else ""


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
