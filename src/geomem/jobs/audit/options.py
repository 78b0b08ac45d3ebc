"""What a user may ask of a model, checked."""

import math
from dataclasses import dataclass

from geomem.errors import InputError
from geomem.jobs.audit.settings import ModelSettings
from geomem.models.model import Model, fingerprint
from geomem.spectra import PROBES
from geomem.spectra.dimension import PRESETS

__all__ = ["ModelOptions"]

# Most dimensions in which all directions are taken by default, and how many random ones beyond.
_ALL, _SOME = 4096, 512
# Pairs by default: the fewest that can show that hardly any image has lost much (29), and some; samples drawn, and quickly.
_POINTS, _DRAWS = 32, (128, 32)


@dataclass(frozen=True)
class ModelOptions:
    """Options of an audit that concern the model.

    Attributes:
        scheduler: Scheduler to read instead of the model's own.
        label: Class of a class-conditional model.
        points: Training images and images never seen; None for 32.
        times: Noise variances; () for five (three where a rough answer is asked for) around the one at which half of the
            weights fall on one sample.
        preset: Thresholds of Alg. 3, one of `dimension.PRESETS`.
        probe: One of `spectra.PROBES`.
        directions: Number of random directions; None for all, and for 512 beyond 4,096 dimensions. As many as there are
            dimensions are all.
        draws: Samples to draw; None for 128 (32 where a rough answer is asked for).
        memory: GiB that evaluations may hold.
        device: Where the model runs; None for a GPU where there is one.
    """

    scheduler: str | None = None
    label: int | None = None
    points: int | None = None
    times: tuple[float, ...] = ()
    preset: str | None = None
    probe: str = "orthonormal"
    directions: int | None = None
    draws: int | None = None
    memory: float = 2.0
    device: str | None = None

    @property
    def bytes(self) -> int:
        """The memory in bytes."""
        return int(self.memory * 2**30)

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: For a value out of range.
        """
        for name, value, least in (
            ("points", self.points, 2),
            ("directions", self.directions, 2),
            ("draws", self.draws, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"--{name}: must be at least {least}, got {value}.")
        if self.draws == 1:
            raise InputError("--draws: 1 sample says nothing; draw some hundred, or none with 0.")
        if not all(0 < t < math.inf for t in self.times):
            raise InputError("--times: must be finite and above 0; they are variances of the added noise.")
        if self.preset is not None and self.preset not in PRESETS:
            raise InputError(f"--preset: {self.preset!r} is not known; choose one of {', '.join(PRESETS)}.")
        if self.probe not in PROBES:
            raise InputError(f"--probe: {self.probe!r} is not known; choose one of {', '.join(PROBES)}.")
        if self.directions is not None and self.probe != "orthonormal":
            raise InputError("--directions: random directions are orthonormal; leave --probe out.")
        if self.device is not None and self.device.split(":")[0] not in ("cpu", "cuda"):
            raise InputError(f"--device: {self.device!r} cannot be used; spectra need float64: cpu, cuda or cuda:1.")
        if not 0 < self.memory < math.inf:
            raise InputError(f"--memory: must be a number of GiB above 0, got {self.memory:g}.")

    def settings(self, model: Model, *, quick: bool, draws: bool) -> ModelSettings:
        """What the results depend on, for this model; `draws` is whether samples are to be drawn.

        Raises:
            InputError: For more directions than there are dimensions, or a time at which the model cannot be asked.
        """
        d = math.prod(model.score.shape)
        if self.directions is not None and self.directions > d:
            raise InputError(f"--directions: the model's images have {d:,} dimensions, got {self.directions:,}.")
        low, high = model.reach
        for t in self.times:
            if not low <= t <= high:
                raise InputError(
                    f"--times: {t:g} is out of reach of the model, which was trained from {low:.4g} to {high:.4g}."
                )
        some = _SOME if d > _ALL and self.directions is None and self.probe == "orthonormal" else None
        return ModelSettings(
            path=model.name,
            fingerprint=fingerprint(model.score),
            scheduler=self.scheduler,
            label=self.label,
            points=self.points or _POINTS,
            times=tuple(sorted(self.times)),
            preset=self.preset,
            probe=self.probe,
            directions=some if self.directions in (None, d) else self.directions,
            draws=((_DRAWS[quick] if self.draws is None else self.draws) if draws else 0),
            sampling_steps=18,
        )
