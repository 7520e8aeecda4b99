"""``TransformersProvider``: starts ``transformers serve``, and leases the models it serves."""

from __future__ import annotations

import re
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from ..servers._description.causes import Cause
from ..servers._description.readiness import HTTPReady
from ._served.causes import MODELS, TORCH
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServer, InstalledServerProvider
from ._served.options import Option, ServerOptions
from ._served.paths import local
from ._served.settings import InstalledServerSettings, ServerSettings
from ._served.values import JSON, FromZero, Share, Switch, Text


class TransformersOptions(InstalledServerSettings, total=False):
    """What `TransformersProvider` takes: the options of ``transformers serve``, in the order they are written in."""

    dtype: Annotated[Text, Option('The type of the weights, such as ``"bfloat16"``.')]
    device: Annotated[Text, Option('Where the model runs, such as ``"cuda:0"`` or ``"cpu"``.')]
    quantization: Annotated[Text, Option('``"bnb-4bit"`` or ``"bnb-8bit"``.')]
    attn_implementation: Annotated[Text, Option('How attention is computed, such as ``"flash_attention_2"``.')]
    continuous_batching: Annotated[Switch, Option("Whether requests are worked on together.")]
    cb_max_memory_percent: Annotated[
        Share, Option("How much of a GPU's memory that may take for its cache, as a part of 1.")
    ]
    default_seed: Annotated[FromZero, Option("The seed of random numbers.")]
    reasoning: Annotated[Text, Option('``"on"``, ``"off"`` or ``"auto"``.')]
    chat_template_kwargs: Annotated[JSON, Option("What the chat template is given.")]
    trust_remote_code: Annotated[Switch, Option("Whether code that comes with a model may run.")]
    log_level: Annotated[Text, Option('How much is printed, such as ``"info"``.')]


def _start(spec: str, python: Executable | None, executable: Executable | None) -> list[str]:
    module = ["transformers.cli.transformers", "serve"]
    return [*start_of(["transformers", "serve"], module, python=python, executable=executable), local(spec)]


CAUSES = (
    Cause(
        "module missing",
        "What 'transformers serve' needs besides transformers is missing: pip install transformers[serving] accelerate "
        "for the Python that the command uses.",
        re.compile(r"Missing dependencies for the serving CLI|requires? [`']?accelerate"),
    ),
    Cause(
        "attention not supported",
        "This implementation of attention cannot be used here: install what it needs, or pass another one as "
        'attn_implementation=, such as "sdpa".',
        re.compile(r"FlashAttention\d? has been toggled on, but it cannot be used|does not support an attention impl"),
    ),
    *TORCH,
    *MODELS,
)
"""What keeps ``transformers serve`` from starting; the first that fits is taken."""

SERVER = InstalledServer(
    kind="transformers",
    options=ServerOptions("transformers serve", TransformersOptions, {}, abbreviates=False),
    start=_start,
    install_hint=(
        "Install it with 'pip install transformers[serving] accelerate', "
        "or say with python=... in which environment it is"
    ),
    relevant_environment=("HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "OMP_"),
    causes=CAUSES,
)


@takes(TransformersOptions, ServerSettings)
class TransformersProvider(InstalledServerProvider):
    """Leases models of ``transformers serve`` servers that it starts.

    ::

        async with TransformersProvider(dtype="bfloat16") as provider:
            async with provider.setup("Qwen/Qwen3-0.6B") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. The options are those of ``transformers serve`` under the same names;
    `None` leaves one to it. ``setup(spec, **config)`` takes all of them up to `extra_args` for one model.

    This server knows no API key: whoever is on the machine can ask it.

    Args:
        extra_args: Other options, as on the command line: ``["--cb-block-size", "32"]``.
    """

    server = SERVER
    ready = HTTPReady("/health")

    def __init__(self, **settings: Unpack[TransformersOptions]) -> None:
        super().__init__(**settings)

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model: the server answers to no other name than the one it was started with."""
        return local(spec)
