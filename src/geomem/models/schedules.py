r"""Noise processes of diffusers schedulers: the training noise of a network, its conditioning and its prediction type.

Only the training process is read, not how samples are drawn: clipping, thresholding and the choice of sampling steps are
not part of a score. In the variance-exploding t of geomem:

    variance-preserving (DDPM, DDIM, PNDM, DPM-Solver, UniPC, Euler, Heun ...)   t_k = prod_{j<=k} 1/(1 - beta_j) - 1;
        conditioned on the step k. Between two steps, the network is conditioned on a fractional step, linear in ln t.
        A network with a learned embedding for each step is evaluated only at those steps.
    EDM (Karras et al. 2022), cosine DPM-Solver   any t = sigma^2; D = c_skip x + c_out F(c_in x, c_noise(sigma))
    variance-exploding (Song et al. 2021)         any t = sigma^2; conditioned on sigma; data on [0, 1]; F is the score
    flow matching                                 any t = (tau/(1 - tau))^2; conditioned on tau times the number of steps
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.errors import InputError, reason_of
from geomem.limits import MOST_STEPS
from geomem.noise import CONDITIONS, ddpm_step, t_from_flow, t_from_integrated_beta
from geomem.scores.network import DIFFUSERS_PREDICTIONS

__all__ = ["SCHEDULERS", "Schedule", "schedule"]

# Largest number in a configuration, whose square can still be computed with.
_LARGE = 1e15
# What the betas of a scheduler depend on; all else belongs to sampling.
_BETAS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")


@dataclass(frozen=True)
class Schedule:
    """The noise process of a network, in the terms of `NetworkScore`.

    Attributes:
        prediction: What the network predicts.
        noise: Parametrisation of the noisy point.
        condition: Its noise conditioning, as a function of t.
        reach: Least and greatest t, data units squared.
        times: Noise levels of its steps, ascending; None if it was trained at all levels.
        scale: (slope, offset) of its own scale.
        preconditioning: (sigma_data, sign of c_out) of Karras et al. 2022; None for none.
        words: A description.
    """

    prediction: str
    noise: str
    condition: Callable[[Tensor], Tensor]
    reach: tuple[float, float]
    words: str
    times: NDArray[np.float64] | None = None
    scale: tuple[float, float] = (1.0, 0.0)
    preconditioning: tuple[float, float] | None = None


def schedule(config: Mapping[str, Any], embedding: str, where: str) -> Schedule:
    """The process behind a scheduler's configuration.

    Args:
        config: Content of scheduler_config.json.
        embedding: The network's `time_embedding_type`: "positional", "fourier" or "learned".
        where: Path of the configuration, for messages.

    Raises:
        InputError: For a scheduler that is unknown or does not fit the network.
    """
    name = _short(str(config.get("_class_name")))
    if name not in SCHEDULERS:
        why = " (it has no score: its network maps noise to samples in one step)" if name in _DISTILLED else ""
        raise InputError(
            f"{where}: the scheduler {name} cannot be read as a noise process{why}; supported are {', '.join(SCHEDULERS)}. Give "
            "the one that the network was trained with, as a folder with its scheduler_config.json."
        )
    steps = config.get("num_train_timesteps")
    if isinstance(steps, int | float) and steps > MOST_STEPS:
        raise InputError(
            f"{where}: num_train_timesteps must be at most {MOST_STEPS:,}; the configuration may be damaged."
        )
    found = SCHEDULERS[name](config, where)
    if embedding == "fourier" and (found.times is not None or found.preconditioning is not None):
        raise InputError(
            f"{where}: {name} does not fit the network, which takes the logarithm of its noise condition (fourier time embedding); "
            "here the condition can be 0 or less. Give the scheduler that it was trained with."
        )
    if embedding == "learned" and found.times is None:
        raise InputError(
            f"{where}: {name} does not fit the network, which is defined only at whole steps (learned time embedding)."
        )
    return replace(found, condition=_whole(found.condition)) if embedding == "learned" else found


def _whole(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The conditioning of a network that is defined only at whole steps; others raise an error."""

    def condition(t: Tensor) -> Tensor:
        fractional = step(t)
        if bool(torch.any((fractional - fractional.round()).abs() > 1e-3)):
            raise InputError(
                "t: lies between two steps, where this network is not defined (learned time embedding); use one of the "
                "score's `times`, or `nearest(t)`."
            )
        return fractional.round()

    return condition


