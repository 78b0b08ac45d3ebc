"""The main job's parts: copies among samples, with controls and intervals."""

from geomem.audit.copying import Rate, copy_rate, neighbour_distances

__all__ = ["Rate", "copy_rate", "neighbour_distances"]
