"""Other libraries' methods, their defaults and the settings that are tried.

"Default" leaves every argument of the library at its default, but for those without one (how many
checkpoints) and for the function that is measured, which is the task's own: the margin, or for
regression the prediction. TRAK's half precision is left off, as it takes minutes on a processor.
The grids are those that a careful user would search.
"""

from dataclasses import dataclass, field

_LARGE = 10_000_000


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
    n_large : int or None, default=None
        How many settings of the grid, from its start, are tried where rows times weights exceed
        ten million; None for all.
    """

    library: str
    adapter: str
    grid: tuple = field(default=())
    max_weights: int | None = None
    n_large: int | None = None

    def settings(self, n_rows, n_weights):
        """Return the defaults, then the part of the grid that is tried on a task of this size."""
        is_large = n_rows * n_weights > _LARGE
        return ({}, *self.grid[: self.n_large if is_large else None])


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
            *({"regularization": d} for d in (1e-2, 3e-2, 1e-1, 1e-3)),
            *({"regularization": d, "max_iter": 20} for d in (3e-3, 1e-2, 3e-2)),
        ),
        n_large=2,
    ),
    "Arnoldi": Peer(
        "dattri",
        "_peers_dattri:arnoldi",
        (
            {"regularization": 1e-2, "proj_dim": 50, "max_iter": 200},
            {"regularization": 1e-2, "proj_dim": 20},
            {"regularization": 1e-3, "proj_dim": 50, "max_iter": 200},
            {"regularization": 1e-3, "proj_dim": 20},
            *({"regularization": d, "proj_dim": 20, "max_iter": 20} for d in (1e-3, 1e-2, 1e-1)),
        ),
        n_large=2,
    ),
    "TracIn": Peer(
        "captum",
        "_peers_captum:tracin",
        (
            {"n_checkpoints": 1, "weighted": False},
            {"n_checkpoints": 10},
            {"n_checkpoints": 10, "weighted": False},
            {"weighted": False},
        ),
        n_large=1,
    ),
    "TRAK": Peer(
        "traker",
        "_peers_traker:trak",
        tuple(
            {"proj_dim": dim, "relative_ridge": ridge}
            for dim in (512, 2048, 128)
            for ridge in (0.1, 1.0, 10.0, 0.01)
        ),
        n_large=6,
    ),
    "EK-FAC": Peer(
        "kronfluence",
        "_peers_kronfluence:ekfac",
        tuple(
            {"damping_factor": d, "use_empirical_fisher": empirical}
            for empirical in (False, True)
            for d in (None, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
        ),
    ),
}

# For rows times weights in the billions, see `bench_leave_one_out.py`.
LARGE_PEERS = {
    "conjugate gradient in batches": Peer(
        "dattri",
        "_peers_dattri:conjugate_gradient_in_batches",
        ({"regularization": 1e-2, "n_hessian": 2000, "n_queries": 100},),
    ),
}


def label(setting):
    """Name a setting: "default", or its arguments."""
    return " ".join(f"{key}={value}" for key, value in setting.items()) or "default"
