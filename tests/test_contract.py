"""Our own providers keep the contract; for each test of it there is a provider that breaks just that promise.

Those that talk HTTP keep it in ``providers/test_provider_contract.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from inspect import iscoroutine, iscoroutinefunction
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, sleep_forever
from tests import right_providers
from tests.right_providers import RIGHT, Child
from tests.wrong_providers import (
    WRONG,
    ClosesForEver,
    ClosesOnWhateverComes,
    Holding,
    OwnBooks,
    Pooled,
    Started,
    contract_of,
)

from doteval import ContextProvider, ModelHandle, ModelProvider
from doteval.testing import FakeModel, FakeProvider, ProviderContract, _traces
from doteval.testing._patience import StuckError
from doteval.testing._swallowing import MOST, ended


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop, as the contract is run by those who write providers."""
    return request.param


class TestFakeProvider(ProviderContract[FakeModel]):
    bad_spec = "bad"

    def make_provider(self) -> FakeProvider:
        return FakeProvider(open_failures={"bad": OSError("no such model")})

    def is_open(self, model: FakeModel) -> bool:
        return not model.is_closed

    async def use(self, model: FakeModel) -> None:
        assert await model.generate("Hello") == "Hello"


class TestFakeProviderThatKeepsNothing(TestFakeProvider):
    def make_provider(self) -> FakeProvider:
        return FakeProvider(open_failures={"bad": OSError("no such model")}, keep_alive=0, capacity=2)


class Session:
    is_open = True


class TestContextProvider(ProviderContract[Session]):
    """The context manager holds a task group open, as sessions and browsers do."""

    bad_spec = "bad"

    def make_provider(self) -> ContextProvider[Session]:
        @asynccontextmanager
        async def connect(spec: str, **config: Any) -> AsyncGenerator[Session]:
            async with create_task_group() as task_group:
                if spec == "bad":
                    raise OSError("no such session")
                task_group.start_soon(sleep_forever)
                session = Session()
                try:
                    yield session
                finally:
                    session.is_open = False
                    task_group.cancel_scope.cancel()

        return ContextProvider(connect, name="sessions")

    def is_open(self, model: Session) -> bool:
        return model.is_open


WITHOUT_NEIGHBOURS = ("-p", "no:asyncio", "-p", "no:trio", "-p", "no:dotevals")


def is_async(test: str) -> bool:
    return iscoroutinefunction(getattr(ProviderContract, test))


def contract_tests(contract: type[Any]) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def test_for_every_test_there_is_a_provider_that_it_catches() -> None:
    """Whoever adds a test to the contract adds a provider that it fails."""
    assert {test for test, _, _ in WRONG} == contract_tests(ProviderContract)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [*RIGHT, pytest.param(Child, marks=pytest.mark.process)], ids=lambda kind: kind.__name__
)
async def test_a_right_provider_passes_all_of_it(kind: type[ModelProvider[Any]]) -> None:
    """In whatever way it is right; all in one test, as beginning one takes longer than most of them."""
    contract = right_providers.contract_of(kind)
    for name in sorted(contract_tests(type(contract))):
        outcome = getattr(contract, name)()
        if iscoroutine(outcome):
            await outcome


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Pooled, OwnBooks], ids=lambda kind: kind.__name__)
async def test_a_provider_that_is_started_and_closed_passes_it_as_one_that_is_entered(
    kind: type[ModelProvider[Any]],
) -> None:
    """Whoever has no block for it, and whose handles have one."""
    contract = right_providers.contract_of(kind)

    class ByHand(type(contract)):  # type: ignore[misc]
        @asynccontextmanager
        async def entered(self) -> AsyncGenerator[ModelProvider[Any]]:
            provider = self.make_provider()
            assert await provider.start() is provider
            try:
                yield provider
            finally:
                await provider.aclose()

        async def lease(self, provider: ModelProvider[Any], spec: str | None = None) -> ModelHandle[Any]:
            return await provider.setup(spec or self.spec, **self.config).__aenter__()

    for name in sorted(contract_tests(ByHand)):
        outcome = getattr(ByHand(), name)()
        if iscoroutine(outcome):
            await outcome