def _known(config: Mapping[str, Any], where: str) -> str:
    """The prediction type."""
    kind = "sample" if config.get("predict_epsilon") is False else config.get("prediction_type", "epsilon")
    if not isinstance(kind, str) or kind not in DIFFUSERS_PREDICTIONS:
        raise InputError(
            f"{where}: prediction_type {_short(repr(kind))} is not known; choose one of {', '.join(DIFFUSERS_PREDICTIONS)}."
        )
    return DIFFUSERS_PREDICTIONS[kind]


def _preserving(config: Mapping[str, Any], where: str) -> Schedule:
    prediction = _known(config, where)
    if prediction == "velocity" or config.get(
        "use_flow_sigmas"
    ):  # DPM-Solver and similar schedulers also sample flow-matching models
        return _flow(config, where, prediction)
    betas = _betas(config, where)
    times = t_from_integrated_beta(np.cumsum(-np.log1p(-betas)))
    words = f"variance-preserving, {times.size:,} steps"
    if (
        config.get("timestep_type") == "continuous" and prediction == "v"
    ):  # with all others, diffusers conditions on steps
        reach = (float(times[0]), float(times[-1]))
        return Schedule(prediction, "vp", CONDITIONS["log-sigma"], reach, "variance-preserving, continuous")

    def step(t: Tensor) -> Tensor:
        return torch.as_tensor(ddpm_step(t.cpu().numpy(), times)).to(t.device)

    return Schedule(prediction, "vp", step, (float(times[0]), float(times[-1])), words, times=times)


