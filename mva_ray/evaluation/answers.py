"""What a request comes back as, whichever engine answers."""

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.records import Generation

Answer = Generation | CandidateFailure


def sampled(answer: Answer) -> Generation:
    """
    Raises:
        RunError: there is no answer, and samples are for pairs: there is no candidate that could fail in their place.
    """
    if isinstance(answer, CandidateFailure):
        raise RunError(f"no samples: {answer.message}")
    return answer
