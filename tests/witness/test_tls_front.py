"""Twilio's official clients against the emulator behind a front with TLS, as nginx is.

Links must be those that the clients see: they follow the link to the second page.

To repeat it:

    apt-get install nginx npm
    pip install twilio
    npm install --prefix /tmp/official twilio twilio-cli
    MARKETPLACE_NODE_MODULES=/tmp/official/node_modules pytest tests/witness/test_tls_front.py

Tests whose client or nginx is missing are skipped.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from support.plain_http import AC, SPAM_SCORE

from marketplace_async.emulator import Emulator

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NODE_MODULES = Path(os.environ.get("MARKETPLACE_NODE_MODULES", "/nowhere"))
COUNT = 120  # three pages of 50
HOSTS = ("marketplace.twilio.com", "api.twilio.com")

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")

CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log stderr warn;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass {upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffering off;
    }}
  }}
}}
"""


@attrs.frozen
class Front:
    """A running front: its URL, its CA, and a proxy that leads Twilio's host names to it."""

    url: str
    ca: Path
    proxy: str
    emulator: Emulator


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with Emulator() as emulator:
        emulator.install(AC, SPAM_SCORE, times=COUNT)
        emulator.add_subaccounts(AC, COUNT - 1)
        port = free_port()
        ca = certificate(tmp_path)
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=tmp_path, port=port, upstream=emulator.url)
        )
        nginx = subprocess.Popen([str(NGINX), "-c", str(configuration), "-p", str(tmp_path)])
        try:
            wait_for(port)
            with tunnels(port) as proxy:
                yield Front(f"https://127.0.0.1:{port}", ca, proxy, emulator)
        finally:
            nginx.terminate()
            nginx.wait(timeout=10)


def certificate(folder: Path) -> Path:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", *HOSTS)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def tunnels(port: int) -> Iterator[str]:
    """Run a proxy whose tunnels all lead to one port. Yields its URL."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"CONNECT ")
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(
            copy(reader, to_upstream), copy(upstream, writer), return_exceptions=True
        )

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def pages(front: Front, path: str) -> list[int | None]:
    """Return the statuses of the list requests that the emulator has logged."""
    return [entry.status for entry in front.emulator.log if entry.path == path]


def test_twilio_python_follows_every_page(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    twilio = pytest.importorskip("twilio.rest")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(front.ca))
    client = twilio.Client(AC, "made-up")
    client.marketplace.base_url = client.api.base_url = front.url
    installed = client.marketplace.v1.installed_add_ons
    assert len(installed.list()) == COUNT
    assert len(installed.list(page_size=7)) == COUNT
    assert len(client.api.v2010.accounts.list(page_size=50)) == COUNT
    assert installed.list(limit=1)[0].links["extensions"].startswith(front.url)
    assert pages(front, "/v1/InstalledAddOns") == [200] * (3 + 18 + 1)
    client.http_client.session.close()


NODE = """
const [url, sid] = process.argv.slice(1);
const client = require("twilio")(sid, "made-up");
client.marketplace.baseUrl = client.api.baseUrl = url;
(async () => {
  const installed = client.marketplace.v1.installedAddOns;
  const created = await installed.create({
    availableAddOnSid: "XB06d5274893cc9af4198667d2f7d74d09", acceptTermsOfService: true,
    uniqueName: "node", configuration: {},
  });
  const first = await installed.page({ pageSize: 50 });
  const second = await first.nextPage();
  console.log(JSON.stringify({
    all: (await installed.list()).length,
    small: (await installed.list({ pageSize: 7 })).length,
    second: second.instances.length,
    back: (await second.previousPage()).instances[0].sid === first.instances[0].sid,
    accounts: (await client.api.v2010.accounts.list({ pageSize: 50 })).length,
    extensions: (await installed(created.sid).extensions.list()).length,
    removed: await installed(created.sid).remove(),
  }));
})();
"""


def run(front: Front, *command: str, **environ: str) -> Any:
    trusted = {"NODE_EXTRA_CA_CERTS": str(front.ca), "NODE_PATH": str(NODE_MODULES)}
    ignored = ("HTTP_PROXY", "HTTPS_PROXY", "TWILIO_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ignored)}
    finished = subprocess.run(
        command,
        env={**env, **trusted, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.skipif(not (NODE_MODULES / "twilio").is_dir(), reason="no MARKETPLACE_NODE_MODULES")
def test_twilio_node_follows_every_page(front: Front) -> None:
    assert run(front, "node", "-e", NODE, front.url, AC) == {
        "all": COUNT + 1,
        "small": COUNT + 1,
        "second": 50,
        "back": True,
        "accounts": COUNT,
        "extensions": 2,
        "removed": True,
    }


@pytest.mark.skipif(
    not (NODE_MODULES / "twilio-cli").is_dir(), reason="no MARKETPLACE_NODE_MODULES"
)
def test_the_twilio_cli_follows_every_page(front: Front, tmp_path: Path) -> None:
    # It has no option for another URL. Through the proxy, it connects to marketplace.twilio.com.
    def cli(*arguments: str) -> Any:
        return run(
            front,
            *(str(NODE_MODULES / ".bin" / "twilio"), *arguments, "-o", "json"),
            HTTP_PROXY=front.proxy,
            TWILIO_ACCOUNT_SID=AC,
            TWILIO_AUTH_TOKEN="made-up",
            HOME=str(tmp_path),
        )

    topic = "api:marketplace:v1:installed-add-ons"
    installed = cli(f"{topic}:list", "--no-limit", "--page-size", "50")
    assert len(installed) == COUNT
    assert pages(front, "/v1/InstalledAddOns")[:3] == [200] * 3
    options = ("--available-add-on-sid", SPAM_SCORE, "--accept-terms-of-service")
    (created,) = cli(f"{topic}:create", *options, "--unique-name", "cli")
    assert created["uniqueName"] == "cli"
    assert len(cli("api:core:accounts:list", "--no-limit", "--page-size", "50")) == COUNT
