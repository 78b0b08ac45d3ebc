"""Figs. 4, 11 and 12: singular values of the smoothed Jacobian over t, by theory and by simulation.

Eqs. 18, 19 and 43 are of the origin, and there they are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import norm

from geomem import theory
from geomem.intervals import Interval, resampled
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import drawn, gap_lines
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, M15, UNITS_J, UNITS_T, Subspaces
from geomem.paper.verdict import Claim, Evidence, Runs, Table, bootstrap, graded
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator, derived_seed
from geomem.spectra import spectrum

__all__ = ["EXPERIMENTS", "FORMS", "CurveSettings", "compared_parts"]

# Forms of the theory, by their name in records and in tables.
FORMS = {
    "eq19": "19",
    "eq43": "43",
    "eq18 samples": "18 drawn",
    "eq41 samples": "41 drawn",
    "column": "column",
    "row": "row",
    "corrected samples": "18 corr.",
    "correlated": "correlated",
}
# Theory within 25% of the simulation is consistent with it.
_CONSISTENT = np.log(1.25)


@dataclass(frozen=True)
class CurveSettings:
    """Figs. 4, 11 and 12.

    Attributes:
        parts: Dimension and variance of each subspace.
        dim: d.
        n_samples: N.
        times: Noise variances t.
        datasets: Data sets that are simulated.
        draws: Draws of each random matrix.
        seed: Random seed.
    """

    parts: Subspaces
    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = tuple(float(f"{u:.4g}") for u in np.geomspace(1e-3, 10, 13))
    datasets: int = 300
    draws: int = 400
    seed: int = 0


def compared_parts(settings: CurveSettings) -> Mapping[str, Work]:
    """Theory in all its forms, and the smoothed Jacobian and Alg. 2 over data sets."""
    return {
        "theory": lambda run, tell: _theory(settings, tell),
        "simulation": lambda run, tell: _simulated_curves(settings, tell),
    }


def _theory(settings: CurveSettings, tell: Telling) -> xr.Dataset:
    """Ordered singular values: closed forms (t, direction), and medians over draws of the random matrices."""
    s = LinearManifold.subspaces(settings.dim, settings.parts).variances.numpy()
    n, t = settings.n_samples, np.asarray(settings.times)
    found = {"exact": theory.exact_singular_values(s, t)}
    for form in ("eq19", "eq43", "column", "row"):
        found[form] = theory.jacobian_singular_values(s, n, t, form=form)
    drawn: dict[str, list[np.ndarray]] = {}
    for i, u in enumerate(settings.times):
        rng = np.random.default_rng(derived_seed(settings.seed, "theory", i))
        for form in ("eq18", "eq41", "corrected"):
            matrices = theory.jacobian_samples(s, n, u, settings.draws, rng=rng, form=form)
            drawn.setdefault(f"{form} samples", []).append(np.linalg.svd(matrices, compute_uv=False))
        drawn.setdefault("correlated", []).append(
            theory.correlated_jacobian(s, n, u, form="shrunk").singular_values(settings.draws, rng=rng)
        )
        tell((i + 1) / t.size)
    found |= {name: np.median(np.stack(values), 1) for name, values in drawn.items()}
    ordered = np.stack([np.sort(values, -1)[..., ::-1] for values in found.values()])
    return xr.Dataset(
        {"singular_value": (("form", "t", "direction"), ordered, UNITS_J)},
        coords={"form": list(found), "t": ("t", t, UNITS_T), "direction": np.arange(1, settings.dim + 1)},
        attrs={
            "condensation_time": float(theory.condensation_time(s, n)),
            "dim": settings.dim,
            "rank": int((s > 0).sum()),
        },
    )


def _simulated_curves(settings: CurveSettings, tell: Telling) -> xr.Dataset:
    """Ordered singular values at the origin of every data set, float32: smoothed (Eq. 5) and by Alg. 2.

    And the survival 1 + t J_jj of every axis of the manifold, whose subspace is known; sorted values have none.
    """
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    t = torch.tensor(settings.times, dtype=torch.float64)
    origin = torch.zeros(t.numel(), settings.dim, dtype=torch.float64)
    probes = ("smoothed", "antithetic")
    out = np.empty((settings.datasets, len(probes), t.numel(), settings.dim), dtype=np.float32)
    axes = torch.eye(settings.dim, dtype=torch.float64)[: manifold.rank]
    block = np.repeat(np.arange(len(settings.parts)), [m for m, _ in settings.parts])
    survival = np.empty((settings.datasets, len(settings.parts), t.numel()), dtype=np.float32)
    for i in range(settings.datasets):
        data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data", i))
        score = EmpiricalScore(data)
        for k, probe in enumerate(probes):
            generator = derived_generator(settings.seed, "probe", i)
            out[i, k] = spectrum(score, origin, t, probe=probe, generator=generator).values.numpy()
        moved = score(t.sqrt()[:, None, None] * axes, t[:, None].expand(-1, manifold.rank))
        change = (moved - score(origin, t)[:, None]).mul(axes).sum(-1)
        each = (1 + t.sqrt()[:, None] * change).numpy()
        survival[i] = [each[:, block == b].mean(1) for b in range(len(settings.parts))]
        tell((i + 1) / settings.datasets)
    return xr.Dataset(
        {
            "singular_value": (("dataset", "probe", "t", "direction"), out, UNITS_J),
            "axis_survival": (("dataset", "subspace", "t"), survival),
        },
        coords={
            "probe": list(probes),
            "t": ("t", t.numpy(), UNITS_T),
            "direction": np.arange(1, settings.dim + 1),
            "variance": ("subspace", [v for _, v in settings.parts]),
        },
    )


@drawn(12, 3.3)
def _figure(figure: Figure, records: Records, settings: CurveSettings) -> str:
    """Eq. 19, Eq. 18 and the empirical score by Alg. 2; and beyond the paper the corrected theory."""
    forms, simulation = records["theory"]["singular_value"], records["simulation"]["singular_value"]
    t = forms["t"]
    medians = {probe: simulation.sel(probe=probe).median("dataset") for probe in ("smoothed", "antithetic")}
    solid = {
        "Eq. 19, as printed": forms.sel(form="eq19"),
        "Eq. 18, random matrix": forms.sel(form="eq18 samples"),
        "empirical score": medians["smoothed"],
        "corrected theory": forms.sel(form="correlated"),
    }
    dashed = {"empirical score": medians["antithetic"], "corrected theory": forms.sel(form="row")}
    names = {"empirical score": ("smoothed (Eq. 5)", "Alg. 2"), "corrected theory": ("correlated", "row form")}
    axes = figure.subplots(1, 4)
    scale, colours = LogNorm(float(t.min()), float(t.max())), colormaps["viridis"]
    for axis, (title, values) in zip(axes, solid.items(), strict=True):
        for u in t.values:
            axis.plot(values["direction"], u * values.sel(t=u), color=colours(scale(u)), lw=1.2)
            if title in dashed:
                other = dashed[title].sel(t=u)
                axis.plot(other["direction"], u * other, "--", color=colours(scale(u)), lw=0.6)
        axis.set(title=title, xlabel="direction", yscale="log", ylim=(1e-2, 2e4))
        gap_lines(axis, settings.dim, records["theory"].attrs["rank"])
        if title in names:
            handles = [Line2D([], [], color="#777777", ls=ls) for ls in ("-", "--")]
            axis.legend(handles, names[title], fontsize=7)
    axes[0].set_ylabel("t × singular value")
    figure.colorbar(ScalarMappable(scale, colours), ax=axes[3], label="t")
    return (
        f"d = {settings.dim}, N = {settings.n_samples:,}, at the origin; medians over {simulation.sizes['dataset']} "
        "data sets."
    )


def _opened(survival: np.ndarray, log_t: np.ndarray) -> float:
    """ln t at which the median over data sets (dataset, t) of a subspace's survival rises to 1/2 as t falls from above.

    Under the exact score s/(t+s) does at t = s. NaN where it never does.
    """
    curve = np.median(survival, 0)
    free = np.flatnonzero(curve >= 0.5)
    if free.size == 0 or free[-1] == curve.size - 1:
        return float("nan")
    last = free[-1]
    return float(np.interp(-0.5, -curve[last : last + 2], log_t[last : last + 2]))


def _when(t: Interval) -> str:
    return f"at t = {t:.2f}" if np.isfinite([t.value, t.low, t.high]).all() else "not in every bootstrap draw"


def _opening(runs: Runs) -> Evidence:
    found, parts = [], []
    for name, held in runs.items():
        arrays, m = held["simulation"], held["theory"].attrs["rank"]
        survival, log_t = arrays["axis_survival"].values.astype(np.float64), np.log(arrays["t"].values)

        def opened(rows: np.ndarray, a: np.ndarray = survival, u: np.ndarray = log_t) -> np.ndarray:
            first, second = (_opened(a[rows, k], u) for k in (0, 1))
            return np.array([np.exp(first), np.exp(second), first - second])

        value, draws = bootstrap(opened, survival.shape[0])
        high, low = (resampled(float(value[k]), draws[:, k], survival.shape[0]) for k in range(2))
        # A subspace that never opens is later than one that does.
        parts.append(bool(np.mean(~(draws[:, 2] <= 0) & np.isfinite(draws[:, 0])) > 0.975))
        one, other = (f"{v:g}" for v in arrays["variance"].values)
        found.append(
            f"{name}, m = {m}: survival rises to ½ {_when(high)} along the axes of variance {one} and {_when(low)} along those "
            f"of variance {other} (exact score: at t = {one} and {other})."
        )
    return Evidence(graded(parts), tuple(found))


def _errors(forms: xr.Dataset, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Median |ln(theory/median of data sets)| over the m last and over the m first values, (2, form, t).

    The last are the tangent ones, where the gaps are; the first are 1/t unless the noise is larger. One median over both
    would see only the easier half.
    """
    m = forms.attrs["rank"]
    simulated = np.median(values[rows], 0)
    wrong = np.abs(np.log(forms["singular_value"].sel(form=list(FORMS)).values / simulated))
    return np.stack([np.median(wrong[..., -m:], -1), np.median(wrong[..., :m], -1)])


