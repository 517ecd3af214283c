"""Which proxy a URL goes through, and which CAs are trusted: environment variables."""

from pathlib import Path

import pytest
from support.certificates import Authority
from yarl import URL

from marketplace_async._core.network import Network, Proxy, allows_http, ca_file, trusting

HTTPS = {"HTTPS_PROXY": "http://proxy.example:3128"}
TWILIO = "https://marketplace.twilio.com"


def proxy_for(target: str, environ: dict[str, str]) -> str | None:
    found = Network().with_environment(environ).proxy_for(URL(target))
    return None if found is None else f"{found.source} {found.url}"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        (HTTPS, "HTTPS_PROXY http://proxy.example:3128"),
        ({"https_proxy": "http://a:1", **HTTPS}, "https_proxy http://a:1"),
        ({"MARKETPLACE_PROXY": "http://b:1", **HTTPS}, "MARKETPLACE_PROXY http://b:1"),
        ({"MARKETPLACE_PROXY": " ", "https_proxy": "", **HTTPS}, "HTTPS_PROXY http://proxy."),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "HTTPS_PROXY http://proxy.example:3128"),
        ({"HTTPS_PROXY": "https://user:pass@proxy:3128"}, "HTTPS_PROXY https://user:pass@proxy"),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ({"ALL_PROXY": "socks5://proxy.example:1080"}, None),
    ],
)
def test_the_proxy_of_https_is_found(environ: dict[str, str], found: str | None) -> None:
    proxy = proxy_for(TWILIO, environ)
    assert proxy == found or (proxy and found and proxy.startswith(found))


@pytest.mark.parametrize("value", ["socks5://proxy:1080", "http://a b", "http://h:x"])
def test_a_malformed_proxy_is_named_but_not_shown_and_only_where_it_is_used(value: str) -> None:
    environ = {"HTTPS_PROXY": value, "NO_PROXY": "internal.example"}
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY: expected a URL such as http") as raised:
        proxy_for(TWILIO, environ)
    assert value not in str(raised.value)
    assert proxy_for("https://internal.example", environ) is None
    assert proxy_for("http://other.example", environ) is None


def test_the_http_proxy_of_a_cgi_program_is_a_header_of_its_client() -> None:
    cgi = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert proxy_for("http://service.example", cgi) is None
    assert proxy_for("http://service.example", {**cgi, "http_proxy": "http://good:1"})
    assert proxy_for("http://service.example", {"HTTP_PROXY": "http://good:1"})


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST", "localhost.", "a.localhost"),
        *("0.0.0.0", "[::]", "[::ffff:127.0.0.1]"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_of_the_environment_is_never_used_for_this_machine(scheme: str, host: str) -> None:
    variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "MARKETPLACE_PROXY"), "http://p:1")
    assert proxy_for(f"{scheme}://{host}:8080", variables) is None
    assert proxy_for(f"{scheme}://10.0.0.1:8080", variables) is not None
    passed = Network(Proxy(URL("http://p:1"), "proxy="))
    assert passed.with_environment({}).proxy_for(URL(f"{scheme}://{host}:8080")) is not None


@pytest.mark.parametrize(
    ("no_proxy", "target", "listed"),
    [
        ("", "https://marketplace.twilio.com", False),
        ("*", "https://marketplace.twilio.com", True),
        ("twilio.com", "https://marketplace.twilio.com", True),
        (".twilio.com", "https://marketplace.twilio.com", True),
        ("*.twilio.com", "https://marketplace.twilio.com", True),
        (" Other , TWILIO.com. ", "https://marketplace.twilio.com.", True),
        ("other twilio.com", "https://marketplace.twilio.com", True),
        ("illio.com", "https://marketplace.twilio.com", False),
        ("marketplace.twilio.com:443", "https://marketplace.twilio.com", True),
        ("marketplace.twilio.com:8443", "https://marketplace.twilio.com", False),
        ("10.0.0.1", "https://10.0.0.1", True),
        ("10.0.0.0/8", "https://10.2.3.4", True),
        ("10.0.0.0/8", "https://11.2.3.4", False),
        ("10.0.0.0/8", "https://ten.example", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("fd00::1", "https://[fd00::1]:8443", True),
        ("[fd00::1]:8443", "https://[fd00::1]:8443", True),
        ("[fd00::1]:8444", "https://[fd00::1]:8443", False),
        (",,:,[,]:1,a:b:", "https://marketplace.twilio.com", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_in_no_proxy_are_reached_directly(
    name: str, no_proxy: str, target: str, listed: bool
) -> None:
    assert (proxy_for(target, {**HTTPS, name: no_proxy}) is None) is listed


def test_a_password_is_in_no_repr() -> None:
    network = Network(Proxy(URL("http://user:geheim@p:1"), "proxy="))
    network = network.with_environment({"HTTPS_PROXY": "http://user:geheim@q:1"})
    assert "geheim" not in repr(network) + repr(network.passed)
    assert network.passed is not None
    assert network.passed.address == "p:1"


def test_the_file_of_cas_is_found() -> None:
    assert ca_file({"SSL_CERT_FILE": " "}) is None
    assert ca_file({"SSL_CERT_FILE": "/a"}) == ("SSL_CERT_FILE", "/a")
    both = {"SSL_CERT_FILE": "/a", "MARKETPLACE_CA_FILE": "/b"}
    assert ca_file(both) == ("MARKETPLACE_CA_FILE", "/b")


def test_a_file_without_certificates_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem", "."):
        with pytest.raises(ValueError, match=r"^SSL_CERT_FILE: cannot read certificates from '/"):
            trusting(tmp_path / name, "SSL_CERT_FILE")
    assert trusting(Authority(tmp_path).file, "SSL_CERT_FILE").cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize(
    ("value", "allowed"), [("", False), ("0", False), ("False", False), ("1", True), ("TRUE", True)]
)
def test_the_flag_of_plain_http_is_read(value: str, allowed: bool) -> None:
    assert allows_http({"MARKETPLACE_ALLOW_HTTP": value}) is allowed


def test_a_malformed_flag_is_an_error() -> None:
    assert not allows_http({})
    with pytest.raises(ValueError, match="MARKETPLACE_ALLOW_HTTP: expected true or false"):
        allows_http({"MARKETPLACE_ALLOW_HTTP": "maybe"})
