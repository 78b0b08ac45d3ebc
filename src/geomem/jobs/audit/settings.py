"""What an audit does, and at what scale."""

from dataclasses import dataclass

__all__ = ["APART", "CONTROLS", "LEAST", "SMALLEST", "AuditSettings", "ModelSettings", "kept_apart", "steps_of_sizes"]

# Fewest distinct rows that an audit can say anything about, and the smallest training subset.
LEAST, SMALLEST = 40, 16
# Rows are kept apart up to one in so many, and by default no more than this number.
APART, _HELD_OUT = 5, 1000
# Fewest samples of a control that say anything.
CONTROLS = 20
# Training-set sizes by default, each a fourth of the next.
_SIZES, _STEP = 6, 4


@dataclass(frozen=True)
class ModelSettings:
    """What is asked of a model.

    Attributes:
        path: The model, as named by the user.
        fingerprint: A digest of its weights.
        scheduler: Its scheduler, where another than its own was given.
        label: Class of a class-conditional model.
        points: Training images and images never seen, at which its spectra are taken.
        times: Noise variances of the spectra; () for five around the one at which Y = 1/2.
        preset: Thresholds of Alg. 3, one of `dimension.PRESETS`.
        probe: One of `spectra.PROBES`.
        directions: Random directions where the space is too large for all; None for all.
        draws: Samples drawn from it; 0 where samples were given.
        sampling_steps: Noise levels on the way of a sample.
    """

    path: str
    fingerprint: str
    scheduler: str | None
    label: int | None
    points: int
    times: tuple[float, ...]
    preset: str | None
    probe: str
    directions: int | None
    draws: int
    sampling_steps: int


@dataclass(frozen=True)
class AuditSettings:
    """Settings of `geomem audit`, the values that its results depend on.

    Attributes:
        data: The data, as named by the user.
        fingerprint: A digest of their values: another content under the same name is another run.
        size: Side that images were cut and scaled to; None as they are.
        mode: "gray", "rgb" or None.
        array: Array of a .npz file.
        split: Part of a hub data set.
        limit: Rows used, chosen by the seed; None for all.
        sizes: Numbers of training samples, nested; empty for fourfold steps up to all.
        held_out: Rows kept apart; None for a fifth, 1,000 at most.
        points: Training points and held-out points that are looked at.
        spectra: Those of them whose spectra are computed.
        ranked: Training points that are ranked by how long they hold half of their posterior.
        repeats: Independent subsets of each size.
        steps: Times below and above the middle of the grid.
        reach: Ratio of the last time to the middle one.
        t: Time that the findings speak of; None for the one at which Y = 1/2.
        samples: Generated samples, as named by the user.
        samples_fingerprint: A digest of them.
        control: Real samples that were not trained on.
        control_fingerprint: A digest of them.
        model: What is asked of a model; None for none.
        seed: Seed of everything random.
        quick: Whether fewer points, times and subsets were asked for.
    """

    data: str
    fingerprint: str
    size: int | None
    mode: str | None
    array: str | None
    split: str
    limit: int | None
    sizes: tuple[int, ...]
    held_out: int | None
    points: int
    spectra: int
    ranked: int
    repeats: int
    steps: int
    reach: float
    t: float | None
    samples: str | None
    samples_fingerprint: str | None
    control: str | None
    control_fingerprint: str | None
    model: ModelSettings | None
    seed: int
    quick: bool


def kept_apart(n: int, asked: int | None) -> int:
    """How many of n rows are kept apart."""
    return min(_HELD_OUT if asked is None else asked, n // APART)


def steps_of_sizes(n: int, asked: tuple[int, ...]) -> tuple[int, ...]:
    """Training-set sizes, ascending: those asked for and all n, or fourfold steps up to n."""
    chosen = {*asked, n} if asked else {n // _STEP**k for k in range(_SIZES)}
    return tuple(sorted(size for size in chosen if size >= SMALLEST))
