"""doteval opens model clients and model servers once, leases them safely, and always tears them down.

The layers, lowest first; an import goes downward only::

    _chains                           what an exception leads back to
    _errors  _server_errors  _frames  what can go wrong, also with servers; the frames that are shown of it
    _explained  _context_managers     what is said of it; of an open() that is none
    _hooks_written                    and of other mistakes in what an author writes
    _secrets  _canonical  _spec       what nobody may see; what a user asks for, and when two ask for the same
    _writer  _forked                  a thread that writes to a database; what a forked child begins anew
    _unwritable                       why nothing can be written to a file
    _caller                           who calls, in which thread, and from which line
    _loop  _hold                      the event loop at home; an ``async with`` that a task of its own holds open
    _pool                             ledger (pure) -> resource (one task) -> pool
    _handle  _setup                   one lease, and what becomes one
    _provider  _runtime  _pooled      the contract, what a pooled provider runs on, the pooled base
    _messages  _model                 what a model is asked, and offers
    _model_request                    what each request has cost, told to whoever counts
    _replies                          a cache of what models replied
    servers                           processes; _unshared: what a forked child must not keep
        _description                  what a server is: command, readiness, failure; no I/O
        _slots                        slots and GPUs, shared with all processes of the user
        _local                        our side: launcher, connections, holds
        _supervisor                   the other process: standard library only, imports nothing of ours
    providers                         one file a provider
        _connections                  a pool of HTTP connections, for all that send by HTTP
        _sdk  _served                 what providers with an SDK share; what providers that start servers share
    _registry                         entry points, ModelProviders
    evals                             on the public API only, as the next two
        _identity  _running  _results what results depend on; asks models about rows; keeps and compares what came out
    testing  blocking
    _tables                           tables for people
    pytest_plugin                     fixtures, options, summary
        _evals                        what belongs to evaluations
    cli                               the command
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._errors import (
        CapacityDeadlockError,
        CapacityExceededError,
        CloseTimeoutError,
        ContextManagerError,
        DotevalError,
        ForkedProcessError,
        HandleInactiveError,
        MissingCredentialsError,
        ModelRequestError,
        ModelSetupError,
        ProviderClosedError,
        ProviderLoadError,
        ProviderNotEnteredError,
        QueueFullError,
        ReplyCacheError,
        SetupTimeoutError,
        SpecError,
        UnknownModelError,
        WrongEventLoopError,
    )
    from ._handle import ModelHandle
    from ._messages import Prompt, messages_of
    from ._model import ChatModel, Completion, CompletionStream, ToolCall, Usage
    from ._model_request import ModelRequest, counting_requests
    from ._pool.events import PoolEvent, ProviderStatistics
    from ._pool_options import PoolOptions
    from ._pooled import PooledProvider
    from ._provider import ModelProvider
    from ._registry import ModelProviders
    from ._replies.cache import CachedReplies, ReplyCache
    from ._server_errors import RuntimeDirectoryError, ServerLostError, ServerStartError, ServersUnsupportedError
    from ._setup import Setup
    from ._spec import ModelSpec
    from .evals import Result, foreach
    from .providers.anthropic import AnthropicProvider
    from .providers.command import CommandProvider
    from .providers.context import ContextProvider
    from .providers.http import HTTPProvider
    from .providers.llamacpp import LlamaCppProvider
    from .providers.ollama import OllamaProvider
    from .providers.openai import OpenAICompatibleProvider, OpenAIProvider
    from .providers.server import ServerProvider
    from .providers.sglang import SGLangProvider
    from .providers.transformers import TransformersProvider
    from .providers.vllm import VLLMProvider

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:  # else it is without those that need an SDK that is not installed
    __all__ = [
        "AnthropicProvider",
        "CachedReplies",
        "CapacityDeadlockError",
        "CapacityExceededError",
        "ChatModel",
        "CloseTimeoutError",
        "CommandProvider",
        "Completion",
        "CompletionStream",
        "ContextManagerError",
        "ContextProvider",
        "DotevalError",
        "ForkedProcessError",
        "HTTPProvider",
        "HandleInactiveError",
        "LlamaCppProvider",
        "MissingCredentialsError",
        "ModelHandle",
        "ModelProvider",
        "ModelProviders",
        "ModelRequest",
        "ModelRequestError",
        "ModelSetupError",
        "ModelSpec",
        "OllamaProvider",
        "OpenAICompatibleProvider",
        "OpenAIProvider",
        "PoolEvent",
        "PoolOptions",
        "PooledProvider",
        "Prompt",
        "ProviderClosedError",
        "ProviderLoadError",
        "ProviderNotEnteredError",
        "ProviderStatistics",
        "QueueFullError",
        "ReplyCache",
        "ReplyCacheError",
        "Result",
        "RuntimeDirectoryError",
        "SGLangProvider",
        "ServerLostError",
        "ServerProvider",
        "ServerStartError",
        "ServersUnsupportedError",
        "Setup",
        "SetupTimeoutError",
        "SpecError",
        "ToolCall",
        "TransformersProvider",
        "UnknownModelError",
        "Usage",
        "VLLMProvider",
        "WrongEventLoopError",
        "counting_requests",
        "foreach",
        "messages_of",
    ]

_SDKS = {"openai": "openai>=3", "anthropic": "anthropic>=2"}
"""What to install for the providers that need an SDK; as the extras have it."""
_NEED_NO_SDK = (".providers.command", ".providers.context", ".providers.http")

_HOME = {
    "AnthropicProvider": ".providers.anthropic",
    "CachedReplies": "._replies.cache",
    "CapacityDeadlockError": "._errors",
    "CapacityExceededError": "._errors",
    "ChatModel": "._model",
    "CloseTimeoutError": "._errors",
    "CommandProvider": ".providers.command",
    "Completion": "._model",
    "CompletionStream": "._model",
    "ContextManagerError": "._errors",
    "ContextProvider": ".providers.context",
    "DotevalError": "._errors",
    "ForkedProcessError": "._errors",
    "HTTPProvider": ".providers.http",
    "HandleInactiveError": "._errors",
    "LlamaCppProvider": ".providers.llamacpp",
    "MissingCredentialsError": "._errors",
    "ModelHandle": "._handle",
    "ModelProvider": "._provider",
    "ModelProviders": "._registry",
    "ModelRequest": "._model_request",
    "ModelRequestError": "._errors",
    "ModelSetupError": "._errors",
    "ModelSpec": "._spec",
    "OllamaProvider": ".providers.ollama",
    "OpenAICompatibleProvider": ".providers.openai",
    "OpenAIProvider": ".providers.openai",
    "PoolEvent": "._pool.events",
    "PoolOptions": "._pool_options",
    "PooledProvider": "._pooled",
    "Prompt": "._messages",
    "ProviderClosedError": "._errors",
    "ProviderLoadError": "._errors",
    "ProviderNotEnteredError": "._errors",
    "QueueFullError": "._errors",
    "ProviderStatistics": "._pool.events",
    "ReplyCache": "._replies.cache",
    "ReplyCacheError": "._errors",
    "Result": ".evals",
    "RuntimeDirectoryError": "._server_errors",
    "SGLangProvider": ".providers.sglang",
    "ServerLostError": "._server_errors",
    "ServerProvider": ".providers.server",
    "ServerStartError": "._server_errors",
    "ServersUnsupportedError": "._server_errors",
    "Setup": "._setup",
    "SetupTimeoutError": "._errors",
    "SpecError": "._errors",
    "ToolCall": "._model",
    "TransformersProvider": ".providers.transformers",
    "UnknownModelError": "._errors",
    "Usage": "._model",
    "VLLMProvider": ".providers.vllm",
    "WrongEventLoopError": "._errors",
    "counting_requests": "._model_request",
    "foreach": ".evals",
    "messages_of": "._messages",
}
"""Where each public name is defined. All of it is imported when it is first used: importing doteval costs nothing."""


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name == "__all__":
        return sorted(filter(_is_there, _HOME))
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(home, __name__)
    except ModuleNotFoundError as exc:
        sdk = exc.name or ""
        if sdk not in _SDKS:
            raise
        raise ImportError(f"{name} needs the package {sdk}: pip install '{_SDKS[sdk]}'", name=sdk) from exc
    value: object = getattr(module, name)
    if isinstance(value, type):
        value.__module__ = __name__
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *filter(_is_there, _HOME)})


def _is_there(name: str) -> bool:
    """Whether a public name can be imported, so that what looks at all of them can: ``import *``, `help`, `inspect`."""
    from importlib.util import find_spec  # noqa: PLC0415 - who only imports doteval does without

    home = _HOME[name]
    if not home.startswith(".providers.") or home in _NEED_NO_SDK:
        return True
    return find_spec("anthropic" if home == ".providers.anthropic" else "openai") is not None
