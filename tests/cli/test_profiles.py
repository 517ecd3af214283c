"""Named profiles: precedence, the file, and the `profiles` commands."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import SECRET, SID, Cli, Finished

from marketplace_async.cli import profiles, resolution
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
ACCOUNT, OTHER_ACCOUNT = f"account {SID}", f"account {OTHER}"
API_KEY, OAUTH_APP = f"API key {KEY}", f"OAuth app {APP}"
TOKEN = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": SECRET}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "profiles.toml"
    file.touch(mode=0o600)
    file.write_text(NAMED)
    return file


def resolve(file: Path, environ: dict[str, str], **options: object) -> Access:
    connection = Connection(**options)  # type: ignore[arg-type]  # a table
    return resolution.resolve(connection, {"MARKETPLACE_PROFILES": str(file), **environ})


# -- precedence


@pytest.mark.parametrize(
    ("options", "environ", "default", "identity", "client_options"),
    [
        # The environment, if no profile is named.
        ({}, TOKEN, False, ACCOUNT, {}),
        ({}, TOKEN, True, ACCOUNT, {}),
        ({}, {**TOKEN, "TWILIO_API_KEY": KEY, "TWILIO_API_SECRET": "x"}, False, API_KEY, {}),
        ({}, {"TWILIO_CLIENT_ID": APP, "TWILIO_CLIENT_SECRET": "x"}, True, OAUTH_APP, {}),
        # The profile "default", if there is nothing else.
        ({}, {}, True, OTHER_ACCOUNT, {"region": "ie1"}),
        ({}, {"TWILIO_REGION": "au1"}, True, OTHER_ACCOUNT, {"region": "au1"}),
        ({"region": "us1"}, {"TWILIO_REGION": "au1"}, True, OTHER_ACCOUNT, {"region": "us1"}),
        # A named profile precedes the environment, and the option precedes the variable.
        ({"profile": "work"}, TOKEN, True, OTHER_ACCOUNT, SYDNEY),
        (
            {},
            {**TOKEN, "MARKETPLACE_PROFILE": "local"},
            True,
            API_KEY,
            {"base_url": "http://127.0.0.1:1"},
        ),
        ({"profile": "work"}, {"MARKETPLACE_PROFILE": "local"}, False, OTHER_ACCOUNT, SYDNEY),
        ({"profile": "default"}, TOKEN, True, OTHER_ACCOUNT, {"region": "ie1"}),
        # Each setting separately: its option, the named profile, the environment.
        (
            {"profile": "work"},
            {"TWILIO_REGION": "us1", "TWILIO_EDGE": "ashburn"},
            False,
            OTHER_ACCOUNT,
            SYDNEY,
        ),
        (
            {"profile": "work", "edge": "ashburn"},
            {},
            False,
            OTHER_ACCOUNT,
            {"region": "au1", "edge": "ashburn"},
        ),
        (
            {"profile": "local"},
            {"MARKETPLACE_BASE_URL": "http://127.0.0.1:2"},
            False,
            API_KEY,
            {"base_url": "http://127.0.0.1:1"},
        ),
        (
            {"profile": "work"},
            {"MARKETPLACE_BASE_URL": "http://127.0.0.1:2"},
            False,
            OTHER_ACCOUNT,
            {**SYDNEY, "base_url": "http://127.0.0.1:2"},
        ),
        (
            {"profile": "local", "base_url": "http://127.0.0.1:3"},
            {},
            False,
            API_KEY,
            {"base_url": "http://127.0.0.1:3"},
        ),
        (
            {"profile": "oauth", "timeout": 2.0},
            {},
            False,
            OAUTH_APP,
            {"base_url": "http://emulator:8912", "allow_http": True, "timeout": 2.0},
        ),
        ({"allow_http": True}, TOKEN, False, ACCOUNT, {"allow_http": True}),
        # An empty variable is not set.
        (
            {},
            {**TOKEN, "MARKETPLACE_PROFILE": " ", "TWILIO_API_KEY": "", "TWILIO_REGION": " "},
            False,
            ACCOUNT,
            {},
        ),
    ],
)
def test_options_precede_named_profiles_and_these_the_environment(
    file: Path,
    options: dict[str, object],
    environ: dict[str, str],
    default: bool,
    identity: str,
    client_options: dict[str, object],
) -> None:
    if default:
        file.write_text(NAMED + DEFAULT)
    access = resolve(file, environ, **options)
    assert (access.identity, access.options) == (identity, {**client_options, "trust_env": True})


def test_each_setting_has_a_source(file: Path) -> None:
    access = resolve(file, {"MARKETPLACE_BASE_URL": "http://x"}, profile="work")
    assert access.source == f'profile "work" in {file}'
    assert access.sources == {
        "region": access.source,
        "edge": access.source,
        "base_url": "MARKETPLACE_BASE_URL",
    }
    assert (access.address, access.address_source) == ("http://x", "MARKETPLACE_BASE_URL")
    default = resolve(file, TOKEN)
    assert (default.address, default.address_source) == ("Twilio's API", "the region and edge")


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ({}, {}, "no credentials found"),
        ({"profile": "missing"}, TOKEN, '--profile: no profile "missing" in '),
        ({"profile": ""}, TOKEN, '--profile: no profile "" in '),
        (
            {},
            {"MARKETPLACE_PROFILE": "missing"},
            'MARKETPLACE_PROFILE: no profile "missing"',
        ),
        (
            {},
            {"TWILIO_ACCOUNT_SID": SID},
            "TWILIO_ACCOUNT_SID is set without TWILIO_AUTH_TOKEN, and there is no terminal",
        ),
        (
            {"profile": "local", "region": "au1"},
            {},
            "--region cannot be combined with a base URL (set by profile ",
        ),
        (
            {"profile": "local", "edge": "sydney"},
            {},
            "--edge cannot be combined with a base URL (set by profile ",
        ),
    ],
)
def test_unusable_credentials_or_options_are_a_usage_error(
    file: Path, options: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(CommandError) as caught:
        resolve(file, environ, **options)
    assert message in str(caught.value)
    assert caught.value.status == Status.USAGE


def test_a_connection_that_is_not_resolved_opens_no_client() -> None:
    async def use() -> None:
        async with Connection().client():
            pass

    with pytest.raises(RuntimeError):
        use().send(None)


# -- the file


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_other_users_can_read_is_rejected(cli: Cli, file: Path, mode: int) -> None:
    file.chmod(mode)
    finished = cli("available", "list", "--profile", "work")
    assert finished.status == 2
    assert f"other users can read it (mode {mode:04o})" in finished.err
    assert finished.err.endswith(f"hint: chmod 600 '{file}'\n")


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_file_of_another_user_is_rejected(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    status = os.stat_result((0o100600, 0, 0, 1, 54321, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: status)
    with pytest.raises(CommandError, match=r"belongs to another user \(UID 54321\)"):
        profiles.load(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[work", "is not TOML: "),
        ("\udcff", "is not TOML: "),
        ('region = "au1"', "region is not in a profile"),
        ("[work]\nregion = 5", "work.region: expected a non-empty string"),
        ('[work]\nauth_token = " "', "work.auth_token: expected a non-empty string"),
        ('[work]\nallow_http = "yes"', "work.allow_http: expected true or false"),
        ('[work]\nsecret = "x"', "work.secret: unknown setting"),
        ("[work]", "expected api_key and api_secret, or client_id and client_secret, or acc"),
        (f'[work]\napi_key = "{KEY}"\nclient_id = "{APP}"', "expected api_key and api_secret, or"),
        (f'[work]\naccount_sid = "{SID}"\nauth_token = "x"\napi_key = "{KEY}"', "expected api_key"),
        ('[work]\napi_secret = "x"', "api_key is missing"),
        ('[work]\naccount_sid = "a-secret"\nauth_token = "x"', "got 8 characters"),
        (f'[work]\napi_key = "{SID}"\napi_secret = "x"', "is not the SID of an API key"),
        (f'[work]\naccount_sid = "{SID}"\nauth_token = "x"\nedge = "a b"', "edge: expected a name"),
        (f'[work]\naccount_sid = "{SID}"', "has no secret, and there is no terminal"),
    ],
)
def test_an_invalid_file_is_a_usage_error(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.delenv("MARKETPLACE_BASE_URL")
    file.write_text(text, errors="surrogateescape")
    finished = cli("available", "list", "--profile", "work")
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err
    assert "a-secret" not in finished.err


def test_an_invalid_profile_costs_no_other(cli: Cli, file: Path, served: Emulator) -> None:
    good = f'[good]\naccount_sid = "{SID}"\nauth_token = "x"\nbase_url = "{served.url}"\n'
    file.write_text(f'[bad]\nsecret = "{SECRET}"\n[none]\n[flag]\nallow_http = "no"\n{good}')
    assert cli("installed", "list", "--profile", "good").status == 0
    assert "bad.secret: unknown setting" in cli("installed", "list", "--profile", "bad").err
    listed = cli("profiles", "list", "--output", "jsonl")
    assert listed.status == 3
    assert [(one["name"], one["kind"]) for one in map(json.loads, listed.out.splitlines())] == [
        ("bad", "invalid"),
        ("none", "invalid"),
        ("flag", "invalid"),
        ("good", "account token"),
    ]
    assert listed.err.startswith("error: 3 of 4 profiles cannot be used\n  ")
    assert "\n  " + str(file) + ": flag.allow_http: expected true or false" in listed.err
    assert add(cli, "new", "--account-sid", SID).status == 0
    assert cli("profiles", "delete", "bad", "--yes").status == 0
    assert set(profiles.load(file)) == {"none", "flag", "good", "new"}


def test_a_folder_is_not_a_profiles_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETPLACE_PROFILES", str(tmp_path))
    assert "cannot read profiles: " in cli("profiles", "list").err
    monkeypatch.setenv("MARKETPLACE_PROFILES", "/dev/null/x/profiles.toml")
    assert cli("profiles", "add", "x", "--account-sid", SID, "--no-secret").status == 2


def test_the_file_is_in_the_configuration_folder_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert profiles.profiles_file({"MARKETPLACE_PROFILES": "/x/y"}) == Path("/x/y")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", "/configuration")
        assert profiles.profiles_file({}) == Path("/configuration/marketplace-async/profiles.toml")


# -- the commands


def add(cli: Cli, *arguments: str, secret: str = SECRET) -> Finished:
    return cli("profiles", "add", *arguments, "--secret-stdin", stdin=f"{secret}\n")


def test_an_added_profile_works(
    cli: Cli, file: Path, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MARKETPLACE_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        monkeypatch.delenv(name)
    assert cli("installed", "list").err.startswith("error: no credentials found\nhint: ")
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
    assert text.startswith(NAMED)  # comments are kept
    assert text.count(f'"{SECRET}"') == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


@pytest.mark.parametrize("secret", ['quote"s', "back\\slash", "ünïcode", "#'''"])
def test_a_secret_may_contain_any_characters(cli: Cli, file: Path, secret: str) -> None:
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
        "name,kind,sid,secret,region,edge,base_url,proxy,ca_file,allow_http,file",
        f"work,account token,{OTHER},stored,au1,sydney,,,,,{file}",
        f"local,API key,{KEY},stored,,,http://127.0.0.1:1,,,,{file}",
        f"oauth,OAuth app,{APP},stored,,,http://emulator:8912,,,true,{file}",
        f"bare,API key,{KEY},prompt,,,,,,,{file}",
    ]
    table = cli("profiles", "list", "--output", "table")
    assert table.err == f"note: profiles are stored in {file}\n"


def test_a_profile_is_replaced_only_with_replace(cli: Cli, file: Path) -> None:
    rejected = add(cli, "work", "--api-key", KEY)
    assert rejected.status == 2
    assert rejected.err.endswith("hint: Use --replace to replace it.\n")
    assert add(cli, "work", "--api-key", KEY, "--replace").status == 0
    assert profiles.load(file)["work"].sid == KEY


def test_a_profile_is_deleted(cli: Cli, file: Path) -> None:
    assert cli("profiles", "delete", "work").status == 2
    assert cli("profiles", "delete", "work", "--yes").status == 0
    assert set(profiles.load(file)) == {"local", "oauth"}
    again = cli("profiles", "delete", "work", "--yes")
    assert (again.status, again.err) == (1, f'error: no profile "work" in {file}\n')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "expected one of --account-sid, --api-key and --client-id"),
        (["x", "--account-sid", SID], "no terminal to prompt for the auth_token of AC"),
        (["x", "--account-sid", "AC1", "--no-secret"], "account_sid: expected the SID"),
        (["x", "--account-sid", SID, "--region", "a b", "--no-secret"], "region: expected a name"),
        (
            ["x", "--account-sid", SID, "--base-url", "http://x.example", "--no-secret"],
            "plain http",
        ),
        (["x", "--api-key", KEY, "--client-id", APP, "--no-secret"], "expected api_key and"),
        ([" ", "--account-sid", SID, "--no-secret"], "the name of the profile must not be blank"),
        (["x", "--account-sid", SID, "--secret-stdin"], "expected the auth_token of AC"),
    ],
)
def test_an_invalid_profile_is_not_added(
    cli: Cli, file: Path, arguments: list[str], message: str
) -> None:
    finished = cli("profiles", "add", *arguments, stdin="")
    assert finished.status == 2
    assert message in finished.err
    assert file.read_text() == NAMED


def test_a_failed_write_leaves_the_file_unchanged(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    finished = add(cli, "new", "--account-sid", SID)
    assert "cannot write profiles: " in finished.err
    assert file.read_text() == NAMED
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


def test_a_symbolic_link_to_the_file_is_kept(cli: Cli, file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    assert add(cli, "new", "--account-sid", SID).status == 0
    assert file.is_symlink()
    assert "new" in profiles.load(real)


def test_the_hint_of_rejected_credentials_names_the_profile_but_not_the_secret(
    cli: Cli, file: Path, served: Emulator
) -> None:
    served.faults.add("GET", "*", status=401)
    finished = cli("installed", "list", "--profile", "work")
    assert finished.err.endswith(
        f'hint: Credentials: {OTHER_ACCOUNT}, from profile "work" in {file}.\n'
    )
    assert "work-secret" not in finished.err


# -- commands that run at the same time


def start(file: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    """Start a command that adds a profile."""
    command = [sys.executable, "-m", "marketplace_async", "profiles", "add", name]
    return subprocess.Popen(
        [*command, "--account-sid", SID, "--no-secret", *options],
        env={**os.environ, "MARKETPLACE_PROFILES": str(file)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_profiles_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "profiles.toml"
    running = [start(file, f"p{number}") for number in range(6)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 6, errors
    assert set(profiles.load(file)) == {f"p{number}" for number in range(6)}
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_equal_names_that_are_added_at_once_one_is_kept(file: Path) -> None:
    running = [start(file, "same", "--edge", f"edge{number}") for number in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 2, 2, 2]
    assert sum("already exists" in error for error in errors) == 3
    (winner,) = [number for number, process in enumerate(running) if not process.returncode]
    assert profiles.load(file)["same"].settings["edge"] == f"edge{winner}"


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_lock_file_of_a_killed_command_is_no_obstacle(cli: Cli, file: Path) -> None:
    file.with_name(".profiles.toml.lock").touch(0o600)
    assert add(cli, "new", "--account-sid", SID).status == 0
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_lock_on_a_file_that_was_deleted_meanwhile_is_not_relied_on(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    flock, calls = fcntl.flock, []

    def delete_first(handle: int, operation: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            file.with_name(".profiles.toml.lock").unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    assert add(cli, "new", "--account-sid", SID).status == 0
    # Twice for the lock, and once for the new file.
    assert len(calls) == 3


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_waiting_for_another_command_has_an_end(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(profiles, "_LOCK_SECONDS", 0.1)
    with file.with_name(".profiles.toml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = add(cli, "new", "--account-sid", SID)
    assert finished.status == 2
    assert f"cannot write profiles: {file}: another process is writing it" in finished.err
    assert file.read_text() == NAMED


# -- links


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
@pytest.mark.parametrize("danger", ["folder", "link"])
def test_a_link_that_others_can_change_is_not_written_through(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, danger: str
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    real = shared / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    if danger == "folder":
        shared.chmod(0o777)
    else:
        lstat = Path.lstat

        def of_another_user(path: Path) -> os.stat_result:
            status = [*lstat(path)]
            status[4] += path == file
            return os.stat_result(status)

        monkeypatch.setattr(Path, "lstat", of_another_user)
    finished = add(cli, "new", "--account-sid", SID)
    assert finished.status == 2
    assert f"{file} is a link to {real}, which other users can change" in finished.err
    assert real.read_text() == NAMED
    assert [path.name for path in shared.iterdir()] == ["dotfiles.toml"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_lock_file_that_is_a_link_is_not_followed(cli: Cli, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    file.with_name(".profiles.toml.lock").symlink_to(target)
    assert "cannot write profiles: " in add(cli, "new", "--account-sid", SID).err
    assert not target.exists()
    assert file.read_text() == NAMED
