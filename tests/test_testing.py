"""The test support for other projects."""

import asyncio
import subprocess
import sys
import time

import pytest

from marketplace_async import InstalledAddOn, MarketplaceClient, Retry
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated, emulated_sync

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"


async def test_emulated_yields_a_client_and_its_emulator() -> None:
    async with emulated(Emulator(concurrency=1), retry=Retry(attempts=1)) as (client, emulator):
        assert [one.sid async for one in client.available_add_ons.list(limit=1)]
        assert emulator.log[0].account_sid == account().account_sid


async def test_starting_an_emulator_takes_well_under_100_ms() -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        async with emulated():
            times.append(time.perf_counter() - started)
    assert sorted(times)[2] < 0.1


def test_each_number_returns_a_different_account() -> None:
    assert len({account(number) for number in range(100)}) == 100


def test_emulated_sync_yields_the_url_of_a_running_emulator() -> None:
    given = Emulator(concurrency=1)
    with emulated_sync(given) as (url, emulator):
        assert emulator is given
        assert url == emulator.url
        (sid,) = emulator.install(account().account_sid, SPAM_SCORE)
        client = MarketplaceClient(account(), base_url=url)
        assert [one.sid for one in asyncio.run(collected(client))] == [sid]
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url


async def collected(client: MarketplaceClient) -> list[InstalledAddOn]:
    async with client:
        return await client.installed_add_ons.list().collect()


# -- the fixtures, in a test session of another project


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pytest_asyncio.plugin -p no:cacheprovider")
    pytester.makeconftest('pytest_plugins = ["marketplace_async.testing"]')
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error"
    )
    return pytester


def test_a_fault_that_no_request_matched_fails_the_test(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import pytest

        async def fetch(client):
            await client.available_add_ons.list(limit=1).collect()

        async def test_unmatched(marketplace_client, marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)
            await fetch(marketplace_client)

        async def test_matched(marketplace_client, marketplace_emulator):
            marketplace_emulator.faults.add("GET", "/v1/AvailableAddOns", status=429, times=2)
            await fetch(marketplace_client)

        async def test_removed(marketplace_client, marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)
            marketplace_emulator.faults.clear()

        async def test_that_fails_itself(marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)
            assert False

        def test_skipped(marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)
            pytest.skip("later")

        @pytest.mark.xfail
        def test_expected_to_fail(marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)
            assert False

        class TestLenient:
            @pytest.fixture
            def marketplace_emulator_options(self):
                return {"strict": False}

            async def test_unmatched(self, marketplace_emulator):
                marketplace_emulator.faults.add("DELETE", "*", status=500)

        @pytest.mark.parametrize("marketplace_emulator_options", [{"strict": False}])
        async def test_lenient(marketplace_emulator):
            marketplace_emulator.faults.add("DELETE", "*", status=500)

        def test_refused(marketplace_emulator):
            with pytest.raises(ValueError, match="the closest is /v1/InstalledAddOns"):
                marketplace_emulator.faults.add("GET", "/v1/InstaledAddOns", status=500)
        """
    )
    result = session.runpytest_subprocess("-rA", timeout=60)
    result.assert_outcomes(passed=6, errors=1, failed=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_unmatched*",
            "no request matched 1 of the faults:",
            "  DELETE [*] (status=500)",
            'Correct the method and path, or remove the fault.*{"strict": False}.',
        ]
    )
    result.stdout.fnmatch_lines(["FAILED *::test_that_fails_itself*"])


def test_the_options_of_the_fixtures_can_be_overridden(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import time

        import pytest
        from marketplace_async import Retry
        from marketplace_async.emulator import AddOn, Catalogue

        @pytest.fixture(scope="module")
        def marketplace_emulator_options():
            add_on = AddOn(unique_name="mine", friendly_name="Mine")
            return {"catalogue": Catalogue([add_on]), "latency": 0.01}

        @pytest.fixture(scope="session")
        def marketplace_client_options():
            return {"retry": Retry(attempts=10, initial_backoff=0), "user_agent": "mine/1"}

        async def test_options(marketplace_client, marketplace_emulator):
            marketplace_emulator.faults.add("GET", "*", status=503, code=20503, times=9)
            started = time.perf_counter()
            (add_on,) = await marketplace_client.available_add_ons.list().collect()
            # Nine waits of the default policy take 25 seconds on average.
            assert time.perf_counter() - started < 2
            assert add_on.friendly_name == "Mine"
            assert len(marketplace_emulator.log) == 10
        """
    )
    session.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


