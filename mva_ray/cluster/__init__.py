"""A Ray cluster from outside: explorations as its jobs, and the notice that a spot instance is taken away."""
