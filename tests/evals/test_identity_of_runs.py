"""Which model and which arguments results are of: others are never answered from the store, and the user chooses."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import doteval
from doteval import (
    ModelProviders,
    OpenAICompatibleProvider,
    OpenAIProvider,
    Result,
    foreach,
)
from doteval.evals import EvaluationChangedError, Store, run
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes
from doteval.testing import FakeModel, FakeProvider


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what is stored."""
    return "asyncio"


def similar() -> list[Any]:
    """Values of which many are equal to others, or not to themselves."""
    return [0.0, -0.0, 0, False, "", "0", 1.0, 1, True, float("nan"), "nan", 1 << 20_000, (1 << 20_000) + 1]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address and no key from outside."""
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def replies(prompt: Any) -> str:
    return "yes"


SAME_MODEL: list[Callable[[], Any]] = [
    lambda: OpenAIProvider(api_key="one").identity("gpt-4o"),
    lambda: OpenAIProvider(api_key="another", timeout=3, max_retries=0, max_concurrency=3, keep_alive=9).identity(
        "gpt-4o"
    ),
    lambda: OpenAIProvider(base_url="https://api.openai.com/v1").identity("gpt-4o", max_retries=7),
    lambda: ModelProviders().identity("openai:gpt-4o"),
    lambda: ModelProviders().identity("gpt-4o"),
    lambda: ModelProviders(settings={"openai": {"timeout": 4.0}}).identity("gpt-4o"),
]
OTHER_MODELS: list[Callable[[], Any]] = [
    lambda: OpenAIProvider().identity("gpt-4o-mini"),
    lambda: OpenAIProvider(params={"temperature": 0}).identity("gpt-4o"),
    lambda: OpenAIProvider(params={"temperature": 1}).identity("gpt-4o"),
    lambda: OpenAIProvider().identity("gpt-4o", params={"temperature": 0.5}),
    lambda: OpenAIProvider(base_url="http://127.0.0.1:1/v1").identity("gpt-4o"),
    lambda: OpenAIProvider().identity("gpt-4o", base_url="http://127.0.0.1:2/v1"),
    lambda: OpenAICompatibleProvider("https://api.openai.com/v1").identity("gpt-4o"),
    lambda: doteval.AnthropicProvider().identity("gpt-4o"),
    lambda: ModelProviders(settings={"openai": {"params": {"seed": 1}}}).identity("gpt-4o"),
    lambda: FakeProvider().identity("gpt-4o"),
    lambda: FakeProvider(replies=["x"]).identity("gpt-4o"),
    lambda: FakeProvider(replies=replies).identity("gpt-4o"),
]


def parts_of(settings: Mapping[str, Any]) -> Mapping[str, str]:
    walk = Walk()
    walk.add_settings("the model", settings)
    return walk.parts


@pytest.mark.process  # as the import of an SDK takes a second
def test_a_model_is_known_by_what_its_answers_depend_on() -> None:
    """However it is asked for; and not by its key, or by how requests are sent."""
    same = [parts_of(make()) for make in SAME_MODEL]
    assert all(one == same[0] for one in same)
    others = [parts_of(make()) for make in OTHER_MODELS]
    for place, one in enumerate([same[0], *others]):
        for another in others[place:]:
            assert one != another
    assert "one" not in json.dumps(same)
    assert "another" not in json.dumps(same)


@pytest.mark.process
def test_an_address_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same spec, and another server."""
    providers: list[Any] = [OpenAIProvider(), doteval.AnthropicProvider()]
    for provider, variable in zip(providers, ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"), strict=True):
        before = provider.identity("it")
        monkeypatch.setenv(variable, "http://127.0.0.1:9/v1")
        assert provider.identity("it") == {**before, "base_url": "http://127.0.0.1:9/v1"}


# ---------------------------------------------------------------- runs


class Models:
    """What `run` may be given as a model, with a temperature."""

    @staticmethod
    def spec(temperature: float) -> Any:
        return f"t-{temperature}"

    @staticmethod
    def partial_setup(temperature: float) -> Any:
        return partial(FakeProvider(replies=replies).setup, "it", temperature=temperature)

    @staticmethod
    def of_the_provider(temperature: float) -> Any:
        return partial(FakeProvider(replies=[str(temperature)]).setup, "it")

    @staticmethod
    def function(temperature: float) -> Any:
        provider = FakeProvider()

        async def setup() -> Any:
            return await provider.setup("it", temperature=temperature)

        return setup

    @staticmethod
    def from_lambda(temperature: float) -> Any:
        provider = FakeProvider()
        return lambda: provider.setup("it", temperature=temperature)

    @staticmethod
    def model(temperature: float) -> Any:
        return FakeModel("it", replies=[str(temperature)])

    @staticmethod
    def own_client(temperature: float) -> Any:
        return OwnClient("http://127.0.0.1", temperature)

    @staticmethod
    def mapping(temperature: float) -> Any:
        return {"model": "it", "temperature": temperature}


class OwnClient:
    def __init__(self, base_url: str, temperature: float) -> None:
        self.base_url = base_url
        self.temperature = temperature
        self.requests = 0

    def ask(self) -> None:
        self.requests += 1


async def answer(value: int, model: Any, prompt: str = "") -> Result:
    """An evaluation, but none that pytest collects here."""
    return Result(value)


evaluation = foreach("value", [1, 2])(answer)


async def changed(path: Path, **arguments: Any) -> tuple[str, ...]:
    """What is refused, where something is."""
    try:
        await run(evaluation, store=path, name="it", **arguments)
    except EvaluationChangedError as exc:
        return exc.changes
    return ()


KINDS = [kind for kind in vars(Models) if not kind.startswith("_") and kind != "spec"]


async def entered(model: Any, stack: Any) -> Any:
    """The provider behind it is entered, where there is one."""
    found: Any = getattr(getattr(model, "func", None), "__self__", None)
    cells = [cell.cell_contents for cell in getattr(model, "__closure__", None) or ()]
    for provider in (found, *cells):
        if isinstance(provider, FakeProvider):
            await stack.enter_async_context(provider)
    return model


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_another_model_is_never_answered_from_the_store(kind: str, tmp_path: Path) -> None:
    """However it is given: the same one is, and the other is refused with what has changed."""
    from contextlib import AsyncExitStack

    path = tmp_path / "results.db"
    make = getattr(Models, kind)
    async with AsyncExitStack() as stack:
        first, same, other = [await entered(make(each), stack) for each in (0.5, 0.5, 1.0)]
        assert await changed(path, model=first) == ()
        assert (await run(evaluation, store=path, name="it", model=same)).answered
        assert await changed(path, model=other) != ()
        assert (await run(evaluation, store=path, name="it", model=same)).answered


@pytest.mark.anyio
async def test_specs_are_names_where_nobody_gives_one(tmp_path: Path) -> None:
    """So two models of one evaluation are two evaluations, and not a refusal."""
    path = tmp_path / "results.db"
    async with FakeProvider() as provider:
        for spec in ("one", "two"):
            outcome = await run(evaluation, store=path, model=partial(provider.setup, spec))
            assert (outcome.name, outcome.answered) == (f"answer[{spec}]", False)
        async with provider.setup("one") as handle:
            assert (await run(evaluation, store=path, model=handle)).answered
        message = await changed(path, model=partial(provider.setup, "one", temperature=0.2), prompt="x")
        assert message == ()
        (told,) = await changed(path, model=partial(provider.setup, "one", temperature=0.3), prompt="x")
        assert told == "the model's temperature was 0.2, and is 0.3"


@pytest.mark.anyio
async def test_another_argument_is_refused_and_the_user_chooses(tmp_path: Path) -> None:
    """A refusal leaves all as it was; a new run throws away; keeping says so, once."""
    path = tmp_path / "results.db"
    give = partial(run, evaluation, store=path, name="it", model=FakeModel())
    await give(prompt="one")
    with pytest.raises(
        EvaluationChangedError, match=r'(?s)^the argument .prompt. has changed.*"rerun" throws them away'
    ) as caught:
        await give(prompt="two")
    assert caught.value.changes == ("the argument 'prompt' has changed",)
    assert (await give(prompt="one")).answered
    kept = await give(prompt="two", changed="keep")
    assert kept.answered
    assert (await give(prompt="two")).warnings == ()
    with pytest.raises(EvaluationChangedError):
        await give(prompt="one")
    assert re.search(
        r"were kept, though they are of something else: the argument 'prompt' has changed", kept.warnings[0]
    )
    again = await give(prompt="three", changed="rerun")
    assert (again.known, again.calls) == (0, 2)
    assert "were thrown away" in again.warnings[0]
    assert (await give(prompt="three")).answered
    with pytest.raises(ValueError, match="changed is one of 'error', 'rerun', 'keep', not 'x'"):
        await give(prompt="two", changed="x")  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["Python", "numpy"])
