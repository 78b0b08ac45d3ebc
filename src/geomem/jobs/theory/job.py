"""`geomem theory`: closed forms for Gaussian data over noise variances, as one record, table and figure."""

from collections.abc import Sequence

import xarray as xr

from geomem.figures.theory import theory_figure
from geomem.jobs.job import Job, Report, Stage
from geomem.jobs.theory.predictions import predictions
from geomem.jobs.theory.request import TheoryRequest
from geomem.page import Cell, Column, Picture, Table
from geomem.records import Run

__all__ = ["TheoryJob"]

_RECORD = "theory"
_DRAWS, _FEW_DRAWS = 400, 50


class TheoryJob(Job[TheoryRequest, None]):
    """See `TheoryRequest`."""

    name = "theory"
    request = TheoryRequest

    def open(self, request: TheoryRequest) -> None:
        """Nothing is loaded."""

    def folder(self, request: TheoryRequest) -> str:
        """The four largest variances with their multiplicities, and N."""
        levels = sorted(set(request.spectrum), reverse=True)[:4]
        counts = [f"{level:g}x{request.spectrum.count(level)}" for level in levels]
        return f"{'_'.join(counts)}-N{request.samples:g}"

    def stages(self, request: TheoryRequest, inputs: None, run: Run) -> Sequence[Stage]:
        """One record."""
        draws = _FEW_DRAWS if request.quick else _DRAWS

        def make() -> xr.Dataset:
            return predictions(request.spectrum, request.samples, request.times, draws=draws, seed=request.seed)

        return [Stage.single(_RECORD, "closed forms", make)]

    def report(self, run: Run) -> Report:
        """The table by noise variance, and the figure."""
        arrays = run.load_all([_RECORD])[_RECORD]
        n = arrays.attrs["n_samples"]
        t_c, half = float(arrays["condensation_time"]), float(arrays["half_weight_time"])
        title = (
            f"d = {arrays.attrs['dim']}, m = {arrays.attrs['rank']}, N = {n:,.0f}: the empirical score condenses at the origin at "
            f"t = {t_c:.6g} (Eq. 15: {float(arrays['expansion']):.6g}); a training point holds half of its weight at {half:.6g}"
        )
        levels = arrays["level"].values
        columns = [Column("t", ".3g"), *(Column(f"effective samples, {m}", ".3g") for m in arrays["estimator"].values)]
        columns += [Column(f"singular value, s = {level:g}", ".4g") for level in levels]
        row_form = arrays["singular_values"].sel(form="row").transpose("t", "level").values
        active = arrays["effective_samples"].transpose("t", "estimator").values
        rows: list[list[Cell]] = [
            [float(t), *map(float, active[i]), *map(float, row_form[i])] for i, t in enumerate(arrays["t"].values)
        ]
        caption = "Singular values of the empirical score's Jacobian by variance s: row form of Eq. 18. The exact score's are 1/(t + s)."
        picture = Picture(_RECORD, theory_figure(arrays, run.note()), caption, title)
        return Report(title, arrays.to_dict(), pictures=[picture], table=Table(_RECORD, columns, rows, caption))
