"""`python -m mva_ray` is `mva-ray`."""

from mva_ray.cli import main

main()
