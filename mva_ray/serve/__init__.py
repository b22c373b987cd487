"""A server that answers by any mixture of a run, and questions to its Pareto table, over HTTP."""
