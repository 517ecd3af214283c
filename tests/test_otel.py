"""OpenTelemetry, with its own SDK: spans and metrics tell what happened, and nest."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from support.observed import CASES, OQ, SECRET, SPAM_SCORE, TWICE, XE, create

from marketplace_async import (
    ClientCredentials,
    MarketplaceClient,
    NotFoundError,
    Request,
)
from marketplace_async._core import session as sessions
from marketplace_async.observe import CallEnded, CallInfo
from marketplace_async.otel import OpenTelemetry
from marketplace_async.testing import account, emulated

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)

SID = account().account_sid


class Telemetry:
    """The observer, and what the SDK collected from it."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider([self._reader])
        self.observer = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self._meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is trace.SpanKind.CLIENT]

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def tree(self) -> list[tuple[str, str | None]]:
        """Return the name of each span and of its parent, in the order in which they started."""
        names = {span.context.span_id: span.name for span in self.spans if span.context}
        ordered = sorted(self.spans, key=lambda span: span.start_time or 0)
        parents = [span.parent.span_id if span.parent else 0 for span in ordered]
        return [(span.name, names.get(id)) for span, id in zip(ordered, parents, strict=True)]

    def close(self) -> None:
        self.tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    found = Telemetry()
    yield found
    found.close()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("name", CASES)
async def test_spans_and_metrics_see_a_fault_as_it_was(name: str, telemetry: Telemetry) -> None:
    case = CASES[name]
    async with case.run(observers=[telemetry.observer]):
        pass
    attempts = [span for span in telemetry.attempts if "token" not in span.name]
    assert case.attempts == tuple(
        (attributes(span).get("http.response.status_code"), attributes(span).get("error.type"))
        for span in attempts
    )
    last = telemetry.spans[-1]
    assert last.kind is trace.SpanKind.INTERNAL
    assert attributes(last).get("error.type") == case.end
    for span in telemetry.spans:
        failed = "error.type" in attributes(span)
        assert span.status.status_code is (
            trace.StatusCode.ERROR if failed else trace.StatusCode.UNSET
        )
        assert bool(span.status.description) is failed
    assert "made-up" not in "".join(span.to_json() for span in telemetry.spans)

    durations = telemetry.points("http.client.request.duration")
    counted = {
        (
            point.attributes.get("http.response.status_code"),
            point.attributes.get("error.type"),
        ): point.count
        for point in durations
        if "token" not in point.attributes["url.template"]
    }
    assert counted == {each: case.attempts.count(each) for each in case.attempts}
    assert all(point.value == 0 for point in telemetry.points("http.client.active_requests"))
    throttled = sum(point.value for point in telemetry.points("marketplace.client.throttled"))
    assert throttled == sum(status == 429 for status, _ in case.attempts)
    retries = telemetry.points("marketplace.client.retries")
    waits = [event for span in telemetry.spans for event in span.events if event.name == "waiting"]
    assert sum(point.value for point in retries) == len(
        [wait for wait in waits if (wait.attributes or {})["reason"] != "pause"]
    )


async def test_an_attempt_has_the_attributes_of_an_http_client(telemetry: Telemetry) -> None:
    async with emulated(observers=[telemetry.observer], retry=TWICE) as (client, emulator):
        emulator.faults.add("GET", "*", status=429)
        with pytest.raises(NotFoundError):
            await client.installed_add_ons.fetch(XE)
        await client.send(Request("GET", "/v1/AvailableAddOns", {"PageSize": 7}))
        url, entries = emulator.url, list(emulator.log)
    port = int(url.rpartition(":")[2])
    first, second, own = telemetry.attempts
    common = {
        "http.request.method": "GET",
        "url.template": "/v1/InstalledAddOns/{sid}",
        "url.full": f"{url}/v1/InstalledAddOns/{XE}",
        "server.address": "127.0.0.1",
        "server.port": port,
        "marketplace.permit_wait": 0.0,
    }
    assert first.name == "GET /v1/InstalledAddOns/{sid}"
    assert attributes(first) == {
        **common,
        "http.response.status_code": 429,
        "error.type": "429",
        "twilio.request_id": entries[0].request_id,
    }
    assert attributes(second) == {
        **common,
        "http.response.status_code": 404,
        "http.request.resend_count": 1,
        "error.type": "404",
        "twilio.request_id": entries[1].request_id,
    }
    assert own.name == "GET"
    assert "url.template" not in attributes(own)
    call = telemetry.spans[2]
    assert call.name == "installed_add_ons.fetch"
    assert attributes(call) == {
        "marketplace.operation": "installed_add_ons.fetch",
        "twilio.account_sid": SID,
        "marketplace.attempts": 2,
        "error.type": "404",
    }
    (event,) = call.events
    assert dict(event.attributes or {}).keys() == {"reason", "attempt", "seconds", "error.type"}


