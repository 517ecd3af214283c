"""The test support for other projects."""

import asyncio
import subprocess
import sys
import time

import pytest

from marketplace_async import MarketplaceClient, Retry
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

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


def test_the_fixtures_work_in_other_projects_with_fresh_state_for_each_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest('pytest_plugins = ["marketplace_async.testing"]')
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("again", [1, 2])
        async def test_install(marketplace_client, marketplace_emulator, again):
            await marketplace_client.installed_add_ons.create(
                available_add_on_sid="{SPAM_SCORE}", accept_terms_of_service=True
            )
            assert len(await marketplace_client.installed_add_ons.list().collect()) == 1
            assert len(marketplace_emulator.log) == 2
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_without_the_extra_the_fixture_fails_and_names_the_extra(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        'import sys; sys.modules["jsonschema_rs"] = None\n'
        'pytest_plugins = ["marketplace_async.testing"]'
    )
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile("async def test_install(marketplace_client): pass")
    # The schemathesis plugin imports the module that this test removes.
    result = pytester.runpytest_subprocess("-p", "no:schemathesis")
    result.assert_outcomes(errors=1)
    sentence = "the emulator needs an extra: install marketplace_async[[]emulator]"
    result.stdout.fnmatch_lines([f"*{sentence}*"])
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
