"""Every public function that states shapes is called once; `make typecheck` holds these calls to what is stated."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from jaxtyping import TypeCheckError

from geomem import data, manifolds, scores, spectra
from geomem.manifolds import LinearManifold
from geomem.scores import EmpiricalScore, GaussianScore, Posterior, sampling
from geomem.scores.distances import Samples
from geomem.scores.sampling import heun, noise_levels, reverse_diffusion
from geomem.training import ResidualMLP

ROOMS = {"data": data, "manifolds": manifolds, "scores": scores, "scores.sampling": sampling, "spectra": spectra}
D, N, T = 4, 6, torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def gaussian() -> GaussianScore:
    return GaussianScore(torch.arange(D).double(), basis=torch.eye(D).double())


def empirical() -> EmpiricalScore:
    return EmpiricalScore(drawn(N, D))


def posterior() -> Posterior:
    return empirical().posterior(drawn(3, D), t_min=0.1)


def measured() -> spectra.Spectrum:
    return spectra.spectrum(empirical(), drawn(3, D), T, vectors=True)


def levels() -> torch.Tensor:
    return noise_levels(5, t_min=0.1, t_max=4.0)


OWN = torch.zeros(3, dtype=torch.long)
CALLS: dict[str, Callable[[], object]] = {
    "data.digits": lambda: data.digits(),
    "manifolds.FixedPoints.__init__": lambda: manifolds.fixed_points(gaussian(), 0.1, drawn(3, D)),
    "manifolds.LinearManifold.__init__": lambda: LinearManifold([1.0, 0.0], rotation=torch.eye(2).double()),
    "manifolds.LinearManifold.from_matrix": lambda: LinearManifold.from_matrix(drawn(D, 2)),
    "manifolds.LinearManifold.subspaces": lambda: LinearManifold.subspaces(D, [(2, 1.0)], rotation=torch.eye(D)),
    "manifolds.LinearManifold.uniform": lambda: LinearManifold.uniform(D, 2, generator=generator()),
    "manifolds.fixed_points": lambda: manifolds.fixed_points(empirical(), 0.1, drawn(3, D)),
    "manifolds.random_frame": lambda: manifolds.random_frame(D, 2, generator=generator()),
    "manifolds.random_rotation": lambda: manifolds.random_rotation(D, generator=generator()),
    "scores.EmpiricalScore.__init__": lambda: EmpiricalScore(drawn(N, 2, 2)),
    "scores.EmpiricalScore.around": lambda: empirical().around(drawn(D)),
    "scores.GaussianScore.__init__": gaussian,
    "scores.GaussianScore.coordinates": lambda: gaussian().coordinates(drawn(3, 2, D)),
    "scores.GaussianScore.fit": lambda: GaussianScore.fit(drawn(N, 2, 2)),
    "scores.EmpiricalScore.posterior": lambda: empirical().posterior(drawn(3, D), t_min=0.1, exclude=OWN),
    "scores.Posterior.__init__": posterior,
    "scores.Posterior.of": lambda: Posterior.of(Samples.of(drawn(N, D)), drawn(3, D), t_min=0.1),
    "scores.Posterior.without": lambda: posterior().without(OWN),
    "scores.Posterior.effective_samples": lambda: posterior().effective_samples(0.5),
    "scores.Posterior.entropy": lambda: posterior().entropy(0.5),
    "scores.Posterior.log_weights": lambda: posterior().log_weights(0.5),
    "scores.Posterior.survival": lambda: posterior().survival(1, 0.5, rows=drawn(N, 2)),
    "scores.Posterior.weight_of": lambda: posterior().weight_of(0.5, OWN),
    "scores.sampling.heun": lambda: heun(empirical(), drawn(3, D), levels()),
    "scores.sampling.noise_levels": levels,
    "scores.principal_components": lambda: scores.principal_components(drawn(N, D)),
    "scores.sampling.reverse_diffusion": lambda: reverse_diffusion(
        empirical(), drawn(3, D), levels(), generator=generator()
    ),
    "spectra.Leading.__init__": lambda: spectra.leading(gaussian(), drawn(3, D), T, residuals=True),
    "spectra.Measurement.__init__": lambda: spectra.spectrum(gaussian(), drawn(3, D), T, probe="orthonormal"),
    "spectra.Measurement.points": lambda: spectra.spectrum(gaussian(), drawn(3, D), T, probe="exact"),
    "spectra.Spectrum.__init__": measured,
    "spectra.Spectrum.alignment": lambda: measured().alignment,
    "spectra.Spectrum.gaps": lambda: measured().gaps,
    "spectra.Trace.__init__": lambda: spectra.trace(empirical(), drawn(3, D), T, probes=2),
    "spectra.Trace.degrees_of_freedom": lambda: spectra.trace(empirical(), drawn(3, D), T, probes=2).degrees_of_freedom,
    "spectra.differentiated_jacobian": lambda: spectra.differentiated_jacobian(gaussian(), drawn(3, D), T),
    "spectra.restricted": lambda: spectra.restricted(gaussian(), drawn(3, D), T, drawn(D, 2)),
    "training.ResidualMLP.forward": lambda: ResidualMLP(D)(drawn(3, D).float(), T.float()),
}


def stating(function: object) -> bool:
    """Whether a function's annotations hold a shape of jaxtyping's."""
    return any("jaxtyping." in repr(hint) for hint in getattr(function, "__annotations__", {}).values())


def public(room: str, module: ModuleType) -> Iterator[str]:
    """Names of the public functions and methods of a room that state shapes."""
    for name in module.__all__:
        found = getattr(module, name)
        if not inspect.isclass(found):
            if stating(found):
                yield f"{room}.{name}"
            continue
        for method, value in vars(found).items():
            inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if stating(inner) and (method == "__init__" or not method.startswith("_")):
                yield f"{room}.{name}.{method}"


def test_every_public_function_that_states_shapes_is_called() -> None:
    assert {name for room, module in ROOMS.items() for name in public(room, module)} <= set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_shapes_are_as_stated(name: str) -> None:
    CALLS[name]()


@pytest.mark.parametrize("probe", spectra.PROBES)
def test_shapes_within_each_probe_are_as_stated(probe: str) -> None:
    for score in (empirical(), gaussian()):
        spectra.spectrum(score, drawn(3, D), T, probe=probe)


@pytest.mark.parametrize(
    "call",
    [
        lambda: EmpiricalScore(torch.zeros(N, D, dtype=torch.long)),
        lambda: empirical().posterior(drawn(3, D), t_min=0.1, exclude=OWN.double()),
        lambda: GaussianScore(drawn(D, D)),
        lambda: LinearManifold.from_matrix(drawn(D)),
        lambda: spectra.restricted(gaussian(), drawn(3, D), T, drawn(D)),
        lambda: ResidualMLP(D)(drawn(3, D).float(), T[:2].float()),
    ],
)
def test_other_shapes_are_found(call: Callable[[], object], request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("shapes are checked by make typecheck")
    with pytest.raises(TypeCheckError):
        call()
