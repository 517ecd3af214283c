"""A model-based test: random operations on several accounts with random faults."""

import asyncio
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    ConflictError,
    MarketplaceClient,
    Retry,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

ADD_ONS = ("XB06d5274893cc9af4198667d2f7d74d09", "XB85b56ed9ce713e0ac62342b901233193")
BI = "BI" + "a" * 32

accounts = st.integers(0, 2)
names = st.sampled_from(["a", "b", "c"])
add_ons = st.integers(0, 1)
configurations = st.sampled_from([{}, {"x": 1}, {"x": True}])
faults = st.sampled_from(
    [
        {"status": 429},
        {"status": 503},
        {"status": 500},
        {"drop": True},
        {"status": 500, "when": "after"},
        {"status": 502, "when": "after"},
        {"drop": True, "when": "after"},
        {"body": "cut"},
        {"body": "garbled"},
    ]
)


class Marketplace(RuleBasedStateMachine):
    """The expected state: installations by name for each account, and the reported usage."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.emulator = Emulator()
        self.run(self.emulator.start())
        self.client = MarketplaceClient(
            account(), base_url=self.emulator.url, retry=Retry(attempts=10, initial_backoff=0.0)
        )
        self.clients = [self.client.with_credentials(account(number)) for number in range(1, 4)]
        self.installed: list[dict[str, tuple[int, dict[str, Any]]]] = [{}, {}, {}]
        self.unnamed = [0, 0, 0]
        self.billed = 0

    def run(self, operation: Any) -> Any:
        return self.runner.run(operation)

    def teardown(self) -> None:
        self.run(self.client.aclose())
        self.run(self.emulator.stop())
        self.runner.close()

    @rule(fault=faults, method=st.sampled_from(["GET", "POST", "DELETE", "*"]))
    def add_fault(self, fault: dict[str, Any], method: str) -> None:
        if sum(one.hits == 0 for one in self.emulator.faults) < 4:
            self.emulator.faults.add(method, "*", **fault)

    def arguments(self, name: str, add_on: int, configuration: dict[str, Any]) -> dict[str, Any]:
        return {
            "available_add_on_sid": ADD_ONS[add_on],
            "accept_terms_of_service": True,
            "configuration": configuration if add_on else {},
            "unique_name": name,
        }

    @rule(account_index=accounts, name=names, add_on=add_ons, configuration=configurations)
    def create(
        self, account_index: int, name: str, add_on: int, configuration: dict[str, Any]
    ) -> None:
        arguments = self.arguments(name, add_on, configuration)
        model = self.installed[account_index]
        expected = (add_on, arguments["configuration"])
        try:
            self.run(self.clients[account_index].installed_add_ons.create(**arguments))
        except ConflictError:
            assert name in model
        except AmbiguousOutcomeError:
            # It has all that was asked for, and more: the service may have added that.
            assert name in model
            there, wanted = model[name], expected
            assert there[0] == wanted[0]
            assert wanted[1].items() < there[1].items()
        else:
            # An identical installation by another client is indistinguishable from our own.
            assert name not in model or model[name] == expected
            model[name] = expected

    @rule(account_index=accounts, name=names, add_on=add_ons, configuration=configurations)
    def ensure(
        self, account_index: int, name: str, add_on: int, configuration: dict[str, Any]
    ) -> None:
        arguments = self.arguments(name, add_on, configuration)
        model = self.installed[account_index]
        try:
            self.run(self.clients[account_index].installed_add_ons.ensure(**arguments))
        except ConflictError:
            assert model[name][0] != add_on
        else:
            assert name not in model or model[name][0] == add_on
            model[name] = (add_on, arguments["configuration"])

    @rule(account_index=accounts, name=names, other=names)
    @precondition(lambda self: any(self.installed))
    def rename(self, account_index: int, name: str, other: str) -> None:
        model = self.installed[account_index]
        if name not in model:
            return
        sid = self.sid(account_index, name)
        try:
            self.run(self.clients[account_index].installed_add_ons.update(sid, unique_name=other))
        except ConflictError:
            assert other in model
            assert other != name
        else:
            assert other == name or other not in model
            model[other] = model.pop(name)

    @rule(account_index=accounts, name=names)
    @precondition(lambda self: any(self.installed))
    def delete(self, account_index: int, name: str) -> None:
        if self.installed[account_index].pop(name, None) is not None:
            self.run(
                self.clients[account_index].installed_add_ons.delete(self.sid(account_index, name))
            )

    @rule(account_index=accounts)
    def create_without_a_name(self, account_index: int) -> None:
        before = self.count_unnamed(account_index)
        try:
            self.run(
                self.clients[account_index].installed_add_ons.create(
                    available_add_on_sid=ADD_ONS[0], accept_terms_of_service=True
                )
            )
        except AmbiguousOutcomeError:
            assert self.count_unnamed(account_index) in (before, before + 1)
        else:
            assert self.count_unnamed(account_index) == before + 1
        self.unnamed[account_index] = self.count_unnamed(account_index)

    @rule(account_index=accounts, name=names)
    @precondition(lambda self: any(self.installed))
    def report_usage(self, account_index: int, name: str) -> None:
        if name not in self.installed[account_index]:
            return
        usage = self.clients[account_index].installed_add_ons.usage(self.sid(account_index, name))
        try:
            self.run(usage.create([BillableItem(BI, Decimal(1))]))
        except AmbiguousOutcomeError:
            assert len(self.emulator.usage()) in (self.billed, self.billed + 1)
        else:
            assert len(self.emulator.usage()) == self.billed + 1
        self.billed = len(self.emulator.usage())

    @invariant()
    def state_matches_the_model(self) -> None:
        if not hasattr(self, "installed"):
            return
        for account_index, model in enumerate(self.installed):
            found = {
                one.unique_name: (ADD_ONS.index(one.available_add_on_sid), one.configuration)
                for one in self.all_of(account_index)
                if one.unique_name in ("a", "b", "c")
            }
            assert found == model
            assert self.count_unnamed(account_index) == self.unnamed[account_index]
        assert len(self.emulator.usage()) == self.billed

    def all_of(self, account_index: int) -> list[Any]:
        faults = list(self.emulator.faults)
        self.emulator.faults.clear()
        found: list[Any] = self.run(self.clients[account_index].installed_add_ons.list().collect())
        for fault in faults:
            self.emulator.faults.append(fault)
        return found

    def count_unnamed(self, account_index: int) -> int:
        return sum(one.unique_name not in ("a", "b", "c") for one in self.all_of(account_index))

    def sid(self, account_index: int, name: str) -> str:
        (sid,) = (one.sid for one in self.all_of(account_index) if one.unique_name == name)
        return str(sid)


def test_the_client_agrees_with_a_model_of_the_service_under_faults() -> None:
    run_state_machine_as_test(
        Marketplace,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
