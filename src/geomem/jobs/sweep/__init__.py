"""`geomem sweep`: train on more and more images, and measure which dimensions each model has."""
