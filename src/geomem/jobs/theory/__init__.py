"""`geomem theory`."""
