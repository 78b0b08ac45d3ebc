"""`geomem train`."""