async def test_what_makes_random_numbers_is_known_by_its_seed(kind: str, tmp_path: Path) -> None:
    """As an argument; and by what a run has left of it."""
    make: Any = random.Random if kind == "Python" else pytest.importorskip("numpy").random.default_rng

    @foreach("value", range(3))
    async def eval_it(value: int, rng: Any) -> Result:
        return Result(str(rng.random()))

    rng, store = make(1), tmp_path / "results.db"
    first = await run(eval_it, store=store, rng=rng)
    assert not first.answered
    for same in (make(1), rng):
        again = await run(eval_it, store=store, rng=same)
        assert again.answered
    with pytest.raises(EvaluationChangedError, match="the argument 'rng' has changed"):
        await run(eval_it, store=store, rng=make(2))


@pytest.mark.anyio
async def test_nothing_is_another_argument_than_none_at_all(tmp_path: Path) -> None:
    """Where an evaluation takes whatever it is given."""

    @foreach("question", ["a"])
    def thinking(question: str, **options: object) -> Result:
        return Result(str(options.get("think", True)))

    path = tmp_path / "results.db"
    await run(thinking, store=path)
    with pytest.raises(EvaluationChangedError, match="the argument 'think' is new"):
        await run(thinking, store=path, think=None)


@pytest.mark.parametrize("which", range(len(similar())))
def test_a_default_that_is_given_is_no_change_and_what_is_only_equal_is(which: int, tmp_path: Path) -> None:
    default = similar()[which]

    @foreach("q", ["a"])
    async def eval_it(q: str, given: Any = default) -> Result:
        return Result(type(given).__name__)

    it = partial(run, eval_it, store=tmp_path / "results.db")
    anyio.run(it)
    for number, value in enumerate(similar()):
        if number == which:
            assert anyio.run(partial(it, given=value)).answered
        else:
            with pytest.raises(EvaluationChangedError, match="the argument 'given'"):
                anyio.run(partial(it, given=value))


