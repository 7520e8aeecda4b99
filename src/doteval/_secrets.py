"""Secrets: which values are, by their names, and texts without them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import is_not
from typing import Any, cast
from urllib.parse import quote, unquote

from ._chains import all_behind
from ._printed import in_a_line, text_of

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_PARAMETER = re.compile(r"""(?<=[?&])([\w.%-]+)=([^&#\s"'<>]+)""")
"""One of the query of a URL."""
_SIGNATURES = re.compile(r"(^|-)sig(nature)?$", re.IGNORECASE)
"""What such a parameter is called, too, where a URL is valid for whoever has it."""
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CREDENTIAL = re.compile(
    r"(api[-_]?key|access[-_]?key|secret([-_]key)?|passw(or)?d|(access|auth|hf)[-_]?token|authorization|cookie)$",
    re.IGNORECASE,
)
"""What says only who asks, and nothing of what is asked, whatever stands before it."""
_SECRET_NAME = re.compile(
    r"(passwords?|passphrase|passcode|pwd)$"
    r"|(^|_)(key|token|secrets?|auth|bearer|cookies?|credentials?|headers|pass|pat|jwt|dsn|t?otp|conn(ection)?_?str(ing)?"
    r"|(api|access)_?keys|(api|access|auth)_?tokens|(api|access|auth|client|private|refresh|secret|session)_?(key|token|secret))$",
    re.IGNORECASE,
)
"""What may be one by the words that its name ends with; a word that ends so, such as ``compass``, is another one."""
_DIRECTORIES = frozenset({"PWD", "OLDPWD"})
"""Variables of a shell."""
_HEADERS = re.compile(r"headers$", re.IGNORECASE)
_FIELDS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""What holds the fields of a schema, which describe values and are none."""
_EXAMPLES = frozenset({"default", "const", "enum", "example", "examples"})
"""What of a schema are values."""
_DEEPEST = 100
_SHORTEST_SECRET = 8
"""A shorter one is a placeholder, such as ``"x"``, and part of many words that have to be read."""
_SHORTEST_TOKEN = 20
"""What stands alone before the ``@`` of a URL is a user's name if it is shorter."""
_PLAIN = re.compile(r"[\w.~-]+", re.ASCII)
"""Written in the same way by everybody."""
_SMALLEST_SECRET, _LARGEST_SECRET = 10 ** (_SHORTEST_SECRET - 1), 10**100


class Secret(str):
    """A secret that no `repr` shows, as it is in local variables that error trackers send away."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def shielded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with each text that `secrets_of` finds in mappings, lists and tuples as a `Secret`."""
    return {name: _shielded(value, names_a_secret(name), 0) for name, value in values.items()}


def _shielded(value: Any, is_secret: bool, depth: int) -> Any:
    kind = cast("type[object]", type(value))
    if kind is str:
        return Secret(value) if is_secret else value
    if kind not in (dict, list, tuple) or depth == _DEEPEST:
        return value
    if kind is dict:
        fields = cast("dict[Any, Any]", value)
        clean = {key: _shielded(part, is_secret or names_a_secret(key), depth + 1) for key, part in fields.items()}
        return clean if any(clean[key] is not part for key, part in fields.items()) else fields
    parts = cast("Sequence[Any]", value)
    is_pair = len(parts) == 2 and names_a_secret(parts[0])
    hidden = [_shielded(part, is_secret or (is_pair and at == 1), depth + 1) for at, part in enumerate(parts)]
    return cast(Any, kind)(hidden) if any(map(is_not, hidden, parts)) else parts


def is_secret_name(name: str) -> bool:
    """Whether a configuration value of this name is to be kept from people's eyes."""
    if _CREDENTIAL.search(name) is not None:
        return True
    words = _WORD_BEGINS.sub("_", name.replace("-", "_"))
    return _SECRET_NAME.search(words) is not None and name not in _DIRECTORIES


def is_credential_name(name: str) -> bool:
    """Whether a value of this name says only who asks, so that it is no part of what an answer depends on."""
    return _CREDENTIAL.search(name) is not None


def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment holds a secret, however the words of its name are put together."""
    return is_secret_name(name) or name.upper().endswith(("KEY", "TOKEN"))


def names_a_secret(key: object) -> bool:
    """Whether the value under a key, or the other one of a pair, is to be kept from people's eyes."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    return isinstance(key, str) and is_secret_name(key)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """`text` without the secrets in URLs and without those that are given, but for those of a few characters.

    Nor are they in it as Python, JSON or a URL write them, without their blanks, or cut, before an ellipsis. How long
    one is, is counted without the blanks around it.
    """
    text = without_secrets_in_urls(text)
    texts = {each for secret in secrets for each in _texts_of(secret) if len(each.strip()) >= _SHORTEST_SECRET}
    for secret in sorted(texts, key=len, reverse=True):  # one that holds another before that
        if secret in secrets and not _PLAIN.fullmatch(secret):
            text = re.sub(_in_urls(secret), "***", text)
        for form in sorted(_forms_of(secret), key=len, reverse=True):
            text = text.replace(form, "***")
            if "…" in text:
                text = "…".join(_uncut(part, form) for part in text.split("…")[:-1]) + "…" + text.rpartition("…")[2]
    return text


def _texts_of(secret: str) -> set[str]:
    """A secret, also without the blanks around it, in one line, and each of its lines."""
    if _PLAIN.fullmatch(secret):
        return {secret}
    return {secret, secret.strip(), " ".join(secret.split()), *secret.splitlines()}


def _forms_of(text: str) -> set[str]:
    """A text as it may be printed: what is not plain is written in one way by each who quotes it."""
    if _PLAIN.fullmatch(text):
        return {text}
    encoded = text.encode("utf-8", "surrogatepass")
    return {
        *(text, repr(text)[1:-1], ascii(text)[1:-1], in_a_line(text), json.dumps(text)[1:-1]),
        *(json.dumps(text).replace("/", r"\/")[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]),
        *(quote(encoded), quote(encoded, safe=""), repr(encoded)[2:-1], encoded.decode("latin-1")),
        repr(text.encode("latin-1", "replace"))[2:-1],
    }


def _in_urls(secret: str) -> str:
    """A pattern of it as it is in a URL: each who writes one leaves other characters as they are."""
    return "".join(map(_in_url, secret.strip()))


def _in_url(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return re.escape(character)
    encoded = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return f"(?:{re.escape(character)}|(?i:{encoded}){'|[+]' if character == ' ' else ''})"


def _uncut(before: str, secret: str) -> str:
    """What is before an ellipsis, without what a secret begins with."""
    longest = range(min(len(secret) - 1, len(before)), _SHORTEST_SECRET - 1, -1)
    return next((f"{before[:-n]}***" for n in longest if before.endswith(secret[:n])), before)


def without_secrets_in_urls(text: str) -> str:
    """`text` without the user information of URLs, and without what in their queries has the name of a secret."""
    if "://" in text:
        text = _USERINFO.sub("***@", text)
    return _PARAMETER.sub(_shown_parameter, text) if "=" in text else text


def secrets_in_urls(text: str) -> set[str]:
    """What `without_secrets_in_urls` takes out, as it may be printed elsewhere: alone, and as it is meant."""
    found: set[str] = set()
    for user in _USERINFO.findall(text) if "://" in text else ():
        name, _, password = user.rstrip("@").partition(":")
        found |= {f"//{user}", password or (name if len(name) >= _SHORTEST_TOKEN else "")}
    found |= {value for name, value in _PARAMETER.findall(text) if _names_a_parameter(name)} if "=" in text else set()
    return (found | set(map(unquote, found))) - {""}


def _shown_parameter(found: re.Match[str]) -> str:
    name = found[1]
    return f"{name}=***" if _names_a_parameter(name) else found[0]


def _names_a_parameter(name: str) -> bool:
    return is_secret_name(name) or _SIGNATURES.search(name) is not None


def masked_values(values: Mapping[str, object]) -> dict[str, Any]:
    """Values for people's eyes: of what has the name of a secret, nothing, whatever it is.

    Headers are told apart by their own names, and so are pairs in a list. A field of a schema may be called like a
    secret: what describes it is shown, and its default is not.
    """
    return {name: _shown(name, value, 0) for name, value in values.items()}


def _shown(name: object, value: object, depth: int, *, are_fields: bool = False) -> Any:
    is_secret = names_a_secret(name)
    if value is None or isinstance(value, bool):
        return value
    if depth == _DEEPEST:  # it may hold itself
        return "***"
    are_headers = isinstance(name, str) and _HEADERS.search(name) is not None
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        if is_secret and are_fields:
            return {
                key: "***" if key in _EXAMPLES else _shown(key, held, depth + 1, are_fields=key in _FIELDS)
                for key, held in fields.items()
            }
        if is_secret and not are_headers:
            return "***"
        within = name in _FIELDS
        return {key: _shown(key, held, depth + 1, are_fields=within) for key, held in fields.items()}
    if is_secret and not (are_headers and isinstance(value, (list, tuple))):
        return "***"
    if isinstance(value, (list, tuple)):
        return [_shown_in_list(held, depth + 1) for held in cast("Sequence[object]", value)]
    if hasattr(value, "get_secret_value"):  # of pydantic, which shows it to nobody
        return "***"
    return without_secrets_in_urls(value) if isinstance(value, str) else value


def _shown_in_list(value: Any, depth: int) -> Any:
    held: object = value
    pair = cast("Sequence[object]", held) if isinstance(held, (list, tuple)) else ()
    if len(pair) == 2 and names_a_secret(pair[0]):
        return [pair[0], "***"]
    return _shown("", value, depth)


def mask_exception(exc: BaseException, secrets: Collection[str]) -> None:
    """Take secrets out of what an exception says, and those that led to it, as they are shown with it."""
    for link in all_behind(exc):
        members = link.args[1:] if isinstance(link, BaseExceptionGroup) else ()
        said = link.args[: len(link.args) - len(members)]
        texts = [text_of(argument) for argument in said]
        clean = [masked(text, secrets) for text in texts]
        if clean != texts:
            link.args = (*clean, *members)


def secrets_of(config: Mapping[str, object]) -> set[str]:
    """The values in `config`, at any depth, that messages must not show: what has the name of a secret.

    That is texts, bytes and numbers. A name is a key, or the first of a pair, as headers are often given.
    """
    found: set[str] = set()
    left: list[tuple[object, bool]] = [(config, False)]
    seen: set[int] = set()
    while left:
        value, is_secret = left.pop()
        if isinstance(value, (str, bytes, bytearray, int)):
            if is_secret:
                found |= _as_shown(value)
        elif id(value) not in seen:
            seen.add(id(value))
            left += ((part, is_secret or named) for part, named in _parts(value))
    return found - {""}


def _parts(value: object) -> Iterator[tuple[object, bool]]:
    """What a value is made of, each with whether its name is that of a secret."""
    if hasattr(value, "get_secret_value"):  # of pydantic, which shows it to nobody
        yield cast(Any, value).get_secret_value(), True
    elif isinstance(value, Mapping):
        for key, part in cast("Mapping[object, object]", value).items():
            yield part, names_a_secret(key)
    elif isinstance(value, (list, tuple, AbstractSet)):
        parts = list(cast("Collection[object]", value))
        is_pair = isinstance(value, (list, tuple)) and len(parts) == 2 and names_a_secret(parts[0])
        for part in parts[is_pair:]:
            yield part, is_pair


def _as_shown(value: str | bytes | bytearray | int) -> set[str]:
    """A secret as a message may show it: bytes are shown with escapes where they are no text."""
    if isinstance(value, int):
        return {str(value)} if _SMALLEST_SECRET <= value < _LARGEST_SECRET else set()
    if isinstance(value, str):
        return {value}
    return {value.decode("utf-8", "replace"), repr(bytes(value))[2:-1]}
