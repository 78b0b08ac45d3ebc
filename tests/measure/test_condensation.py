"""Condensation times from half-weights, crossings and bootstrap: closed forms, the sheet's sets, coverage."""

import math

import numpy as np
import pytest
import torch

from geomem.measure.condensation import condensation, condensation_time_from_half, half_time, half_time_at
from geomem.measure.principal import prepare
from geomem.theory import condensation_time, rank_correction

SETS = {
    "A": np.array([1.0] * 2 + [0.3] * 5 + [0.0] * 23),
    "B": np.array([1.0] * 5 + [0.3] * 10 + [0.0] * 15),
}


# --- the time of a half ---


@pytest.mark.parametrize("start", [1e-9, 0.01, 0.37, 1.0, 1e8])
def test_half_time_of_known_curves_from_any_start(start):
    for scale in (1e-3, 0.37, 50.0):
        assert half_time(lambda t, a=scale: 1 / (1 + t / a), start) == pytest.approx(scale, rel=1e-9)
        assert half_time(lambda t, a=scale: max(0.0, 1 - t / a), start) == pytest.approx(scale / 2, rel=1e-9)
        assert half_time(lambda t, a=scale: math.exp(-t / a), start) == pytest.approx(scale * math.log(2), rel=1e-9)


def test_half_time_of_a_curve_that_never_passes_is_nan():
    assert math.isnan(half_time(lambda t: 0.3, 1.0))
    assert math.isnan(half_time(lambda t: 0.8, 1.0))


def test_condensation_time_of_the_random_energy_model_comes_back():
    """Eq. 36 with the finite-rank correction, E[Y] = 1 - t/(C t_c)."""
    for rank in (2.5, 7.0, 60.0, 1e7):
        for t_c in (1e-3, 2.0):
            frozen = float(rank_correction(rank)) * t_c
            half = half_time(lambda t, end=frozen: max(0.0, 1 - t / end), 1.0)
            assert float(condensation_time_from_half(half, rank)) == pytest.approx(t_c, rel=1e-9)
    a = 3.5
    c = math.e * math.gamma(a + 1) ** (1 / a) / (a * math.gamma(2 - 1 / a))
    assert float(condensation_time_from_half(1.3, 7.0)) == pytest.approx(2.6 / c, rel=1e-12)


def test_no_condensation_time_for_a_rank_of_two_or_less():
    found = condensation_time_from_half([1.0, 1.0, 1.0, np.nan], [0.0, 2.0, 2.0 + 1e-6, 9.0])
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, True])
    assert float(condensation_time_from_half(1.0, 1e9)) == pytest.approx(2, rel=1e-6)


