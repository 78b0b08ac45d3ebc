"""`geomem theory`: what theory says of Gaussian data, over diffusion times, as one table, record and figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from geomem import theory
from geomem.errors import InputError
from geomem.records import Run, digest
from geomem.seeds import derived_seed

__all__ = ["FORMS", "METHODS", "Predictions", "predictions", "run"]

METHODS = ("rem", "annealed", "finite")
FORMS = ("exact", "row", "column", "eq19", "eq43")


@dataclass(frozen=True)
class TheorySettings:
    """What is asked of theory.

    Attributes:
        variances: s_i (d,), zeros included.
        n_samples: N.
        times: Diffusion times.
        draws: Draws of the correlated theory's random matrix for each time.
        seed: Seed of the draws.
    """

    variances: tuple[float, ...]
    n_samples: float
    times: tuple[float, ...]
    draws: int
    seed: int


@dataclass(frozen=True)
class Predictions:
    """What a run of `geomem theory` left: its folder, its figure, and the arrays."""

    folder: Path
    figure: Path
    arrays: xr.Dataset


def run(
    variances: Sequence[float],
    n_samples: float,
    times: Sequence[float],
    *,
    out: Path | str | None = None,
    seed: int = 0,
    quick: bool = False,
    force: bool = False,
) -> Predictions:
    """Predictions for Gaussian data, saved with their figure.

    Args:
        variances: s_i (d,), zeros for the directions outside the manifold.
        n_samples: Number of samples N >= 2.
        times: Diffusion times.
        out: Folder of the run; None is one below geomem-theory/ that is named after what is asked.
        seed: Seed of the random matrices.
        quick: Few draws.
        force: Replace another run in the folder.

    Raises:
        InputError: For values that theory cannot use.
        OutputError: If the folder cannot be used.
    """
    draws = 50 if quick else 400
    settings = TheorySettings(tuple(map(float, variances)), float(n_samples), tuple(map(float, times)), draws, seed)
    arrays = predictions(settings.variances, n_samples, settings.times, draws=draws, seed=seed)
    folder = Run.open(_folder(settings) if out is None else out, "theory", settings, force=force)
    folder.save("theory", arrays)
    return finish(folder)


def finish(folder: Run) -> Predictions:
    """The figure from the arrays of a complete run.

    Raises:
        InputError: For a run that has not finished.
    """
    from geomem.figures.theory import theory_figure

    arrays = folder.load_all(["theory"])["theory"]
    where, seed = folder.environment(), folder.config["seed"]
    with folder.writing("theory.png") as temporary:
        theory_figure(arrays, f"geomem {where['geomem']} theory, commit {where['commit']}, seed {seed}").savefig(
            temporary, format="png"
        )
    return Predictions(folder.path, folder.path / "theory.png", arrays)


def predictions(
    variances: Sequence[float], n_samples: float, times: Sequence[float], *, draws: int = 400, seed: int = 0
) -> xr.Dataset:
    """Condensation, effective samples and Jacobian spectra at the origin, over times.

    Returns:
        `effective_samples` (estimator, t); `singular_values` (form, t, level), J units, one level for each distinct
        variance; `ordered` (t, direction), the median over draws of the correlated theory's ordered singular values
        (absent where it does not apply: rank below 3 or above 90); `condensation_time`, `expansion` (Eq. 15) and
        `half_weight_time`; `axis_condensation_time` (level), self-consistent along e_j sqrt t (see
        `condensation_time_along`).

    Raises:
        InputError: For all-zero variances, N < 2, times that are not positive, or a negative seed.
    """
    s, t, n = np.asarray(variances, dtype=np.float64), np.asarray(times, dtype=np.float64), float(n_samples)
    t_c = theory.condensation_time(s, n)
    if not np.any(s > 0):
        raise InputError("variances: all are 0, so there is no manifold; give at least one above 0.")
    if n < 2:
        raise InputError(f"n_samples: got {n:g}; a single sample is condensed at every t, so at least 2 are needed.")
    if seed < 0:
        raise InputError(f"seed: must not be negative, got {seed}.")
    rank = int(np.sum(s > 0))
    methods = [m for m in METHODS if m != "finite" or rank > 2]
    levels, first = np.unique(s, return_index=True)
    levels, first = levels[::-1], first[::-1]
    values = [theory.exact_singular_values(s, t)[:, first]]
    values += [theory.jacobian_singular_values(s, n, t, form=form)[:, first] for form in FORMS[1:]]
    time = {"units": "data units squared"}
    arrays = xr.Dataset(
        {
            "effective_samples": (
                ("estimator", "t"),
                np.stack([theory.effective_samples(s, n, t, method=m) for m in methods]),
                {"units": "samples"},
            ),
            "singular_values": (("form", "t", "level"), np.stack(values), {"units": "1 / data units squared"}),
            "condensation_time": ((), t_c, time),
            "expansion": ((), theory.condensation_time(s, n, method="expansion"), time),
            "half_weight_time": ((), theory.half_weight_time(s, n), time),
            "axis_condensation_time": (
                "level",
                theory.condensation_time_along(s, n, np.eye(s.size)[first]),
                time,
            ),
        },
        coords={"estimator": methods, "form": list(FORMS), "t": ("t", t, time), "level": ("level", levels, time)},
        attrs={"dim": s.size, "rank": rank, "n_samples": n},
    )
    if not 2 < rank <= 90:
        return arrays
    ordered = []
    for i, u in enumerate(t):
        law = theory.correlated_jacobian(s, n, float(u), form="shrunk")
        rng = np.random.default_rng(derived_seed(seed, "correlated", i))
        ordered.append(np.median(law.singular_values(draws, rng=rng), axis=0))
    direction = np.arange(1, s.size + 1)
    return arrays.assign(
        ordered=(("t", "direction"), np.stack(ordered), {"units": "1 / data units squared"})
    ).assign_coords(direction=direction)


def _folder(settings: TheorySettings) -> Path:
    """A folder that only the same question shares."""
    levels, counts = np.unique(settings.variances, return_counts=True)
    name = "_".join(f"{v:g}x{c}" for v, c in zip(levels[::-1][:4], counts[::-1][:4], strict=True))
    return Path("geomem-theory") / f"{name}-N{settings.n_samples:g}-{digest(settings)}"
