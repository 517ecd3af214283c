"""These tests run over both ways to send a request: ours, and aiohttp's own."""

import pytest

from marketplace_async._core import session


@pytest.fixture(autouse=True, params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(session, "_direct", request.param == "direct")
    return str(request.param)
