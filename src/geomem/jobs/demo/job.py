"""`geomem demo`: train, measure and report on real digits and on the paper's linear manifold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from geomem.jobs.demo.cases import Case, cases
from geomem.jobs.demo.measure import Trained, directions, points, samples
from geomem.jobs.demo.networks import network, networks_stage, stacks
from geomem.jobs.demo.origin import origin
from geomem.jobs.demo.request import DemoRequest
from geomem.jobs.demo.settings import QUICK, STANDARD, Scale
from geomem.jobs.job import Job, Part, Report, Stage
from geomem.records import Run

__all__ = ["DemoJob"]

Cases = Mapping[str, Case]


class _Measured(NamedTuple):
    """A record that is measured size by size: of which data set, how, its share of the time, and what is being done."""

    case: str
    make: Callable[[Trained], xr.Dataset]
    share: float
    label: str


_MEASURED = {
    "digits_points": _Measured("digits", points, 0.12, "spectra of digits"),
    "manifold_points": _Measured("manifold", points, 0.05, "spectra of the manifold"),
    "digits_samples": _Measured("digits", samples, 0.02, "drawing digits"),
    "digits_directions": _Measured("digits", directions, 0.01, "directions kept and lost"),
    "manifold_origin": _Measured("manifold", origin, 0.03, "spectra at the manifold's origin"),
}
_TRAINING = 0.77
# Seconds of the whole in one process on a 2.4 GHz Zen 3. Where processes were started to train, they also measure.
_SECONDS, _QUICK_SECONDS = 200.0, 10.0


class DemoJob(Job[DemoRequest, Cases]):
    """See `DemoRequest`."""

    name = "demo"
    request = DemoRequest

    def open(self, request: DemoRequest) -> Cases:
        """Both data sets."""
        return cases(_scale(request), request.seed)

    def facts(self, request: DemoRequest, inputs: Cases) -> Mapping[str, Any]:
        """The scale."""
        return asdict(_scale(request))

    def default_folder(self, request: DemoRequest, digest: str) -> Path:
        """One folder, where `make demo` puts it too."""
        return Path("geomem-demo")

    def stages(self, request: DemoRequest, inputs: Cases, run: Run) -> Sequence[Stage]:
        """Networks first, then one record after another, each by training-set size."""
        seconds = _QUICK_SECONDS if request.quick else _SECONDS
        return [
            networks_stage(list(inputs.values()), run, request.seed, share=_TRAINING, seconds=seconds),
            *(_stage(name, how, request, inputs, run, seconds) for name, how in _MEASURED.items()),
        ]

    def report(self, run: Run) -> Report:
        """Numbers, findings and page."""
        from geomem.jobs.demo.sections import demo_report

        scale = _scale(DemoRequest.read(run.config))
        trained = [*stacks("digits", scale.digits), *stacks("manifold", scale.manifold)]
        return demo_report(run, run.load_all([*_MEASURED, *(stack.name for stack in trained)]))


def _scale(request: DemoRequest) -> Scale:
    return QUICK if request.quick else STANDARD


def _stage(name: str, how: _Measured, request: DemoRequest, inputs: Cases, run: Run, seconds: float) -> Stage:
    """Parts by training-set size, joined over sizes."""
    case = inputs[how.case]
    sizes = case.settings.sizes

    def part(size: int) -> Part:
        def make(tell: object) -> xr.Dataset:
            return how.make(Trained(case, size, network(case, size, run, request.seed), _scale(request), request.seed))

        return Part(f"{name}_{size}", f"{how.label} · N = {size:,}", make, size**0.5)

    def join(found: Sequence[xr.Dataset]) -> xr.Dataset:
        joined = xr.concat(found, xr.Variable("size", list(sizes)), join="outer")
        if how.make is points:
            s = case.gaussian.variances.sort(descending=True).values.numpy()
            return joined.assign(variance=("direction", s, {"units": "data units squared"}))
        if how.make is samples:
            return joined.assign(training=(("row", "pixel"), case.data.numpy(), {"units": "data units"}))
        return joined

    return Stage(name, lambda: [part(size) for size in sizes], join, share=how.share, seconds=seconds)
