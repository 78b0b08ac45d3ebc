"""Bad input to `geomem.theory`: each raises an InputError that says what was wrong."""

import numpy as np
import pytest

from geomem import theory
from geomem.errors import InputError

S = [1.0, 0.5, 0.25, 0.0]
X = np.ones(4)
RNG = np.random.default_rng(0)

# Every public function of a spectrum of variances, called with good values but the one named.
BY_VARIANCES = {
    "condensation_time": lambda s: theory.condensation_time(s, 10),
    "condensation_time_along": lambda s: theory.condensation_time_along(s, 10),
    "correlated_jacobian": lambda s: theory.correlated_jacobian(s, 10, 0.1),
    "cumulant": lambda s: theory.cumulant(s, 0.1),
    "cumulant_derivative": lambda s: theory.cumulant_derivative(s, 0.1),
    "effective_samples": lambda s: theory.effective_samples(s, 10, 0.1),
    "exact_singular_values": lambda s: theory.exact_singular_values(s, 0.1),
    "half_weight_time": lambda s: theory.half_weight_time(s, 10),
    "held_out_point": lambda s: theory.held_out_point(s, 10, 0.1, X),
    "held_out_survival": lambda s: theory.held_out_survival(s, 10, 0.1, X, n_draws=2, rng=RNG),
    "information": lambda s: theory.information(s, 0.1),
    "jacobian_samples": lambda s: theory.jacobian_samples(s, 10, 0.1, 2, rng=RNG),
    "jacobian_singular_values": lambda s: theory.jacobian_singular_values(s, 10, 0.1),
    "log_moment_ratio": lambda s: theory.log_moment_ratio(s, 0.1),
    "required_samples": lambda s: theory.required_samples(s, 0.1),
    "score_distribution": lambda s: theory.score_distribution(s, 10, 0.1),
    "spectral_gaps": lambda s: theory.spectral_gaps(s, 0.1),
    "training_point": lambda s: theory.training_point(s, 10, 0.1, X),
}
BY_TIME = {
    "correlated_jacobian": lambda t: theory.correlated_jacobian(S, 10, t),
    "cumulant": lambda t: theory.cumulant(S, t),
    "cumulant_derivative": lambda t: theory.cumulant_derivative(S, t),
    "effective_samples": lambda t: theory.effective_samples(S, 10, t),
    "exact_singular_values": lambda t: theory.exact_singular_values(S, t),
    "held_out_point": lambda t: theory.held_out_point(S, 10, t, X),
    "held_out_survival": lambda t: theory.held_out_survival(S, 10, t, X, n_draws=2, rng=RNG),
    "information": lambda t: theory.information(S, t),
    "jacobian_samples": lambda t: theory.jacobian_samples(S, 10, t, 2, rng=RNG),
    "jacobian_singular_values": lambda t: theory.jacobian_singular_values(S, 10, t),
    "log_moment_ratio": lambda t: theory.log_moment_ratio(S, t),
    "random_projection_gap": lambda t: theory.random_projection_gap(1.0, 0.5, t),
    "required_samples": lambda t: theory.required_samples(S, t),
    "score_distribution": lambda t: theory.score_distribution(S, 10, t),
    "spectral_gaps": lambda t: theory.spectral_gaps(S, t),
    "training_point": lambda t: theory.training_point(S, 10, t, X),
}
BY_SAMPLES = {
    "condensation_time": lambda n: theory.condensation_time(S, n),
    "condensation_time_along": lambda n: theory.condensation_time_along(S, n),
    "correlated_jacobian": lambda n: theory.correlated_jacobian(S, n, 0.1),
    "effective_samples": lambda n: theory.effective_samples(S, n, 0.1),
    "half_weight_time": lambda n: theory.half_weight_time(S, n),
    "held_out_point": lambda n: theory.held_out_point(S, n, 0.1, X),
    "held_out_survival": lambda n: theory.held_out_survival(S, n, 0.1, X, n_draws=2, rng=RNG),
    "jacobian_samples": lambda n: theory.jacobian_samples(S, n, 0.1, 2, rng=RNG),
    "jacobian_singular_values": lambda n: theory.jacobian_singular_values(S, n, 0.1),
    "score_distribution": lambda n: theory.score_distribution(S, n, 0.1),
    "training_point": lambda n: theory.training_point(S, n, 0.1, X),
}
BY_POSITION = {
    "condensation_time": lambda x: theory.condensation_time(S, 10, x),
    "cumulant": lambda x: theory.cumulant(S, 0.1, 1.0, x),
    "cumulant_derivative": lambda x: theory.cumulant_derivative(S, 0.1, 1.0, x),
    "effective_samples": lambda x: theory.effective_samples(S, 10, 0.1, x),
    "half_weight_time": lambda x: theory.half_weight_time(S, 10, x),
    "held_out_point": lambda x: theory.held_out_point(S, 10, 0.1, x),
    "held_out_survival": lambda x: theory.held_out_survival(S, 10, 0.1, x, n_draws=2, rng=RNG),
    "information": lambda x: theory.information(S, 0.1, x),
    "log_moment_ratio": lambda x: theory.log_moment_ratio(S, 0.1, x),
    "required_samples": lambda x: theory.required_samples(S, 0.1, x),
    "score_distribution": lambda x: theory.score_distribution(S, 10, 0.1, x),
    "training_point": lambda x: theory.training_point(S, 10, 0.1, x),
}


