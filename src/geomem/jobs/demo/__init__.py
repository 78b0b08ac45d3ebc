"""The demo: digits and the paper's linear manifold, three answers side by side, in about two minutes."""

from geomem.jobs.demo.run import run
from geomem.jobs.demo.settings import CaseSettings, DemoSettings

__all__ = ["CaseSettings", "DemoSettings", "run"]
