"""Providers by name: where they are found, when they are imported, which one a spec belongs to, how they are closed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.distributions import install
from tests.named_providers import Duck, Letters, Sessions, Words

from doteval import (
    CloseTimeoutError,
    ModelProvider,
    ModelProviders,
    ModelSetupError,
    PooledProvider,
    ProviderClosedError,
    ProviderLoadError,
    ProviderNotEnteredError,
    SpecError,
    UnknownModelError,
    WrongEventLoopError,
)
from doteval._registry.registration import registrations
from doteval._registry.routing import route
from doteval._registry.source import Source

GROUP = "doteval.model_providers"
OURS = ["anthropic", "http", "llamacpp", "ollama", "openai", "sglang", "transformers", "vllm"]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop, which has nothing to do with names."""
    return request.param


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a distribution where this process finds it, for the time of the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(name: str, version: str = "1.0", *, providers: dict[str, str] | None = None, **rest: Any) -> None:
        groups = {GROUP: providers or {}, **rest.pop("entry_points", {})}
        for module in rest:
            monkeypatch.delitem(sys.modules, module, raising=False)
        install(tmp_path, name, version, entry_points=groups, **rest)

    return put


PACKAGE = """
from tests.named_providers import Letters, Words

words = Words()
number = 7

def make_words(suffix="!"):
    return Words(suffix)

def make_nothing():
    return None
"""


# ------------------------------------------------------------------ discovery


@pytest.mark.anyio
async def test_looking_at_the_names_imports_nothing(site: Callable[..., None]) -> None:
    """Which providers there are is known from metadata; only the one that is asked for is imported."""
    source = PACKAGE + "print('imported')\n"
    site("lazypkg", providers={"lazy": "lazy_module:Words", "idle": "idle_module:Words"}, lazy_module=source)
    async with ModelProviders() as providers:
        assert "lazy" in providers
        assert "nobody" not in providers
        assert list(providers) == sorted([*OURS, "idle", "lazy"])
        assert len(providers) == len(OURS) + 2
        assert providers != ModelProviders()
        assert "lazy_module" not in sys.modules
        assert isinstance(providers["lazy"], Words)
        assert "lazy_module" in sys.modules


@pytest.mark.process
def test_discovery_imports_no_sdk() -> None:
    """Making a `ModelProviders` and looking through its names leaves openai, anthropic and httpx alone."""
    code = (
        "import sys; from doteval import ModelProviders; p = ModelProviders(); print(len(p), 'openai' in p, repr(p)); "
        "assert not {'openai', 'anthropic', 'httpx', 'httpx2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.anyio
@pytest.mark.parametrize(("value", "model"), [("Words", "x"), ("make_words", "x!"), ("words", "x"), ("Letters", "x")])
async def test_an_entry_point_names_a_class_a_function_or_a_provider(
    site: Callable[..., None], value: str, model: str
) -> None:
    """All three work without a fixture and outside pytest."""
    site("kindpkg", providers={"kind": f"kind_module:{value}"}, kind_module=PACKAGE)
    async with ModelProviders() as providers:
        handle = await providers.setup("kind:x")
        assert handle.model == model
        await handle.teardown()


@pytest.mark.anyio
async def test_a_broken_plugin_is_told_when_it_is_asked_for(site: Callable[..., None]) -> None:
    """The error names distribution, version and entry point and has the cause; the others work."""
    site("brokenpkg", "3.1", providers={"broken": "broken_module:Words"}, broken_module="1 / 0")
    async with ModelProviders({"fine": Words}) as providers:
        assert "broken" in providers
        for ask in (providers.setup, providers.enter):
            with pytest.raises(
                ProviderLoadError, match=r"'broken' cannot be loaded: Zero.*\n.*'broken_module:Words' of brokenpkg 3\.1"
            ) as caught:
                await ask("broken:x" if ask == providers.setup else "broken")
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        with pytest.raises(ProviderLoadError):
            providers["broken"]
        assert (await providers.setup("fine:x")).model == "x"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("odd_module:number", "TypeError: 7 is not a ModelProvider"),
        ("odd_module:make_nothing", r"TypeError: make_nothing\(\) returned None"),
        ("odd_module:missing", "AttributeError"),
        ("odd_module", "TypeError: <module"),
        ("no such thing", "cannot be loaded"),
        ("sys:exit", "SystemExit|exit"),
    ],
)
async def test_a_value_that_leads_nowhere_is_told(site: Callable[..., None], value: str, problem: str) -> None:
    """Whatever an entry point's value is, looking is harmless, and asking gives an error that names whose it is."""
    site("oddpkg", providers={"odd": value}, odd_module=PACKAGE)
    async with ModelProviders() as providers:
        with pytest.raises(ProviderLoadError, match=r"oddpkg 1\.0") as caught:
            providers["odd"]
        caught.match(problem)