@pytest.mark.anyio
async def test_rows_that_all_failed_are_nobodys_loss(tmp_path: Path) -> None:
    """Whoever mends what made all fail is not asked."""
    path = tmp_path / "results.db"

    @foreach("value", [1, 2])
    async def eval_broken(value: int) -> Result:
        raise ValueError(value)

    @foreach("value", [1, 2])
    async def eval_mended(value: int) -> Result:
        return Result(value)

    assert (await run(eval_broken, store=path, name="it")).summary.errors == 2
    outcome = await run(eval_mended, store=path, name="it")
    assert (outcome.summary.errors, outcome.calls, outcome.warnings) == (0, 2, ())


@pytest.mark.anyio
async def test_what_is_begun_anew_takes_the_place_of_the_old_with_its_first_result(tmp_path: Path) -> None:
    """A run that fails before it has one, as with a wrong key, leaves all as it was."""
    path = tmp_path / "results.db"
    fails = True

    async def setup() -> Any:
        if fails:
            raise ConnectionError("no server")
        return FakeModel()

    await run(evaluation, store=path, name="it", model=FakeModel())
    for arguments in ({"fresh": True}, {"changed": "rerun"}):
        with pytest.raises(ConnectionError):
            await run(evaluation, store=path, name="it", model=setup, **arguments)  # type: ignore[arg-type]
    store = Store(path)
    (stored,) = store.evaluations()
    assert (stored.stored, stored.finished is None) == (2, False)
    assert (await run(evaluation, store=path, name="it", model=FakeModel())).answered


def test_what_has_changed_is_said_in_words() -> None:
    """Settings with their values, the most telling first; another Python cannot compare code."""
    before = {"Python": "=a", "its code": "1", "the model's spec": "=x", "the value 'A'": "2", "the model's seed": "=1"}
    now = {"Python": "=a", "its code": "2", "the model's spec": "=y", "the value 'B'": "2", "the model's top_p": "=1.0"}
    assert changes(before, now) == (
        "the model's seed was 1, and is not set",
        "the model's spec was x, and is y",
        "the model's top_p is 1.0, and was not set",
        "its code has changed",
        "the value 'A' is gone",
        "the value 'B' is new",
    )
    assert changes(before, before) == ()
    told = changes(before, {**before, "Python": "=b", "its code": "3"})
    assert told == ("Python was a, and is b, so code cannot be compared",)
