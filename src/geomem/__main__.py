"""`python -m geomem`."""

from geomem.cli import main

main()
