"""Proxies, CAs and plain http on the command line: options, variables and profiles."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority, tls_server
from support.command_line import SID, Cli
from support.proxies import Proxy, proxy
from support.raw_servers import free_port

from marketplace_async.cli import profiles

XB = "XB" + "a" * 32
HOST = "marketplace.example"
FETCH = ("available", "fetch", XB, "--output", "json")


class Network:
    """A service that only a proxy reaches, with a certificate of its own CA."""

    def __init__(self, url: str, running: Proxy, authority: Authority) -> None:
        self.url = url
        self.proxy = running
        self.ca_file = str(authority.file)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    authority = Authority(tmp_path)
    async with tls_server(authority.server(HOST)) as url, proxy(password="geheim") as running:
        running.hosts[HOST] = "127.0.0.1"
        yield Network(url.replace("127.0.0.1", HOST), running, authority)


@pytest.fixture
async def run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)

    async def in_thread(*arguments: str, **options: Any) -> Any:
        return await asyncio.to_thread(cli, *arguments, **options)

    return in_thread


async def test_options_name_the_proxy_and_the_cas(network: Network, run: Any) -> None:
    options = ("--proxy", network.proxy.url, "--ca-file", network.ca_file)
    finished = await run(*FETCH, "--base-url", network.url, *options)
    assert (finished.status, finished.json["sid"]) == (0, XB)
    assert len(network.proxy.requests) == 1


@pytest.mark.parametrize(
    ("proxy_variable", "ca_variable"),
    [("HTTPS_PROXY", "SSL_CERT_FILE"), ("MARKETPLACE_PROXY", "MARKETPLACE_CA_FILE")],
)
async def test_variables_name_the_proxy_and_the_cas(
    network: Network,
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    proxy_variable: str,
    ca_variable: str,
) -> None:
    monkeypatch.setenv("MARKETPLACE_BASE_URL", network.url)
    monkeypatch.setenv(proxy_variable, network.proxy.url)
    monkeypatch.setenv(ca_variable, network.ca_file)
    finished = await run(*FETCH)
    assert (finished.status, finished.json["sid"]) == (0, XB)
    assert len(network.proxy.requests) == 1


async def test_a_profile_names_the_proxy_and_the_cas(network: Network, run: Any) -> None:
    options = ("--proxy", network.proxy.url, "--ca-file", network.ca_file)
    added = await run(
        *("profiles", "add", "corporate", "--account-sid", SID, "--base-url", network.url),
        *(*options, "--secret-stdin"),
        stdin="secret\n",
    )
    assert added.status == 0
    file = profiles.profiles_file()
    known = await asyncio.to_thread(profiles.load, file)
    assert f'proxy = "{network.proxy.url}"' in file.read_text()
    assert "geheim" not in repr(known)
    finished = await run(*FETCH, "--profile", "corporate")
    assert (finished.status, finished.json["sid"]) == (0, XB)
    listed = await run("profiles", "list", "--output", "jsonl")
    assert listed.json["proxy"] == f"http://{network.proxy.address}"
    assert listed.json["ca_file"] == network.ca_file
    assert "geheim" not in listed.out


async def test_an_option_precedes_a_profile_and_that_the_environment(
    network: Network, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MARKETPLACE_BASE_URL", network.url)
    monkeypatch.setenv("SSL_CERT_FILE", network.ca_file)
    monkeypatch.setenv("MARKETPLACE_PROXY", down)
    await run(
        *("profiles", "add", "up", "--account-sid", SID, "--secret-stdin"),
        *("--proxy", network.proxy.url),
        stdin="secret\n",
    )
    assert (await run(*FETCH, "--profile", "up")).status == 0
    failed = await run(*FETCH)
    assert failed.status == 1
    assert f"the proxy {down.removeprefix('http://')} (from MARKETPLACE_PROXY)" in failed.err
    failed = await run(*FETCH, "--profile", "up", "--proxy", down)
    assert failed.status == 1
    assert f"the proxy {down.removeprefix('http://')} (from proxy=)" in failed.err


async def test_wrong_credentials_of_a_proxy_are_explained_without_them(
    network: Network, run: Any
) -> None:
    wrong = network.proxy.url.replace("geheim", "falsch")
    options = ("--proxy", wrong, "--ca-file", network.ca_file)
    finished = await run(*FETCH, "--base-url", network.url, *options)
    assert finished.status == 1
    assert "refused to connect: 407" in finished.err
    assert "falsch" not in finished.err
    assert len(network.proxy.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ca-file", "/missing"], "--ca-file: cannot read certificates from '/missing'"),
        (["--proxy", "geheim@proxy"], "proxy: expected a URL such as http"),
        (["--proxy", "http://p:1", "--base-url", "http://127.0.0.1:1"], "the proxy would read"),
    ],
)
def test_an_unusable_option_is_a_usage_error(cli: Cli, arguments: list[str], message: str) -> None:
    finished = cli(*FETCH, *arguments)
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err
    assert "geheim" not in finished.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('proxy = "geheim"', "proxy: expected a URL such as"),
        ("proxy = 5", "work.proxy: expected a non-empty string"),
        ('ca_file = "/missing"', "cannot read certificates from '/missing'"),
    ],
)
def test_an_unusable_setting_is_a_usage_error(cli: Cli, settings: str, message: str) -> None:
    file = profiles.profiles_file()
    file.touch(mode=0o600)
    file.write_text(f'[work]\naccount_sid = "{SID}"\nauth_token = "x"\n{settings}')
    finished = cli(*FETCH, "--profile", "work")
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err
    assert "geheim" not in finished.err


def test_a_variable_allows_plain_http(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # An address that is reserved for documentation. Nothing is there.
    monkeypatch.setenv("MARKETPLACE_BASE_URL", "http://192.0.2.1:1")
    arguments = (*FETCH, "--timeout", "0.01")
    finished = cli(*arguments)
    assert (finished.status, "plain http would send the credentials" in finished.err) == (2, True)
    monkeypatch.setenv("MARKETPLACE_ALLOW_HTTP", "true")
    assert cli(*arguments).status == 1
    monkeypatch.setenv("MARKETPLACE_ALLOW_HTTP", "maybe")
    finished = cli(*arguments)
    assert finished.status == 2
    assert "MARKETPLACE_ALLOW_HTTP: expected true or false, got 'maybe'" in finished.err


def test_a_malformed_variable_is_a_usage_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETPLACE_BASE_URL")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:geheim@proxy")
    finished = cli(*FETCH)
    assert (finished.status, finished.out) == (2, "")
    assert "HTTPS_PROXY: expected a URL such as" in finished.err
    assert "geheim" not in finished.err
