"""Values that nobody may see: they count, and are neither shown nor kept; a provider's key does not count."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from doteval import OpenAIProvider, Result, foreach
from doteval.cli import main
from doteval.evals import EvaluationChangedError, run
from doteval.evals._identity import credentials
from doteval.evals._identity.walk import Walk


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "asyncio"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second for each guess is for those who guess."""
    assert credentials._ROUNDS >= 200_000
    monkeypatch.setattr(credentials, "_ROUNDS", 2)
    monkeypatch.setattr(credentials, "_slowly", credentials._slowly.__wrapped__)


ONE, OTHER = "swordfish-one", "hunter-two"
NAMES = (
    *("password", "passwd", "secret", "client_secret", "secret_key", "cookie", "authorization", "Authorization"),
    *("api_key", "x_api_key", "apikey", "X-Api-Key", "access_key", "access_token", "auth_token", "hf_token"),
)


class Plain:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


class Telling(Plain):
    def __doteval_identity__(self) -> Mapping[str, Any]:
        return vars(self)


class Hiding(pydantic.BaseModel):
    held: pydantic.SecretStr


def made(name: str, values: Mapping[str, Any]) -> Any:
    return dataclasses.make_dataclass("Made", [(name.replace("-", "_"), str)])(values[name])


HOLDERS: dict[str, Callable[[str, str], Any]] = {
    "mapping": lambda name, value: {name: value},
    "mapping in a list": lambda name, value: [{"headers": {name: value}}],
    "bytes": lambda name, value: {name: value.encode()},
    "attribute": lambda name, value: Plain(**{name: value}),
    "namespace": lambda name, value: types.SimpleNamespace(**{name: value}),
    "dataclass field": lambda name, value: made(name, {name: value}),
    "partial": lambda name, value: partial(print, **{name: value}),
    "what it says of itself": lambda name, value: Telling(**{name: value}),
    "SecretStr": lambda _name, value: pydantic.SecretStr(value),
    "SecretStr under a name": lambda name, value: {name: pydantic.SecretStr(value)},
    "SecretBytes": lambda _name, value: [pydantic.SecretBytes(value.encode())],
    "model": lambda _name, value: Hiding(held=pydantic.SecretStr(value)),
}


def function_of(name: str, value: object) -> Any:
    """One that reads it as a global."""
    scope: dict[str, Any] = {name: value, "Result": Result, "__name__": "theirs"}
    exec(f"async def eval_it(row, given=None): return Result(str({name}))", scope)
    return scope["eval_it"]


def closure_of(name: str, value: object) -> Any:
    scope: dict[str, Any] = {"Result": Result, "__name__": "theirs"}
    exec(
        f"def make({name}):\n async def eval_it(row, given=None): return Result(str({name}))\n return eval_it",
        scope,
    )
    return scope["make"](value)


def argument_of(name: str, _value: object) -> Any:
    scope: dict[str, Any] = {"Result": Result, "__name__": "theirs"}
    exec(f"async def eval_it(row, {name}): return Result(str({name}))", scope)
    return scope["eval_it"]


async def eval_given(row: str, given: Any) -> Result:
    return Result(row)


def kept_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


async def is_noticed(functions: tuple[Any, Any], arguments: tuple[dict[str, Any], dict[str, Any]], path: Path) -> None:
    """Another value is another result, and neither value is said, or kept where it could be read."""
    first, second = (foreach("row", ["a"])(function) for function in functions)
    where: dict[str, Any] = {"store": path / "results.db", "name": "it"}
    await run(first, **where, **arguments[0])
    assert (await run(first, **where, **arguments[0])).answered
    with pytest.raises(EvaluationChangedError) as caught:
        await run(second, **where, **arguments[1])
    assert "has changed" in str(caught.value)
    for value in (ONE, OTHER):
        assert value not in str(caught.value)
        assert value.encode() not in kept_in(path)


@pytest.mark.anyio
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", ["password", "x_api_key"])
async def test_another_value_is_noticed_and_neither_is_kept(name: str, holder: str, tmp_path: Path) -> None:
    """Whatever holds it in an argument of ``run``."""
    one, other = ({"given": HOLDERS[holder](name, value)} for value in (ONE, OTHER))
    await is_noticed((eval_given, eval_given), (one, other), tmp_path)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_name_counts_in_every_holder(name: str, holder: str) -> None:
    def found(value: str) -> Mapping[str, str]:
        walk = Walk()
        walk.add("it", HOLDERS[holder](name, value))
        return walk.parts

    assert found(ONE) == found(ONE) != found(OTHER)


