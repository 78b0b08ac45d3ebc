"""Posterior weights, entropies and survivals for all t at once: against extended precision and the empirical score."""

import math

import numpy as np
import pytest
import torch

from geomem.errors import InputError
from geomem.scores import EmpiricalScore, distances
from geomem.scores import moments as moments_module
from geomem.scores.moments import moments, scatter, survival_of

TIMES = (1e-9, 1e-6, 1e-4, 1e-2, 0.1, 0.5, 2.0, 30.0, 1e4)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def posterior(y, x, **options):
    return EmpiricalScore(y).posterior(x, **options)


def log_weights(y, x, t):
    """ln softmax(-|x-y|^2/2t) from direct differences in extended precision, (p, n)."""
    y, x = (np.asarray(a.double().numpy(), dtype=np.longdouble) for a in (y, x))
    logits = -np.square(y - x[:, None]).sum(-1) / (2 * np.longdouble(t))
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def spread(rows, log_w, t):
    """Weighted covariance over t, from extended precision weights and the rows about their own mean."""
    w, y = np.exp(np.asarray(log_w, dtype=np.longdouble)), np.asarray(rows.double().numpy(), dtype=np.longdouble)
    offset = y - w @ y
    return ((offset * w[:, None]).T @ offset / t).astype(np.float64)


def eigenvalues(matrix):
    return np.linalg.eigvalsh(matrix)[::-1]


@pytest.mark.parametrize(("n", "d"), [(1, 3), (7, 20), (200, 4)])
def test_the_same_as_the_empirical_score_at_every_time(n, d, generator):
    """Two ways to the same numbers: one keeps distances for all t, the other computes them anew for each."""
    y = normal(generator, n, d) + 3
    x = y[torch.arange(5) % n] + 0.3 * normal(generator, 5, d)
    found, score = posterior(y, x, t_min=TIMES[0]), EmpiricalScore(y)
    for t in TIMES:
        assert torch.allclose(found.log_weights(t).exp(), score.weights(x, t), rtol=1e-9, atol=1e-12)
        assert torch.allclose(found.effective_samples(t), score.effective_samples(x, t), rtol=1e-9)
        survival = torch.stack([found.survival(i, t) for i in range(5)])
        assert torch.allclose(survival, score.survival(x, t), rtol=1e-8, atol=1e-11)


