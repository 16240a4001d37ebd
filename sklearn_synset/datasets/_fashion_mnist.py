"""Fashion-MNIST from IDX files on this machine."""

import gzip
import os
import zlib
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

_PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}
_VARIABLE = "FASHION_MNIST"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTES = 8
_TARGET_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_DESCRIPTION = """\
Fashion-MNIST: 60,000 training and 10,000 test images of articles of clothing, 28 by 28 pixels in
grey, of ten classes of equal size.

Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv:1708.07747 (2017).
"""


def load_fashion_mnist(
    *,
    subset="train",
    n_rows=None,
    as_image=False,
    return_X_y=False,
    data_home=None,
    random_state=None,
):
    """Load Fashion-MNIST from IDX files; nothing is downloaded.

    Ten classes of clothing in 28 by 28 grey pixels [1]_, as hard as small image data gets while a
    small network still trains in seconds.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 60,000 training images, the 10,000 test images, or both, training images first.
    n_rows : int, default=None
        Number of rows to draw at random without replacement; all rows, in their order, if None.
    as_image : bool, default=False
        Whether rows have the shape (1, 28, 28), as convolutions want them, instead of (784,).
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.
    data_home : path-like, default=None
        Folder that holds the files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, with the ending ``.gz`` or
        without. None looks in the folder that the environment variable ``FASHION_MNIST`` names;
        without that, where Debian's package ``dataset-fashion-mnist`` puts them
        (``/usr/share/datasets/fashion-mnist``), and in ``fashion-mnist`` within scikit-learn's
        data folder (``SCIKIT_LEARN_DATA``, or ``~/scikit_learn_data``).
    random_state : int, RandomState instance or None, default=None
        Determines the rows that are drawn.

    Returns
    -------
    bunch : Bunch
        - data : float32 ndarray of shape (n_rows, 784) or (n_rows, 1, 28, 28), from 0 (empty) to 1.
        - target : int64 ndarray of shape (n_rows,), codes 0 to 9.
        - target_names : list of str, names of the codes.
        - indices : int64 ndarray of shape (n_rows,), each row's place in the whole subset.
        - DESCR : str.
    (data, target) : tuple
        If `return_X_y`.

    Raises
    ------
    FileNotFoundError
        If the files are not there.
    ValueError
        If a parameter has no proper value, or a file is not the IDX file that it should be.

    References
    ----------
    .. [1] Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
       Learning Algorithms", `arXiv:1708.07747 <https://arxiv.org/abs/1708.07747>`_ (2017).

    Examples
    --------
    >>> from sklearn_synset.datasets import load_fashion_mnist
    >>> X, y = load_fashion_mnist(
    ...     n_rows=100, return_X_y=True, random_state=0
    ... )  # doctest: +SKIP
    >>> X.shape, y.shape  # doctest: +SKIP
    ((100, 784), (100,))
    """
    if subset not in _PARTS:
        raise ValueError(f"subset must be one of {list(_PARTS)}, got {subset!r}.")
    folder = _find_folder(data_home, _PARTS[subset])
    images = [_read_idx(_file(folder, f"{part}-images-idx3-ubyte"), 3) for part in _PARTS[subset]]
    labels = [_read_idx(_file(folder, f"{part}-labels-idx1-ubyte"), 1) for part in _PARTS[subset]]
    X, y = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (images, labels))
    if len(X) != len(y):
        raise ValueError(f"{folder} holds {len(X)} images, but {len(y)} labels.")
    indices = np.arange(len(y))
    if n_rows is not None:
        check_scalar(n_rows, "n_rows", Integral, min_val=1, max_val=len(y))
        indices = check_random_state(random_state).permutation(len(y))[:n_rows]
    shape = (1, *X.shape[1:]) if as_image else (-1,)
    # Rows are drawn before they take four times the memory.
    data = (X[indices] / np.float32(255)).reshape(len(indices), *shape)
    target = y[indices].astype(np.int64)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=list(_TARGET_NAMES),
        indices=indices,
        DESCR=_DESCRIPTION,
    )


def _find_folder(data_home: str | os.PathLike | None, parts: tuple[str, ...]) -> Path:
    """Return the first folder that holds the files of all parts."""
    scikit_learn = os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
    if data_home is not None:
        places = [Path(data_home)]
    elif os.environ.get(_VARIABLE):
        places = [Path(os.environ[_VARIABLE])]
    else:
        places = [_DEBIAN, Path(scikit_learn) / "fashion-mnist"]
    names = [f"{part}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]
    for place in places:
        folder = place.expanduser()
        if all(_candidates(folder, name) for name in names):
            return folder
    raise FileNotFoundError(
        f"Fashion-MNIST ({', '.join(names)}, with .gz or without) is not in "
        f"{' or '.join(str(place) for place in places)}. Install Debian's package "
        "dataset-fashion-mnist, or name the folder of the IDX files in data_home or in the "
        f"environment variable {_VARIABLE}."
    )


def _candidates(folder: Path, name: str) -> list[Path]:
    """Return the files of this name that are there, the plain one first."""
    return [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]


def _file(folder: Path, name: str) -> Path:
    return _candidates(folder, name)[0]


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes: two zeros, type, number of axes, lengths, values."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if content[:4] != bytes([0, 0, _UNSIGNED_BYTES, ndim]) or len(content) < 4 + 4 * ndim:
        raise ValueError(f"{path} is no IDX file of unsigned bytes with {ndim} axes.")
    shape = tuple(np.frombuffer(content, ">i4", count=ndim, offset=4).tolist())
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * ndim)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} is damaged: {values.size} values for the shape {shape}.")
    return values.reshape(shape)
