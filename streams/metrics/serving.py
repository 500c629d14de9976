"""The HTTP door of a process: /metrics for Prometheus, /healthz and /readyz for whoever restarts and waits.

Law: it answers from a thread of its own, so that it tells the truth also while the event loop does not run.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from streams.metrics.catalogue import BUILD, REGISTRY
from streams.settings import SettingsError


class Health(Protocol):
    """What a process knows of itself. Both answer in words for people, empty when all is well."""

    def stuck(self) -> Sequence[str]:
        """Why it should be restarted."""

    def unready(self) -> Sequence[str]:
        """Why it does no work now."""


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds: nobody wants to read of them."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def serve(host: str, port: int, version: str, *, role: str = "worker", health: Health | None = None) -> int:
    """Serve in a thread of its own. Answers the port taken. Raises SettingsError when there is none to be had."""
    BUILD.info(version=version, role=role)
    try:
        server = make_server(host, port, _door(health), _Server, handler_class=_Silent)
    except OSError as problem:
        raise SettingsError(f"LOY_METRICS_PORT: {host}:{port} cannot be had ({problem.strerror}); 0 takes a free one") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)


def _door(health: Health | None) -> Callable[..., Iterable[bytes]]:
    metrics = make_wsgi_app(REGISTRY)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            served: Iterable[bytes] = metrics(environ, start)
            return served
        if path not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /healthz, /readyz\n"]
        problems = _problems(path, health)
        start("503 Service Unavailable" if problems else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return ["".join(f"{line}\n" for line in problems or ["ok"]).encode()]

    return answer


def _problems(path: str, health: Health | None) -> Sequence[str]:
    if health is None:
        return ()
    return health.stuck() if path == "/healthz" else health.unready()