def test_a_client_is_closed_on_the_loop_that_used_it(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import asyncio
        import gc
        import threading

        import pytest

        used = []

        def run(loop, client):
            loop.run_until_complete(client.installed_add_ons.list().collect())
            used.append(client)

        @pytest.mark.asyncio(loop_scope="session")
        async def test_session(marketplace_client):
            await marketplace_client.installed_add_ons.list().collect()
            used.append(marketplace_client)

        def test_open_loop(marketplace_client):
            used.append(asyncio.new_event_loop())
            run(used[-1], marketplace_client)

        def test_closed_loop(marketplace_client):
            asyncio.run(marketplace_client.installed_add_ons.list().collect())
            used.append(marketplace_client)

        def test_running_loop(marketplace_client):
            loop = asyncio.new_event_loop()
            run(loop, marketplace_client)
            used.append(threading.Thread(target=loop.run_forever))
            used.append(loop)
            used[-2].start()

        def test_unused(marketplace_client):
            used.append(marketplace_client)

        def test_every_client_is_closed():
            for each in used:
                if isinstance(each, threading.Thread):
                    thread = each
                elif isinstance(each, asyncio.AbstractEventLoop):
                    if each.is_running():
                        each.call_soon_threadsafe(each.stop)
                        thread.join()
                    each.close()
                else:
                    assert each._session.pool._closed
            used.clear()
            gc.collect()
        """
    )
    session.runpytest_subprocess(timeout=60).assert_outcomes(passed=6)


def test_the_emulator_works_while_time_stands_still(session: pytest.Pytester) -> None:
    pytest.importorskip("freezegun")
    session.makepyfile(
        """
        from freezegun import freeze_time

        @freeze_time("2031-05-06")
        async def test_frozen(marketplace_client, marketplace_emulator):
            await marketplace_client.installed_add_ons.create(
                available_add_on_sid="XB06d5274893cc9af4198667d2f7d74d09",
                accept_terms_of_service=True,
            )
            (installed,) = marketplace_emulator.state().installations
            assert installed.date_created == "2031-05-06T00:00:00Z"
        """
    )
    session.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


EXTRAS = ("cyclopts", "jsonschema_rs", "opentelemetry", "platformdirs", "rich", "tomlkit")


def test_without_the_extras_only_a_test_that_uses_a_fixture_fails(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p anyio -p no:cacheprovider")  # and no pytest-asyncio
    session.makeini("[pytest]\nfilterwarnings = error")
    session.makeconftest(
        f"import sys\nsys.modules.update(dict.fromkeys({(*EXTRAS, 'pytest_asyncio')}))\n"
        'pytest_plugins = ["marketplace_async.testing"]'
    )
    session.makepyfile(
        """
        import pytest
        from marketplace_async import MarketplaceClient
        from marketplace_async.testing import account, emulated, emulated_sync

        def test_other():
            assert MarketplaceClient(account())

        def test_client(marketplace_client): pass

        def test_emulator(marketplace_emulator): pass

        def test_context_manager():
            with pytest.raises(ImportError, match="install marketplace_async.emulator"):
                with emulated_sync(): pass
        """
    )
    result = session.runpytest_subprocess("-rA", timeout=60)
    result.assert_outcomes(passed=2, errors=2)
    sentence = "the emulator needs an extra: install marketplace_async[[]emulator]"
    result.stdout.fnmatch_lines([f"*{sentence}*", f"*{sentence}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_importing_the_package_outside_pytest_does_not_import_pytest() -> None:
    program = "import sys, marketplace_async.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_emulator_serves_several_clients_at_once() -> None:
    async def run() -> set[int]:
        async with emulated() as (client, emulator):
            other = MarketplaceClient(account(2), base_url=emulator.url)
            async with other:
                lists = await asyncio.gather(
                    *(each.available_add_ons.list().collect() for each in (client, other) * 5)
                )
        return {len(add_ons) for add_ons in lists}

    assert len(asyncio.run(run())) == 1
