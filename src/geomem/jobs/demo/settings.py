"""At what scale the demo trains and measures."""

from dataclasses import dataclass

__all__ = ["QUICK", "STANDARD", "T_RANGE", "CaseSettings", "Scale"]

# Noise variances that networks are trained and sampled at, data units squared.
T_RANGE = (1e-4, 20.0)


@dataclass(frozen=True)
class CaseSettings:
    """One data set of the demo: its training sets, networks, and where spectra are measured.

    Attributes:
        sizes: Numbers of training samples, nested.
        steps: Optimizer steps.
        hidden: Width of the networks.
        batch_size: Samples per step.
        times: Noise variances t of the spectra.
        focus: The reference t, one of `times`.
    """

    sizes: tuple[int, ...]
    steps: int
    hidden: int
    batch_size: int
    times: tuple[float, ...]
    focus: float


@dataclass(frozen=True)
class Scale:
    """Scale of the demo.

    Attributes:
        digits: scikit-learn's handwritten digits, 8x8.
        manifold: The paper's linear manifold, d = 30, variances 1 x2 and 0.3 x5 (Figs. 4, 9, 11).
        points: Training points and held-out points whose spectra are measured.
        control: Held-out digits that serve as the control of the copy rate.
        samples: Digits drawn from each network.
        sampler_steps: Steps of the sampler.
        datasets: Independent data sets behind the empirical spectra at the origin of the manifold.
    """

    digits: CaseSettings
    manifold: CaseSettings
    points: int
    control: int
    samples: int
    sampler_steps: int
    datasets: int


_TIMES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_FEW_TIMES = (1e-2, 0.1, 1.0)

# Two minutes on two quiet cores.
STANDARD = Scale(
    digits=CaseSettings((16, 64, 256, 1024), 6000, 256, 128, _TIMES, 1e-2),
    manifold=CaseSettings((10, 30, 100, 1000), 6000, 128, 128, _TIMES, 1e-2),
    points=32,
    control=512,
    samples=256,
    sampler_steps=32,
    datasets=30,
)
# Everything in a quarter of a minute, with networks that have hardly learned: for tests and a first look.
QUICK = Scale(
    digits=CaseSettings((16, 256), 300, 64, 64, _FEW_TIMES, 1e-2),
    manifold=CaseSettings((10, 1000), 300, 64, 64, _FEW_TIMES, 1e-2),
    points=8,
    control=128,
    samples=32,
    sampler_steps=12,
    datasets=5,
)
