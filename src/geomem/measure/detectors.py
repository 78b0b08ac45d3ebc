r"""Published detectors of memorization: what each computes, what it costs, and where it comes from.

`measure.differences` and `measure.curvature` state the formulas; `measure.detection` evaluates them, side by side on one pair of scores.
Values are oriented: the larger, the more an image is memorized.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from geomem.measure.curvature import curvature, directions_lost, flipd, flipd_guided, flipd_reference, lhsd
from geomem.measure.differences import (
    anisotropy,
    difference_squared,
    fraction_lost,
    freedom_lost,
    loss,
    loss_difference,
    magnitude,
    sharpness,
    sima,
)
from geomem.measure.noisy import STARTS, Noisy

__all__ = ["DETECTORS", "Detector"]


@dataclass(frozen=True)
class Detector:
    """A detector of memorization.

    Attributes:
        function: Of the noisy points of some images, at one noise level or several, to values (n,), large where memorized.
        evaluations: (d, draws, free) -> forward and backward passes of a network for each image, at one noise level or, for "several", in all.
            d is the number of its entries, free that of the directions that are free for the reference. Products in closed form cost
            less. Where it depends on a spectrum of 96 dimensions or more, it is an approximation.
        source: Where it was published, and where it starts there.
        words: The formula.
        units: Units of the values.
        levels: "one": evaluated at each noise level alone; "several": at all together.
        starts: The starts of `measure.noisy.STARTS` that it can take. Those of the clean image take "image" alone.
        sign: -1 if values are the published ones times -1.
    """

    function: Callable[[Noisy], Tensor] | Callable[[Sequence[Noisy]], Tensor]
    evaluations: Callable[[int, int, int], int]
    source: str
    words: str
    units: str
    levels: str = "one"
    starts: tuple[str, ...] = tuple(STARTS)
    sign: int = 1


def _basis(d: int, free: int) -> int:
    """Evaluations of a search for leading survivals: a whole basis in few dimensions, else about three products each and some to stop."""
    return 2 + (d if d < 96 else min(d, 3 * free + 30))


_IMAGE = ("image",)
_WEN = "Wen et al., ICLR 2024 (2407.21720); starts at noise"
_KIM = "Kim and Lee, ICML 2026 (2605.26756)"
_FLIPD = "Kamkari et al., NeurIPS 2024; Ross et al., ICLR 2025; at the clean image"

# One line adds a detector to every record, table and page.
DETECTORS: dict[str, Detector] = {
    "magnitude": Detector(magnitude, lambda d, k, m: 2 * k, _WEN, "sqrt t |Ds|", "1"),
    "sharpness": Detector(
        sharpness,
        lambda d, k, m: 4 * k,
        "Jeon et al., ICML 2025 (2412.04140); starts at noise",
        "|(J_s - J_r) Ds|^2",
        "data units^-6",
    ),
    "curvature": Detector(curvature, lambda d, k, m: 2 * (2 + 16) * k, _KIM, "tr(S_r - S_s)/t", "data units^-2"),
    "difference_squared": Detector(difference_squared, lambda d, k, m: 2 * k, _KIM, "|Ds|^2", "data units^-2"),
    "anisotropy": Detector(
        anisotropy,
        lambda d, k, m: 4 * k,
        "Asthana and Belagiannis, ICLR 2026 (2601.20642); starts at unit noise",
        "a cos(Ds, r) at the least t + b sqrt t |Ds| at the largest",
        "1",
        levels="several",
    ),
    "flipd": Detector(
        flipd, lambda d, k, m: 1 + 2 + 16, _FLIPD, "d + t (tr J_s + |s|^2)", "dimensions", starts=_IMAGE, sign=-1
    ),
    "flipd_reference": Detector(
        flipd_reference,
        lambda d, k, m: 1 + 2 + 16,
        _FLIPD,
        "d + t (tr J_r + |r|^2)",
        "dimensions",
        starts=_IMAGE,
        sign=-1,
    ),
    "flipd_guided": Detector(
        flipd_guided,
        lambda d, k, m: 2 * (1 + 2 + 16),
        _FLIPD,
        "d + t (tr J_g + |g|^2), g = r + 7.5 Ds",
        "dimensions",
        starts=_IMAGE,
        sign=-1,
    ),
    "lhsd": Detector(
        lhsd,
        lambda d, k, m: 2 + 4 * min(10, d),
        "Osada, ICML 2026 (2605.01221); at the clean image",
        "sum of 1/(1 + (|1 - survival|/0.6)^8)",
        "dimensions",
        starts=_IMAGE,
        sign=-1,
    ),
    "loss": Detector(
        loss,
        lambda d, k, m: k,
        "Denoising loss as a dimension (2510.12975); starts at the noisy image",
        "|D(x) - x0|^2/t",
        "dimensions",
        starts=_IMAGE,
        sign=-1,
    ),
    "loss_difference": Detector(
        loss_difference,
        lambda d, k, m: 2 * k,
        "Denoising loss against a reference; starts at the noisy image",
        "(|D_r(x) - x0|^2 - |D_s(x) - x0|^2)/t",
        "dimensions",
        starts=_IMAGE,
    ),
    "sima": Detector(
        sima,
        lambda d, k, m: 1,
        "SimA (2509.25003); at the clean image",
        "|sqrt t s(x0, t)|_4",
        "1",
        starts=_IMAGE,
        sign=-1,
    ),
    "fraction_lost": Detector(
        fraction_lost, lambda d, k, m: 4 * k, "geomem; starts at the noisy image", "1 - q_s/q_r", "1"
    ),
    "freedom_lost": Detector(
        freedom_lost, lambda d, k, m: 4 * k, "geomem; starts at the noisy image", "tr(S_r - S_s)", "dimensions"
    ),
    "directions_lost": Detector(
        directions_lost,
        lambda d, k, m: k * (_basis(d, m) + (2 + m if m else 0)),
        "geomem; starts at the noisy image",
        "directions free for r and lost for s",
        "dimensions",
    ),
}
