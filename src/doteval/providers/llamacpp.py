"""``LlamaCppProvider``: starts a server of llama.cpp, and leases the models it serves.

There are two: ``llama-server``, llama.cpp's own, and ``python -m llama_cpp.server`` of the package llama-cpp-python.
They have much the same options under different names; the keyword arguments are those of the first.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from typing_extensions import Unpack

from .._keywords import takes
from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, is_importable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    API_KEY,
    CONFIG_FILE,
    PLAIN_HTTP,
    SPEC,
    Option,
    ServerOptions,
    Values,
    file,
    is_path,
    json_object,
    local,
    on_or_off,
    shares,
    text,
    whole,
    yes_or_no,
)
from ._served.settings import InstalledServerSettings, ServerSettings

_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class LlamaOption(Option):
    """An option of ``llama-server``, and what it is for llama-cpp-python.

    Args:
        values: As for every option.
        doc: The same.
        also: The same.
        python: What llama-cpp-python calls it; `None`: it does not have it.
        python_values: What it writes for a value, where that is something else.
    """

    def __init__(
        self,
        values: Callable[[Any], Values],
        doc: str,
        *also: str,
        python: str | None = None,
        python_values: Callable[[Any], Values] | None = None,
    ) -> None:
        super().__init__(values, doc, *also)
        self._in_python = None if python is None else Option(python_values or values, doc, flag=python)

    def in_python(self) -> Option | None:
        """The option of llama-cpp-python."""
        return self._in_python


def _layers(all_of_them: str) -> Callable[[object], Values]:
    """A number of layers, or all of them, in the server's words."""

    def values(value: object) -> Values:
        if value == "all":
            return [all_of_them]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError("must be a whole number of at least 0, or 'all'")
        return [str(value)]

    return values


def _joined_shares(value: object) -> Values:
    return [",".join(shares(value))]


class LlamaCppOptions(InstalledServerSettings, total=False):
    """What `LlamaCppProvider` takes: the options of ``llama-server``, in the order in which they are written."""

    alias: Annotated[
        str | None, LlamaOption(text, "What requests call the model. `None`: the spec.", "-a", python="--model_alias")
    ]
    ctx_size: Annotated[
        int | None,
        LlamaOption(whole(0), "The context length, in tokens; 0: that of the model.", "-c", python="--n_ctx"),
    ]
    parallel: Annotated[
        int | None,
        LlamaOption(
            whole(),
            "How many requests are worked on at once; they share the context. Only ``llama-server`` has it.",
            "-np",
        ),
    ]
    batch_size: Annotated[
        int | None, LlamaOption(whole(), "How many tokens of a prompt are worked on at once.", "-b", python="--n_batch")
    ]
    threads: Annotated[int | None, LlamaOption(whole(), "How many threads generate.", "-t", python="--n_threads")]
    gpu_layers: Annotated[
        int | Literal["all"] | None,
        LlamaOption(
            _layers("all"),
            'How many layers are put on the GPU, or ``"all"``.',
            "--n-gpu-layers",
            "-ngl",
            python="--n_gpu_layers",
            python_values=_layers("-1"),
        ),
    ]
    tensor_split: Annotated[
        Sequence[float] | None,
        LlamaOption(
            _joined_shares,
            "In which proportion the model is put on several GPUs; a server needs as many slots as there are numbers, otherwise one.",
            "-ts",
            python="--tensor_split",
            python_values=shares,
        ),
    ]
    flash_attn: Annotated[
        bool | None,
        LlamaOption(
            on_or_off, "Whether flash attention is used.", "-fa", python="--flash_attn", python_values=yes_or_no
        ),
    ]
    seed: Annotated[int | None, LlamaOption(whole(0), "The seed of random numbers.", "-s", python="--seed")]
    chat_template: Annotated[
        str | None,
        LlamaOption(
            text, "The name of a chat template; llama-cpp-python calls it the chat format.", python="--chat_format"
        ),
    ]
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None,
        LlamaOption(json_object, "What the chat template is given.", python="--chat_template_kwargs"),
    ]
    lora: Annotated[
        str | os.PathLike[str] | None, LlamaOption(file, "The file of a LoRA adapter.", python="--lora_path")
    ]
    mmproj: Annotated[
        str | os.PathLike[str] | None,
        LlamaOption(file, "The file of a multimodal projector.", "-mm", python="--clip_model_path"),
    ]


_CHOSEN = {"--api-key": API_KEY, "--model": SPEC, "-m": SPEC}
_FROM_HUB = "the model is the spec, such as 'user/model:Q4_K_M'"
_DOWNLOADED = "the model is the spec: download it and give its path"
_ONE_MODEL = "one server serves one model, the spec"

NATIVE = ServerOptions(
    "llama-server",
    LlamaCppOptions,
    {
        **_CHOSEN,
        "--api-key-file": API_KEY,
        "--hf-repo": _FROM_HUB,
        "-hf": _FROM_HUB,
        "-hfr": _FROM_HUB,
        "--model-url": _DOWNLOADED,
        "-mu": _DOWNLOADED,
        "--models-dir": _ONE_MODEL,
        "--models-preset": _ONE_MODEL,
        "--api-prefix": "doteval asks at /v1",
        "--ssl-key-file": PLAIN_HTTP,
        "--ssl-cert-file": PLAIN_HTTP,
    },
    abbreviates=False,
)

