"""mva_ray: the Pareto set of language models aligned with several conflicting values."""

__version__ = "0.1.0"
