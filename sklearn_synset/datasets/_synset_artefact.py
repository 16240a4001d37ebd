"""The synset as a thing of its own: to a table or a file, and back, for another network."""

import os
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_synset._synset_attributor import SynsetAttributor

_CLASS, _VALUE = "class_", "value_"
_ARRAYS = ("data", "target", "sample_weight", "groups", "feature_names")


def synset_frame(attributor: "SynsetAttributor") -> "pd.DataFrame":
    """Return the synset of a fitted attributor as a table.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    Returns
    -------
    frame : DataFrame of shape (n_synset, n_features + n_outputs + 2)
        A column for each feature, flattened ones named "x0", "x1", …; for each class the
        probability, `"class_"` and the label, or for each target the value, `"value_"` and a
        number; "group"; and "weight", the training rows that the row represents.

    Raises
    ------
    ValueError
        If a feature has the name of one of the other columns.

    See Also
    --------
    load_synset : Makes arrays of it again.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_synset import SynsetAttributor
    >>> from sklearn_synset.datasets import load_synset, synset_frame
    >>> X, y = load_iris(return_X_y=True)
    >>> attributor = SynsetAttributor(
    ...     n_groups=3, synset_size=2, max_iter=0, n_probes=0, random_state=0).fit(X, y)
    >>> list(synset_frame(attributor).columns[4:])
    ['class_0', 'class_1', 'class_2', 'group', 'weight']
    >>> float(load_synset(synset_frame(attributor)).sample_weight.sum())
    150.0
    """
    import pandas as pd

    arrays = _arrays(attributor)
    prefix, names = _VALUE, range(arrays["target"].shape[1])
    if attributor.classes_ is not None:
        prefix, names = _CLASS, attributor.classes_.tolist()
    columns = [f"{prefix}{name}" for name in names]
    clashes = [name for name in arrays["feature_names"].tolist() if _is_own_column(name)]
    if clashes:
        raise ValueError(f"Features have the names of columns of the synset: {clashes}.")
    rows = arrays["data"].reshape(len(arrays["data"]), -1)
    frame = pd.DataFrame(rows, columns=arrays["feature_names"])
    targets = pd.DataFrame(arrays["target"], columns=columns)
    rest = pd.DataFrame({"group": arrays["groups"], "weight": arrays["sample_weight"]})
    return pd.concat([frame, targets, rest], axis=1)


def save_synset(attributor: "SynsetAttributor", path: str | os.PathLike) -> None:
    """Write the synset of a fitted attributor to an NPZ file.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.
    path : str or path-like
        Where to; numpy adds ".npz" to a name that has no such ending.

    See Also
    --------
    load_synset : Reads it; nothing in it is executed.
    SynsetAttributor.save : Writes the whole attributor.
    """
    arrays = _arrays(attributor)
    if attributor.classes_ is not None:
        arrays["target_names"] = _plain(attributor.classes_)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_synset(source: "pd.DataFrame | str | os.PathLike") -> Bunch:
    """Read a synset, to train a network of any architecture on it.

    Parameters
    ----------
    source : DataFrame, str or path-like
        What `synset_frame` returned, whole or some of its rows; or a file of `save_synset`.

    Returns
    -------
    synset : Bunch
        `data` (s, n_features...), which a table has flattened; `target` (s, n_outputs), class
        probabilities or values; `sample_weight` (s,), the training rows that each represents;
        `groups` (s,); `feature_names` (n_features,), flattened; `target_names` (n_outputs,), the
        labels, as text from a table, or None for values. The training loss that it represents is
        the mean of the rows' losses, weighted by `sample_weight`.

    Raises
    ------
    ValueError
        If a part is missing, not finite, or of another length.
    """
    if isinstance(source, (str, os.PathLike)):
        with np.load(source, allow_pickle=False) as stored:
            missing = [name for name in _ARRAYS if name not in stored]
            if missing:
                raise ValueError(f"{source} holds no synset: {missing} are missing.")
            parts = {name: stored[name] for name in _ARRAYS}
            parts["target_names"] = stored["target_names"] if "target_names" in stored else None
    else:
        parts = _parts_of_frame(source)
    _check(parts)
    return Bunch(**parts)


def _arrays(attributor: "SynsetAttributor") -> dict[str, np.ndarray]:
    """Return the arrays of a synset by their names."""
    check_is_fitted(attributor)
    data = attributor.X_synset_
    n_features = data[0].size
    names = getattr(attributor, "feature_names_in_", [f"x{i}" for i in range(n_features)])
    return {
        "data": data,
        "target": attributor.y_synset_,
        "sample_weight": attributor.sample_weight_synset_,
        "groups": _plain(attributor.synset_groups_),
        "feature_names": np.asarray([str(name) for name in names]),
    }


def _plain(labels: np.ndarray) -> np.ndarray:
    """Return labels that can be stored without code: objects as the text or numbers they are."""
    labels = np.asarray(labels)
    return np.asarray(labels.tolist()) if labels.dtype == object else labels


def _is_own_column(name: str) -> bool:
    return name in ("group", "weight") or name.startswith((_CLASS, _VALUE))


def _parts_of_frame(frame: "pd.DataFrame") -> dict[str, np.ndarray | None]:
    """Return the parts of a synset out of the columns of a table."""
    missing = [name for name in ("group", "weight") if name not in frame]
    if missing:
        raise ValueError(f"The table holds no synset: the columns {missing} are missing.")
    names = [str(name) for name in frame.columns]
    is_class = np.array([name.startswith(_CLASS) for name in names])
    is_value = np.array([name.startswith(_VALUE) for name in names])
    is_feature = np.array([not _is_own_column(name) for name in names])
    if is_class.any() == is_value.any():
        raise ValueError(
            f"The table needs columns that start with {_CLASS!r}, or such with {_VALUE!r}."
        )
    labels = [name.removeprefix(_CLASS) for name in names if name.startswith(_CLASS)]
    return {
        "data": frame.loc[:, is_feature].to_numpy(),
        "target": frame.loc[:, is_class | is_value].to_numpy(),
        "sample_weight": frame["weight"].to_numpy(),
        "groups": frame["group"].to_numpy(),
        "feature_names": np.array(names)[is_feature],
        "target_names": np.array(labels) if labels else None,
    }


def _check(parts: dict[str, np.ndarray | None]) -> None:
    """Raise unless the parts fit each other and are finite."""
    n_rows = {name: len(part) for name in _ARRAYS[:4] if (part := parts[name]) is not None}
    if len(set(n_rows.values())) > 1:
        raise ValueError(f"The parts of the synset have different lengths: {n_rows}.")
    for name in _ARRAYS[:3]:
        part = np.asarray(parts[name])
        if part.dtype.kind not in "fiu" or not np.isfinite(part).all():
            raise ValueError(f"{name} of the synset holds something that is no finite number.")
    if (np.asarray(parts["sample_weight"]) <= 0).any():
        raise ValueError("sample_weight of the synset has to be positive.")