@pytest.mark.anyio
async def test_where_one_test_waits_for_ever_the_others_are_skipped() -> None:
    """Or they would take as long, one after the other; what an author adds is run as it is."""

    class Mine(contract_of(ClosesForEver)):  # type: ignore[misc]
        async def test_of_my_own(self) -> str:
            return "run"

    contract: Any = Mine()
    assert await contract.test_of_my_own() == "run"
    with pytest.raises(StuckError, match=r"say_goodbye|ClosesForEver.open"):
        await contract.test_setup_gives_a_handle()
    with pytest.raises(pytest.skip.Exception, match="test_setup_gives_a_handle has shown where it waits for ever"):
        await contract.test_every_setup_is_a_lease_of_its_own()
    assert await contract.test_of_my_own() == "run"
    await contract_of(Pooled)().test_setup_gives_a_handle()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_swallows_all_that_is_raised_is_left_where_it_is(anyio_backend: str) -> None:
    """No exception ends it, so the test goes on without it, and says where it waits."""
    with pytest.raises(StuckError, match=r"swallows every cancellation, at .* in ClosesOnWhateverComes\.open\(\)"):
        await contract_of(ClosesOnWhateverComes)().test_leaving_the_block_closes_everything()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_waits_in_order_for_what_was_cancelled_swallows_nothing(anyio_backend: str) -> None:
    """asyncio's own task group is told of a cancellation again and again until its children have ended."""

    async def says_goodbye() -> None:
        try:
            await sleep_forever()
        finally:
            for _ in range(2 * MOST):
                await asyncio.sleep(0)

    async def waits() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(says_goodbye())

    with CancelScope() as scope:
        scope.cancel()
        await ended(waits(), patience=20)
    assert scope.cancelled_caught


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_each_test_catches_who_breaks_its_promise(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """It fails, and its message says what the author should do; who breaks it does so on one of the loops."""
    monkeypatch.setattr(_traces, "GRACE", 0.02)
    wrong = WRONG[backend == "trio" :: 2]
    pytester.makepyfile(
        test_wrong="""
        from tests.test_contract import contract_tests
        from tests.wrong_providers import WRONG, contract_of

        for kind in {kind for _, kind, _ in WRONG}:
            contract = contract_of(kind)
            # To collect the others as well would take four times as long as what is run.
            others = contract_tests(contract) - {test for test, each, _ in WRONG if each is kind}
            name = f"Test{kind.__name__}"
            globals()[name] = type(name, (contract,), {"__module__": __name__, **dict.fromkeys(others)})
        """
    )
    told_by = {
        f"test_wrong.py::Test{kind.__name__}::{test}" + (f"[{backend}]" if is_async(test) else ""): told
        for test, kind, told in wrong
    }
    result = pytester.inline_run(*WITHOUT_NEIGHBOURS, "--tb=native", *told_by)  # each source is not parsed again
    Holding.close_all()
    Started.end_all()
    said = {report.nodeid: str(report.longrepr) for report in result.getfailures()}
    missed = {
        nodeid: said.get(nodeid, "passed")[-600:] for nodeid in told_by if told_by[nodeid] not in said.get(nodeid, "")
    }
    assert missed == {}


def test_a_provider_that_is_not_pooled_is_told_which_contract_to_run(pytester: pytest.Pytester) -> None:
    """It is the author who chooses, and nothing is left out in silence."""
    pytester.makepyfile(
        """
        from doteval.testing import ProviderContract
        from tests.wrong_providers import OwnBooks

        class TestMine(ProviderContract):
            def make_provider(self):
                return OwnBooks()
        """
    )
    result = pytester.runpytest_inprocess(*WITHOUT_NEIGHBOURS, "-k", "test_its_repr_counts")
    result.stdout.fnmatch_lines(["*OwnBooks does not inherit PooledProvider: test it with BasicProviderContract*"])


@pytest.mark.parametrize(("returned", "told"), [("Pooled", "the class Pooled"), ("None", "a NoneType")])
def test_what_is_no_provider_is_told(pytester: pytest.Pytester, returned: str, told: str) -> None:
    """The class in the place of an instance, above all."""
    pytester.makepyfile(
        f"""
        from doteval.testing import ProviderContract
        from tests.wrong_providers import Pooled

        class TestMine(ProviderContract):
            def make_provider(self):
                return {returned}
        """
    )
    result = pytester.runpytest_inprocess(*WITHOUT_NEIGHBOURS, "-k", "test_its_repr_counts or says_what")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines([f"*make_provider() returned {told}, and has to return a provider, as MyProvider()*"])


@pytest.mark.process
def test_three_lines_run_all_of_it_on_both_backends(pytester: pytest.Pytester) -> None:
    """As an author has it: no conftest, the usual plugins; what needs a hint is skipped, and says which."""
    pytester.makepyfile(
        """
        from doteval.testing import FakeProvider, ProviderContract

        class TestMyProvider(ProviderContract):
            def make_provider(self):
                return FakeProvider()
        """
    )
    result = pytester.runpytest_subprocess("-rs")
    tests = contract_tests(ProviderContract)
    runs = sum(2 if is_async(test) else 1 for test in tests)
    result.assert_outcomes(passed=runs - 4, skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED*set bad_spec or bad_config to something that the provider cannot open"])


def test_a_contract_without_a_provider_says_what_to_write(pytester: pytest.Pytester) -> None:
    """The one method that has to be there."""
    pytester.makepyfile(
        """
        from doteval.testing import BasicProviderContract, ProviderContract

        class TestNothing(ProviderContract):
            pass

        class TestNothingMuch(BasicProviderContract):
            pass
        """
    )
    result = pytester.runpytest_inprocess(*WITHOUT_NEIGHBOURS, "-k", "test_setup_gives_a_handle and asyncio")
    result.assert_outcomes(failed=2)
    for name in ("TestNothing", "TestNothingMuch"):
        result.stdout.fnmatch_lines([f"*{name} needs a method make_provider(self) that returns a provider"])


@pytest.mark.parametrize("test", sorted(contract_tests(ProviderContract)))
def test_each_test_of_the_contract_says_what_it_shows(test: str) -> None:
    """In its docstring, which is where an author looks first."""
    assert getattr(ProviderContract, test).__doc__
