"""A command line as it may be shown, and what in it looks like a secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from ..._secrets import is_secret_name, masked, secrets_in_urls

PLACEHOLDER = re.compile(r"\{(port|host|directory|api_key)\}")
"""What is filled in when a port is chosen."""
NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""What may be filled in at all."""

_OPTION = re.compile(r"--?[A-Za-z]")
_JSON_PAIR = re.compile(r"""(["'])([\w-]+)\1(\s*:\s*)(["'])(.*?)\4""")
_SEPARATOR = re.compile(r"=|:\s+")  # --api-key=…, HF_TOKEN=…, --env=HF_TOKEN=…, Authorization: …
_PLAIN = re.compile(r"[\w@%+=:,./-]*", re.ASCII)
_SHORTEST = 8
"""What only seems to be a secret is looked for elsewhere from this length on: a ``0`` or ``auto`` is all over a log."""


def shown(environment: Mapping[str, str], argv: Sequence[str], secrets: Iterable[str]) -> str:
    """A command as one would type it, without secrets.

    Args:
        environment: The variables in front of it.
        argv: The command and its arguments.
        secrets: What must not be shown, besides what looks like a secret.
    """
    secrets = frozenset(secrets)
    words = [
        f"{name}={_quoted('***' if is_secret_name(name) else masked(value, secrets))}"
        for name, value in environment.items()
    ]
    words += [_quoted(masked(argument, secrets)) for argument in _split(argv)[0]]
    return " ".join(words)


def with_values(words: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The words with the values in the place of their names in braces; what is in a value stays as it is."""
    return tuple(NAMED.sub(lambda found: values.get(found[1], found[0]), word) for word in words)


def _quoted(word: str) -> str:
    """Quoted for a shell, where needed; what is masked needs no quotes, as nobody can run it anyway."""
    rest = PLACEHOLDER.sub("", word.replace("***", ""))
    return word if word and _PLAIN.fullmatch(rest) else shlex.quote(word)


def likely_secrets(environment: Mapping[str, str], argv: Sequence[str]) -> set[str]:
    """What looks like a secret by its name, and is `distinctive`."""
    in_urls = {secret for text in argv for secret in secrets_in_urls(text)}
    return distinctive(sensitive(environment) | _split(argv)[1] | in_urls)


def sensitive(environment: Mapping[str, str]) -> set[str]:
    """The values of variables that have the name of a secret, and what is secret in the URLs of the others."""
    by_name = {value for name, value in environment.items() if is_secret_name(name)}
    return by_name.union(*map(secrets_in_urls, environment.values()))


def distinctive(secrets: Iterable[str]) -> set[str]:
    """Those that are long enough to be looked for elsewhere, and are no placeholders."""
    return {secret for secret in secrets if len(secret) >= _SHORTEST and not PLACEHOLDER.fullmatch(secret)}


def _split(argv: Sequence[str]) -> tuple[list[str], set[str]]:
    """The arguments without what looks like a secret, and what does: what follows an option with such a name."""
    shown: list[str] = []
    secrets: set[str] = set()
    after = 0  # how many values of a secret option have been met, plus one; 0 where there is no such option
    for argument in argv:
        if after and not (argument.startswith("--") or (after > 1 and _OPTION.match(argument))):
            secrets.add(argument)
            shown.append("***")
            after += 1
            continue
        after = int(_OPTION.match(argument) is not None and _is_secret(argument))
        visible = argument
        for separator in _SEPARATOR.finditer(argument):
            if _is_secret(argument[: separator.start()]):
                secrets.add(argument[separator.end() :])
                visible = argument[: separator.end()] + "***"
                break
        secrets.update(pair[4] for pair in _JSON_PAIR.findall(visible) if _is_secret(pair[1]))
        shown.append(_JSON_PAIR.sub(_without_secret, visible))
    return shown, secrets - {""}


def _without_secret(pair: re.Match[str]) -> str:
    quote, name, colon, value_quote, _ = pair.groups()
    return f"{quote}{name}{quote}{colon}{value_quote}***{value_quote}" if _is_secret(name) else pair[0]


def _is_secret(name: str) -> bool:
    """Whether a name is a secret's that ends so: ``--hf-token``, ``--env HF_TOKEN``, ``?api_key``."""
    last = re.search(r"[\w-]+$", name)
    return last is not None and is_secret_name(last[0].strip("-").replace("-", "_"))