def test_every_public_function_is_covered():
    functions = {name for name in theory.__all__ if callable(getattr(theory, name)) and name.islower()}
    assert functions - {"rank_correction"} == set(BY_VARIANCES) | set(BY_TIME)


def test_an_input_error_is_a_value_error_with_its_exit_code():
    with pytest.raises(ValueError, match="variances") as caught:
        theory.condensation_time([-1.0], 10)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("call", BY_VARIANCES.values(), ids=BY_VARIANCES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1.0, -0.5, 0.3, 0.0], r"variances: entry 1 is -0\.5; .* not negative"),
        ([1.0, 0.5, np.nan, 0.0], "variances: entry 2 is nan; .* finite"),
        ([np.inf, 0.5, 0.3, 0.0], "variances: entry 0 is inf; .* finite"),
        ([], r"variances: expected a vector .* got shape \(0,\)"),
        (1.0, r"variances: expected a vector .* got shape \(\)"),
        ([[1.0, 0.5], [0.3, 0.0]], r"variances: expected a vector .* got shape \(2, 2\)"),
        (["a", "b", "c", "d"], "variances: expected numbers"),
        ([1.0, [2.0, 3.0]], "variances: expected numbers"),
    ],
    ids=["negative", "nan", "infinite", "empty", "scalar", "matrix", "text", "ragged"],
)
def test_variances(call, bad, message):
    with pytest.raises(InputError, match=message):
        call(bad)


@pytest.mark.parametrize("call", BY_TIME.values(), ids=BY_TIME)
@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan])
def test_times(call, bad):
    with pytest.raises(InputError, match=rf"t: a time is {bad:g}; .* above 0"):
        call(bad)


def test_times_in_an_array_and_as_text():
    with pytest.raises(InputError, match=r"t: a time is -2;"):
        theory.information(S, [0.1, -2.0, 0.0])
    with pytest.raises(InputError, match="t: expected numbers, got 'soon'"):
        theory.information(S, "soon")
    with pytest.raises(InputError, match="t: a time is nan"):
        theory.information(S, None)


@pytest.mark.parametrize("call", BY_SAMPLES.values(), ids=BY_SAMPLES)
@pytest.mark.parametrize("bad", [0, -5, 0.5, np.nan, np.inf])
def test_numbers_of_samples(call, bad):
    with pytest.raises(InputError, match=rf"n_samples: got {bad:g}, but at least . samples? (is|are) needed"):
        call(bad)


NEEDS_TWO = (
    "correlated_jacobian",
    "half_weight_time",
    "held_out_point",
    "held_out_survival",
    "jacobian_samples",
    "jacobian_singular_values",
)


@pytest.mark.parametrize("name", NEEDS_TWO)
def test_one_sample_where_two_are_needed(name):
    with pytest.raises(InputError, match="n_samples: got 1, but at least 2 samples are needed"):
        BY_SAMPLES[name](1)


def test_one_sample_has_no_score_distribution():
    with pytest.raises(InputError, match="n_samples: one sample has no condensation time"):
        theory.score_distribution(S, [1, 10], 0.1)


@pytest.mark.parametrize("function", [theory.condensation_time, theory.condensation_time_along])
def test_the_load_is_given_once(function):
    for given in ({}, {"n_samples": 10, "alpha": 0.1}):
        with pytest.raises(InputError, match="n_samples, alpha: give one of the two"):
            function(S, **given)
    for bad in (np.nan, np.inf, [0.1, -np.inf]):
        with pytest.raises(InputError, match="alpha: must be finite"):
            function(S, alpha=bad)
    with pytest.raises(InputError, match="alpha: expected numbers"):
        function(S, alpha="heavy")


