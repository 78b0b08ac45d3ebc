"""The page of a sweep: findings, table, figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.figures import sweep as figures
from geomem.intervals import Interval
from geomem.page.page import Picture, Section, Table, write_page
from geomem.records import Run

__all__ = ["sweep_page", "sweep_table"]

_PAGE = "index.html"


def sweep_page(run: Run, arrays: xr.Dataset, summary: Mapping[str, Any]) -> Path:
    """Write figures and index.html into the run's folder; the page's path.

    Args:
        run: A complete sweep.
        arrays: Its cells' records, joined.
        summary: What `sweep.summary.summarise` made of them.

    Raises:
        OutputError: If the folder cannot be written.
    """
    where = run.environment()
    note = (
        f"geomem {where['geomem']} sweep, commit {where['commit']}, seeds {', '.join(map(str, arrays['seed'].values))}"
    )
    rows, t = summary["rows"], summary["t"]
    sections = [
        Section(
            "Dimensions",
            summary["findings"]["dimensions"],
            [
                Picture(
                    "dimension",
                    figures.dimension_figure(rows, note),
                    "Directions with survival above ½, mean over points with 95% bands: solid the networks, dotted the empirical score of "
                    "the same training images.",
                    "Resolved dimension against the number of training images at each t. "
                    + summary["findings"]["dimensions"][0],
                ),
                Picture(
                    "spectra",
                    figures.spectra_figure(arrays, note),
                    "Ordered singular values of t times the networks' Jacobian, mean over points. 1 is a direction that is pinned.",
                    "Mean spectra of the networks at each t, coloured by the number of training images.",
                ),
            ],
            [sweep_table(summary)],
        ),
        Section(
            "Copies",
            summary["findings"]["copies"],
            [
                Picture(
                    "copies",
                    figures.copies_figure(rows, t, note),
                    "Left: share of samples, and of images never seen, whose nearest training image is less than a third as far as the "
                    "second nearest. Right: squared error of the denoised image, summed over its values.",
                    "Copy rate and denoising error against the number of training images. "
                    + summary["findings"]["copies"][0],
                )
            ],
        ),
        Section(
            "The paper's reading (Alg. 3)",
            summary["findings"]["reading"],
            [
                Picture(
                    "kinks",
                    figures.kink_figure(arrays, note),
                    "Second differences of the spectrum at one training image, by the dimension that a kink there would mean; dotted Alg. 3's "
                    "threshold, the vertical line what it answers.",
                    "Second differences for three numbers of training images. " + summary["findings"]["reading"][0],
                )
            ],
        ),
    ]
    write_page(
        run,
        _PAGE,
        title=summary["title"],
        lead=summary["lead"],
        sections=sections,
        again="geomem sweep with the data and options of the settings below",
        method="sweep",
        short=summary["findings"]["dimensions"][:1],
    )
    return run.path / _PAGE


def sweep_table(summary: Mapping[str, Any]) -> Table:
    """N, dimensions at training and held-out images, what the empirical score has there, and copies."""
    head = ["N", "training", "held-out", "copies", "empirical score, held-out", "loss"]
    lines = []
    for row in summary["rows"]:
        if row["t"] != summary["t"]:
            continue
        cells = [
            _cell(row["dimension"]["resolved"][score][where])
            for score, where in (("network", "training"), ("network", "held-out"), ("empirical", "held-out"))
        ]
        lines.append([f"{row['size']:,}", *cells[:2], str(row["copies"]), cells[2], f"{row['loss']:.4f}"])
    return Table(head, lines)


def _cell(found: Interval) -> str:
    return f"{found:.1f}" if found.n else f"{found.value:.1f}"
