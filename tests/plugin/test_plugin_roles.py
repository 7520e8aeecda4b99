"""``--model judge=SPEC``: a model for each role, leased by a fixture of that name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

from doteval.evals import Store

ONE_BACKEND = """
    import pytest

    pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""

JUDGED = """
    from doteval import foreach, Result

    @foreach("prompt", ["a", "b"])
    async def eval_judged(prompt, model_client, judge_client):
        return Result(await model_client.generate(prompt) + "; " + await judge_client.generate(prompt))

    @foreach("prompt", ["a"])
    async def eval_alone(prompt, model_client):
        return Result(await model_client.generate(prompt))
"""


def outputs(runs: Runs, experiment: str) -> dict[str, list[object]]:
    with Store(Path(runs.pytester.path, ".doteval", "results.db")) as store:
        return {
            stored.name: [record.output for record in store.records(stored)] for stored in store.evaluations(experiment)
        }


def test_several_models_have_one_judge(runs: Runs) -> None:
    """Tests run once for each model and keep their names; each role has a lease of its own, as each model has."""
    runs.write(eval_it=JUDGED)
    models = ["--model", "echo:one", "--model=echo:two", "--model", "judge=echo:three", "--model", "judge=echo:three"]
    result = runs.run(*models, "--eval-experiment", "it")
    assert_clean(result, passed=4)
    assert "no test asks" not in result.stdout.str()
    assert counts(result)["echo"] | {"reuses": 0} == {"opens": 3, "leases": 6, "reuses": 0, "failures": 0}
    assert outputs(runs, "it") == {
        f"eval_it.py::eval_judged[echo:{model}]": [
            f"{model} on asyncio: {prompt}; three on asyncio: {prompt}" for prompt in "ab"
        ]
        for model in ("one", "two")
    } | {f"eval_it.py::eval_alone[echo:{model}]": [f"{model} on asyncio: a"] for model in ("one", "two")}


def test_results_of_another_judge_are_not_taken_for_its_own(runs: Runs) -> None:
    """What does not ask for it stays; the message says which model has changed."""
    runs.write(eval_it=JUDGED)
    arguments = ["--model", "echo:one", "--eval-experiment", "it"]
    assert_clean(runs.run(*arguments, "--model", "judge=echo:three"), passed=2)
    result = runs.run(*arguments, "--model", "judge=echo:three")
    assert_clean(result, passed=2)
    assert "echo: " not in result.stdout.str()
    result = runs.run(*arguments, "--model", "judge=echo:four")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*the model of judge_client's spec was three, and is four: the results of *"])


def test_a_role_may_be_anything_and_tests_may_choose(runs: Runs) -> None:
    """Through a fixture, by a marker, by a fixture of one's own, in a test without a main model, on trio too."""
    runs.write(
        test_it="""
    import pytest

    @pytest.fixture
    def strict(critic_client):
        return critic_client.name.upper()

    def test_through_a_fixture(strict):
        assert strict == "C"

    @pytest.mark.anyio
    async def test_alone(critic_client):
        assert await critic_client.generate("x")

    @pytest.mark.parametrize("critic_client", ["echo:chosen"], indirect=True)
    def test_marker(critic_client):
        assert critic_client.name == "chosen"

    class TestOwn:
        @pytest.fixture
        def critic_client(self):
            return "its own"

        def test_own(self, critic_client):
            assert critic_client == "its own"
    """
    )
    result = runs.run("--model", "critic=echo:c")
    result.assert_outcomes(passed=2 * 3 + 1)