@pytest.mark.parametrize("call", BY_POSITION.values(), ids=BY_POSITION)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(3), r"x: has shape \(3,\), .* the 4 entries of variances"),
        (np.ones((4, 1)), r"x: has shape \(4, 1\), .* the 4 entries"),
        (1.0, r"x: has shape \(\), .* the 4 entries"),
        ([1, 2, np.nan, 0], "x: holds a value that is not finite"),
        ([1, 2, 0, np.inf], "x: holds a value that is not finite"),
        ("origin", "x: expected numbers"),
    ],
    ids=["short", "column", "scalar", "nan", "infinite", "text"],
)
def test_positions(call, bad, message):
    with pytest.raises(InputError, match=message):
        call(bad)


def test_directions():
    with pytest.raises(InputError, match=r"direction: has shape \(3,\), .* the 4 entries"):
        theory.condensation_time_along(S, 10, np.ones(3))
    with pytest.raises(InputError, match="direction: holds a value that is not finite"):
        theory.condensation_time_along(S, 10, [1, np.nan, 0, 0])


@pytest.mark.parametrize(
    ("call", "name", "options"),
    [
        (lambda v: theory.condensation_time(S, 10, method=v), "method", ("exact", "expansion")),
        (lambda v: theory.effective_samples(S, 10, 0.1, method=v), "method", ("rem", "annealed", "finite")),
        (lambda v: theory.held_out_point(S, 10, 0.1, X, method=v), "method", ("rem", "annealed", "finite")),
        (lambda v: theory.score_distribution(S, 10, 0.1, method=v), "method", ("rem", "annealed", "finite")),
        (lambda v: theory.random_projection_gap(1.0, 0.5, 0.1, form=v), "form", ("corrected", "eq9")),
        (lambda v: theory.jacobian_singular_values(S, 10, 0.1, form=v), "form", ("row", "column", "eq19", "eq43")),
        (lambda v: theory.jacobian_singular_values(S, 10, 0.1, condensation=v), "condensation", ("exact", "expansion")),
        (lambda v: theory.jacobian_samples(S, 10, 0.1, 2, rng=RNG, form=v), "form", ("corrected", "eq18")),
        (lambda v: theory.jacobian_samples(S, 10, 0.1, 2, rng=RNG, condensation=v), "condensation", ("exact",)),
        (lambda v: theory.correlated_jacobian(S, 10, 0.1, form=v), "form", ("raw", "shrunk")),
    ],
)
def test_options(call, name, options):
    for option in options:
        call(option)
    for unknown in ("best", "", options[0].upper()):
        with pytest.raises(InputError, match=rf"{name}: {unknown!r} is not known; choose one of '{options[0]}'"):
            call(unknown)


def test_finite_needs_three_positive_variances():
    for call in (
        lambda s: theory.effective_samples(s, 10, 0.1, method="finite"),
        lambda s: theory.score_distribution(s, 10, 0.1, method="finite"),
        lambda s: theory.held_out_point(s, 10, 0.1, np.ones(4), method="finite"),
        lambda s: theory.correlated_jacobian(s, 10, 0.1, form="shrunk"),
    ):
        call([1.0, 0.5, 0.3, 0.0])
        with pytest.raises(InputError, match="'finite' needs more than two positive variances, got 2; use 'annealed'"):
            call([1.0, 0.5, 0.0, 0.0])


def test_the_correlated_theory_needs_a_rank_it_can_hold():
    for s, rank in (([0.0, 0.0], 0), ([1.0] * 91, 91)):
        with pytest.raises(InputError, match=rf"variances: {rank} are positive, .* 1 to 90"):
            theory.correlated_jacobian(s, 10, 0.1)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.01, np.nan, np.inf, [0.5, 0.0]])
def test_rank_ratio(bad):
    with pytest.raises(InputError, match=r"rank_ratio: must lie in \(0, 1\]"):
        theory.random_projection_gap(1.0, bad, 0.1)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_the_variance_of_a_random_projection(bad):
    with pytest.raises(InputError, match="variance: must be finite and above 0"):
        theory.random_projection_gap(bad, 0.5, 0.1)