def _spectra(runs: Runs) -> Evidence:
    rows, found, parts = [], [], []
    for name, held in runs.items():
        forms = held["theory"]
        values = held["simulation"]["singular_value"].sel(probe="smoothed").values.astype(np.float64)
        error, draws = bootstrap(partial(_errors, forms, values), values.shape[0], draws=100)
        t, t_c, spread = forms["t"].values, forms.attrs["condensation_time"], draws.std(0)
        for k, u in enumerate(t):
            for part, label in enumerate(("tangent", "largest")):
                cells = [
                    f"{error[part, f, k]:.2g}" + (f" ± {spread[part, f, k]:.1g}" if spread[part, f, k] > 5e-5 else "")
                    for f in range(len(FORMS))
                ]
                rows.append((f"{forms.attrs['rank']}", f"{u:.3g}", label, *cells))
        worst = error.max(0)
        printed = worst[[list(FORMS).index(form) for form in ("eq19", "eq43", "eq18 samples")]]
        correlated = worst[list(FORMS).index("correlated")]
        fine = (printed < _CONSISTENT).all(0)
        parts += list(fine)
        found.append(
            f"{name}, m = {forms.attrs['rank']} (t_c = {t_c:.3g}): the printed Eqs. 18, 19 and 43 are all within 25% of "
            f"the simulation at {_times(t[fine])} of {t.size}; at worst one is off by a factor of "
            f"{np.exp(printed.max()):.2g}. The correlated theory is within 25% at {(correlated < _CONSISTENT).sum()} times; "
            f"at worst it is off by a factor of {np.exp(correlated.max()):.2g}, at t = {t[correlated.argmax()]:.2g}."
        )
    table = Table(("m", "t", "values", *FORMS.values()), tuple(rows))
    return Evidence(graded(parts), tuple(found), table)