async def test_metrics_have_few_values_and_no_account(telemetry: Telemetry) -> None:
    async with emulated(observers=[telemetry.observer], concurrency=1) as (client, emulator):
        emulator.faults.add("GET", "*", delay=0.2)
        await asyncio.gather(*(client.available_add_ons.fetch(SPAM_SCORE) for _ in range(3)))
    (duration,) = telemetry.points("http.client.request.duration")
    assert duration.attributes.keys() == {
        *("http.request.method", "server.address", "server.port"),
        *("url.template", "http.response.status_code"),
    }
    assert duration.count == 3
    assert duration.explicit_bounds[0] == 0.005
    (wait,) = telemetry.points("marketplace.client.permit.wait")
    assert (wait.count, wait.max > 0.1) == (2, True)


async def test_nested_calls_are_below_the_call_that_needs_them(telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("of the application")
    async with emulated(observers=[telemetry.observer], retry=TWICE) as (client, emulator):
        derived = client.with_credentials(ClientCredentials(OQ, SECRET))
        emulator.faults.add("POST", "/v1/InstalledAddOns", drop=True, when="after")
        with tracer.start_as_current_span("job"):
            await derived.installed_add_ons.ensure(
                unique_name="a", available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
            )
            assert trace.get_current_span().name == "job"  # type: ignore[attr-defined]
    ensure, search = "installed_add_ons.ensure", "installed_add_ons.list"
    assert telemetry.tree() == [
        ("job", None),
        (ensure, "job"),
        (search, ensure),
        ("oauth.create_token", search),
        ("POST /v2/token", "oauth.create_token"),
        ("GET /v1/InstalledAddOns", search),
        ("installed_add_ons.create", ensure),
        ("POST /v1/InstalledAddOns", "installed_add_ons.create"),
        (search, "installed_add_ons.create"),
        ("GET /v1/InstalledAddOns", search),
    ]


async def test_spans_of_concurrent_calls_do_not_mix(telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("of the application")

    async def job(number: int) -> None:
        with tracer.start_as_current_span(f"job {number}"):
            await client.available_add_ons.list(page_size=1, limit=3).collect()

    async with emulated(observers=[telemetry.observer]) as (client, _):
        await asyncio.gather(*map(job, range(5)))
    parents = {span.context.span_id: span for span in telemetry.spans if span.context}
    jobs: dict[str, int] = {}
    for span in telemetry.attempts:
        assert span.parent is not None
        call = parents[span.parent.span_id]
        assert call.parent is not None
        name = parents[call.parent.span_id].name
        jobs[name] = jobs.get(name, 0) + 1
    assert jobs == {f"job {number}": 3 for number in range(5)}


async def test_a_span_of_the_session_is_below_the_attempt(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instrumentation of aiohttp starts its spans in a hook like this one."""
    tracer = telemetry.tracers.get_tracer("of aiohttp")

    async def start(*_: object) -> None:
        tracer.start_span("aiohttp").end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    monkeypatch.setattr(sessions, "_direct", False)
    async with (
        emulated() as (_, emulator),
        aiohttp.ClientSession(trace_configs=[config]) as session,
    ):
        client = MarketplaceClient(
            account(), base_url=emulator.url, session=session, observers=[telemetry.observer]
        )
        await client.available_add_ons.fetch(SPAM_SCORE)
    assert ("aiohttp", "GET /v1/AvailableAddOns/{sid}") in telemetry.tree()


async def test_a_call_that_ends_in_another_context_leaves_the_current_span(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    call = CallInfo(operation="a", account=None, base_url="http://h")
    await asyncio.create_task(_in_a_task(telemetry.observer.call_started, call))
    telemetry.observer.call_ended(CallEnded(call=call, attempts=0, elapsed=0.0))
    assert [span.name for span in telemetry.spans] == ["a"]
    assert "detach" not in caplog.text


async def test_two_observers_and_the_log_nest(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Telemetry()
    current: list[bool] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            current.append(trace.get_current_span().is_recording())

    handler, logger = Handler(), logging.getLogger("marketplace_async")
    caplog.set_level(logging.DEBUG, "marketplace_async")
    logger.addHandler(handler)
    try:
        async with emulated(observers=[telemetry.observer, inner.observer]) as (client, _):
            await client.available_add_ons.fetch(SPAM_SCORE)
            assert trace.get_current_span() is trace.INVALID_SPAN
            with pytest.raises(NotFoundError):
                await client.installed_add_ons.fetch(XE)
            assert trace.get_current_span() is trace.INVALID_SPAN
    finally:
        logger.removeHandler(handler)
        inner.close()
    assert current == [True, True]


async def _in_a_task(function: Any, argument: object) -> None:
    function(argument)


async def test_without_a_sdk_nothing_is_recorded_and_calls_work() -> None:
    async with emulated(observers=[OpenTelemetry()]) as (client, _):
        await create(client)


def test_the_extra_is_imported_late_and_its_absence_is_one_sentence() -> None:
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from marketplace_async.otel import OpenTelemetry\n"
        "try: OpenTelemetry()\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("MissingExtraError OpenTelemetry needs an extra")
    assert "marketplace_async[otel]" in run.stdout
