"""Named profiles: who asks, and where, and what goes before what."""

import os
import stat
import sys
from pathlib import Path

import pytest
from support.command_line import SECRET, SID, Cli, Finished

from marketplace_async.cli import profiles
from marketplace_async.cli.access import Access
from marketplace_async.cli.connection import Connection
from marketplace_async.cli.status import CommandError, Status
from marketplace_async.emulator import Emulator

KEY = "SK" + "0" * 31 + "2"
APP = "OQ" + "0" * 31 + "3"
OTHER = "AC" + "0" * 31 + "4"

NAMED = f"""\
# mine
[work]
account_sid = "{OTHER}"
auth_token = "work-secret"
region = "au1"
edge = "sydney"

[local]
api_key = "{KEY}"
api_secret = "key-secret"
account_sid = "{OTHER}"
base_url = "http://127.0.0.1:1"

[oauth]
client_id = "{APP}"
client_secret = "app-secret"
base_url = "http://emulator:8912"
allow_http = true
"""
DEFAULT = f"""
[default]
account_sid = "{OTHER}"
auth_token = "default-secret"
region = "ie1"
"""
SYDNEY = {"region": "au1", "edge": "sydney"}
ENVIRONS, OTHERS = f"the account {SID}", f"the account {OTHER}"
KEYS, APPS = f"the API key {KEY}", f"the OAuth app {APP}"
TOKEN = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": SECRET}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "profiles.toml"
    file.touch(mode=0o600)
    file.write_text(NAMED)
    return file


def resolve(file: Path, environ: dict[str, str], **options: object) -> Access:
    connection = Connection(**options)  # type: ignore[arg-type]  # a table
    return connection.resolve({"MARKETPLACE_PROFILES": str(file), **environ})


# -- what goes before what


@pytest.mark.parametrize(
    ("options", "environ", "default", "who", "options_of_the_client"),
    [
        # The environment, where no profile is named.
        ({}, TOKEN, False, ENVIRONS, {}),
        ({}, TOKEN, True, ENVIRONS, {}),
        ({}, {**TOKEN, "TWILIO_API_KEY": KEY, "TWILIO_API_SECRET": "x"}, False, KEYS, {}),
        ({}, {"TWILIO_CLIENT_ID": APP, "TWILIO_CLIENT_SECRET": "x"}, True, APPS, {}),
        # The profile default, where there is nothing else.
        ({}, {}, True, OTHERS, {"region": "ie1"}),
        ({}, {"TWILIO_REGION": "au1"}, True, OTHERS, {"region": "au1"}),
        ({"region": "us1"}, {"TWILIO_REGION": "au1"}, True, OTHERS, {"region": "us1"}),
        # A profile that is named goes before the environment, and the option before the variable.
        ({"profile": "work"}, TOKEN, True, OTHERS, SYDNEY),
        (
            {},
            {**TOKEN, "MARKETPLACE_PROFILE": "local"},
            True,
            KEYS,
            {"base_url": "http://127.0.0.1:1"},
        ),
        ({"profile": "work"}, {"MARKETPLACE_PROFILE": "local"}, False, OTHERS, SYDNEY),
        ({"profile": "default"}, TOKEN, True, OTHERS, {"region": "ie1"}),
        # Each setting has an order of its own: its option, the named profile, the environment.
        (
            {"profile": "work"},
            {"TWILIO_REGION": "us1", "TWILIO_EDGE": "ashburn"},
            False,
            OTHERS,
            SYDNEY,
        ),
        (
            {"profile": "work", "edge": "ashburn"},
            {},
            False,
            OTHERS,
            {"region": "au1", "edge": "ashburn"},
        ),
        (
            {"profile": "local"},
            {"MARKETPLACE_BASE_URL": "http://127.0.0.1:2"},
            False,
            KEYS,
            {"base_url": "http://127.0.0.1:1"},
        ),
        (
            {"profile": "work"},
            {"MARKETPLACE_BASE_URL": "http://127.0.0.1:2"},
            False,
            OTHERS,
            {**SYDNEY, "base_url": "http://127.0.0.1:2"},
        ),
        (
            {"profile": "local", "base_url": "http://127.0.0.1:3"},
            {},
            False,
            KEYS,
            {"base_url": "http://127.0.0.1:3"},
        ),
        (
            {"profile": "oauth", "timeout": 2.0},
            {},
            False,
            APPS,
            {"base_url": "http://emulator:8912", "allow_http": True, "timeout": 2.0},
        ),
        ({"allow_http": True}, TOKEN, False, ENVIRONS, {"allow_http": True}),
        # What is empty is not set.
        (
            {},
            {**TOKEN, "MARKETPLACE_PROFILE": " ", "TWILIO_API_KEY": "", "TWILIO_REGION": " "},
            False,
            ENVIRONS,
            {},
        ),
    ],
)
def test_what_goes_before_what(
    file: Path,
    options: dict[str, object],
    environ: dict[str, str],
    default: bool,
    who: str,
    options_of_the_client: dict[str, object],
) -> None:
    if default:
        file.write_text(NAMED + DEFAULT)
    access = resolve(file, environ, **options)
    assert (access.who, access.options) == (who, options_of_the_client)


