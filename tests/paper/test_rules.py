"""The finer rules of verdicts: what is judged at all, together with what, and by which of two measurements."""

import numpy as np
import xarray as xr

from geomem.paper.verdict import FAILS, HOLDS, IN_PART, UNDECIDED, graded
from paper.by_hand import BY_KEY, D, both, by_size, condensation, curves, order, scaling, verdict
from paper.by_hand_networks import BEHIND, algorithms, learned, networks, trained


def only(records) -> xr.Dataset:
    """The one record."""
    ((_, parts),) = records.items()
    ((_, arrays),) = parts.items()
    return arrays


def test_an_opening_must_be_earlier_beyond_its_error() -> None:
    """By a standard error or so it is in most draws and not in 97.5% of them; what never opens is not earlier."""
    assert verdict("opening", curves(7, (0.508, 0.5))) == FAILS
    assert verdict("opening", curves(7, (0.6, 0.5))) == HOLDS
    assert verdict("opening", curves(7, (0.0, 0.5))) == FAILS


def test_all_times_are_judged_together() -> None:
    """A difference 2.3 standard errors below 0 at one of 5 times is what chance gives; 4 of them are not."""
    for errors, expected in ((2.3, HOLDS), (4.0, IN_PART)):
        records = order(np.full(5, 0.1))
        for arrays in records["order"].values():
            swing = 0.01 * (-1.0) ** np.arange(50)
            shift = -errors * swing.std(ddof=1) / np.sqrt(50)
            arrays["participation"].values[:, 0, 2] = arrays["participation"].values[:, 1, 2] + swing + shift
        assert verdict("lost-first-simulation", records) == expected


def test_an_expansion_good_at_a_third_of_the_loads_does_not_hold() -> None:
    assert verdict("expansion", condensation([1.0, 1.3, 2.0])) == FAILS
    assert verdict("expansion", condensation([1.0, 1.05, 2.0])) == IN_PART


def test_eq_43_is_compared_over_the_tangent_values() -> None:
    for where, expected in ((slice(D - 7, D), HOLDS), (slice(0, 7), FAILS)):
        records = curves(7)
        theory = records["fig4"]["theory"]
        theory["singular_value"].loc[{"form": "eq41 samples"}].values[:, where] *= 2
        assert verdict("closer", records) == expected


def test_exponential_growth_is_told_from_a_power_of_m() -> None:
    records = scaling(0.0, 0.0)
    ranks = records["scaling"]["ranks"]
    ranks["half_condensed"].values *= ranks["rank"].values[:, None] ** 6.0
    assert verdict("scaling", records) == IN_PART
    assert verdict("scaling", scaling(1.1, 0.0)) == HOLDS


def test_more_than_the_exact_survival_does_not_make_up_for_a_loss() -> None:
    """The high-variance subspace is lost at nine training points of ten; at the tenth the fit is nine times too large."""
    records = trained(high=lambda n, t: 0.5, low=lambda n, t: 0.95)
    arrays = only(records)
    tenth = np.flatnonzero(arrays["where"].values == "training")[0]
    arrays["axis_survival"].values[..., tenth, 0] *= 18
    assert verdict("lost-first-networks", records) == HOLDS


def test_lines_that_are_close_are_told_apart() -> None:
    """For m = 7 the total and the low gap are two apart: one that falls between them is not the low one."""
    assert verdict("networks-low-gap", trained(middle=24, **BEHIND)) == IN_PART
    assert verdict("networks-low-gap", trained(middle=25, **BEHIND)) == HOLDS
    assert verdict("networks-total-gap", trained(total=24)) == HOLDS


def test_the_total_gap_is_seen_by_both_probes_and_the_high_one_by_either() -> None:
    records = trained()
    gaps = only(records)["gap"]
    gaps.values = gaps.values.copy()
    gaps.loc[{"probe": "orthonormal"}] = -1
    assert verdict("networks-total-gap", records) == IN_PART
    assert verdict("networks-high-gap", records) == HOLDS


def test_survival_beyond_the_exact_one_is_no_generalization() -> None:
    """The network has more than the empirical score at small t, and is farther from the exact score."""
    over = trained(
        high=lambda n, t: 1.5 if t < 0.1 else 1.0,
        low=lambda n, t: 1.5 if t < 0.1 else 1.0,
        beyond=lambda t: 3.7 * (t < 0.1),
    )
    assert verdict("networks-agree", over) == IN_PART
    assert verdict("networks-agree", trained(beyond=lambda t: 3.7 * (t < 0.1))) == HOLDS


def test_what_noise_hides_is_neither_learned_nor_not() -> None:
    """At t = 1 the exact score itself keeps less than half of the low variance; what happens there is of no account."""
    late = networks(
        7,
        lambda n, place: 23,
        high=lambda n, t: 0.5 if t > 0.1 else 1.0,
        low=lambda n, t: 1.0 if t > 0.1 else 0.5,
    ).sel(score=["network"])
    assert verdict("learned-first", {"fig15": {"high": late}}) == HOLDS
    assert verdict("learned-first", learned(0.5, 1.0)) == FAILS


def test_stability_is_at_as_many_directions() -> None:
    """Alg. 2 with half of them, as many evaluations as Alg. 1's, is reported and does not decide."""
    records = algorithms(0.5, 0.5)
    only(records)["deviation"].loc[{"probe": "Alg. 2, half"}] *= 10
    assert verdict("stable", records) == HOLDS


# --- nothing to judge ---


def test_without_condensation_nothing_is_lost_first() -> None:
    records = order(np.zeros(5))
    for arrays in records["order"].values():
        arrays["participation"].values[:] /= 1000
    assert verdict("lost-first-simulation", records) == UNDECIDED


def test_networks_that_lose_nothing_do_not_tell_what_is_lost_first() -> None:
    assert verdict("lost-first-networks", trained()) == UNDECIDED


def test_a_statement_of_which_nothing_could_be_told_does_not_hold() -> None:
    assert graded([]) == UNDECIDED
    assert verdict("closing", both(by_size, 10**9, 10**9)) == UNDECIDED


def test_an_expansion_far_too_small_does_not_hold() -> None:
    assert verdict("expansion", condensation([0.5, 0.5, 0.5])) == FAILS


def test_spectra_that_agree_at_no_time_are_judged() -> None:
    assert BY_KEY["spectra"].judge(curves(7, errors={"eq19": [3.0] * 13})).verdict == FAILS


def test_networks_of_few_samples_alone_are_judged() -> None:
    arrays = trained()["fig5"]["m7"].sel(size=[50, 250])
    assert BY_KEY["networks-total-gap"].judge({"fig5": {"m7": arrays}}).verdict != HOLDS
