"""`geomem demo`."""
