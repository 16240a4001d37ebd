"""Other libraries' methods, their defaults and the settings that are tried.

"Default" leaves every argument of the library at its default, but for those without one (how many
checkpoints) and for the function that is measured, which is the task's own: the margin, or for
regression the prediction. The grids are those that a careful user would search.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """A method of another library.

    Parameters
    ----------
    library : str
        Name of the library.
    adapter : str
        `module:function` that runs it, see `_peers_run.py`.
    grid : tuple of dict
        Settings that are tried besides the defaults, as keyword arguments.
    max_weights : int or None, default=None
        The most weights of a network that the method is run on; None for no limit.
    max_rows : int or None, default=None
        The most training rows of a task on which more than the defaults are tried.
    """

    library: str
    adapter: str
    grid: tuple = field(default=())
    max_weights: int | None = None
    max_rows: int | None = None

    def settings(self, n_rows):
        """Return the defaults, then the grid, for a task with `n_rows` training rows."""
        too_slow = self.max_rows is not None and n_rows > self.max_rows
        return ({},) if too_slow else ({}, *self.grid)


PEERS = {
    "dense influence": Peer(
        "dattri",
        "_peers_dattri:dense",
        tuple({"regularization": d} for d in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
        max_weights=5000,
    ),
    "dense, low rank": Peer(
        "captum",
        "_peers_captum:dense",
        tuple(
            {"projection_dim": rank, "hessian_reg": d} for rank in (50, 200) for d in (1e-3, 1e-2)
        ),
        max_weights=3000,
    ),
    "conjugate gradient": Peer(
        "dattri",
        "_peers_dattri:conjugate_gradient",
        (
            *({"regularization": d} for d in (1e-3, 1e-2, 1e-1)),
            *({"regularization": d, "max_iter": 20} for d in (3e-3, 1e-2, 3e-2)),
        ),
        max_rows=5000,
    ),
    "Arnoldi": Peer(
        "dattri",
        "_peers_dattri:arnoldi",
        (
            *({"regularization": d} for d in (1e-3, 1e-2, 1e-1)),
            *({"regularization": d, "proj_dim": 20, "max_iter": 20} for d in (1e-3, 1e-2, 1e-1)),
        ),
        max_rows=5000,
    ),
    "TracIn": Peer(
        "captum",
        "_peers_captum:tracin",
        (
            {"n_checkpoints": 10},
            {"n_checkpoints": 10, "weighted": False},
            {"weighted": False},
            {"n_checkpoints": 1, "weighted": False},
        ),
        max_rows=5000,
    ),
    "TRAK": Peer(
        "traker",
        "_peers_traker:trak",
        tuple(
            {"proj_dim": dim, "relative_ridge": ridge, "use_half_precision": False}
            for dim in (128, 512, 2048)
            for ridge in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
        ),
        max_rows=5000,
    ),
    "EK-FAC": Peer(
        "kronfluence",
        "_peers_kronfluence:ekfac",
        tuple(
            {"damping_factor": d, "use_empirical_fisher": empirical}
            for empirical in (False, True)
            for d in (None, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
        ),
    ),
}


def label(setting):
    """Name a setting: "default", or its arguments."""
    return " ".join(f"{key}={value}" for key, value in setting.items()) or "default"
