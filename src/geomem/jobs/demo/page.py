"""The demo's page: findings first, then pictures, tables, settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.figures import demo as figures
from geomem.figures.pictures import local_directions
from geomem.jobs.demo.summary import listed
from geomem.page.page import Picture, Section, Table, write_page
from geomem.records import Run

__all__ = ["demo_page"]

_PAGE = "index.html"


def demo_page(run: Run, arrays: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> Path:
    """Write the figures and index.html into the run's folder; the page's path.

    Args:
        run: A complete run of the demo.
        arrays: Its arrays by name.
        summary: What `demo.summary.summarise` made of them.

    Raises:
        OutputError: If the folder cannot be written.
    """
    note = f"geomem {run.environment()['geomem']} demo, commit {run.environment()['commit']}, seed {run.config['seed']}"
    digits, manifold = summary["digits"], summary["manifold"]
    dimensions = {name: arrays[f"{name}_points"]["resolved"] for name in ("digits", "manifold")}
    origin = summary["origin"]
    sizes = arrays["digits_directions"]["size"].values
    smallest, largest = int(sizes.min()), int(sizes.max())
    sections = [
        Section(
            "Digits: what the networks keep, and what they copy",
            summary["findings"]["digits"],
            [
                Picture(
                    "digits_dimension_by_size",
                    figures.dimension_by_size(digits["rows"], digits["t"], note),
                    "Directions with survival above ½, with 95% intervals over points. Left: trained networks, seen by mirrored "
                    "orthonormal probes of length √(td). Middle: exact Jacobian of the empirical score. Right: theory with a "
                    "Gaussian plug-in for the digits (mean and covariance of all of them).",
                    "Resolved dimension against the number of training digits, for network, empirical score and theory. "
                    + " ".join(summary["findings"]["digits"][:2]),
                ),
                Picture(
                    "digits_images",
                    figures.generated_images(arrays["digits_samples"], 8, note),
                    "The twelve drawn digits of each network that are relatively closest to one training image.",
                    "Rows of generated digits with the nearest training digit under each. "
                    + summary["findings"]["digits"][2],
                ),
                Picture(
                    "digits_memorized",
                    figures.memorized_images(arrays["digits_points"], arrays["digits_samples"], digits["t"], 8, note),
                    f"Training digits of the network trained on {smallest:,}, from those it has memorized most to least: the number is "
                    f"the degrees of freedom that it has left there at t = {digits['t']:g}, one network, without interval.",
                    "The training digits of the smallest network in the order of the degrees of freedom left at them.",
                ),
                *(
                    Picture(
                        f"digits_directions_{size}",
                        local_directions(arrays["digits_directions"].sel(size=size), (8, 8), note),
                        f"The network trained on {size:,} digits at t = {digits['t']:g}: in each row a digit, what the network makes of "
                        "it (E[y|x]), the directions that survive there most, and those lost along which digits vary most, each "
                        "with its survival.",
                        f"Directions kept and lost by the network trained on {size:,} digits, at one training and two held-out digits.",
                    )
                    for size in (smallest, largest)
                ),
                Picture(
                    "digits_dimension_by_time",
                    figures.dimension_by_time(dimensions["digits"], note),
                    "Mean resolved dimension against the noise variance t.",
                    "Resolved dimension against diffusion time for each training-set size.",
                ),
                Picture(
                    "digits_survival",
                    figures.survival_spectra(arrays["digits_points"]["survival"], digits["t"], note),
                    f"Survival of the ordered directions at t = {digits['t']:g}, median over points.",
                    "Ordered survival spectra at training and held-out digits for network, empirical score and theory.",
                ),
            ],
            [_rows_table(digits["rows"])],
        ),
        Section("Copies", tables=[_copies_table(summary["copies"])]),
        Section(
            "The paper's linear manifold, where the Gaussian is the truth",
            summary["findings"]["manifold"],
            [
                Picture(
                    "manifold_dimension_by_size",
                    figures.dimension_by_size(manifold["rows"], manifold["t"], note),
                    "As above, for Gaussian data in 30 dimensions with variances 1 in two directions and 0.3 in five.",
                    "Resolved dimension against the number of samples of the linear manifold. "
                    + " ".join(summary["findings"]["manifold"][:2]),
                ),
                Picture(
                    "manifold_dimension_by_time",
                    figures.dimension_by_time(dimensions["manifold"], note),
                    "Mean resolved dimension against the noise variance t.",
                    "Resolved dimension against diffusion time for each number of samples.",
                ),
                Picture(
                    "manifold_singular_values",
                    figures.singular_values(arrays["manifold_origin"], origin["size"], note),
                    "Ordered singular values of tJ, smoothed over √t (Eq. 5), at the origin: closed form, median of the "
                    "correlated theory, median over independent data sets, and the trained network. The white line marks the "
                    "condensation time.",
                    "Four panels of ordered singular values, coloured by diffusion time. "
                    + summary["findings"]["manifold"][-1],
                ),
            ],
            [_rows_table(manifold["rows"])],
        ),
    ]
    config = run.config
    lead = (
        f"Small networks were trained for {config['digits']['steps']:,} steps on {listed(config['digits']['sizes'])} handwritten "
        f"digits (8×8 pixels) and for {config['manifold']['steps']:,} steps on {listed(config['manifold']['sizes'])} points of a "
        f"linear manifold, one seed. Spectra were taken at up to {config['points']} training and {config['points']} held-out "
        "points; intervals are over points, not over networks."
    )
    quick = " --quick" if summary["quick"] else ""
    write_page(
        run,
        _PAGE,
        title=summary["title"],
        lead=lead,
        sections=sections,
        again=f"geomem demo --seed {config['seed']}{quick} --out {run.path.name}",
        method="demo",
    )
    return run.path / _PAGE


def _rows_table(rows: list[dict[str, Any]]) -> Table:
    head = ["N", "source", "training points", "held-out points", "held-out less training"]
    cells = [
        [f"{row['size']:,}", row["source"], *(str(row[k]) for k in ("training", "held_out", "difference"))]
        for row in rows
    ]
    return Table(head, cells)


def _copies_table(copies: list[dict[str, Any]]) -> Table:
    rows = [
        [f"{c['size']:,}", str(c["generated"]), str(c["generated"].total), str(c["control"]), str(c["control"].total)]
        for c in copies
    ]
    return Table(["N", "copies among drawn", "drawn", "among held-out", "held-out"], rows)