def _betas(config: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    """The betas as diffusers computes them, without a last step that leaves no signal."""
    import diffusers

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # some schedulers trigger NumPy's
            kind = getattr(diffusers, str(config["_class_name"]))
            scheduler = kind(**{key: config[key] for key in _BETAS if key in config})
        betas = np.asarray(scheduler.betas, dtype=np.float64)
    except Exception as error:  # a configuration can hold anything, and schedulers raise errors of many kinds
        raise InputError(
            f"{where}: the scheduler {config['_class_name']} cannot be set up ({reason_of(error)})."
        ) from error
    if betas.ndim == 1 and betas.size and betas[-1] >= 1:  # zero terminal signal-to-noise ratio: t is infinite there
        betas = betas[:-1]
    if betas.ndim != 1 or betas.size < 2 or not np.all((betas > 0) & (betas < 1)):
        raise InputError(f"{where}: its betas must be at least two numbers between 0 and 1.")
    return betas


def _edm(config: Mapping[str, Any], where: str) -> Schedule:
    return _preconditioned(config, where, CONDITIONS["log-sigma"], 0.5, (0.002, 80.0), "EDM")


def _cosine(config: Mapping[str, Any], where: str) -> Schedule:
    def condition(t: Tensor) -> Tensor:
        return t.sqrt().atan() * (2 / math.pi)

    return _preconditioned(config, where, condition, 1.0, (0.3, 500.0), "cosine")


def _preconditioned(
    config: Mapping[str, Any],
    where: str,
    condition: Callable[[Tensor], Tensor],
    sigma_data: float,
    ends: tuple[float, float],
    name: str,
) -> Schedule:
    signs = {"noise": 1.0, "v": -1.0}
    prediction = _known({"prediction_type": "v_prediction" if name == "cosine" else "epsilon", **config}, where)
    if prediction not in signs:
        raise InputError(
            f"{where}: prediction_type {config.get('prediction_type', 'sample')!r} does not fit {name} preconditioning."
        )
    low, high = (_number(config, key, end, where) for key, end in zip(("sigma_min", "sigma_max"), ends, strict=True))
    sigma = _number(config, "sigma_data", sigma_data, where)
    if not (0 < low < high < math.inf and 0 < sigma < math.inf):
        raise InputError(f"{where}: needs 0 < sigma_min < sigma_max and sigma_data above 0.")
    words = f"{name}, any noise level from {low:g} to {high:g}"
    return Schedule("denoised", "ve", condition, (low**2, high**2), words, preconditioning=(sigma, signs[prediction]))


def _exploding(config: Mapping[str, Any], where: str) -> Schedule:
    low, high = _number(config, "sigma_min", 0.01, where), _number(config, "sigma_max", 1348.0, where)
    return _on_unit_scale(low, high, where)


def _karras(config: Mapping[str, Any], where: str) -> Schedule:
    # Its levels are on the scale of the data, [-1, 1]; the network's are half as large.
    low, high = _number(config, "sigma_min", 0.02, where), _number(config, "sigma_max", 100.0, where)
    return _on_unit_scale(low / 2, high / 2, where)


def _on_unit_scale(low: float, high: float, where: str) -> Schedule:
    if not 0 < low < high < math.inf:
        raise InputError(f"{where}: needs 0 < sigma_min < sigma_max, got {low:g} and {high:g}.")
    words = f"variance-exploding on [0, 1], any noise level from {low:g} to {high:g}"
    reach = ((2 * low) ** 2, (2 * high) ** 2)
    return Schedule("score", "ve", CONDITIONS["sigma"], reach, words, scale=(0.5, 0.5))


def _flow(config: Mapping[str, Any], where: str, prediction: str = "velocity") -> Schedule:
    if config.get("invert_sigmas"):
        raise InputError(f"{where}: flow matching with invert_sigmas, where time starts at the data, is not supported.")
    steps = _number(config, "num_train_timesteps", 1000.0, where)
    if steps < 2:
        raise InputError(f"{where}: num_train_timesteps must be at least 2, got {steps:g}.")

    def condition(t: Tensor) -> Tensor:
        return steps * CONDITIONS["flow"](t)

    reach = (t_from_flow(1 / steps), t_from_flow(1 - 1 / steps))
    return Schedule(
        prediction, "flow", condition, reach, f"flow matching, time from {1 / steps:g} to {1 - 1 / steps:g}"
    )


def _number(config: Mapping[str, Any], key: str, usual: float, where: str) -> float:
    """A finite number from a configuration."""
    value = config.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGE:
        raise InputError(f"{where}: {key} must be a number below {_LARGE:g}, got {_short(repr(value))}.")
    return float(value)


def _short(text: str) -> str:
    """Text from a configuration, cut for a message."""
    return text if len(text) <= 60 else f"{text[:60]} ..."


_PRESERVING = (
    "DDPM",
    "DDPMParallel",
    "DDIM",
    "DDIMParallel",
    "DDIMInverse",
    "PNDM",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverMultistepInverse",
    "DPMSolverSinglestep",
    "DPMSolverSDE",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2AncestralDiscrete",
    "KDPM2Discrete",
    "LMSDiscrete",
    "SASolver",
    "UniPCMultistep",
)
_DISTILLED = ("CMStochasticIterativeScheduler", "LCMScheduler", "TCDScheduler")
SCHEDULERS: dict[str, Callable[[Mapping[str, Any], str], Schedule]] = {
    **{f"{name}Scheduler": _preserving for name in _PRESERVING},
    "EDMEulerScheduler": _edm,
    "EDMDPMSolverMultistepScheduler": _edm,
    "CosineDPMSolverMultistepScheduler": _cosine,
    "ScoreSdeVeScheduler": _exploding,
    "KarrasVeScheduler": _karras,
    "FlowMatchEulerDiscreteScheduler": _flow,
    "FlowMatchHeunDiscreteScheduler": _flow,
}
