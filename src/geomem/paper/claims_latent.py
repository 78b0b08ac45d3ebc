"""Claims about the latent manifold, and about where reverse diffusion ends."""

import numpy as np

from geomem.paper.verdict import Claim, Evidence, Records, graded

__all__ = ["CLAIMS"]


def _latent(records: Records) -> Evidence:
    held = records["fig1"]
    counts = {name: int(arrays.attrs["distinct"]) for name, arrays in held.items()}
    starts, few = held["circle"].sizes["start"], held["memorizing"].sizes["row"]
    arrays = held["memorizing"]
    kept = arrays["point"].values[(arrays["stable"] & arrays["converged"]).values]
    away = np.linalg.norm(kept[:, None] - arrays["sample"].values, axis=-1).min(1).max() / np.sqrt(arrays.attrs["t"])
    text = (
        f"{few} samples at t = {arrays.attrs['t']:g}: {counts['memorizing']} fixed points from {starts} starts, none farther than {away:.2f} √t from a "
        "sample.",
        f"From as many starts the search ends at {counts['circle']} distinct points of a circle and, although the density along it is uniform, at "
        f"only {counts['ellipse']} of an ellipse: smoothing keeps the density uniform along a curve only where the curvature is constant, and "
        "there alone the set of Eq. 3 is the manifold.",
    )
    parts = [counts["circle"] == starts, counts["memorizing"] == few and away < 0.5, counts["ellipse"] == starts]
    return Evidence(graded(parts), text)


def _reverse(records: Records) -> Evidence:
    arrays = records["reverse"]["nearest"]
    width = float(np.sqrt(arrays.attrs["t_min"]))
    found, parts = [], []
    for sampler in arrays["sampler"].values:
        near = {
            s: (arrays["distance"].sel(score=s, sampler=sampler).values < width).mean() for s in ("empirical", "exact")
        }
        parts += [near["empirical"] > 0.95, near["exact"] < 0.05]
        found.append(
            f"{sampler}: {near['empirical']:.1%} of the samples of the empirical score end within √t_min = {width:.3g} of a "
            f"training point, {near['exact']:.1%} of those of the exact score ({arrays.sizes['sample']:,} samples each; new "
            f"points: {(arrays['new_distance'].values < width).mean():.1%})."
        )
    weak = records["reverse"]["weak_error"]
    for sampler in weak["sampler"].values:
        error = np.abs(weak["error"].sel(sampler=sampler).isel(subspace=0).values)
        order = -np.polyfit(np.log(weak["steps"].values), np.log(error), 1)[0]
        found.append(
            f"{sampler}, exact score: the error of a variance falls as steps^-{order:.2f} (from {error[0]:.2g} to {error[-1]:.2g})."
        )
    return Evidence(graded(parts), tuple(found))


CLAIMS = (
    Claim(
        "latent-manifold",
        "For a uniform distribution on a manifold, the stable fixed points of the score form a manifold; with few samples they are "
        "those samples.",
        "Sec. 4, Eq. 3, Fig. 1",
        "distinct stable fixed points reached from starts all around, and their distance to the samples",
        ("fig1",),
        _latent,
    ),
    Claim(
        "memorizing-limit",
        "As t → 0 the empirical score always memorizes: the reverse diffusion ends on training points.",
        "Sec. 5.2, Eq. 2",
        "share of final samples within √t_min of a training point; more than 95% for the empirical score, less than 5% for the exact",
        ("reverse",),
        _reverse,
    ),
)
