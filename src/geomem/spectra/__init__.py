"""Spectra of a score's Jacobian: exact, and by the probes of Eq. 5 and Algs. 1 and 2."""

from geomem.precision import full_precision
from geomem.spectra.cost import MEMORY, Cost, batch_within, decomposition_seconds, measured_cost, usual_batch
from geomem.spectra.exact import differentiated_jacobian
from geomem.spectra.leading import Leading, leading
from geomem.spectra.probes import PROBES, Measurement, Probe, restricted, spectrum
from geomem.spectra.spectrum import KINDS, Spectrum
from geomem.spectra.trace import Trace, trace

__all__ = [
    "KINDS",
    "MEMORY",
    "PROBES",
    "Cost",
    "Leading",
    "Measurement",
    "Probe",
    "Spectrum",
    "Trace",
    "batch_within",
    "decomposition_seconds",
    "differentiated_jacobian",
    "full_precision",
    "leading",
    "measured_cost",
    "restricted",
    "spectrum",
    "trace",
    "usual_batch",
]
