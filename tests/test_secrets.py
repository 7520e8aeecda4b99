"""What counts as a secret is the same for all who show or keep something: messages, parameters, ids, stores."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from doteval import ModelRequest, ModelSetupError
from doteval._printed import in_a_line
from doteval._secrets import is_secret_name, masked, secrets_in_urls, secrets_of
from doteval._spec import resource_id
from doteval.evals._identity.walk import Walk
from doteval.servers._description.command_line import shown
from doteval.testing import FakeProvider

NUMBER = 8012345678
SECRET = f"sk-{NUMBER}"
NAMES = [
    *("api_key", "apiKey", "APIKey", "X-Api-Key", "api_keys", "AWS_SECRET_ACCESS_KEY", "private-key", "key"),
    *("token", "accessToken", "X-AuthToken", "HFToken", "x-authtoken", "id_token", "secret", "clientSecret", "secrets"),
    *(
        "password",
        "PASSWORD",
        "PGPASSWORD",
        "dbPassword",
        "passphrase",
        "Authorization",
        "proxy-authorization",
        "auth",
        "bearer",
    ),
    *("Cookie", "Set-Cookie", "credentials", "googleCredential", "session_cookie", "passcode", "passwords", "passwd"),
    *("pwd", "MYSQL_PWD", "SMTP_PWD", "dbPwd", "pgpwd", "pass", "DB_PASS", "smtpPass", "X-Pass", "pat", "GITHUB_PAT"),
    *("AZURE_PAT", "githubPat", "jwt", "id-jwt", "dsn", "SENTRY_DSN", "otp", "totp", "conn_str", "ConnectionString"),
    *("HFTOKEN", "OPENAIAPIKEY", "MYSECRET", "api_tokens", "authTokens", "access_tokens"),
]
OPEN = [
    *("max_tokens", "maxTokens", "max_completion_tokens", "tokens", "input_tokens", "token_count", "tokenizer"),
    *("keys", "sort_keys", "keyboard", "monkey", "author", "authority", "secretary", "keyword", "PWD", "bearers"),
    *("OLDPWD", "compass", "COMPASS", "bypass", "pass_rate", "passes", "passed", "passage", "path", "pattern", "spat"),
    *("patience", "pat_length", "compat", "format", "repeat", "jwts_seen", "dsn_count", "laptop", "option", "top"),
    *("connection", "conn", "string", "password_length", "pwd_length", "is_secretive"),
]
HOLDERS: dict[str, Callable[[str], Any]] = {
    "a text": lambda name: {name: SECRET},
    "a number": lambda name: {name: NUMBER},
    "bytes": lambda name: {name: SECRET.encode()},
    "a list": lambda name: {name: [SECRET]},
    "a mapping": lambda name: {name: {"value": SECRET}},
    "a list of mappings": lambda name: {name: [{"kind": {"of": SECRET}}]},
    "deeper": lambda name: {"extra_body": {"servers": [{"name": "a", name: SECRET}]}},
    "headers": lambda name: {"default_headers": {name: SECRET}},
    "pairs": lambda name: {"default_headers": [(name, SECRET)]},
    "lists of two": lambda name: {"extra": [[name, SECRET]]},
    "a default": lambda name: {"properties": {name: {"type": "string", "default": SECRET, "enum": [SECRET]}}},
}


def identity(config: Any) -> object:
    walk = Walk()
    walk.add_settings("the model", {"params": config, **config})
    return walk.parts


USERS: dict[str, Callable[[Any], object]] = {
    "parameters": lambda config: ModelRequest("m", [], config).open_params,
    "messages": lambda config: masked(f"it failed with {config}", secrets_of(config)),
    "ids": lambda config: resource_id("m", config),
    "identities": identity,
}


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
def test_a_secret_is_shown_to_nobody(user: Callable[[Any], object]) -> None:
    """Whatever it is called, and whatever holds it."""
    told = [
        (name, kind) for name in NAMES for kind, holder in HOLDERS.items() if str(NUMBER) in str(user(holder(name)))
    ]
    assert told == []


def test_what_is_no_secret_is_shown() -> None:
    """Counts of tokens, above all; and fields of a schema, whatever they are called."""
    assert [name for name in OPEN if is_secret_name(name)] == []
    for holder in (holder for kind, holder in HOLDERS.items() if kind not in ("headers", "pairs")):
        for name in OPEN:
            config = holder(name)
            assert str(NUMBER) in str(ModelRequest("m", [], config).open_params)
            assert secrets_of(config) == set()
    schema = {
        "type": "object",
        "properties": {"api_key": {"type": "string", "description": "the key"}, "token": {"$ref": "#/$defs/token"}},
        "required": ["api_key", "token"],
        "$defs": {"token": {"properties": {"password": {"type": "string"}}}},
    }
    params = {"tools": [{"function": {"parameters": schema}}], "max_tokens": 9, "extra_headers": {"X-Routing": "b"}}
    assert ModelRequest("m", [], params).open_params == params
    assert ModelRequest("m", [], {"token": None, "auth": False}).open_params == {"token": None, "auth": False}


@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_shown_without_secrets(name: str) -> None:
    """Wherever they stand: neither who asks, nor a key in the query, nor a signature."""
    for text in (
        f"GET https://me:{SECRET}@host/x",
        f"GET https://host/x?a=b&{name}={SECRET}&c=d#e",
        f"GET https://host/x?X-Amz-Signature={SECRET}",
        f'"GET /v1/models?{name}={SECRET} HTTP/1.1"',
    ):
        for found in (masked(text), ModelRequest("m", [], {"url": text, "all": [{"url": text}]}).open_params):
            assert SECRET not in str(found)
            assert "GET" in str(found)
        assert SECRET not in str(identity({"base_url": text}))
    assert masked(f"https://host/x?a=b&{name}={SECRET}&c=d#e") == f"https://host/x?a=b&{name}=***&c=d#e"
    assert shown({name: SECRET}, [], []).endswith("=***")


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("http://me:pass%40word@proxy:80", {"pass%40word", "pass@word", "//me:pass%40word@", "//me:pass@word@"}),
        ("postgres://me:pw@db/x", {"pw", "//me:pw@"}),
        ("https://me@host/x", {"//me@"}),
        ("https://ghp_0123456789abcdefghij@host/x", {"ghp_0123456789abcdefghij", "//ghp_0123456789abcdefghij@"}),
        ("https://host/x?api_key=abc&a=b&sig=d", {"abc", "d"}),
        ("https://host/x?a=b and me:pw@host", set()),
    ],
)
def test_what_is_secret_in_an_address_is_known_apart_from_it(text: str, secrets: set[str]) -> None:
    """As somebody who takes it apart may print it; the name of a user alone is none."""
    assert secrets_in_urls(text) == secrets
    assert not any(f"//{each}" in masked(text) for each in secrets)


def test_what_holds_itself_is_shown_as_far_as_it_goes() -> None:
    """And what has the name of a secret is looked into by nobody."""
    loop: dict[str, Any] = {"text": "a"}
    loop["again"] = [loop]
    loop["token"] = loop
    found = ModelRequest("m", [], loop).open_params
    assert (found["text"], found["token"]) == ("a", "***")
    assert found["again"][0]["again"][0]["text"] == "a"


@given(
    st.text(st.characters(exclude_categories=()), min_size=8, max_size=12),
    st.sampled_from(["", "/+==", "\n", "\r\n", "\0", " ", "'", '"', "\\", "é", "\udcff"]),
    st.integers(8, 500),
)
@settings(max_examples=150, deadline=None)
def test_a_secret_is_masked_however_it_is_written(text: str, end: str, cut: int) -> None:
    """By whoever quotes it: Python, JSON, a URL, a terminal; its lines, too, where it is cut, and what holds it."""
    secret = f"sk-{text}{end}"
    shown = {how: masked(text, {secret}) for how, text in written(secret, cut).items() if len(secret.strip()) >= 8}
    assert {how: text for how, text in shown.items() if "***" not in text} == {}
    assert masked("nothing of it is in here…", {secret}) == "nothing of it is in here…"
    whole = f'Server="é";\nPwd={secret};Key={NUMBER}/é'
    shown = {how: masked(text, {secret, whole}) for how, text in written(whole, cut).items()}
    assert {how: text for how, text in shown.items() if "Server" in text or f"{NUMBER}" in text} == {}


def written(secret: str, cut: int) -> dict[str, str]:
    """How it may be found in a text."""
    encoded = secret.encode("utf-8", "surrogatepass")
    return {
        "as it is": secret,
        "repr": repr(secret),
        "ascii": ascii(secret),
        "bytes": repr(encoded),
        "bytes of headers": repr(secret.encode("latin-1", "replace")),
        "mistaken bytes": encoded.decode("latin-1"),
        "JSON": json.dumps(secret),
        "JSON in UTF-8": json.dumps(secret, ensure_ascii=False),
        "a URL": quote(encoded),
        "its query": quote(encoded, safe=""),
        "a form": quote_plus(encoded),
        "a URL in lower case": re.sub("%..", lambda found: found[0].lower(), quote(encoded, safe="")),
        "a URL, as little as can be": quote(encoded, safe="!#$&'()*+,/:;=?@[]~"),
        "JSON of PHP": json.dumps(secret).replace("/", "\\/"),
        "a terminal": in_a_line(secret),
        "in one line": " ".join(f"a {secret} b".split()),
        "without blanks": f"({secret.strip()})",
        "cut": f"{secret[: max(8, min(cut, len(secret) - 1))]}…",
        "the query of a URL, cut": f"{quote(encoded, safe='')[: max(8, min(cut, len(secret) - 1))]}…",
    }


BLANKS = st.text(st.sampled_from(" \n\t\r\xa0"), max_size=12)


@given(st.text(st.sampled_from("ax/+é"), max_size=7), BLANKS, BLANKS)
@example("default", "", "\n")
@example("", " " * 8, "")
@settings(max_examples=100, deadline=None)
def test_a_placeholder_is_none_with_blanks_around_it_either(placeholder: str, before: str, after: str) -> None:
    """However many there are, as the line break of a file or the indentation of JSON: also as a line of a secret."""
    text = (
        f"a {placeholder} in a line:\n{placeholder}\n{before} {placeholder} {after}\n{placeholder}-{quote(placeholder)}"
    )
    line = f"{before}{placeholder}{after}"
    assert masked(text, {line}) == masked(text, {f"sk-{NUMBER}\n{line}"}) == text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "secrets", ["sk-abcdefghijkl", {"sk-abcdefghijkl"}, ["sk-abcdefghijkl"], ("other-secret", "sk-abcdefghijkl")]
)
async def test_what_a_provider_calls_its_secrets_is_in_no_message(secrets: Any) -> None:
    """One of them, or several."""

    class Telling(FakeProvider):
        def secrets(self) -> Any:
            return secrets

    async with Telling(open_failures={"m": OSError("sk-abcdefghijkl is no good")}) as provider:
        with pytest.raises(ModelSetupError) as failure:
            await provider.setup("m")
    assert "*** is no good" in str(failure.value)
