"""Duplicates and near duplicates: exactly the rows and pairs that a brute-force reading of the definition finds."""

import numpy as np
import pytest
import torch

from geomem.data import DataSet, screen
from geomem.data import dataset as dataset_module
from geomem.data.distinct import distinct_rows
from geomem.data.duplicates import near_duplicates as near_duplicates_of

# --- equal rows ---


def data_set(values):
    return DataSet("test", "array", np.asarray(values))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_distinct_rows_are_the_first_of_each_set_of_equal_ones(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (12, 3, 4)).astype(dtype)[rng.integers(0, 12, 60)]
    kept, first = distinct_rows(data_set(values))
    flat = values.reshape(60, -1)
    expected = [next(j for j in range(60) if np.array_equal(flat[j], flat[i])) for i in range(60)]
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(kept, np.unique(expected))
    assert 5 < len(kept) <= 12


def test_equal_rows_are_found_in_any_block_and_any_layout(monkeypatch):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(10, 6))[rng.integers(0, 10, 40)]
    whole = distinct_rows(data_set(values))
    monkeypatch.setattr(dataset_module, "_BLOCK", 3 * values[0].nbytes)
    assert sum(1 for _ in data_set(values).blocks()) == 14
    for layout in (values, np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2]):
        for found, expected in zip(distinct_rows(data_set(layout)), whole, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_rows_that_differ_in_one_bit_are_distinct():
    values = np.ones((2, 50), dtype=np.float32)
    values[1, 17] = np.nextafter(np.float32(1), np.float32(2))
    np.testing.assert_array_equal(distinct_rows(data_set(values))[1], [0, 1])


def test_zeros_of_either_sign_are_equal():
    np.testing.assert_array_equal(distinct_rows(data_set([[0.0, 1.0], [-0.0, 1.0]]))[1], [0, 0])


# --- near duplicates ---


def near_duplicates(rows, **options):
    return near_duplicates_of(data_set(rows.numpy()), **options)


def definition(rows, typical=None):
    """All pairs of a row and one of its first k neighbours, k the last below a third of the usual distance to the tenth
    neighbour that is followed by one more than three times farther; k is at most 100."""
    n, y = len(rows), rows.double()
    distance = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    usual = max(1, min(10, (n - 1) // 2))
    typical = np.median(np.sort(distance, 1)[:, usual]) if typical is None else typical
    pairs = set()
    for i in range(n):
        order = [j for j in np.argsort(distance[i], kind="stable") if j != i]
        reach = [*distance[i][order], np.inf]
        group = [k for k in range(min(100, n - 1)) if reach[k] < typical / 3 and 3 * reach[k] < reach[k + 1]]
        for j in order[: max(group) + 1] if group else []:
            pairs.add((min(i, j), max(i, j)))
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found, distance[found[:, 0], found[:, 1]], typical


def agrees(rows, *, rtol=1e-5, seed=0):
    """Pairs, distances and thresholds are those of the definition; how many pairs there are."""
    found = near_duplicates(rows, seed=seed)
    pairs, distance, typical = definition(rows)
    assert found.typical == pytest.approx(typical, rel=rtol)
    assert found.threshold == pytest.approx(found.typical / 3, rel=1e-14)
    assert set(map(tuple, found.pairs.tolist())) == set(map(tuple, pairs.tolist()))
    assert len(found.pairs) == len(pairs)  # none twice
    assert np.all(np.diff(found.distance) >= 0)
    assert np.all(found.pairs[:, 0] < found.pairs[:, 1])
    np.testing.assert_allclose(found.distance, np.sort(distance), rtol=max(rtol, 1e-9), atol=1e-12)
    joined = found.group
    for a, b in pairs:
        assert joined[a] == joined[b]
    return len(pairs)


def planted(seed, n=300, d=40, *, count=100, ends=(0.0, 1.2)):
    """Normal rows, the first `count` at distances from `ends` of the usual nearest distance to the next `count`."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(n, d, generator=g, dtype=torch.float64)
    squares = torch.cdist(y, y).fill_diagonal_(torch.inf)
    typical = float(squares.amin(1).median())
    step = torch.randn(count, d, generator=g, dtype=torch.float64)
    length = torch.linspace(*ends, count + 1, dtype=torch.float64)[1:] * typical
    y[:count] = y[count : 2 * count] + step / step.norm(dim=1, keepdim=True) * length[:, None]
    return y


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [2, 40, 60])
def test_near_duplicates_are_those_of_the_definition(d, dtype):
    """Planted pairs at all distances around the threshold; 60 dimensions are more than the screen has."""
    for seed in range(3):
        count = agrees(planted(seed, n=200, d=d, count=66).to(dtype), rtol=1e-4, seed=seed)
        assert d == 2 or 13 < count < 40


@pytest.mark.parametrize("offset", [10.0, 1e3, 1e5])
def test_near_duplicates_of_float32_rows_far_from_the_origin(offset):
    """The rows as float32 holds them are the data: the definition is applied to the same numbers."""
    rows = (planted(3) + offset).float()
    assert agrees(rows, rtol=1e-4) > 15


@pytest.mark.parametrize("offset", [1e7, 1e8])
def test_near_duplicates_of_float64_rows_far_from_the_origin(offset):
    """Such as times in seconds, 1.7e9 with a spread of days; float64 resolves them to 1e-9."""
    assert agrees(planted(3) + offset) > 15


def test_near_duplicates_in_clusters_that_are_far_apart():
    """Two clusters 10^4 times as far from each other as wide; in float32, which resolves distances in them to 1e-3."""
    g = torch.Generator().manual_seed(4)
    y = 1e-4 * planted(5, n=200, d=30, count=66)
    y += torch.randn(2, 30, generator=g, dtype=torch.float64)[torch.arange(200) % 2]
    assert agrees(y, rtol=1e-6) > 10  # float64 serves
    assert agrees(y.float(), rtol=1e-2) > 10


def test_dense_clusters_are_no_heaps_of_duplicates():
    """A quarter of the rows lie ten times as densely as the others: all near, and all as near as each other."""
    g = torch.Generator().manual_seed(6)
    y = torch.randn(600, 10, generator=g, dtype=torch.float64)
    y[:150] = y[150] + 0.1 * torch.randn(150, 10, generator=g, dtype=torch.float64)
    found = near_duplicates(y)
    nearest = torch.cdist(y[:150], y[:150]).fill_diagonal_(torch.inf).amin(1)
    assert int((nearest < found.threshold).sum()) == 150
    assert len(found.pairs) == 0
    assert agrees(y) == 0
    # A duplicate inside the dense part is one by its own scale.
    y[0] = y[1] + 1e-3 * torch.randn(10, generator=g, dtype=torch.float64)
    np.testing.assert_array_equal(near_duplicates(y).pairs, [[0, 1]])
    assert agrees(y) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("copies", [2, 10, 11, 40, 101, 102])
def test_all_pairs_of_a_group_of_copies_are_found_up_to_its_largest_size(copies, dtype):
    g = torch.Generator().manual_seed(7)
    y = torch.rand(300, 64, generator=g, dtype=torch.float64) * 2 - 1
    y[:copies] = y[0] + 1e-5 * torch.randn(copies, 64, generator=g, dtype=torch.float64)
    assert agrees(y.to(dtype), rtol=1e-4) == (copies * (copies - 1) // 2 if copies <= 101 else 0)


@pytest.mark.parametrize("n", range(3, 21))
def test_near_duplicates_of_few_rows(n):
    counts = []
    for seed in range(4):
        y = torch.randn(n, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y[-1] = y[0] + 0.01
        counts.append(agrees(y))
    # Of three rows a pair makes up the usual distance itself.
    assert set(counts) == {0 if n == 3 else 1}


def test_near_duplicates_of_three_rows_in_words():
    rows = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 0.1]])
    found = near_duplicates(rows)
    # Nearest distances 10, .1, .1: the usual one is .1 and nothing is nearer than a third of it.
    assert (found.typical, len(found.pairs)) == (pytest.approx(0.1, rel=1e-4), 0)
    rows = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 0.1], [0.0, 10.0], [-10.0, 0.0]])
    found = near_duplicates(rows)
    np.testing.assert_array_equal(found.pairs, [[1, 2]])
    np.testing.assert_allclose(found.distance, [0.1], rtol=1e-6)
    np.testing.assert_array_equal(found.group, [0, 1, 1, 3, 4])


def test_groups_are_joined_by_chains_and_named_by_their_smallest_row():
    """Against a flood fill. 33 is near to 60 by its own scale, and 60 to 90 by theirs, but 33 and 90 are no pair."""
    g = torch.Generator().manual_seed(8)
    y = torch.randn(120, 20, generator=g, dtype=torch.float64)
    y[100], y[2] = y[50] + 0.01, y[7] + 0.01
    for row, at in ((90, 0.0), (5, 0.01), (60, 0.3), (33, 1.19)):
        y[row] = y[90].clone()
        y[row, 0] += at
    found = near_duplicates(y)
    pairs = definition(y)[0]
    assert agrees(y) == len(pairs)
    label = np.arange(120)
    for _ in range(120):
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    np.testing.assert_array_equal(found.group, label)
    assert found.group[90] == found.group[60] == 5
    assert found.group[100] == 50
    assert found.group[7] == 2


def test_no_near_duplicates_leave_every_row_by_itself(generator):
    found = near_duplicates(torch.randn(60, 30, generator=generator))
    assert found.pairs.shape == (0, 2)
    assert found.distance.shape == (0,)
    np.testing.assert_array_equal(found.group, np.arange(60))


@pytest.mark.parametrize("cell", [7, 256])
@pytest.mark.parametrize("memory", [1, 2**17])
def test_cells_and_memory_budget_change_no_bit(monkeypatch, cell, memory):
    """Few rows at a time, so that pairs lie across blocks and cells, and neighbours come from several."""
    rows = planted(9, n=150, d=8, count=50)
    whole = near_duplicates(rows)
    monkeypatch.setattr(screen, "_CELL", cell)
    same(near_duplicates(rows, memory=memory), whole)
    assert agrees(rows) > 10


def same(found, whole):
    """To the last bit."""
    for name in ("pairs", "distance", "group"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert (found.typical, found.threshold) == (whole.typical, whole.threshold)


def test_many_rows_take_the_usual_distance_from_a_sample_of_them():
    """1,600 rows, several blocks: the median of 1,000 probed rows, and then every pair below a third of it."""
    rows = planted(10, n=1600, d=20, count=520)
    found = near_duplicates(rows)
    squares = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = np.sort(squares.topk(10, 1, largest=False).values[:, -1].numpy())
    # The sample's median lies within 4.5 standard errors (of a sample without replacement) of the true one's rank.
    margin = int(1600 * 4.5 * np.sqrt(0.25 / 1000 * (1 - 1000 / 1600)))
    assert nearest[800 - margin] <= found.typical <= nearest[800 + margin]
    pairs, distance, _ = definition(rows, found.typical)
    assert set(map(tuple, found.pairs.tolist())) == set(map(tuple, pairs.tolist()))
    np.testing.assert_allclose(found.distance, np.sort(distance), rtol=1e-9)
    assert len(pairs) > 100


def test_pairs_along_one_axis_only(monkeypatch):
    """All rows on a line: boxes around cells exclude most of them, and must not lose a pair."""
    g = torch.Generator().manual_seed(11)
    y = torch.zeros(60, 5, dtype=torch.float64)
    y[:, 3] = torch.randperm(60, generator=g) + 0.05 * torch.rand(60, generator=g)
    y[:10, 3] = y[10:20, 3] + torch.linspace(0.02, 0.4, 10, dtype=torch.float64)
    for cell in (256, 7, 1):
        monkeypatch.setattr(screen, "_CELL", cell)
        assert agrees(y, rtol=1e-4) >= 6


def test_pairs_at_the_threshold_are_not_lost_to_the_screen_s_rounding():
    """Two parts of the data lie 300 times as far apart as neighbours: float32 squares err by as much as the threshold's."""
    g = torch.Generator().manual_seed(12)
    y = planted(13, n=600, count=100, ends=(0.31, 0.345))
    y += 400 * torch.randn(2, 40, generator=g, dtype=torch.float64)[torch.arange(600) % 2]
    assert agrees(y, rtol=1e-8) > 25


def test_the_scale_of_either_end_will_do():
    """a and b at distance 1; twelve others at about 2.5 from b and 3.5 from a, so that only a calls b its near duplicate."""
    crowd = np.stack([np.full(12, 3.5), 0.4 * np.sin(np.arange(12) ** 2)], 1)
    apart = np.stack([np.arange(40) * 10.0 + 50, np.arange(40) % 7 * 9.0], 1)
    rows = torch.as_tensor(np.concatenate([[[0.0, 0.0], [1.0, 0.0]], crowd, apart]))
    assert [0, 1] in near_duplicates(rows).pairs.tolist()
    agrees(rows)
