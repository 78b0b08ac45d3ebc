"""Figs. 13 and 14: spectra for several numbers of samples as the theory predicts them, printed and corrected."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem import theory
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import drawn, size_legend, size_panels
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, M15, UNITS_J, UNITS_T, Subspaces
from geomem.paper.sizes import SizeSettings
from geomem.seeds import derived_seed

__all__ = ["EXPERIMENTS", "theory_parts"]


def theory_parts(settings: SizeSettings, printed: str) -> Mapping[str, Work]:
    """Eq. 19 or Eq. 18 as printed ("eq19", "eq18") and the corrected row form, over sizes and times."""
    return {"theory": lambda run, tell: _by_size(settings, printed, tell)}


def _by_size(settings: SizeSettings, printed: str, tell: Telling) -> xr.Dataset:
    s = LinearManifold.subspaces(settings.dim, settings.parts).variances.numpy()
    forms = (printed, "row", "correlated")
    out = np.empty((len(forms), len(settings.sizes), len(settings.times), s.size))
    for i, n in enumerate(settings.sizes):
        for k, t in enumerate(settings.times):
            rng = np.random.default_rng(derived_seed(settings.seed, "theory", (n, k)))
            if printed == "eq18":
                draws = theory.jacobian_samples(s, n, t, settings.realizations, rng=rng, form="eq18")
                out[0, i, k] = np.linalg.svd(draws, compute_uv=False).mean(0)
            else:
                out[0, i, k] = theory.jacobian_singular_values(s, n, t, form=printed)
            out[1, i, k] = theory.jacobian_singular_values(s, n, t)
            law = theory.correlated_jacobian(s, n, t, form="shrunk")
            out[2, i, k] = law.singular_values(settings.realizations, rng=rng).mean(0)
        tell((i + 1) / len(settings.sizes))
    return xr.Dataset(
        {"singular_value": (("form", "size", "t", "direction"), np.sort(out, -1)[..., ::-1], UNITS_J)},
        coords={
            "form": list(forms),
            "size": list(settings.sizes),
            "t": ("t", list(settings.times), UNITS_T),
            "direction": np.arange(1, settings.dim + 1),
        },
    )


@drawn(13, 4.9)
def _figure(figure: Figure, records: Records, settings: SizeSettings) -> str:
    """The printed theory, a panel for each t and a line for each N; the correlated theory below."""
    values = records["theory"]["singular_value"] * records["theory"]["t"]
    sizes = values["size"].values
    names = {"eq19": "Eq. 19, as printed", "eq18": "Eq. 18, as printed", "correlated": "correlated theory"}
    shown = [str(form) for form in values["form"].values if form in names]
    for row, form in zip(figure.subplots(2, values.sizes["t"], sharex=True), shown, strict=True):
        size_panels(row, sizes, [values.sel(form=form, size=n) for n in sizes], values["t"].values)
        row[0].set_ylabel(f"{names[form]}\nt × singular value")
        for axis, t in zip(row, values["t"].values, strict=True):
            axis.set(yscale="log", ylim=(1e-2, max(4.0, 2 * float(values.sel(form=form, t=t).max()))))
    size_legend(figure, sizes)
    return f"d = {settings.dim}, at the origin; random matrices: means over {settings.realizations} draws."


def _experiment(name: str, parts: Subspaces, printed: str) -> Experiment:
    return Experiment(
        name,
        f"Fig. {name[3:]}",
        f"Eq. {printed[2:]} at several t and N for m = {sum(m for m, _ in parts)}",
        scaled(SizeSettings(parts), realizations=10),
        {"quick": 2, "full": 3},
        partial(theory_parts, printed=printed),
        _figure,
    )


EXPERIMENTS = (_experiment("fig13", M7, "eq19"), _experiment("fig14", M15, "eq18"))
