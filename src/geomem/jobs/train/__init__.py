"""`geomem train`: train a diffusion model on images."""
