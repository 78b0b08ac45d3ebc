"""Sweeps over the number of training images: cells, where they are worked on, what is measured, and the command."""

from geomem.jobs.sweep.cell import Cell, Source
from geomem.jobs.sweep.run import settings_for, sweep
from geomem.jobs.sweep.settings import SweepSettings

__all__ = ["Cell", "Source", "SweepSettings", "settings_for", "sweep"]