def _closer(runs: Runs) -> Evidence:
    found, parts = [], []
    eq43, eq41 = list(FORMS).index("eq43"), list(FORMS).index("eq41 samples")
    for name, held in runs.items():
        forms = held["theory"]
        values = held["simulation"]["singular_value"].sel(probe="smoothed").values.astype(np.float64)

        def advantage(rows: np.ndarray, forms: xr.Dataset = forms, values: np.ndarray = values) -> np.ndarray:
            error = _errors(forms, values, rows)[0]
            return np.asarray(error[eq41] - error[eq43])

        value, draws = bootstrap(advantage, values.shape[0], draws=200)
        t, s_e = forms["t"].values, np.maximum(draws.std(0), 1e-9)
        limit = norm.ppf(1 - 0.025 / t.size)
        better, worse = t[value > limit * s_e], t[value < -limit * s_e]
        parts.append(better.size > 0)
        k = int(value.argmax())
        found.append(
            f"{name}, m = {forms.attrs['rank']}: over the tangent values Eq. 43 is closer at {_times(better)}, Eq. 41's spectrum "
            f"at {_times(worse)}, of {t.size}. The largest advantage of Eq. 43 is {value[k]:.2g} ± {s_e[k]:.1g} in ln, at "
            f"t = {t[k]:.2g}."
        )
    return Evidence(graded([any(parts)]), tuple(found))


def _times(t: Sequence[float]) -> str:
    return f"{len(t)} times (t = {min(t):.2g} to {max(t):.2g})" if len(t) else "0 times"


_CLAIMS = (
    Claim(
        "opening",
        "Subspaces of larger variance emerge earlier in the reverse process.",
        "Sec. 5.1",
        "t at which the median over data sets of the survival of a subspace's axes, 1 + t J_jj, rises to ½; paired "
        "bootstrap over data sets",
        _opening,
    ),
    Claim(
        "spectra",
        "Eqs. 18, 19 and 43 are consistent with the spectra of the empirical score.",
        "Sec. 6.1, Supp. D.1, Figs. 4, 11, 12",
        "median of |ln(theory/simulation)| over the m last values (the tangent ones) and over the m first, ± bootstrap s.e. "
        "over data sets; consistent is within 25% in both",
        _spectra,
    ),
    Claim(
        "closer",
        "In some regimes Eq. 43 is closer to the simulation than the spectrum of Eq. 41.",
        "Supp. D",
        "difference of the two errors over the tangent values by t, simultaneous 95% intervals over all times, bootstrap "
        "over data sets",
        _closer,
    ),
)


def _experiment(name: str, place: str, parts: Subspaces, also: tuple[str, ...] = ()) -> Experiment:
    return Experiment(
        name,
        place,
        f"singular values over t for m = {sum(m for m, _ in parts)}: Eq. 19, Eq. 18, simulation, and corrected theory",
        scaled(CurveSettings(parts), datasets=60, draws=100),
        {"quick": 4, "full": 16},
        compared_parts,
        _figure,
        _CLAIMS,
        also,
    )


EXPERIMENTS = (
    _experiment("fig4", "Figs. 4 and 11", M7, also=("fig11",)),
    _experiment("fig12", "Fig. 12", M15),
)
