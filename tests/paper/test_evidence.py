"""The numbers in verdicts' sentences and tables, on records made by hand."""

import math

import numpy as np
import pytest

from geomem.paper.claims import verdicts
from geomem.paper.curves import FORMS, _opened
from geomem.paper.verdict import FAILS, HOLDS, IN_PART
from paper.by_hand import BY_KEY, D, Made, by_size, condensation, curves, order, reverse, said, scaling, verdict
from paper.by_hand_networks import BEHIND, algorithms, learned, networks, trained


def test_openings_are_the_times_at_which_survival_crosses_one_half() -> None:
    """On a grid of thirteen times, interpolated in ln t: a subspace of variance s opens at t = s."""
    text = said("opening", curves(7))
    assert "to ½ at t = 1.0" in text
    assert "along the axes of variance 1 and at t = 0.3" in text
    log_t = np.linspace(-3, 3, 13)
    curve = np.tile(0.5 - (log_t - 1.25) / 10, (4, 1))
    assert _opened(curve, log_t) == pytest.approx(1.25)
    assert math.isnan(_opened(curve - 1, log_t))
    # Survival that is lost again at small t, where data sets condense, opened where it rose first.
    assert _opened(np.where(log_t < -2, 0.1, curve), log_t) == pytest.approx(1.25)


def test_gaps_close_half_way_between_sizes_in_logarithms() -> None:
    table = BY_KEY["closing"].judge(by_size(7, 100, 1000)).table
    assert table.rows == (("7", "0.1", "500 [500, 500]", "71 [71, 71]"), ("7", "0.01", "500 [500, 500]", "71 [71, 71]"))
    table = BY_KEY["closing"].judge(by_size(7, 1, 10**9)).table
    assert table.rows[0] == ("7", "0.1", "above 10,000", "below 50")


def test_the_sign_of_participation_is_counted_by_time() -> None:
    text = said("lost-first-simulation", order(np.array([0.2, 0.1, -0.1, -0.2, -0.3])))
    assert "of the 5 times with mean Y above 0.01, the high-variance subspace is more condensed at 2" in text
    assert "the low-variance one at 3" in text


def test_what_is_not_condensed_is_not_judged() -> None:
    records = order(np.array([0.2, 0.1, 0.1, -0.3]))
    late = records["order"]["m7"]["participation"].values[..., -1]
    late[:] = late / 1000
    assert verdict("lost-first-simulation", records) == HOLDS


def test_theory_counts_only_the_times_near_condensation() -> None:
    """Far above t_c nothing is condensed, so the order there is of no account."""
    arrays = order(np.zeros(9))["order"]["m7"]
    far = arrays["t"].values >= 4  # twice the larger t_c
    assert 0 < far.sum() < 9
    for method in ("condensation_time", "expansion"):
        late = far if method == "condensation_time" else arrays["t"].values >= 6
        arrays[method].values[late] = arrays[method].values[late][:, ::-1]
    assert verdict("lost-first-exact", {"order": {"m7": arrays}}) == HOLDS
    arrays["condensation_time"].values[0] = [1.0, 2.0]
    assert verdict("lost-first-exact", {"order": {"m7": arrays}}) == IN_PART


def test_slopes_are_those_of_ln_n() -> None:
    text = said("scaling", scaling(0.75, 0.0))
    assert "ln N grows by 0.750 [" in text
    assert "(theory, h(t): 0.750)" in text
    assert "grows by 0.00000 [" in text or "grows by -0.00000 [" in text
    assert "A line in m fits ln N better than a line in ln m in" in text


def test_orders_of_the_samplers_are_those_of_their_errors() -> None:
    text = said("memorizing-limit", reverse(1.0, 0.0))
    assert "reverse diffusion, exact score: the error of a variance falls as steps^-1.00 (from 0.2 to 0.05)" in text
    assert "probability-flow ODE, exact score: the error of a variance falls as steps^-2.00" in text
    assert "100.0% of the samples of the empirical score" in text