def test_the_source_of_each_setting_is_known(file: Path) -> None:
    access = resolve(file, {"MARKETPLACE_BASE_URL": "http://x"}, profile="work")
    assert access.source == f"the profile work in {file}"
    assert access.sources == {
        "region": access.source,
        "edge": access.source,
        "base_url": "MARKETPLACE_BASE_URL",
    }
    assert (access.address, access.address_source) == ("http://x", "MARKETPLACE_BASE_URL")
    vendors = resolve(file, TOKEN)
    assert (vendors.address, vendors.address_source) == ("the vendor's", "the region and the edge")


@pytest.mark.parametrize(
    ("options", "environ", "sentence"),
    [
        ({}, {}, "there are no credentials"),
        ({"profile": "nobody"}, TOKEN, "--profile: there is no profile 'nobody' in "),
        ({"profile": ""}, TOKEN, "--profile: there is no profile '' in "),
        (
            {},
            {"MARKETPLACE_PROFILE": "nobody"},
            "MARKETPLACE_PROFILE: there is no profile 'nobody'",
        ),
        ({}, {"TWILIO_ACCOUNT_SID": SID}, "nobody is there to type it: TWILIO_ACCOUNT_SID is set"),
        (
            {"profile": "local", "region": "au1"},
            {},
            "--region changes nothing where there is a base",
        ),
        (
            {"profile": "local", "edge": "sydney"},
            {},
            "--edge changes nothing where there is a base",
        ),
    ],
)
def test_what_is_missing_is_said(
    file: Path, options: dict[str, object], environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(CommandError) as caught:
        resolve(file, environ, **options)
    assert sentence in str(caught.value)
    assert caught.value.status == Status.USAGE


def test_nobody_is_sent_elsewhere_by_a_connection_that_nobody_resolved() -> None:
    async def use() -> None:
        async with Connection().client():
            pass

    with pytest.raises(RuntimeError):
        use().send(None)


# -- the file


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_others_can_read_is_refused(cli: Cli, file: Path, mode: int) -> None:
    file.chmod(mode)
    finished = cli("available", "list", "--profile", "work")
    assert finished.status == 2
    assert f"others can read it (its mode is {mode:04o})" in finished.err
    assert finished.err.endswith(f"hint: chmod 600 '{file}'\n")


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_a_file_of_somebody_else_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    status = os.stat_result((0o100600, 0, 0, 1, 54321, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: status)
    with pytest.raises(CommandError, match="belongs to somebody else"):
        profiles.load(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[work", "is not TOML: "),
        ("\udcff", "is not TOML: "),
        ('region = "au1"', "region stands outside of a profile"),
        ("[work]\nregion = 5", "work.region: expected text that is not empty"),
        ('[work]\nauth_token = " "', "work.auth_token: expected text that is not empty"),
        ('[work]\nallow_http = "yes"', "work.allow_http: expected true or false"),
        ('[work]\nsecret = "x"', "work.secret: there is no such setting"),
        ("[work]", "expected api_key and api_secret, or client_id and client_secret, or acc"),
        (f'[work]\napi_key = "{KEY}"\nclient_id = "{APP}"', "expected api_key and api_secret, or"),
        (f'[work]\naccount_sid = "{SID}"\nauth_token = "x"\napi_key = "{KEY}"', "expected api_key"),
        ('[work]\napi_secret = "x"', "api_key is missing"),
        ('[work]\naccount_sid = "a-secret"\nauth_token = "x"', "got 8 characters"),
        (f'[work]\napi_key = "{SID}"\napi_secret = "x"', "is not the SID of an API key"),
        (f'[work]\naccount_sid = "{SID}"\nauth_token = "x"\nedge = "a b"', "edge: expected a name"),
        (f'[work]\naccount_sid = "{SID}"', "the secret is missing, and nobody is there to type it"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.delenv("MARKETPLACE_BASE_URL")
    file.write_text(text, errors="surrogateescape")
    finished = cli("available", "list", "--profile", "work")
    assert (finished.status, finished.out) == (2, "")
    assert sentence in finished.err
    assert "a-secret" not in finished.err


def test_a_folder_is_no_file(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETPLACE_PROFILES", str(tmp_path))
    assert "the profiles cannot be read: " in cli("profiles", "list").err
    monkeypatch.setenv("MARKETPLACE_PROFILES", "/dev/null/x/profiles.toml")
    assert cli("profiles", "add", "x", "--account-sid", SID, "--no-secret").status == 2


def test_the_file_is_in_the_place_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profiles.profiles_file({"MARKETPLACE_PROFILES": "/x/y"}) == Path("/x/y")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", "/configuration")
        assert profiles.profiles_file({}) == Path("/configuration/marketplace-async/profiles.toml")


# -- the commands


def add(cli: Cli, *arguments: str, secret: str = SECRET) -> Finished:
    return cli("profiles", "add", *arguments, "--secret-stdin", stdin=f"{secret}\n")


def test_a_profile_that_is_added_works(
    cli: Cli, file: Path, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MARKETPLACE_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        monkeypatch.delenv(name)
    assert cli("installed", "list").err.startswith("error: there are no credentials\nhint: ")
    for name, option, sid in (
        ("default", "--account-sid", SID),
        ("key", "--api-key", KEY),
        ("app", "--client-id", APP),
    ):
        added = add(cli, name, option, sid, "--base-url", served.url)
        assert (added.status, added.out) == (0, "")
        assert cli("installed", "list", "--profile", name).status == 0
    assert cli("installed", "list").status == 0
    text = file.read_text()
    assert text.startswith(NAMED)  # comments stay
    assert text.count(f'"{SECRET}"') == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


@pytest.mark.parametrize("secret", ['quote"s', "back\\slash", "ünïcode", "#'''"])
def test_a_secret_of_any_characters_survives(cli: Cli, file: Path, secret: str) -> None:
    assert add(cli, "new name.with 'dots'", "--account-sid", SID, secret=secret).status == 0
    profile = profiles.load(file)["new name.with 'dots'"]
    assert profile.secret is not None
    assert profile.secret.reveal() == secret
    assert secret not in repr(profile)


def test_profiles_are_listed_without_their_secrets(cli: Cli, file: Path) -> None:
    cli("profiles", "add", "bare", "--api-key", KEY, "--account-sid", SID, "--no-secret")
    finished = cli("profiles", "list", "--output", "csv")
    assert "-secret" not in finished.out
    assert finished.out.splitlines() == [
        "name,kind,sid,secret,region,edge,base_url,allow_http,file",
        f"work,account token,{OTHER},in the file,au1,sydney,,,{file}",
        f"local,API key,{KEY},in the file,,,http://127.0.0.1:1,,{file}",
        f"oauth,OAuth app,{APP},in the file,,,http://emulator:8912,true,{file}",
        f"bare,API key,{KEY},asked for,,,,,{file}",
    ]
    table = cli("profiles", "list", "--output", "table")
    assert table.err == f"note: they are kept in {file}\n"


def test_a_profile_is_replaced_only_on_request(cli: Cli, file: Path) -> None:
    refused = add(cli, "work", "--api-key", KEY)
    assert refused.status == 2
    assert refused.err.endswith("hint: --replace replaces it.\n")
    assert add(cli, "work", "--api-key", KEY, "--replace").status == 0
    assert profiles.load(file)["work"].sid == KEY


def test_a_profile_is_deleted(cli: Cli, file: Path) -> None:
    assert cli("profiles", "delete", "work").status == 2
    assert cli("profiles", "delete", "work", "--yes").status == 0
    assert set(profiles.load(file)) == {"local", "oauth"}
    gone = cli("profiles", "delete", "work", "--yes")
    assert (gone.status, gone.err) == (1, f"error: there is no profile work in {file}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x"], "nobody is there to ask whose profile it is to be"),
        (["x", "--account-sid", SID], "nobody is there to type the auth_token of AC"),
        (["x", "--account-sid", "AC1", "--no-secret"], "account_sid: expected the SID"),
        (["x", "--account-sid", SID, "--region", "a b", "--no-secret"], "region: expected a name"),
        (
            ["x", "--account-sid", SID, "--base-url", "http://x.example", "--no-secret"],
            "plain http",
        ),
        (["x", "--api-key", KEY, "--client-id", APP, "--no-secret"], "expected api_key and"),
        ([" ", "--account-sid", SID, "--no-secret"], "expected a name for the profile"),
        (["x", "--account-sid", SID, "--secret-stdin"], "expected the auth_token of AC"),
    ],
)
def test_a_profile_that_cannot_be_right_is_not_added(
    cli: Cli, file: Path, arguments: list[str], sentence: str
) -> None:
    finished = cli("profiles", "add", *arguments, stdin="")
    assert finished.status == 2
    assert sentence in finished.err
    assert file.read_text() == NAMED


def test_a_write_that_fails_leaves_the_file_as_it_was(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    finished = add(cli, "new", "--account-sid", SID)
    assert "the profiles cannot be written: " in finished.err
    assert file.read_text() == NAMED
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


def test_a_link_to_the_file_stays_a_link(cli: Cli, file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    assert add(cli, "new", "--account-sid", SID).status == 0
    assert file.is_symlink()
    assert "new" in profiles.load(real)


def test_the_hint_of_a_refusal_names_the_profile_and_not_its_secret(
    cli: Cli, file: Path, served: Emulator
) -> None:
    served.faults.add("GET", "*", status=401)
    finished = cli("installed", "list", "--profile", "work")
    assert finished.err.endswith(
        f"hint: The credentials are those of {OTHERS}, from the profile work in {file}.\n"
    )
    assert "work-secret" not in finished.err
