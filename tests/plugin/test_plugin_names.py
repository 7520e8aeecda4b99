"""The names that distributions register, whatever they are, and the fixtures that are called after them."""

from __future__ import annotations

import unicodedata

import pytest
from tests.plugin.runs import Runs, assert_clean

from doteval._registry.fixture_names import client_fixture, fixture_word

ODD_NAMES = {
    "4ai": "_4ai",
    "x²": "x2",
    "²": "_2",
    "ﬁne": "fine",
    "é": "é",
    "e\u0301": "é",
    "my.own models!": "my_own_models_",
    "[gpu]": "_gpu_",
    "🦙": "_",
    "class": "class",
    "pytest_runtest_setup": "pytest_runtest_setup",
    "model": "model",
    "_doteval": "_doteval",
    "-W": "_W",
}


def test_every_name_gives_what_an_argument_may_be_called() -> None:
    """Python finds the fixture under the name that stands in the test, which it normalises."""
    for name, word in ODD_NAMES.items():
        assert fixture_word(name) == word
    for start in range(0, 0x110000, 0x100):
        for name in ("".join(map(chr, range(start, start + 0x100))), chr(start)):
            client = client_fixture(name)
            assert client.isidentifier()
            assert unicodedata.normalize("NFKC", client) == client


def test_no_name_and_no_fixture_of_an_author_hurts_a_run(runs: Runs) -> None:
    """Nobody's tests end because of what a distribution calls its provider; each that a spec can name answers."""
    odd = dict.fromkeys(ODD_NAMES, "echopkg:EchoProvider")
    fixtures = {f"odd-{number}": f"odd_fixture_{number}" for number in range(3)}
    runs.install(
        "oddpkg",
        odd | fixtures,
        {"oddpkg": "oddpkg"},
        oddpkg="""
        import pytest

        def odd_provider(): ...

        odd_fixture_0 = pytest.fixture(odd_provider, name="4")
        odd_fixture_1 = pytest.fixture(odd_provider, name="class")
        odd_fixture_2 = pytest.fixture(odd_provider, name="a b")
        """,
    )
    runs.write(
        test_it=f"""
        import pytest

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        def test_has_nothing_to_do_with_doteval(): ...

        @pytest.mark.parametrize("_4ai_client", ["a"], indirect=True)
        async def test_digit(_4ai_client):
            assert await _4ai_client.generate("hi") == "a on asyncio: hi"

        @pytest.mark.parametrize("fine_client", ["a"], indirect=True)
        async def test_normal_form(ﬁne_client):
            assert await ﬁne_client.generate("hi") == "a on asyncio: hi"

        @pytest.mark.parametrize("model_client", [name + ":a" for name in {[*ODD_NAMES][:-1]!r}], indirect=True)
        async def test_named(model_client):
            assert await model_client.generate("hi") == "a on asyncio: hi"
        """
    )
    assert_clean(runs.run(plugins="anyio oddpkg doteval"), passed=2 + len(ODD_NAMES))


def test_a_fixture_that_could_be_of_two_providers_is_of_none(runs: Runs) -> None:
    """Whoever asks for it is told whose it could be and how to say which one is meant; nobody else notices."""
    runs.install("onepkg", {"my-models": "echopkg:EchoProvider"})
    runs.install("twopkg", {"my_models": "twopkg:Nothing"}, twopkg="1 / 0")
    runs.write(
        test_it="""
        import pytest

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.mark.parametrize("my_models_client", ["a"], indirect=True)
        async def test_client(my_models_client): ...

        async def test_provider(my_models_provider): ...

        async def test_named(model_providers):
            handle = await model_providers["my-models"].setup("a")
            await handle.teardown()

        class TestOwn:
            @pytest.fixture
            def my_models_client(self):
                return "mine"

            def test_own(self, my_models_client):
                assert my_models_client == "mine"
        """
    )
    result = runs.run()
    assert_clean(result, passed=2, errors=2)
    both = "'my-models' of onepkg 1.0 and 'my_models' of twopkg 1.0. Say which one is meant:"
    result.stdout.fnmatch_lines_random(
        [
            f"my_models_client could be of several providers: {both}",
            '    @pytest.mark.parametrize("model_client", ?"my-models:a-model"?, indirect=True)',
            f"my_models_provider could be of several providers: {both}",
            '    model_providers?"my-models"?',
        ]
    )


@pytest.mark.parametrize("name", ["4ai", "e\u0301"])
def test_a_role_cannot_be_called_as_the_fixture_of_a_provider(runs: Runs, name: str) -> None:
    """It is compared with what the fixture is called, not with the provider's name."""
    runs.install("oddpkg", {name: "echopkg:EchoProvider"})
    result = runs.run("--model", f"{fixture_word(name)}=echo:a")
    result.stderr.fnmatch_lines(["*call the role something else"])