def test_many_times_agree_with_extended_precision(generator):
    y, x = normal(generator, 50, 6), normal(generator, 9, 6)
    found = posterior(y, x, t_min=TIMES[0])
    index = torch.arange(9) * 5
    for t in TIMES:
        log_w = log_weights(y, x, t)
        w = np.exp(log_w)
        np.testing.assert_allclose(found.log_weights(t).exp(), w.astype(float), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(found.effective_samples(t), (1 / (w**2).sum(1)).astype(float), rtol=1e-9)
        np.testing.assert_allclose(found.weight_of(t, index), w[np.arange(9), index].astype(float), rtol=1e-9)
        entropy = -np.where(w > 0, w * log_w, 0).sum(1).astype(float)
        np.testing.assert_allclose(found.entropy(t), entropy, rtol=1e-9, atol=1e-12)


def grey_images(generator, offset, dtype):
    """8-bit images that differ in a few pixels by a grey level or two, on a scale that is far from the origin."""
    base = torch.randint(2, 254, (1, 300), generator=generator)
    change = torch.randint(-2, 3, (40, 300), generator=generator)
    some = torch.rand(40, 300, generator=generator) < 0.03
    return ((base + torch.where(some, change, 0)).double() / 127.5 - 1 + offset).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_near_duplicates_far_from_the_origin_keep_their_weights(offset, dtype, generator):
    """Points with odds of 2 to 1 between two images: errors of the promised 1e-8 in D/2t, whatever form was chosen."""
    y = grey_images(generator, offset, dtype)
    step = (y[1:20] - y[:19]).double()
    for t in (1e-8, 1e-6, 1e-4, 1e-2, 1.0):
        x = (y[1:20].double() + y[:19].double()) / 2 + 0.35 * t * step / step.square().sum(1, keepdim=True)
        exact = log_weights(y, x, t)
        if t < 1e-5:  # a task that shows lost digits
            assert np.sum((np.exp(exact) > 0.2) & (np.exp(exact) < 0.8)) >= 8
        error = posterior(y, x, t_min=t).log_weights(t).numpy() - exact
        assert np.abs(error[exact > -40]).max() < 2e-8


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_both_forms_are_as_precise_as_promised_at_the_switch(scale, generator):
    """The product form is left at the t_min where its error would reach 1e-8; direct differences have float64's digits."""
    y = scale * normal(generator, 60, 30)
    x = y[:20] + 0.01 * scale * normal(generator, 20, 30)
    exact = np.square(np.asarray(y.numpy(), np.longdouble) - np.asarray(x.numpy(), np.longdouble)[:, None]).sum(-1)
    nearest = []
    for t_min in scale**2 * np.geomspace(1e-8, 1e-2, 25):
        error = np.abs(posterior(y, x, t_min=float(t_min)).squares.numpy() - exact)
        assert np.all((error < 2e-8 * t_min) | (error < 1e-15 * exact))
        nearest.append(float(np.diagonal(error).max() / scale**2))
    # Both forms took part: on the nearest samples one keeps all digits, and the other loses some.
    assert nearest[0] < 1e-17
    assert nearest[-1] > 1e-15


def test_entropy_counts_zero_weights_as_nothing(generator):
    y = torch.cat([torch.zeros(3, 2, dtype=torch.float64), 1e6 + torch.zeros(4, 2, dtype=torch.float64)])
    found = posterior(y, torch.zeros(1, 2, dtype=torch.float64), t_min=1e-300)
    for t in (1e-300, 1e-3, 1.0):
        assert float(found.entropy(t)) == pytest.approx(math.log(3), rel=1e-14)
        assert float(found.effective_samples(t)) == pytest.approx(3, rel=1e-14)
    left = posterior(y, y[:1], t_min=1e-3, exclude=torch.tensor([0]))
    assert float(left.entropy(1.0)) == pytest.approx(math.log(2), rel=1e-14)
    assert float(found.entropy(1e300)) == pytest.approx(math.log(7), rel=1e-14)


def test_an_excluded_sample_is_as_if_it_were_not_there(generator):
    y, x = normal(generator, 12, 4), normal(generator, 3, 4)
    x[0] = y[5]
    found = posterior(y, x, t_min=0.01, exclude=torch.tensor([5, -1, 11]))
    for t in (0.01, 0.3, 5.0):
        for i, left in enumerate((5, None, 11)):
            rest = [j for j in range(12) if j != left]
            alone = posterior(y[rest], x[i : i + 1], t_min=0.01)
            assert torch.allclose(found.log_weights(t)[i, rest], alone.log_weights(t)[0], rtol=1e-12)
            assert float(found.entropy(t)[i]) == pytest.approx(float(alone.entropy(t)), rel=1e-10, abs=1e-14)
            assert float(found.effective_samples(t)[i]) == pytest.approx(float(alone.effective_samples(t)), rel=1e-12)
            assert torch.allclose(found.survival(i, t), alone.survival(0, t), rtol=1e-9, atol=1e-13)
            if left is not None:
                assert float(found.weight_of(t, torch.tensor([left] * 3))[i]) == 0


def test_an_excluded_sample_is_excluded_by_either_form(generator):
    y = normal(generator, 12, 4)
    own = torch.arange(12)
    for t in (1e-12, 1.0):
        found = posterior(y, y, t_min=t, exclude=own)
        assert torch.all(found.squares.diagonal().isinf())
        assert int(found.squares.isinf().sum()) == 12


@pytest.mark.parametrize(("n", "d"), [(6, 10), (60, 5)], ids=["few samples", "many samples"])
def test_survival_in_rotated_coordinates_is_the_same_and_in_fewer_interlaces(n, d, generator):
    """Cauchy: k-th of the compressed matrix lies between k-th and (k + d - m)-th of the whole, m coordinates kept."""
    y, x = normal(generator, n, d), normal(generator, 4, d)
    turn = torch.linalg.qr(normal(generator, d, d)).Q
    z = (y - 7) @ turn  # a shift of the coordinates does not matter either
    found = posterior(y, x, t_min=0.01)
    for t in (0.01, 0.3, 1.0, 10.0):
        for i in range(4):
            whole = found.survival(i, t)
            np.testing.assert_allclose(whole, eigenvalues(spread(y, log_weights(y, x, t)[i], t)), rtol=1e-8, atol=1e-12)
            assert torch.allclose(found.survival(i, t, rows=z), whole, rtol=1e-9, atol=1e-12)
            for m in (1, 2, d - 1):
                part = found.survival(i, t, rows=z[:, :m])
                assert part.shape == (m,)
                assert torch.all(part <= whole[:m] + 1e-12)
                assert torch.all(part >= whole[d - m :] - 1e-12)


def test_negligible_weight_changes_survival_by_no_more_than_its_share(generator):
    """Leaving out a share eps of the weight moves Cov by at most eps times the largest squared distance."""
    y, x = normal(generator, 300, 5), normal(generator, 6, 5)
    found = posterior(y, x, t_min=0.01)
    changed = 0
    for t in (0.02, 0.1, 0.5):
        for i in range(6):
            whole, reach = found.survival(i, t), float(found.squares[i].max())
            for share in (1e-12, 1e-6, 1e-3):
                part = found.survival(i, t, negligible=share)
                assert float((part - whole).abs().max()) <= 4 * share * reach / t
                changed += int(not torch.equal(part, whole))
            samples, weights, _ = moments(y, found.log_weights(t)[i], negligible=1e-3)
            assert float(weights.sum()) >= 1 - 1e-3
            assert samples.numel() < 300
    assert changed > 20


def test_moments_and_scatter_are_those_of_the_definition(generator):
    y = normal(generator, 40, 3)
    log_w = torch.log_softmax(3 * normal(generator, 40), 0)
    w = log_w.exp()
    for origin in (None, y[3]):
        about = torch.zeros(3, dtype=torch.float64) if origin is None else origin
        samples, weights, shift = moments(y, log_w, origin=origin)
        assert torch.equal(samples, torch.arange(40))
        assert torch.allclose(weights, w, rtol=1e-15)
        assert torch.allclose(shift, w @ y - about, rtol=1e-12, atol=1e-14)
        centred = y - w @ y
        assert torch.allclose(
            scatter(y, samples, weights, origin, shift), (centred * w[:, None]).T @ centred, rtol=1e-12, atol=1e-14
        )


def test_mean_relative_to_a_far_origin_keeps_its_digits(generator):
    """At 1e8 a float64 vector resolves 1e-8; the mean's distance of 1e-6 to the point is known to 1e-8 of itself."""
    step = torch.randint(-8, 9, (20, 3), generator=generator).double() * 2.0**-22
    y = 2.0**27 + step
    log_w = torch.log_softmax(normal(generator, 20), 0)
    _, w, shift = moments(y, log_w, origin=y[0])
    assert torch.allclose(shift, w @ (step - step[0]), rtol=1e-8, atol=0)
    values = survival_of(y, log_w, 1e-12, origin=y[0])
    np.testing.assert_allclose(values, eigenvalues(spread(step, log_w.numpy(), 1e-12)), rtol=1e-8)


def test_survival_at_a_far_point_keeps_its_digits(generator):
    """The covariance is taken about the point: about 0 it would be a difference of numbers 10^16 times as large."""
    step = torch.randint(-8, 9, (20, 3), generator=generator).double() * 2.0**-22
    found = posterior(2.0**27 + step, 2.0**27 + step[:2], t_min=1e-12)
    for i in range(2):
        truth = eigenvalues(spread(step, log_weights(step, step[:2], 1e-12)[i], 1e-12))
        np.testing.assert_allclose(found.survival(i, 1e-12), truth, rtol=1e-8)


def test_survival_halfway_between_two_samples(generator):
    """Two modes: |y1 - y2|^2/4t in one direction, nothing in the others (sheet, 4)."""
    y = torch.zeros(2, 5, dtype=torch.float64)
    y[0, 0], y[1, 0] = 3.0, -3.0
    found = posterior(y, torch.zeros(1, 5, dtype=torch.float64), t_min=0.1)
    for t in (0.1, 1.0, 50.0):
        np.testing.assert_allclose(found.survival(0, t), [36 / (4 * t), 0, 0, 0, 0], rtol=1e-14, atol=0)
        assert float(found.effective_samples(t)) == pytest.approx(2, rel=1e-14)
        assert float(found.entropy(t)) == pytest.approx(math.log(2), rel=1e-14)


def in_threes(y):
    """A score that takes three samples at a time."""
    score = EmpiricalScore(y)
    score._samples = distances.Samples.of(y, block=8 * y.shape[1] * 3)
    return score


@pytest.mark.parametrize("t_min", [1e-12, 1.0], ids=["direct", "product"])
def test_blocks_of_memory_change_nothing(t_min, generator, monkeypatch):
    """Three rows at a time, with a last block that is not full, give what one block of all rows gives."""
    y, x = normal(generator, 50, 6) + 2, normal(generator, 4, 6) + 2
    own = torch.tensor([0, 49, -1, 3])
    whole = posterior(y, x, t_min=t_min, exclude=own)
    survival = {rows: whole.survival(1, 2.0, rows=None if rows is None else y[:, :rows]) for rows in (None, 2)}
    calls, original = [], distances.direct
    monkeypatch.setattr(moments_module, "_BLOCK", 8 * 6 * 3)
    monkeypatch.setattr(distances, "direct", lambda rows, point: calls.append(point) or original(rows, point))
    score = in_threes(y)
    calls.clear()
    assert [part.stop for part, _ in score._samples.tiles()] == [*range(3, 49, 3), 50]
    parts = score.posterior(x, t_min=t_min, exclude=own)
    assert len(calls) == (0 if t_min == 1 else 4)  # by products, or a pass for each point
    for t in (1.0, 2.0):
        assert torch.allclose(parts.log_weights(t), whole.log_weights(t), rtol=1e-13)
    for rows, expected in survival.items():
        found = parts.survival(1, 2.0, rows=None if rows is None else y[:, :rows])
        assert torch.allclose(found, expected, rtol=1e-12)


def test_the_farthest_sample_of_all_blocks_decides_on_the_form(generator):
    """Two far rows, around a mean near the others, in the first of many blocks: the product form would lose digits."""
    far = torch.full((1, 6), 1e6, dtype=torch.float64)
    y = torch.cat([far, normal(generator, 40, 6), -far]).roll(1, 0)
    x = y[2:5] + 1e-3
    found = in_threes(y).posterior(x, t_min=1e-3)
    assert torch.allclose(found.squares[:, 2:], (x[:, None] - y[2:]).square().sum(-1), rtol=1e-12, atol=0)


def test_data_and_points_are_left_as_they_are(generator):
    y, x = normal(generator, 20, 4).float(), normal(generator, 3, 4).float()
    before, at = y.clone(), x.clone()
    for t in (1e-9, 1.0):
        found = posterior(y, x, t_min=t)
        found.survival(0, t)
        found.entropy(t)
        assert torch.equal(y, before)
        assert torch.equal(x, at)
    assert found.samples.data_ptr() == y.data_ptr()


@pytest.mark.parametrize(
    ("x", "t_min", "message"),
    [
        (torch.zeros(1, 3), 1.0, r"x: has shape \(1, 3\), but this score takes \(..., 2\)"),
        (torch.zeros(1, 2), 0.0, "t_min: must be finite and above 0, got 0.0"),
        (torch.zeros(1, 2), math.inf, "t_min: "),
        (torch.zeros(1, 2), math.nan, "t_min: "),
    ],
)
def test_wrong_input_is_refused(x, t_min, message, unchecked):
    with pytest.raises(InputError, match=message):
        posterior(torch.zeros(3, 2), x, t_min=t_min)


def test_images_are_points_and_none_is_no_point(generator):
    y = normal(generator, 20, 4, 5)
    score, t = EmpiricalScore(y), 3.0
    found = score.posterior(y[:3] + 0.1, t_min=t)
    assert torch.allclose(found.log_weights(t).exp(), score.weights(y[:3] + 0.1, t), rtol=1e-9)
    assert score.posterior(y[:0], t_min=t).log_weights(t).shape == (0, 20)
