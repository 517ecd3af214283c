"""OpenTelemetry: spans and metrics of every call and attempt. Needs the extra `otel`.

    from marketplace_async.otel import OpenTelemetry

    client = MarketplaceClient(credentials, observers=[OpenTelemetry()])

Spans. A call is an internal span with the name of its operation, such as
"installed_add_ons.create". Each of its attempts is a client span below it, such as
"POST /v1/InstalledAddOns", with the attributes of the semantic conventions for HTTP clients:
`http.request.method`, `url.template`, `url.full`, `server.address`, `server.port`,
`http.response.status_code`, `http.request.resend_count` and `error.type`. Calls that a call needs
are below it. A wait is an event of the span of the call.

Metrics.

    http.client.request.duration       histogram, seconds of an attempt
    http.client.active_requests        attempts in progress
    marketplace.client.retries         calls that wait to retry
    marketplace.client.throttled       attempts that Twilio throttled (429)
    marketplace.client.permit.wait     histogram, seconds of each wait for a permit

The account is an attribute of spans, and of no metric: there may be many.
"""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ._version import __version__
from .errors import MissingExtraError
from .observe import AttemptEnded, AttemptStarted, CallEnded, CallInfo, Observer, Waiting

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["OpenTelemetry"]

_NAME: Final = "marketplace_async"
# Seconds, from the semantic conventions.
_BOUNDARIES: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)


class OpenTelemetry(Observer):
    """An observer that reports spans and metrics to OpenTelemetry.

    One instance can serve any number of clients.

    Args:
        tracer_provider: The global one by default.
        meter_provider: The global one by default.

    Raises:
        MissingExtraError: `opentelemetry-api` is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace
        except ImportError:
            raise MissingExtraError("OpenTelemetry", "otel") from None
        self._context = context
        self._trace = trace
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        self._failed = trace.StatusCode.ERROR
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._active = meter.create_up_down_counter(
            "http.client.active_requests", "{request}", "Number of active HTTP requests."
        )
        self._retries = meter.create_counter(
            "marketplace.client.retries", "{retry}", "Number of retries."
        )
        self._throttled = meter.create_counter(
            "marketplace.client.throttled", "{request}", "Number of requests that were throttled."
        )
        self._permit_wait = meter.create_histogram(
            "marketplace.client.permit.wait",
            "s",
            "Seconds that requests waited for a permit.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._calls: dict[CallInfo, _Running] = {}
        self._servers: dict[str, dict[str, Any]] = {}

    def call_started(self, call: CallInfo) -> None:
        """Start the span of the call, and make it the current one."""
        attributes: dict[str, Any] = {"marketplace.operation": call.operation}
        if call.account is not None:
            attributes["twilio.account_sid"] = call.account
        span = self._tracer.start_span(call.operation, attributes=attributes)
        self._calls[call] = _Running(span, self._attach(span))

    def attempt_started(self, attempt: AttemptStarted) -> None:
        """Start the span of the attempt, and make it the current one."""
        running = self._calls[attempt.call]
        request = attempt.request
        labels = {"http.request.method": request.method, **self._server(attempt.call.base_url)}
        if request.url_template is not None:
            labels["url.template"] = request.url_template
        attributes: dict[str, Any] = {
            **labels,
            "url.full": attempt.call.base_url + request.path,
            "marketplace.permit_wait": attempt.permit_wait,
        }
        if running.sent:
            attributes["http.request.resend_count"] = running.sent
        running.sent += 1
        name = (
            f"{request.method} {request.url_template}" if request.url_template else request.method
        )
        span = self._tracer.start_span(
            name, kind=self._trace.SpanKind.CLIENT, attributes=attributes
        )
        running.attempt = _Attempt(span, self._attach(span), labels)
        self._active.add(1, labels)
        if attempt.permit_wait:
            self._permit_wait.record(attempt.permit_wait, labels)

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """End the span of the attempt, and measure it."""
        running = self._calls[attempt.call]
        started, running.attempt = running.attempt, None
        if started is None:
            return
        span, labels = started.span, started.labels
        self._active.add(-1, labels)
        outcome: dict[str, Any] = {}
        if attempt.status is not None:
            outcome["http.response.status_code"] = attempt.status
        if attempt.error_type is not None:
            outcome["error.type"] = attempt.error_type
        self._duration.record(attempt.elapsed, {**labels, **outcome})
        if attempt.status == 429:
            self._throttled.add(1, labels)
        if attempt.request_id is not None:
            outcome["twilio.request_id"] = attempt.request_id
        span.set_attributes(outcome)
        self._end(started, attempt.error_type, attempt.reason)

    def waiting(self, wait: Waiting) -> None:
        """Add an event to the span of the call, and count a retry."""
        running = self._calls[wait.call]
        attributes: dict[str, Any] = {"reason": wait.reason, "attempt": wait.number}
        if wait.seconds is not None:
            attributes["seconds"] = wait.seconds
        if wait.error_type is not None:
            attributes["error.type"] = wait.error_type
        running.span.add_event("waiting", attributes)
        if wait.reason in ("backoff", "retry_after"):
            labels = self._server(wait.call.base_url)
            self._retries.add(1, {**labels, "marketplace.operation": wait.call.operation})

    def call_ended(self, end: CallEnded) -> None:
        """End the span of the call."""
        running = self._calls.pop(end.call)
        running.span.set_attribute("marketplace.attempts", end.attempts)
        if end.error_type is not None:
            running.span.set_attribute("error.type", end.error_type)
        self._end(running, end.error_type, end.reason)

    def _server(self, base_url: str) -> dict[str, Any]:
        server = self._servers.get(base_url)
        if server is None:
            parts = urlsplit(base_url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            server = {"server.address": parts.hostname or "", "server.port": port}
            self._servers[base_url] = server
        return server

    def _attach(self, span: "Span") -> "Token[Context]":
        return self._context.attach(self._trace.set_span_in_context(span))

    def _end(
        self, started: "_Attempt | _Running", error_type: str | None, reason: str | None
    ) -> None:
        span = started.span
        if error_type is not None:
            span.set_status(self._failed, reason)
        # A coroutine that is collected as garbage ends in another context.
        if self._trace.get_current_span() is span:
            self._context.detach(started.token)
        span.end()


class _Attempt:
    __slots__ = ("labels", "span", "token")

    def __init__(self, span: "Span", token: "Token[Context]", labels: dict[str, Any]) -> None:
        self.span = span
        self.token = token
        self.labels = labels


class _Running:
    __slots__ = ("attempt", "sent", "span", "token")

    def __init__(self, span: "Span", token: "Token[Context]") -> None:
        self.span = span
        self.token = token
        self.sent = 0
        self.attempt: _Attempt | None = None