@pytest.mark.parametrize("loop", ["anyio", "asyncio", "trio"])
def test_fixtures_of_ours_are_never_what_has_changed(runs: Runs, loop: str) -> None:
    """In whatever event loop they are, another model of a role is all that is said; nor are they what results know."""
    runs.write(
        conftest="""
    import pytest

    @pytest.fixture
    def own():
        yield
    """,
        eval_it="""
    from doteval import foreach, Result

    @foreach("prompt", ["a"])
    async def eval_it(prompt, own, model_client, judge_client, echo_provider, model_providers):
        return Result(prompt)
    """,
    )
    arguments = ["--model", "echo:one", "--eval-experiment", "it"]
    plugins = "anyio doteval"
    if loop != "anyio":
        plugins += f" {loop}"
        arguments += ["-o", "asyncio_mode=auto" if loop == "asyncio" else "trio_mode=true"]
    if loop == "asyncio":
        arguments += ["-o", "asyncio_default_fixture_loop_scope=function"]
    assert_clean(runs.run(*arguments, "--model", "judge=echo:two", plugins=plugins), passed=1)
    result = runs.run(*arguments, "--model", "judge=echo:three", plugins=plugins)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the model of judge_client's spec was two, and is three: * are of something else."])
    with Store(Path(runs.pytester.path, ".doteval", "results.db")) as store:
        (stored,) = store.evaluations("it")
    assert [name for name in stored.identity if name.startswith("the fixture ")] == ["the fixture 'own'"]


@pytest.mark.parametrize("option", [[], ["--model", "jugde=echo:three"]], ids=["none", "misspelt"])
def test_a_role_without_a_model_says_how_it_gets_one(runs: Runs, option: list[str]) -> None:
    """And a role that nobody asks for is told; others' fixtures that are missing are pytest's to tell."""
    runs.write(
        eval_it=JUDGED,
        test_other="""
    def test_other(test_client): ...
    """,
    )
    result = runs.run("--model", "echo:one", *option)
    result.assert_outcomes(passed=1, failed=0, errors=2)
    text = result.stdout.str()
    assert "There is no fixture judge_client" in text
    assert "--doteval-model judge=SPEC" in text
    assert "fixture 'test_client' not found" in text
    assert "test_client=SPEC" not in text
    assert text.count("no test asks for jugde_client") == text.count("roles with a model are: jugde") == len(option) / 2


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["judge="], "*--doteval-model: *"),
        (["judge=echo:a", "judge=echo:b"], "*the role 'judge' has two models, echo:a and echo:b"),
        (["echo=echo:a"], "*but echo_client is a model of the provider 'echo'*"),
        (["openai=gpt-4o"], "*but openai_client is a model of the provider 'openai'*"),
    ],
)
def test_what_cannot_be_meant_is_refused(runs: Runs, models: list[str], told: str) -> None:
    """As a mistake on the command line."""
    runs.write(test_it="def test_it(): ...")
    result = runs.run(*(f"--model={model}" for model in models))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


def test_a_spec_may_have_an_equals_sign(runs: Runs) -> None:
    """Where what is in front of it is no name; and `model` is the role of `model_client`."""
    runs.write(
        test_it=ONE_BACKEND
        + """
    def test_it(model_client):
        assert model_client.name in ("a=b", "c")
    """
    )
    assert_clean(runs.run("--model", "echo:a=b", "--model", "model=echo:c"), passed=2)


def test_two_roles_may_have_the_same_model(runs: Runs) -> None:
    """It is opened once, and leased by each; an evaluation that loses it leases it again for each."""
    runs.write(
        eval_it="""
    from doteval import foreach, Result

    broken = []

    @foreach("prompt", ["a", "b"], concurrency=1)
    async def eval_it(prompt, model_client, judge_client):
        assert model_client is judge_client
        if not broken:
            broken.append(model_client)
            model_client.break_down()
            raise ConnectionError
        assert model_client.is_open
        return Result(await judge_client.generate(prompt))
    """
    )
    result = runs.run("--model", "echo:one", "--model", "judge=echo:one", strict=False)
    result.assert_outcomes(passed=1)
    assert counts(result)["echo"]["opens"] == 2


@pytest.mark.process
def test_workers_have_the_roles_too(runs: Runs) -> None:
    """Of pytest-xdist."""
    runs.write(eval_it=JUDGED)
    result = runs.run(
        "--model=echo:one", "--model=judge=echo:two", "-n", "2", plugins="anyio doteval xdist", strict=False
    )
    result.assert_outcomes(passed=2)