@pytest.mark.anyio
@pytest.mark.parametrize("make", [function_of, closure_of, argument_of])
@pytest.mark.parametrize("name", ["password", "secret", "cookie", "authorization", "api_key", "x_api_key"])
async def test_what_code_reads_under_such_a_name_counts(name: str, make: Any, tmp_path: Path) -> None:
    """As a global, as a free variable, and as an argument of its own."""
    values: tuple[Any, Any] = (pydantic.SecretStr(ONE), pydantic.SecretStr(OTHER))  # the output does not say it either
    arguments = ({name: values[0]}, {name: values[1]}) if make is argument_of else ({}, {})
    await is_noticed((make(name, values[0]), make(name, values[1])), arguments, tmp_path)
    texts = make(name, ONE), make(name, OTHER)
    if make is not argument_of:
        assert Walk().digest(texts[0]) == Walk().digest(make(name, ONE)) != Walk().digest(texts[1])


def test_what_may_be_guessed_takes_long_to_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint with a credential in it is not the quick one of the same values."""
    quick: list[object] = []
    slow: list[object] = []
    monkeypatch.setattr("doteval.evals._identity.walk.digest_of", lambda told: quick.append(told) or "quick")
    monkeypatch.setattr("doteval.evals._identity.names.guarded_digest_of", lambda told: slow.append(told) or "slow")
    for value in ({"password": ONE}, pydantic.SecretStr(ONE), Plain(api_key=ONE)):
        Walk().digest(value)
    walk = Walk()
    walk.add("the argument 'password'", ONE)
    assert len(walk.parts) == 1
    assert ONE not in str(quick)
    assert len(slow) == 4  # of what is long, the fingerprint: who guesses needs as long


# ---------------------------------------------------------------- what does not count


@pytest.mark.parametrize(
    "make",
    [
        lambda key: OpenAIProvider(api_key=key),
        lambda key: openai.AsyncOpenAI(api_key=key),
        lambda key: Plain(client=openai.AsyncOpenAI(api_key=key)),
        lambda key: [OpenAIProvider(default_headers={"Authorization": key}, api_key=key)],
    ],
)
def test_the_key_of_a_provider_or_a_client_does_not_count(make: Any) -> None:
    """Who asks is not what is asked."""
    assert Walk().digest(make(ONE)) == Walk().digest(make(OTHER))


@pytest.mark.parametrize(
    "make",
    [
        lambda key: {"api_key": key},
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: Plain(api_key=key),
        lambda key: Plain(held=pydantic.SecretStr(key)),
        lambda key: function_of("API_KEY", key),
    ],
)
def test_a_key_that_the_environment_holds_does_not_count(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it matter whether it is there; one that the environment does not hold is another."""

    def found(key: str) -> str:
        monkeypatch.setenv("THEIR_API_KEY", key)
        return Walk().digest(make(key))

    one = found(ONE)
    assert one == found(OTHER)
    monkeypatch.delenv("THEIR_API_KEY")
    assert Walk().digest(make(ONE)) != one
    monkeypatch.setenv("THEIR_NAME", ONE)  # no name of a credential
    assert Walk().digest(make(ONE)) != one


def test_no_key_is_like_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only results are read, nobody needs it."""
    monkeypatch.setenv("THEIR_API_KEY", ONE)
    assert Walk().digest({"api_key": ONE}) == Walk().digest({"api_key": None}) != Walk().digest({"api_key": OTHER})


@pytest.mark.anyio
async def test_what_a_server_was_asked_with_is_not_kept_with_the_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clients tell the whole address, with all that is in it; so does what their errors were raised from."""
    path = tmp_path / "results.db"
    address = "https://me:swordfish-one@gateway.test/v1?api_key=hunter-two&q=1"

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        try:
            raise ConnectionError(f"{value}: {address}")
        except ConnectionError as exc:
            raise OSError(f"no reply from {address}") from exc

    outcome = await run(eval_it, store=path, name="it")
    (record,) = outcome.records
    assert "gateway.test/v1" in str(record.error)
    assert str(record.traceback).count("gateway.test/v1") >= 2
    main(["show", "it", "--failed", "--store", str(path)])
    told = f"{record}{capsys.readouterr()}{path.read_bytes()!r}"
    assert ONE not in told
    assert OTHER not in told
