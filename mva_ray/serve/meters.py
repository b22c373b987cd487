"""What a server measures of itself, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mva_ray.serve.admission import Admission

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Meters:
    def __init__(self, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter("mva_ray_http_answers", "HTTP answers", ["status"], registry=self.registry)
        self.prompt_tokens = Counter("mva_ray_prompt_tokens", "Tokens of prompts", registry=self.registry)
        self.generated_tokens = Counter("mva_ray_generated_tokens", "Tokens of answers", registry=self.registry)
        self.first_token = Histogram(
            "mva_ray_first_token_seconds", "From a request to its first token", buckets=SECONDS, registry=self.registry
        )
        self.seconds = Histogram(
            "mva_ray_completion_seconds", "From a request to its end", buckets=SECONDS, registry=self.registry
        )
        Gauge("mva_ray_completions", "Completions at work or waiting", registry=self.registry).set_function(
            lambda: admission.taken
        )
