"""Signals within a call that must not be interrupted take effect after it."""

import signal

import numpy as np
import pytest
import xarray as xr

from geomem import netcdf
from geomem.errors import Terminated
from geomem.interrupts import postponed


def ended(number: int, frame: object) -> None:
    raise Terminated


def test_a_signal_takes_effect_after_the_block():
    before, done = signal.signal(signal.SIGTERM, ended), []

    @postponed()
    def block():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        done.append("the block")

    try:
        with pytest.raises(Terminated):
            block()
        assert done == ["the block"]
        assert signal.getsignal(signal.SIGTERM) is ended
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_record_is_written_whole_and_the_library_stays_usable(tmp_path, monkeypatch):
    """A signal within xarray, whose locks would stay locked for good."""
    arrays, write = xr.Dataset({"a": ("n", np.arange(3.0))}), xr.Dataset.to_netcdf

    def interrupted(self, *given, **named):
        signal.raise_signal(signal.SIGINT)
        return write(self, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(xr.Dataset, "to_netcdf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            netcdf.write(tmp_path / "a.nc", arrays)
    xr.testing.assert_identical(netcdf.read(tmp_path / "a.nc"), arrays)