@pytest.mark.anyio
async def test_two_distributions_that_register_one_name_are_both_named(site: Callable[..., None]) -> None:
    """Nobody guesses which was meant; the one who asks is told who quarrels and how to decide."""
    site("onepkg", "1.0", providers={"both": "one_module:Words"}, one_module=PACKAGE)
    site("twopkg", "2.0", providers={"both": "two_module:Words"}, two_module=PACKAGE)
    async with ModelProviders() as providers:
        with pytest.raises(ProviderLoadError, match=r"onepkg 1\.0 and twopkg 2\.0|twopkg 2\.0 and onepkg 1\.0"):
            providers["both"]
    async with ModelProviders({"both": Letters}) as providers:
        assert isinstance(providers["both"], Letters)


@pytest.mark.anyio
async def test_a_missing_sdk_is_told_with_how_to_install_it(site: Callable[..., None]) -> None:
    """Where an extra of the distribution brings the module: by the packages of the smallest such extra."""
    site(
        "sdkpkg",
        providers={"sdk": "sdk_module:Words"},
        requires=(
            'no-such-sdk>=2; extra == "all"',
            'another>=1; extra == "all"',
            'no-such-sdk>=2; extra == "models"',
        ),
        sdk_module="import no_such_sdk.client",
    )
    async with ModelProviders() as providers:
        with pytest.raises(ProviderLoadError, match=r"pip install 'no-such-sdk>=2'"):
            providers["sdk"]


FIXTURE = """
import pytest

@pytest.fixture(scope="session")
def my_provider():
    ...
"""


@pytest.mark.anyio
@pytest.mark.parametrize("module", ["fixture_module", "other_module"])
async def test_a_fixture_outside_pytest_is_an_error_that_says_what_to_do(
    site: Callable[..., None], module: str
) -> None:
    """The value may lead to the fixture, or only name one that lives in the distribution's pytest plugin."""
    site(
        "fixturepkg",
        providers={"mine": f"{module}:my_provider"},
        entry_points={"pytest11": {"fixturepkg": "fixture_module"}},
        fixture_module=FIXTURE,
        other_module="",
    )
    async with ModelProviders() as providers:
        with pytest.raises(
            ProviderLoadError, match=r"pytest fixture(?s:.*)let the entry point name its class(?s:.*)fixturepkg 1\.0"
        ):
            providers["mine"]


# ------------------------------------------------------------------ given providers and settings


@pytest.mark.anyio
async def test_given_providers_take_precedence(site: Callable[..., None]) -> None:
    """A name that is given does not even import what is registered under it."""
    site("shadowpkg", providers={"shadow": "shadow_module:Words"}, shadow_module=PACKAGE)
    async with ModelProviders({"shadow": Letters}) as providers:
        assert isinstance(providers["shadow"], Letters)
    async with ModelProviders({"shadow": Letters}, discover=False) as providers:
        assert list(providers) == ["shadow"]
    assert "shadow_module" not in sys.modules


@pytest.mark.anyio
async def test_settings_are_arguments_of_the_class(site: Callable[..., None]) -> None:
    """Registered and given classes and functions are called with their settings."""
    site("setpkg", providers={"set": "set_module:make_words"}, set_module=PACKAGE)
    settings = {"set": {"suffix": "?"}, "given": {"suffix": "..."}}
    async with ModelProviders({"given": Words}, settings=settings) as providers:
        assert (await providers.setup("set:x")).model == "x?"
        assert (await providers.setup("given:x")).model == "x..."


