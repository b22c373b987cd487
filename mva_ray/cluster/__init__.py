"""A Ray cluster: what it has and may start, where processes run on it, explorations as its jobs, spot notices."""
