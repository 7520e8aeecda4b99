"""``TransformersProvider``: starts ``transformers serve``, and leases the models it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import Option, ServerOptions, json_object, local, share, switch, text, whole
from ._served.settings import ServerSettings

OPTIONS = ServerOptions(
    "transformers serve",
    [
        Option("dtype", ("--dtype",), text),
        Option("device", ("--device",), text),
        Option("quantization", ("--quantization",), text),
        Option("attn_implementation", ("--attn-implementation",), text),
        Option("continuous_batching", ("--continuous-batching",), switch),
        Option("cb_max_memory_percent", ("--cb-max-memory-percent",), share),
        Option("default_seed", ("--default-seed",), whole(0)),
        Option("reasoning", ("--reasoning",), text),
        Option("chat_template_kwargs", ("--chat-template-kwargs",), json_object),
        Option("trust_remote_code", ("--trust-remote-code",), switch),
        Option("log_level", ("--log-level",), text),
    ],
    {
        "--host": "doteval chooses where the server listens",
        "--port": "doteval chooses a free port; pass port=... to choose it",
    },
    abbreviates=False,
)


def transformers_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with transformers. The server knows no API key.

    Args:
        spec: The model: its name on the hub, or a directory.
        python: The Python that has transformers installed.
        executable: The ``transformers`` command.
        extra_args: Options that have no keyword argument.
        settings: Those that have one, see `TransformersProvider`.

    Raises:
        SpecError: `spec` cannot name a model.
        ValueError: An option cannot be meant.
        TypeError: There is no such keyword argument.
    """
    check_spec(spec)
    start = start_of(
        ["transformers", "serve"],
        ["transformers.cli.transformers", "serve"],
        python=python,
        executable=executable,
    )
    return ServerCommand(
        kind="transformers",
        spec=spec,
        argv=(
            *start,
            transformers_model_name(spec),
            *("--host", "{host}", "--port", "{port}"),
            *OPTIONS.arguments(settings, extra_args),
        ),
        install_hint=(
            "Install it with 'pip install transformers[serving] accelerate', "
            "or say with python=... in which environment it is"
        ),
        relevant_environment=("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "OMP_"),
    )


def transformers_model_name(spec: str) -> str:
    """The name of the model in requests: the server answers to no other than the one it was started with."""
    return local(spec)


class TransformersProvider(InstalledServerProvider):
    """Leases models of ``transformers serve`` servers that it starts.

    ::

        async with TransformersProvider(dtype="bfloat16") as provider:
            async with await provider.setup("Qwen/Qwen3-0.6B") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. The options are those of ``transformers serve`` under the same names;
    `None` leaves one to it. ``setup(spec, **config)`` takes all of them up to `extra_args` for one model.

    This server knows no API key: whoever is on the machine can ask it.

    Args:
        python: The Python that has transformers installed. `None`: this one, if it has; else the command
            ``transformers`` is looked up.
        executable: The command ``transformers``, by its path.
        dtype: The type of the weights, such as ``"bfloat16"``.
        device: Where the model runs, such as ``"cuda:0"`` or ``"cpu"``.
        quantization: ``"bnb-4bit"`` or ``"bnb-8bit"``.
        attn_implementation: How attention is computed, such as ``"flash_attention_2"``.
        continuous_batching: Whether requests are worked on together.
        cb_max_memory_percent: How much of a GPU's memory that may take for its cache, as a part of 1.
        default_seed: The seed of random numbers.
        reasoning: ``"on"``, ``"off"`` or ``"auto"``.
        chat_template_kwargs: What the chat template is given.
        trust_remote_code: Whether code that comes with a model may run.
        log_level: How much is printed, such as ``"info"``.
        extra_args: Other options, as on the command line: ``["--cb-block-size", "32"]``.
        settings: What every provider of servers takes, see `ServerProvider`: ``gpus``, ``capacity``, ``share``,
            ``server_keep_alive``, ``start_timeout``, ``stall_timeout``, ``environment``, ``restarts``,
            ``max_concurrency``, ``params``, ``timeout`` and others.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    def __init__(
        self,
        *,
        python: Executable | None = None,
        executable: Executable | None = None,
        dtype: str | None = None,
        device: str | None = None,
        quantization: str | None = None,
        attn_implementation: str | None = None,
        continuous_batching: bool | None = None,
        cb_max_memory_percent: float | None = None,
        default_seed: int | None = None,
        reasoning: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool | None = None,
        log_level: str | None = None,
        extra_args: Sequence[str] = (),
        **settings: Unpack[ServerSettings],
    ) -> None:
        super().__init__(
            HTTPReady("/health"),
            {
                "python": python,
                "executable": executable,
                "dtype": dtype,
                "device": device,
                "quantization": quantization,
                "attn_implementation": attn_implementation,
                "continuous_batching": continuous_batching,
                "cb_max_memory_percent": cb_max_memory_percent,
                "default_seed": default_seed,
                "reasoning": reasoning,
                "chat_template_kwargs": chat_template_kwargs,
                "trust_remote_code": trust_remote_code,
                "log_level": log_level,
                "extra_args": extra_args,
            },
            **settings,
        )

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return transformers_model_name(spec)

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        return transformers_command(spec, **options)