def test_half_time_of_data_whose_posterior_is_known():
    """Points c e_j against samples e_1 .. e_n: one is nearer than the others by 2c in |x - y|^2.

    With q = exp(-c/t), Y = (1 + (n-1) q^2)/(1 + (n-1) q)^2 is one half where ((n-1)^2 - 2(n-1)) q^2 + 2(n-1) q = 1.
    """
    n, c = 9, 0.4
    train = torch.eye(n, dtype=torch.float64)
    k = n - 1
    q = (-k + math.sqrt(2 * k * k - 2 * k)) / (k * k - 2 * k)
    found = condensation(prepare(train, c * train), n, 2)
    assert float(found["half"]) == pytest.approx(c / math.log(1 / q), rel=1e-8)
    around = found["around"].values
    q = np.exp(-c / around)
    np.testing.assert_allclose(found["clean"].mean("point"), (1 + k * q**2) / (1 + k * q) ** 2, rtol=1e-9)
    assert float(found["t_c"].sel(guess="none")) == 2 * float(found["half"])
    assert half_time_at(train, c * train) == pytest.approx(float(found["half"]), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_half_time_at_points_is_its_definition(dtype, generator):
    train = (torch.randn(150, 5, generator=generator, dtype=torch.float64) + 3).to(dtype)
    points = (torch.randn(30, 5, generator=generator, dtype=torch.float64) + 3).to(dtype)
    t = half_time_at(train, points)
    w = torch.softmax(torch.cdist(points.double(), train.double()).square() / (-2 * t), 1)
    assert float(w.square().sum(1).mean()) == pytest.approx(0.5, abs=1e-6)


def test_half_time_without_near_duplicates_is_that_of_the_other_rows(generator):
    train = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    train[40:] = train[:40] + 1e-3 * torch.randn(40, 5, generator=generator, dtype=torch.float64)
    held = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    data = prepare(train, held)
    clean = np.arange(80) < 40
    found = condensation(data, 20, 4, clean)
    squares = torch.cdist(held, train[:40]).square()

    def mean_y(t):
        return float(torch.softmax(squares / (-2 * t), 1).square().sum(1).mean())

    for t, weights in zip(found["around"].values, found["clean"].transpose("around", "point").values, strict=True):
        assert weights.mean() == pytest.approx(mean_y(t), rel=1e-8)
    # With its duplicate no sample holds more than half.
    assert float(found["half"]) < 0.1 * half_time(mean_y, 0.1) < found["around"].values[-1]


def test_condensation_is_its_definition(generator):
    """Every guess of the rank, by brute force on a small data set in which all directions take part."""
    s = torch.tensor([2.0, 1.0, 0.7, 0.5, 0.4], dtype=torch.float64)
    train = torch.randn(150, 5, generator=generator, dtype=torch.float64) * s.sqrt() + 3
    held = torch.randn(30, 5, generator=generator, dtype=torch.float64) * s.sqrt() + 3
    data = prepare(train, held)
    found = condensation(data, 25, 10)
    assert found.attrs["n_samples"] == 150
    squares = torch.cdist(held[:25], train).square()
    half = float(found["half"])
    w = torch.softmax(squares / (-2 * half), 1)
    assert float(w.square().sum(1).mean()) == pytest.approx(0.5, abs=1e-8)
    w = torch.softmax(squares / (-4 * half), 1)
    kappa2 = []
    for i in range(10):
        centred = train - w[i] @ train
        kappa2.append(float(((centred * w[i][:, None]).T @ centred / (2 * half)).square().sum()))  # tr K^2
    v = np.sort(np.linalg.eigvalsh(np.cov(train.numpy().T, bias=True)))[::-1]
    t_c = float(condensation_time(v, 150))
    ranks = {
        "none": np.inf,
        "plug-in": np.sum((v / (v + t_c)) ** 2),
        "measured": np.mean(kappa2),
        "measured, lower quartile": np.quantile(kappa2, 0.25),
        "measured, upper quartile": np.quantile(kappa2, 0.75),
    }
    assert list(found["guess"].values) == list(ranks)
    np.testing.assert_allclose(found["rank"], list(ranks.values()), rtol=1e-6)
    for name, rank in list(ranks.items())[1:]:
        expected = 2 * half / float(rank_correction(rank)) if rank > 2 else np.nan
        np.testing.assert_allclose(found["t_c"].sel(guess=name), expected, rtol=1e-6)
    turned = (held.numpy() - train.numpy().mean(0)) @ np.linalg.eigh(np.cov(train.numpy().T, bias=True))[1][:, ::-1]
    np.testing.assert_allclose(found["plug_in"], condensation_time(v, 150, turned[:25]), rtol=1e-9)


# --- sets A and B of the sheet ---


def mean_inverse(s, count, n=1000):
    """Y(t) at x = 0 in each of many data sets, as a function of t: their 400 nearest samples hold all weight."""
    rng, m = np.random.default_rng(20), np.count_nonzero(s)
    squares = []
    for _ in range(0, count, 250):
        e = np.sum((rng.standard_normal((250, n, m)) * np.sqrt(s[:m])) ** 2, -1)
        squares.append(np.partition(e, 400, axis=1)[:, :400])
    squares = np.concatenate(squares)
    squares -= squares.min(1, keepdims=True)

    def y(t):
        w = np.exp(-squares / (2 * t))
        return np.sum(w**2, 1) / np.sum(w, 1) ** 2

    return y


@pytest.mark.parametrize(("name", "bias"), [("A", 0.091), ("B", 0.055)])
def test_condensation_time_from_half_at_the_origin_of_the_sheets_sets(name, bias):
    """t_c from E[Y] at x = 0, m_eff = sum (s/(s+t_c))^2, over exact t_c; 16,000 data sets:

             t(Y=1/2)              t_c from it            exact t_c    ratio          t_c from E[Y] at t_c/10, t_c/4, t_c/2
        A    .02407 +- .00010      .02671 +- .00012       .02448       1.091          1.001, 1.004, 1.022
        B    .08073 +- .00036      .10539 +- .00047       .09991       1.055           .998,  .995, 1.012

    So 1 - E[Y] is linear in t with the corrected slope up to t_c/4; at Y = 1/2, which lies near t_c for A, it has bent and
    t_c comes out 9% and 5% too large. The sheet's .02467 and .10005 are not reproduced by its own formula.
    """
    s = SETS[name]
    y, t_c = mean_inverse(s, 1500), float(condensation_time(s, 1000))
    rank = np.sum((s / (s + t_c)) ** 2)
    half = half_time(lambda t: float(y(t).mean()), t_c)
    step = 1e-2
    slope = (y(half * (1 + step)).mean() - y(half * (1 - step)).mean()) / (2 * step)
    se = y(half).std(ddof=1) / math.sqrt(1500) / abs(slope)  # of ln t
    ratio = float(condensation_time_from_half(half, rank)) / t_c
    assert abs(ratio / (1 + bias) - 1) < 4 * se
    assert 4 * se < 0.07
    small = y(t_c / 4)
    slow = t_c / 4 / (1 - small.mean()) / (float(rank_correction(rank)) * t_c)
    assert abs(slow - 1) < 4 * small.std(ddof=1) / math.sqrt(1500) / (1 - small.mean()) + 0.01


@pytest.mark.parametrize(
    ("name", "rank", "ratio"), [("A", (9.22, 0.24), (0.03085, 0.02448)), ("B", (16.93, 0.31), (0.1219, 0.0999))]
)
def test_rank_measured_at_the_origin_is_twice_the_theory_s(name, rank, ratio):
    """m_eff as sum kappa^2 at 2 t(Y=1/2), x = 0, mean over data sets: 9.22 +- .24 (A) and 16.9 +- .3 (B).

    Theory has sum (s/(s+2t))^2 = 5.53 and 7.93: few samples hold the weight there, so survivals scatter above 1. t_c from
    it is .0309 (A) and .1219 (B), 26% and 22% too large. These numbers are from 400 data sets, the test draws 200 others.
    """
    s, rng = SETS[name], np.random.default_rng(21)
    half = {"A": 0.02407, "B": 0.08073}[name]
    m = np.count_nonzero(s)
    found = []
    for _ in range(200):
        y = rng.standard_normal((1000, m)) * np.sqrt(s[:m])
        w = np.exp(-np.sum(y**2, 1) / (4 * half))
        w /= w.sum()
        centred = y - w @ y
        found.append(np.sum(((centred * w[:, None]).T @ centred / (2 * half)) ** 2))
    found = np.asarray(found)
    se = math.hypot(found.std(ddof=1) / math.sqrt(200), rank[1])
    assert abs(found.mean() - rank[0]) < 4 * se
    assert found.mean() > 1.4 * np.sum((s / (s + 2 * half)) ** 2)
    estimate = float(condensation_time_from_half(half, rank[0]))
    assert estimate == pytest.approx(ratio[0], rel=2e-3)
    assert 1.2 < estimate / ratio[1] < 1.3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A", {"half": (0.05393, 0.00039), "measured": (0.06343, 0.00046), "plug-in": (0.05983, 0.00044)}),
        ("B", {"half": (0.16824, 0.00113), "measured": (0.22429, 0.00122), "plug-in": (0.21946, 0.00148)}),
    ],
)
def test_condensation_of_the_sheets_sets_finds_the_mean_condensation_time_of_held_out_points(name, expected):
    """`condensation` at 200 points drawn like the data; means over 40 data sets, +- standard error:

                t(Y=1/2)            t_c, rank measured    rank of plug-in       plug-in's t_c(x), mean over points
        A       .0539 +- .0004      .0634 +- .0005        .0598 +- .0004        .0638 +- .0004
        B       .1682 +- .0011      .2243 +- .0012        .2195 +- .0015        .2252 +- .0008

    There the measured rank is within 1% of the mean of t_c(x), the plug-in's 6% and 3% below.
    """
    s, rng, rows = SETS[name], np.random.default_rng(22), []
    for _ in range(10):
        y = torch.as_tensor(rng.standard_normal((1200, 30)) * np.sqrt(s))
        found = condensation(prepare(y[:1000], y[1000:]), 200, 16)
        rows.append(
            [
                float(found["half"]),
                float(found["t_c"].sel(guess="measured")),
                float(found["t_c"].sel(guess="plug-in")),
                float(found["plug_in"].mean()),
            ]
        )
    mean, se = np.mean(rows, 0), np.std(rows, 0, ddof=1) / math.sqrt(10)
    for i, key in enumerate(("half", "measured", "plug-in")):
        assert abs(mean[i] - expected[key][0]) < 4.5 * math.hypot(se[i], expected[key][1]), key
    ratio = np.asarray(rows)[:, 1] / np.asarray(rows)[:, 3]
    assert abs(ratio.mean() - 1) < 0.02 + 4.5 * ratio.std(ddof=1) / math.sqrt(10)
