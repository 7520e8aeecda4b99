"""``TransformersProvider``: starts ``transformers serve``, and leases the models it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import Option, ServerOptions, json_object, local, share, switch, text, whole
from ._served.settings import InstalledServerSettings, ServerSettings


class TransformersOptions(InstalledServerSettings, total=False):
    """What `TransformersProvider` takes: the options of ``transformers serve``, in the order in which they are written."""

    dtype: Annotated[str | None, Option(text, 'The type of the weights, such as ``"bfloat16"``.')]
    device: Annotated[str | None, Option(text, 'Where the model runs, such as ``"cuda:0"`` or ``"cpu"``.')]
    quantization: Annotated[str | None, Option(text, '``"bnb-4bit"`` or ``"bnb-8bit"``.')]
    attn_implementation: Annotated[
        str | None, Option(text, 'How attention is computed, such as ``"flash_attention_2"``.')
    ]
    continuous_batching: Annotated[bool | None, Option(switch, "Whether requests are worked on together.")]
    cb_max_memory_percent: Annotated[
        float | None, Option(share, "How much of a GPU's memory that may take for its cache, as a part of 1.")
    ]
    default_seed: Annotated[int | None, Option(whole(0), "The seed of random numbers.")]
    reasoning: Annotated[str | None, Option(text, '``"on"``, ``"off"`` or ``"auto"``.')]
    chat_template_kwargs: Annotated[Mapping[str, Any] | None, Option(json_object, "What the chat template is given.")]
    trust_remote_code: Annotated[bool | None, Option(switch, "Whether code that comes with a model may run.")]
    log_level: Annotated[str | None, Option(text, 'How much is printed, such as ``"info"``.')]


OPTIONS = ServerOptions("transformers serve", TransformersOptions, {}, abbreviates=False)


def transformers_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with transformers; takes what `TransformersProvider` takes for it.

    The server knows no API key.
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
            local(spec),
            *("--host", "{host}", "--port", "{port}"),
            *OPTIONS.arguments(settings, extra_args),
        ),
        install_hint=(
            "Install it with 'pip install transformers[serving] accelerate', "
            "or say with python=... in which environment it is"
        ),
        relevant_environment=("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "OMP_"),
    )


@takes(TransformersOptions, ServerSettings)
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
        extra_args: Other options, as on the command line: ``["--cb-block-size", "32"]``.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    server_options = OPTIONS
    make_command = staticmethod(transformers_command)
    ready = HTTPReady("/health")

    def __init__(self, **options: Unpack[TransformersOptions]) -> None:
        super().__init__(**options)

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model: the server answers to no other name than the one it was started with."""
        return local(spec)