@pytest.mark.anyio
async def test_settings_that_do_not_fit_are_told(site: Callable[..., None]) -> None:
    """A wrong name fails at once; an argument the class does not take when it is built, and its value is not shown."""
    site("fitpkg", providers={"fit": "fit_module:Words"}, fit_module=PACKAGE)
    with pytest.raises(ValueError, match=r"settings for 'fti', but the providers are: .*'fit'"):
        ModelProviders(settings={"fti": {}})
    async with ModelProviders(settings={"fit": {"api_key": "hush-hush"}}) as providers:
        with pytest.raises(ProviderLoadError, match="unexpected keyword argument 'api_key'") as caught:
            providers["fit"]
        assert "hush-hush" not in str(caught.value)
    async with ModelProviders({"fit": Words()}, settings={"fit": {"suffix": "!"}}) as providers:
        with pytest.raises(ValueError, match="built already"):
            providers["fit"]


def test_what_has_to_be_given_is_told_with_where_to_say_it(site: Callable[..., None]) -> None:
    """Nobody is to uninstall a provider that only wants to know its address."""
    source = "from tests.named_providers import Words\ndef make(url, *, region, other=1): return Words(url)"
    site("wantspkg", providers={"wants": "wants_module:make"}, wants_module=source)
    registered = registrations()["wants"]
    for settings, needed, example in (({}, "region, url", "region"), ({"region": "eu"}, "url", "url")):
        with pytest.raises(ProviderLoadError) as caught:
            Source("wants", registered, settings).build()
        told = f"Give it {needed}, with ModelProviders(settings={{'wants': {{...}}}}), and in pytest with"
        assert caught.value.advice == f"{told} --model-setting wants.{example}=..."
    assert Source("wants", registered, {"region": "eu", "url": "!"}).build()


@pytest.mark.parametrize("name", ["", "a:b", " a", "a\n", "-a", " "])
def test_a_name_that_no_spec_can_have_is_refused(name: str) -> None:
    """What stands before the first colon of a spec has no colon, is not empty and is no option."""
    with pytest.raises(ValueError, match="cannot name a provider"):
        ModelProviders({name: Words})


# ------------------------------------------------------------------ routing


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("spec", "provider", "model"),
    [
        ("words:x", Words, "x"),
        ("letters:word-1", Letters, "word-1"),
        ("words:a:b", Words, "a:b"),
        ("word-1", Words, "word-1"),
        ("word-1:8b", Words, "word-1:8b"),
        ("letter-a", Letters, "letter-a"),
        ("session-7", Sessions, "session-7 of 1"),
    ],
)
async def test_a_spec_goes_to_one_provider(spec: str, provider: type[ModelProvider], model: str) -> None:
    """A registered name before the first colon decides; else the patterns."""
    providers = ModelProviders({"words": Words, "letters": Letters, "sessions": Sessions}, discover=False)
    async with providers:
        handle = await providers.setup(spec)
        assert type(handle.manager) is provider
        assert handle.model == model


@pytest.mark.anyio
async def test_the_only_provider_gets_what_nobody_claims() -> None:
    """``llama3:8b`` is a model, not a provider; with one provider there is no question whose."""
    async with ModelProviders({"words": Words}, discover=False) as providers:
        assert (await providers.setup("llama3:8b")).model == "llama3:8b"


