"""Spectra of a score's Jacobian: exact, and by the probes of Eq. 5 and Algs. 1 and 2."""

from geomem.spectra.exact import differentiated_jacobian
from geomem.spectra.probes import PROBES, Measurement, Probe, spectrum
from geomem.spectra.spectrum import KINDS, Spectrum

__all__ = ["KINDS", "PROBES", "Measurement", "Probe", "Spectrum", "differentiated_jacobian", "spectrum"]