PYTHON = ServerOptions(
    "llama_cpp.server",
    LlamaCppOptions,
    {**_CHOSEN, "--config_file": CONFIG_FILE, "--ssl_keyfile": PLAIN_HTTP, "--ssl_certfile": PLAIN_HTTP},
    abbreviates=True,
    option=LlamaOption.in_python,
)


def llamacpp_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with llama.cpp; takes what `LlamaCppProvider` takes for it."""
    check_spec(spec)
    if python is None and (executable is not None or shutil.which("llama-server") or not is_importable("llama_cpp")):
        return _native_command(spec, executable, extra_args, settings)
    return _python_command(spec, python, executable, extra_args, settings)


def _native_command(
    spec: str, executable: Executable | None, extra_args: Sequence[str], settings: Mapping[str, Any]
) -> ServerCommand:
    """The key goes into ``LLAMA_API_KEY``; of it, the server prints the last four characters."""
    start = start_of(["llama-server"], ["llama_cpp"], executable=executable or "llama-server")
    return ServerCommand(
        kind="llamacpp",
        spec=spec,
        argv=(
            *start,
            *(("-hf", spec) if _is_on_hub(spec) else ("-m", local(spec))),
            *("--host", "{host}", "--port", "{port}"),
            *NATIVE.arguments({**settings, "alias": settings.get("alias") or spec}, extra_args),
        ),
        secret_environment={"LLAMA_API_KEY": "{api_key}"},
        install_hint=(
            "Install llama.cpp (its releases have llama-server; so has 'brew install llama.cpp'), "
            "or 'pip install llama-cpp-python[server]'; with executable=... or python=... say where it is"
        ),
        relevant_environment=("LLAMA_", "GGML_", "HF_"),
    )


def _python_command(
    spec: str,
    python: Executable | None,
    executable: Executable | None,
    extra_args: Sequence[str],
    settings: Mapping[str, Any],
) -> ServerCommand:
    """The key goes into ``API_KEY``.

    This server believes ``HOST``, ``PORT`` and ``CONFIG_FILE`` of the environment more than its command line, so the
    first two are set and the third is taken away. It also breaks off a stream as soon as there is another request,
    which several clients at a time cannot live with.
    """
    start = start_of(["llama_cpp.server"], ["llama_cpp.server"], python=python, executable=executable)
    if "CONFIG_FILE" in os.environ:
        start = ["env", "-u", "CONFIG_FILE", *start]
    if _is_on_hub(spec):
        repository, _, quantisation = spec.partition(":")
        model = ["--hf_model_repo_id", repository, "--model", f"*{quantisation}.gguf"]
    else:
        model = ["--model", local(spec)]
    return ServerCommand(
        kind="llamacpp",
        spec=spec,
        argv=(
            *start,
            *model,
            *("--host", "{host}", "--port", "{port}"),
            *("--interrupt_requests", "false"),
            *PYTHON.arguments({**settings, "alias": settings.get("alias") or spec}, extra_args),
        ),
        environment={"HOST": "{host}", "PORT": "{port}"},
        secret_environment={"API_KEY": "{api_key}"},
        install_hint=(
            "Install it with 'pip install llama-cpp-python[server]', or say with python=... in which environment it is"
        ),
        relevant_environment=("LLAMA_", "GGML_", "HF_"),
    )


def _is_on_hub(spec: str) -> bool:
    return not is_path(spec) and not spec.endswith(".gguf") and _HUB.fullmatch(spec) is not None


@takes(LlamaCppOptions, ServerSettings)
class LlamaCppProvider(InstalledServerProvider):
    """Leases models of llama.cpp servers that it starts.

    ::

        async with LlamaCppProvider(ctx_size=4096) as provider:
            async with await provider.setup("models/tiny-llama.gguf") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a ``.gguf`` file, or a repository of the hub such as ``"user/model-GGUF:Q4_K_M"``. The options are those
    of ``llama-server``; `None` leaves one to it. ``setup(spec, **config)`` takes all of them up to `extra_args` for one
    model.

    Args:
        python: A Python that has llama-cpp-python installed, whose server is used then. `None`: ``llama-server`` where
            it is on ``PATH``; else llama-cpp-python, if this Python has it.
        executable: A ``llama-server``, by its path.
        extra_args: Other options, as on the command line of the server that is used: ``["--no-mmap"]``.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    server_options = NATIVE
    make_command = staticmethod(llamacpp_command)
    name_option = "alias"
    ready = HTTPReady("/v1/models", with_api_key=True)  # what both servers have; /health is only one's

    def __init__(self, **options: Unpack[LlamaCppOptions]) -> None:
        super().__init__(**options)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """As many as there are GPUs to split the model over."""
        split = self._merged(config).get("tensor_split")
        return 1 if split is None else len(shares(split))