def test_errors_of_spectra_are_those_of_the_tangent_and_of_the_largest_values() -> None:
    """An error of the tangent values alone is not hidden by the largest ones, nor the other way round."""
    for where, row in ((slice(D - 7, D), 0), (slice(0, 7), 1)):
        records = curves(7)
        values = records["fig4"]["theory"]["singular_value"].values
        values[list(FORMS).index("eq19"), 0, where] *= 2
        evidence = BY_KEY["spectra"].judge(records)
        assert evidence.verdict == IN_PART
        assert float(evidence.table.rows[row][3].split(" ± ")[0]) == pytest.approx(math.log(2), abs=0.02)
        assert float(evidence.table.rows[1 - row][3].split(" ± ")[0]) < 0.02
    records = curves(7)
    records["fig4"]["theory"]["singular_value"].values[..., 7 : D - 7] *= 100
    assert verdict("spectra", records) == HOLDS


def test_networks_sentences_say_what_was_counted() -> None:
    text = said("networks-total-gap", trained())
    assert "m = 7, 1,000 steps" in text
    assert "100% to 100% of points for N = 5,000, 100,000" in text
    text = said("networks-low-gap", trained(**BEHIND))
    assert "N = 250" in text
    assert "N = 500" in text
    assert "N = 5,000" not in text
    assert "the largest gap is the low-variance one at no more than 100% of training points" in text
    assert "low variance less high, is +0.40 [+0.40, +0.40] (t = 0.01)" in text
    text = said("networks-agree", trained(beyond=lambda t: 2.0 * (t < 0.1)))
    assert "at t ≥ 0.3 the two differ by at most 0.00 dimensions" in text
    assert "closer to the exact score by 2.0 to 2.0 dimensions, with an interval above 0 in 10 of 10 cases" in text
    text = said("stable", algorithms(0.25, 0.5))
    assert "the scatter over repetitions is 0.25 to 0.25 for Alg. 2 with as many directions" in text


def reversed_at(place: str, records: Made) -> Made:
    """The two subspaces' survival exchanged at the points of one place."""
    ((name, parts),) = records.items()
    ((part, arrays),) = parts.items()
    changed = arrays.copy(deep=True)
    at = changed["where"].values == place
    s = changed["variance"].values[:2] / (changed["variance"].values[:2] + changed["t"].values[:, None])
    values = changed["axis_survival"].values
    values[..., at, :2] = values[..., at, 1::-1] / s[:, None, ::-1] * s[:, None]
    return {name: {part: changed}}


def test_training_and_new_points_are_told_apart() -> None:
    """The total gap must be kept at both; the other gaps, what is lost first and agreement are of training points, and
    what is learned first of new ones.
    """

    def gap(n: int, place: str) -> int:
        return {"origin": -1, "training": 28 if n <= 100 else 25 if n <= 500 else 23, "held_out": 23}[place]

    records = {"fig5": {"m7": networks(7, gap, **BEHIND)}}
    for key in ("networks-total-gap", "networks-low-gap", "networks-high-gap"):
        assert verdict(key, records) == HOLDS, key
    other = {"fig5": {"m7": networks(7, lambda n, place: 28 if place == "held_out" else 23, **BEHIND)}}
    assert verdict("networks-total-gap", other) == IN_PART
    assert verdict("lost-first-networks", reversed_at("held_out", records)) == HOLDS
    assert verdict("lost-first-networks", reversed_at("training", records)) == FAILS
    assert verdict("learned-first", reversed_at("training", learned(1.0, 0.5))) == HOLDS
    assert verdict("learned-first", reversed_at("held_out", learned(1.0, 0.5))) == FAILS
    agree = trained(beyond=lambda t: 2.0 * (t < 0.1))["fig5"]["m7"]
    agree["axis_survival"].loc[{"score": "empirical", "point": agree["where"].values == "held_out"}] = 0.0
    assert verdict("networks-agree", {"fig5": {"m7": agree}}) == HOLDS


def test_claims_are_judged_on_those_of_their_experiments_that_are_there() -> None:
    assert verdicts({}) == []
    found = verdicts({**condensation([1.0, 1.02, 1.09]), **scaling(0.9, 0.0), "fig2": {}})
    assert [v.claim.key for v in found] == ["expansion", "position", "scaling"]
    assert [set(v.plain()) for v in found] == [{"claim", "place", "statement", "verdict", "found"}] * 3
    line = found[0].line()
    assert line.startswith(f"{BY_KEY['expansion'].statement} (Supp. C, Fig. 8, Eq. 15): holds. ")
    assert line.endswith(found[0].evidence.found[0])
