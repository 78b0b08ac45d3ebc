"""`geomem data`: what the data alone tell of memorization, and whether samples copy them."""