@pytest.mark.anyio
async def test_what_nobody_or_several_claim_is_told_with_the_candidates() -> None:
    """The error lists what to put in front."""
    async with ModelProviders({"words": Words, "letters": Letters}, discover=False) as providers:
        with pytest.raises(
            UnknownModelError, match=r"no provider claims it\.\n.*'words:llama3:8b', 'letters:llama3:8b'"
        ):
            await providers.setup("llama3:8b")
        with pytest.raises(UnknownModelError, match="several providers claim it") as caught:
            await providers.setup("word-or-letter-x")
        assert caught.value.candidates == ("words", "letters")
        with pytest.raises(SpecError):
            await providers.setup("words:")
        with pytest.raises(KeyError, match=r"no provider is registered as 'nope'; there are: 'words', 'letters'"):
            providers["nope"]
        assert providers.get("nope") is None
    async with ModelProviders(discover=False) as providers:
        with pytest.raises(UnknownModelError, match="No provider is registered"):
            await providers.setup("gpt-4o")


@pytest.mark.process  # imports every SDK that there is
@pytest.mark.anyio
async def test_a_broken_candidate_does_not_hinder_the_others(site: Callable[..., None]) -> None:
    """A model that somebody claims is found; where nobody does, the error says who could not be asked, and why."""
    site("deadpkg", providers={"dead": "dead_module:Words"}, dead_module="raise RuntimeError('dead on arrival')")
    async with ModelProviders({"words": Words}) as providers:
        assert (await providers.setup("word-1")).model == "word-1"
        with pytest.raises(UnknownModelError, match=r"'dead' could not be asked: .*dead on arrival") as caught:
            await providers.setup("nobody-claims-this")
        assert isinstance(caught.value.__cause__, ExceptionGroup)


AT_IMPORT = [
    "import pytest; pytest.skip('no SDK', allow_module_level=True)",
    "raise SystemExit(3)",
    "raise BaseException",
]


@pytest.mark.parametrize("source", AT_IMPORT)
def test_whatever_a_module_raises_at_its_import_is_its_own_matter(site: Callable[..., None], source: str) -> None:
    """What is no Exception, too: others are found, and its own error names the distribution."""
    site("oddpkg", providers={"odd": "odd_at_import:Words"}, odd_at_import=source)
    site("fixpkg", entry_points={GROUP: {"fixed": "tests:no_such"}, "pytest11": {"p": "odd_at_import"}})
    known = registrations()
    sources = {"odd": Source("odd", known["odd"]), "fixed": Source("fixed", known["fixed"]), "w": Source("w", Words)}
    assert route("word-1", sources) == ("w", "word-1")
    for name, distribution in (("odd", "oddpkg 1.0"), ("fixed", "fixpkg 1.0")):
        with pytest.raises(ProviderLoadError, match=distribution):
            sources[name].build()


