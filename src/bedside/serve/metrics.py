"""What /metrics tells: counts and times in Prometheus's text format, from a registry of the app's own.

In: each request with its route and status, each answer with its tokens. Labels are routes, statuses and names of
models, so that no client can make a new one; nothing of what was said is kept. Source of the names:
https://prometheus.io/docs/practices/naming/.
"""

from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from bedside.serve.desk import Desk

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The numbers of one app."""

    def __init__(self, desk: "Desk") -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("bedside_requests", "Requests answered", ("endpoint", "status"), registry=registry)
        self.seconds = Histogram(
            "bedside_request_seconds",
            "From a request to its last byte",
            ("endpoint",),
            buckets=SECONDS,
            registry=registry,
        )
        self.first = Histogram(
            "bedside_first_token_seconds",
            "From a request to the model's first token, the wait for a seat included",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self.prompt_tokens = Counter("bedside_prompt_tokens", "Tokens read", ("model",), registry=registry)
        self.completion_tokens = Counter("bedside_completion_tokens", "Tokens written", ("model",), registry=registry)
        waiting = Gauge("bedside_queue", "Requests that wait for a seat", registry=registry)
        waiting.set_function(lambda: desk.waiting)
        busy = Gauge("bedside_seats_in_use", "Answers that are being written", registry=registry)
        busy.set_function(lambda: desk.busy)
        Gauge("bedside_seats", "Answers that can be written at once", registry=registry).set(desk.seats)

    def page(self) -> tuple[bytes, str]:
        """The text and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class Meter:
    """ASGI middleware around everything, which counts each request when its answer ends, refusals included."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry; what never got an answer is counted with status "none": its client had gone."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = "none", monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(endpoint, status).inc()
            self._metrics.seconds.labels(endpoint).observe(monotonic() - begun)
