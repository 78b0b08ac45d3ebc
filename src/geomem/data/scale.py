"""The scale of values: whether they look like pixels, and in which range."""

from geomem.data.dataset import DataSet

__all__ = ["scale_of"]

# Number of rows that are examined.
_ROWS = 2000


def scale_of(data: DataSet) -> str | None:
    """The range of values that look like pixels: "-1 to 1", "0 to 1" or "0 to 255"; None for other data."""
    if data.pixels:
        return "-1 to 1"
    rows = data.rows(slice(0, _ROWS)).numpy()
    low, high = float(rows.min()), float(rows.max())
    if low >= -0.01 and 0.5 < high <= 1.01:
        return "0 to 1"
    if low >= -0.01 and 2 < high <= 256:
        return "0 to 255"
    return "-1 to 1" if -1.01 <= low < -0.5 and 0 < high <= 1.01 else None