def test_an_interrupt_of_an_import_stays_one(site: Callable[..., None]) -> None:
    site("slowpkg", providers={"slow": "slow_module:Words"}, slow_module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registrations()["slow"].load()


WRONG_PATTERNS: list[tuple[object, str]] = [
    ("zz-*", "Wrong.patterns is a text, and has to be a tuple of texts: write patterns = ('zz-*',)"),
    (3, "Wrong.patterns is an object of the class int, and has to be a tuple of texts, such as"),
    ({"zz-*": 1}, "Wrong.patterns is an object of the class dict"),
    ((3,), "Wrong.patterns has an object of the class int in it"),
    (("zz-*", None), "Wrong.patterns has None in it"),
    ((b"zz-*",), "Wrong.patterns has an object of the class bytes in it"),
]


@pytest.mark.parametrize(("patterns", "problem"), WRONG_PATTERNS)
def test_patterns_that_are_none_claim_nothing_and_are_told(
    patterns: object, problem: str, site: Callable[..., None]
) -> None:
    """Where the class is written, and where nobody claims a model; others are found."""
    with pytest.raises(TypeError, match=re.escape(problem)):
        type("Wrong", (Words,), {"patterns": patterns})
    source = f"class Wrong:\n    def setup(self): ...\n    patterns = {patterns!r}"
    site("wrongpkg", providers={"wrong": "wrong_patterns:Wrong"}, wrong_patterns=source)
    registered = registrations()["wrong"]
    for value in (registered.load(), registered):
        sources = {"words": Source("words", Words), "mine": Source("mine", value)}
        assert route("word-1", sources) == ("words", "word-1")
        with pytest.raises(UnknownModelError, match=re.escape(f"'mine' could not be asked: TypeError: {problem}")):
            route("zz-top", sources)
    with pytest.raises(ProviderLoadError, match=r"wrongpkg 1\.0"):
        Source("mine", registered).patterns()


@pytest.mark.parametrize("patterns", [None, (), ["zz-*"], {"zz-*"}])
def test_patterns_may_be_in_any_collection(patterns: object) -> None:
    sources = {"words": Source("words", Words), "more": Source("more", type("More", (Words,), {"patterns": patterns}))}
    assert route("word-1", sources) == ("words", "word-1")
    if patterns:
        assert route("zz-top", sources) == ("more", "zz-top")


@pytest.mark.anyio
async def test_what_cannot_be_imported_is_not_tried_again_at_each_setup(
    site: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody asks for it by name, and it works."""
    site("late", entry_points={GROUP: {"late": "late_letters:provider"}}, late_letters="import not_there_yet")
    tried: list[str] = []
    load = EntryPoint.load
    monkeypatch.setattr(EntryPoint, "load", lambda self: (tried.append(self.value), load(self))[1])
    async with ModelProviders({"letters": Letters()}) as providers:
        for _ in range(3):
            await (await providers.setup("letter-a")).teardown()
        assert tried.count("late_letters:provider") == 1
        monkeypatch.setitem(sys.modules, "late_letters", SimpleNamespace(provider=Words()))
        with pytest.raises(UnknownModelError, match="'late' could not be asked"):
            await providers.setup("word-a")
        assert await providers.setup("late:word-a")
        assert await providers.setup("word-a")


@pytest.mark.parametrize("odd", ["[{group}]\na:b = m:n", "[{group}]\n = m:n", "[{group}]\nthis is no entry"])
def test_an_odd_entry_point_hurts_nobody_and_is_named(
    odd: str, site: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site("good", entry_points={GROUP: {"good": "m:n"}})
    site("odd")
    (written,) = tmp_path.rglob("odd-1.0.dist-info/entry_points.txt")
    written.write_text(odd.format(group=GROUP))
    assert list(ModelProviders()) == sorted([*OURS, "good"])
    assert "odd" in caplog.text


@pytest.mark.anyio
async def test_a_name_in_front_asks_nobody_else(site: Callable[..., None]) -> None:
    """With a provider's name nothing but that provider is imported."""
    site("quietpkg", providers={"quiet": "quiet_module:Words"}, quiet_module=PACKAGE)
    async with ModelProviders({"words": Words}) as providers:
        await providers.setup("words:x")
        assert "quiet_module" not in sys.modules


# ------------------------------------------------------------------ starting and closing


@pytest.mark.anyio
async def test_what_is_entered_here_is_closed_here() -> None:
    """A provider that was entered before stays open and is used as it is; the others are entered and closed."""
    async with Words() as entered:
        mine = Words()
        async with ModelProviders({"entered": entered, "mine": mine}, discover=False) as providers:
            assert providers["entered"] is entered
            assert providers["mine"] is mine
            outer = await providers.setup("entered:x")
            inner = await providers.setup("mine:x")
        assert outer.is_active
        assert not inner.is_active
        assert (entered.closed, mine.closed) == ([], ["x"])


@pytest.mark.anyio
async def test_providers_with_books_of_their_own_are_torn_down() -> None:
    """Every handle that is still active is torn down when the mapping is left."""
    letters = Letters()
    async with ModelProviders({"letters": letters}, discover=False) as providers:
        handle = await providers.setup("letters:a")
        await (await providers.setup("letters:b")).teardown()
        assert letters.torn_down == ["b"]
    assert letters.torn_down == ["b", "a"]
    assert not handle.is_active


@pytest.mark.anyio
async def test_a_provider_that_inherits_from_nothing_works() -> None:
    """A `setup` that gives handles is enough."""
    async with ModelProviders({"duck": Duck}, discover=False) as providers:  # type: ignore[dict-item]
        async with await providers.setup("duck:quack") as handle:
            assert handle.model == "quack"


@pytest.mark.anyio
async def test_all_are_closed_and_every_failure_is_told() -> None:
    """One that fails to close stops no other; at the end there is one group with all failures."""
    bad = [Words(trouble=OSError("first")), Words(trouble=OSError("second"))]
    good = Words()
    with pytest.raises(ExceptionGroup) as caught:
        async with ModelProviders({"one": bad[0], "two": bad[1], "good": good}, discover=False) as providers:
            for name in providers:
                await providers.setup(f"{name}:x")
    assert good.closed == ["x"]
    assert caught.group_contains(OSError, match="first")
    assert caught.group_contains(OSError, match="second")


@pytest.mark.anyio
async def test_all_are_closed_at_the_same_time() -> None:
    """Two providers whose closing waits for the other's closing can be closed together."""
    arrived = [anyio.Event(), anyio.Event()]

    class Meeting(PooledProvider[int]):
        def __init__(self, mine: int) -> None:
            super().__init__(close_timeout=10)
            self.mine = mine

        @asynccontextmanager
        async def open(self, spec: str, /) -> AsyncIterator[int]:
            yield self.mine
            arrived[self.mine].set()
            await arrived[1 - self.mine].wait()

    async with ModelProviders({"a": Meeting(0), "b": Meeting(1)}, discover=False) as providers:
        await providers.setup("a:x")
        await providers.setup("b:x")
    assert arrived[0].is_set()
    assert arrived[1].is_set()


@pytest.mark.anyio
async def test_a_teardown_all_that_never_ends_is_given_up() -> None:
    """A `teardown_all` of an author's own is bounded by the provider's close_timeout."""

    class Endless(Letters):
        close_timeout = 0.01

        async def teardown_all(self) -> None:
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        async with ModelProviders({"endless": Endless}, discover=False) as providers:
            await providers.setup("endless:x")
    assert caught.group_contains(CloseTimeoutError)


@pytest.mark.anyio
async def test_cancellation_closes_everything_and_goes_on() -> None:
    """A cancelled block still closes its providers, and the cancellation is not swallowed."""
    words = Words()
    with anyio.CancelScope() as scope:
        async with ModelProviders({"words": words}, discover=False) as providers:
            await providers.setup("words:x")
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    assert words.closed == ["x"]


@pytest.mark.anyio
async def test_an_exception_of_the_block_stays_what_it_is() -> None:
    """It is not wrapped in a group."""
    with pytest.raises(LookupError, match="mine"):
        async with ModelProviders({"words": Words}, discover=False) as providers:
            await providers.setup("words:x")
            raise LookupError("mine")


@pytest.mark.anyio
async def test_a_mapping_can_be_entered_again() -> None:
    """Each time its classes make new providers."""
    providers = ModelProviders({"words": Words}, discover=False)
    async with providers:
        first = providers["words"]
        with pytest.raises(RuntimeError, match="entered already"):
            await providers.__aenter__()
    async with providers:
        assert providers["words"] is not first


@pytest.mark.anyio
async def test_outside_the_block_there_is_no_provider() -> None:
    """Before, the error says how to enter it; afterwards, that it is closed."""
    providers = ModelProviders({"words": Words}, discover=False)
    with pytest.raises(ProviderNotEnteredError):
        providers["words"]
    with pytest.raises(ProviderNotEnteredError):
        await providers.setup("words:x")
    async with providers:
        pass
    with pytest.raises(ProviderClosedError):
        providers["words"]


def test_another_event_loop_is_refused() -> None:
    """What was entered in one run of an event loop cannot be used in another, or outside of all."""
    providers = ModelProviders({"words": Words}, discover=False)

    async def use_elsewhere() -> None:
        with pytest.raises(WrongEventLoopError):
            await providers.setup("words:x")

    async def main() -> None:
        async with providers:
            with pytest.raises(WrongEventLoopError):
                await anyio.to_thread.run_sync(lambda: providers["words"])
            await anyio.to_thread.run_sync(lambda: anyio.run(use_elsewhere))

    anyio.run(main)


# ------------------------------------------------------------------ providers with an __aenter__ of their own


@pytest.mark.anyio
async def test_a_provider_with_its_own_enter_is_entered_and_exited_in_one_task() -> None:
    """It is set up in one task, used in another and closed from a third, although it holds a task group open."""
    sessions = Sessions()
    async with ModelProviders({"sessions": sessions}, discover=False) as providers:
        with pytest.raises(RuntimeError, match=r"await providers.enter\('sessions'\)"):
            providers["sessions"]
        async with anyio.create_task_group() as group:
            for spec in ("session-1", "session-2", "sessions:3"):
                group.start_soon(providers.setup, spec)
        assert sessions.entered == 1
        assert providers["sessions"] is sessions is await providers.enter("sessions")
    assert sessions.exited == 1


@pytest.mark.anyio
async def test_a_caller_who_leaves_does_not_stop_the_entering() -> None:
    """The entering belongs to the mapping, so the next one finds the provider entered."""
    sessions = Sessions()
    async with ModelProviders({"sessions": sessions}, discover=False) as providers:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await providers.setup("session-1")
        assert scope.cancelled_caught
        assert await providers.enter("sessions") is sessions
    assert (sessions.entered, sessions.exited) == (1, 1)


@pytest.mark.anyio
async def test_a_provider_that_cannot_be_entered_is_tried_again() -> None:
    """The error has the cause; the next one who asks starts afresh."""
    sessions = Sessions(trouble=OSError("no line"))
    async with ModelProviders({"sessions": sessions}, discover=False) as providers:
        with pytest.raises(ModelSetupError, match=r"'sessions': OSError: no line") as caught:
            await providers.setup("session-1")
        assert isinstance(caught.value.__cause__, OSError)
        sessions.trouble = None
        assert (await providers.setup("session-1")).model == "session-1 of 1"


@pytest.mark.anyio
async def test_a_provider_that_breaks_hurts_nobody_and_is_replaced() -> None:
    """What its background task raises is told when the mapping is left; until then a new one takes its place."""
    with pytest.raises(ExceptionGroup) as caught:
        async with ModelProviders({"sessions": Sessions, "words": Words}, discover=False) as providers:
            word = await providers.setup("words:x")
            first = await providers.enter("sessions")
            assert isinstance(first, Sessions)
            first.break_down()
            with anyio.fail_after(60):
                while await providers.enter("sessions") is first:
                    await checkpoint()
            assert word.model == "x"
    assert caught.group_contains(ConnectionError, match="the line is dead")


@pytest.mark.anyio
async def test_leaving_while_a_provider_is_being_entered_calls_it_off() -> None:
    """Nobody is kept waiting, and whoever waits for it is told that it is closed."""
    started = anyio.Event()
    told: list[Exception] = []

    class Slow(Sessions):
        async def __aenter__(self) -> Self:
            started.set()
            await anyio.sleep_forever()
            raise AssertionError

    async def wait_for_it() -> None:
        try:
            await providers.enter("slow")
        except ProviderClosedError as exc:
            told.append(exc)

    async with anyio.create_task_group() as group:
        async with ModelProviders({"slow": Slow}, discover=False) as providers:
            group.start_soon(wait_for_it)
            await started.wait()
    assert len(told) == 1


# ------------------------------------------------------------------ what can be seen


@pytest.mark.anyio
async def test_statistics_and_repr_show_the_counts() -> None:
    """Only started pools count; afterwards the last counts stay."""
    providers = ModelProviders({"words": Words, "letters": Letters, "more": Words}, discover=False)
    assert repr(providers) == "<ModelProviders not entered registered=3>"
    async with providers:
        await providers.setup("words:x")
        await providers.setup("words:x")
        await providers.setup("letters:x")
        assert repr(providers) == "<ModelProviders registered=3 started=2 open=1 leases=2>"
        assert {name: counts.leases for name, counts in providers.statistics().items()} == {"words": 2}
    assert repr(providers) == "<ModelProviders closed registered=3>"
    assert providers.statistics()["words"].closes == 1
