"""doteval opens model clients and model servers once, leases them safely, and always tears them down.

The layers, lowest first; an import goes downward only::

    _errors  _spec                    what can go wrong, what a user asks for
    _pool                             ledger (pure) -> resource (one task) -> pool
    _handle                           one lease
    _provider  _model                 the contract, the pooled base, what a model offers
    providers                         one file a provider
    _registry                         entry points, ModelProviders
    testing  blocking                 on the public API only
    pytest_plugin  cli
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._errors import (
    CapacityDeadlockError,
    CapacityExceededError,
    CloseTimeoutError,
    DotevalError,
    HandleInactiveError,
    MissingCredentialsError,
    ModelRequestError,
    ModelSetupError,
    ProviderClosedError,
    ProviderLoadError,
    ProviderNotEnteredError,
    SetupTimeoutError,
    SpecError,
    UnknownModelError,
    WrongEventLoopError,
)
from ._handle import ModelHandle
from ._pool._events import PoolEvent, ProviderStatistics
from ._provider import ModelProvider, PooledProvider
from ._spec import ModelSpec

if TYPE_CHECKING:
    from ._model import ChatModel, Completion, CompletionStream, Usage
    from ._registry import ModelProviders
    from .providers.anthropic import AnthropicProvider
    from .providers.context import ContextProvider
    from .providers.http import HTTPProvider
    from .providers.openai import OpenAICompatibleProvider, OpenAIProvider

__version__ = "0.1.0.dev0"

__all__ = [
    "AnthropicProvider",
    "CapacityDeadlockError",
    "CapacityExceededError",
    "ChatModel",
    "CloseTimeoutError",
    "Completion",
    "CompletionStream",
    "ContextProvider",
    "DotevalError",
    "HTTPProvider",
    "HandleInactiveError",
    "MissingCredentialsError",
    "ModelHandle",
    "ModelProvider",
    "ModelProviders",
    "ModelRequestError",
    "ModelSetupError",
    "ModelSpec",
    "OpenAICompatibleProvider",
    "OpenAIProvider",
    "PoolEvent",
    "PooledProvider",
    "ProviderClosedError",
    "ProviderLoadError",
    "ProviderNotEnteredError",
    "ProviderStatistics",
    "SetupTimeoutError",
    "SpecError",
    "UnknownModelError",
    "Usage",
    "WrongEventLoopError",
]

_LAZY = {
    "AnthropicProvider": ".providers.anthropic",
    "ChatModel": "._model",
    "Completion": "._model",
    "CompletionStream": "._model",
    "ContextProvider": ".providers.context",
    "HTTPProvider": ".providers.http",
    "ModelProviders": "._registry",
    "OpenAICompatibleProvider": ".providers.openai",
    "OpenAIProvider": ".providers.openai",
    "Usage": "._model",
}

for _name in __all__:
    if _name not in _LAZY:
        globals()[_name].__module__ = __name__
del _name


def __getattr__(name: str) -> object:
    """Import what needs an SDK, or is not needed by everybody, when it is asked for."""
    try:
        module = import_module(_LAZY[name], __name__)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
