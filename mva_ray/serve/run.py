"""`mva-ray serve`: loads the runs, then answers until it is asked to stop."""

import socket
from collections.abc import Sequence
from contextlib import suppress

import uvicorn

from mva_ray.errors import ConfigError
from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.app import make_app
from mva_ray.serve.catalogue import Catalogue
from mva_ray.serve.explorations import Explorations
from mva_ray.serve.guard import is_loopback
from mva_ray.serve.model import ServedModel

SHUTDOWN_S = 10


def serve(
    runs: Sequence[str],
    host: str,
    port: int,
    token: str | None,
    context: int | None = None,
    rows: int | None = None,
    seconds: float = 600.0,
    started: Explorations | None = None,
) -> None:
    """
    Args:
        started: what starts explorations here; None where nothing may.

    Raises:
        ConfigError: what a run has is not what was evaluated, or the server would be open to others.
        RunError: the model cannot be loaded.
    """
    if not is_loopback(host) and not token:
        raise ConfigError("--host", [f"{host} lets others in: set a token with --token, or MVA_RAY_TOKEN"])
    listening = listen(host, port)
    catalogue = Catalogue(runs)
    print(f"loading {catalogue.base_model} with {len(catalogue.adapters)} adapters", flush=True)
    engine = EngineThread(lambda: ServedModel(catalogue.base_model, catalogue.adapters, context, rows))
    app = make_app(catalogue, engine, token, is_loopback(host), seconds, started)
    name, at = (f"[{host}]" if ":" in host else host), listening.getsockname()[1]
    print(f"models at http://{name}:{at}/v1/models, {engine.generator.rows} answers at once", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_S))
    app.state.ending = lambda: server.should_exit
    with suppress(KeyboardInterrupt):  # uvicorn has ended what was at work, and says so
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Before anything is loaded, so that a port that is taken is known at once."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError("--port", [f"{host}:{port}: {error.strerror or error}"]) from None
