"""Why a server did not start, or died: from the facts to what a person reads. Nothing here looks at the world."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..._spec import masked

LINES = 50
"""How many of the last lines of output are shown."""

WIDTH = 400
"""How much of one line is shown, in characters: vLLM puts all the architectures it knows into one."""

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]"  # colours, titles
)
_TOKEN = re.compile(r"\b(?:hf_|sk-)[A-Za-z0-9_-]{16,}")
"""What is a key by its looks, wherever the server has it from."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause of a failure.

    Args:
        name: Its short name.
        advice: What to do, in a sentence or two; as in `re.Match.expand`, with the groups of the pattern.
        pattern: What the server prints then.
        any_time: Whether it can also end a server that was ready; the log of one has all sorts of lines.
    """

    name: str
    advice: str
    pattern: re.Pattern[str] | None = None
    any_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFailure:
    """What is known about a server that did not get ready, or that ended while it was used.

    Args:
        server: What it is, such as ``"vllm server of 'meta-llama/Llama-3.1-8B'"``.
        command: The command, without secrets.
        pid: Its process.
        code: Its exit code, if it exited.
        signal: The number of the signal that killed it, if one did.
        reason: Why it ended, as half a sentence; told where it left no exit code.
        killed_by_us: Whether that signal, or the exit, was asked for by doteval.
        lasted: How long it ran before it ended or was given up, in seconds.
        ready_after: How long it took to get ready, in seconds; `None` if it never did.
        timeout: The limit for getting ready that passed, in seconds.
        stall: The limit for being silent that passed, in seconds.
        awaited: What was waited for, as `Readiness.awaited` says it.
        condition_error: What the condition for being ready raised.
        missing: The `problem` of a `CommandMissingError`.
        tail: Its last lines of output.
        log: Where all of its output is.
        secrets: What must not be shown.
        install_hint: How to install the server.
    """

    server: str
    command: str = ""
    pid: int | None = None
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    killed_by_us: bool = False
    lasted: float | None = None
    ready_after: float | None = None
    timeout: float | None = None
    stall: float | None = None
    awaited: str = ""
    condition_error: str = ""
    missing: str = ""
    tail: Sequence[str] = ()
    log: str | os.PathLike[str] | None = None
    secrets: Collection[str] = ()
    install_hint: str = ""


PORT_TAKEN = "port taken"

CAUSES = (
    Cause(
        PORT_TAKEN,
        "Another process took the port just before the server did. Try again; where a fixed port is in the command, "
        "write {port} in its place and doteval chooses a free one.",
        re.compile(
            r"(?i:address already in use)|\[Errno (98|48)\]|EADDRINUSE|couldn't bind (HTTP )?(server )?socket"
            r"|port \d+ is (already )?in use"
        ),
    ),
    Cause(
        "unknown option",
        r"The installed version of the server does not know \g<option>: correct extra_args= or the keyword argument "
        "that stands for it, or install a version that knows it; the command with --help lists all.",
        re.compile(
            r"(?:unrecognized arguments?|[Nn]o such option|(?:unknown|invalid|unexpected) (?:argument|option)):?"
            r" ['\"`]?(?P<option>--?\w[\w-]*)"
        ),
    ),
    Cause(
        "wrong value of an option",
        r"The installed version of the server does not take this value of \g<option>: correct the keyword argument or "
        "extra_args=; the command with --help says what it takes.",
        re.compile(r"(?:error: argument |Invalid value for '|error while handling argument \")(?P<option>--?\w[\w-]*)"),
    ),
    Cause(
        "no access to the model",
        "The hub does not give out this model without permission. Accept its terms on its page, and set HF_TOKEN to a "
        "token of that account (or run 'hf auth login').",
        re.compile(
            r"access a gated repo\b|Cannot access gated repo|GatedRepoError|Access to model \S+ is restricted"
            r"|Invalid user token|Invalid credentials in Authorization header"
            r"|(?:403 Client Error|Client error '403)"
            r"|(?:401 Client Error|Client error '401)(?![\s\S]*(?:Repository Not Found|not a valid model identifier))"
        ),
    ),
    Cause(
        "hub unreachable",
        "The model is not in the local cache and the hub cannot be reached. Check the network, HF_HUB_OFFLINE and "
        "HF_ENDPOINT, or give the directory of a downloaded model as the spec.",
        re.compile(
            r"We couldn't connect to '?https?://|LocalEntryNotFoundError|OfflineModeIsEnabled|Cannot reach https?://"
            r"|cannot find the requested files in the (local|disk) cache"
            r"|Failed to resolve '|Temporary failure in name resolution|Name or service not known"
            r"|huggingface\.co.*(Max retries exceeded|timed out|Network is unreachable)"
        ),
    ),
    Cause(
        "unsupported model",
        "The installed version of the server does not know this kind of model. Install a newer version of it (and of "
        "transformers), or serve the model with another server.",
        re.compile(
            r"Model architectures .* are not supported|does not recognize this architecture"
            r"|unknown (model )?architecture|The checkpoint you are trying to load has model type"
            r"|Unrecognized model in |Unsupported architecture|has no vLLM implementation"
        ),
    ),
    Cause(
        "no room for the KV cache",
        "The model fits into memory, but its KV cache does not. Lower the context length (max_model_len=) or raise the "
        "share of memory the server may take (vLLM: gpu_memory_utilization=, on a CPU VLLM_CPU_KVCACHE_SPACE; "
        "SGLang: mem_fraction_static=).",
        re.compile(
            r"No available memory for the cache blocks|KV cache is needed, which is larger than"
            r"|larger than the maximum number of tokens that can be stored in KV cache|increase --mem-fraction-static"
        ),
    ),
    Cause(
        "memory taken",
        "Other processes have the memory that vLLM wants to take: end them (for a GPU, nvidia-smi lists them), or "
        "lower gpu_memory_utilization=, which on a CPU is the share of main memory.",
        re.compile(r"is less than desired [CG]PU memory utilization"),
    ),
    Cause(
        "out of GPU memory",
        "The model does not fit into the GPU's memory. Take a smaller or quantised model, a shorter context, more GPUs "
        "(tensor_parallel_size=; llama.cpp: fewer layers on the GPU), or end what else uses it (nvidia-smi).",
        re.compile(
            r"torch\.(cuda\.)?OutOfMemoryError|(CUDA|HIP|GPU) out of memory|CUDA error: out of memory"
            r"|CUDA_ERROR_OUT_OF_MEMORY|cudaMalloc failed: out of memory|(unable|failed) to allocate CUDA\d* buffer"
        ),
        any_time=True,
    ),
    Cause(
        "out of memory",
        "The machine's memory is not enough. Take a smaller or quantised model or a shorter context, or end other "
        "processes; in a container, raise its limits (also of /dev/shm).",
        re.compile(
            r"Cannot allocate memory|can't allocate memory|(?i:not enough memory)|\bMemoryError\b|std::bad_alloc"
            r"|(unable|failed) to allocate ((CPU|backend|compute) )?buffer|Insufficient (space|memory)"
        ),
        any_time=True,
    ),
    Cause(
        "model not found",
        "There is no such model: check the spelling of the spec. A directory has to exist and hold the whole model "
        "(config.json, tokenizer and weights; for llama.cpp one .gguf file); a private one on a hub needs HF_TOKEN.",
        re.compile(
            r"is not a local folder and is not a valid model identifier|Repository Not Found|RepositoryNotFoundError"
            r"|does not appear to have (a file|files) named|Repo id must (be in the form|use alphanumeric)"
            r"|Model path does not exist|Invalid repository ID or local directory specified"
            r"|Cannot find any model weights|Error no file named|RevisionNotFoundError|Entry Not Found"
            r"|Can't load (the )?(configuration|tokenizer|model|image processor) (of|for) |Incorrect path_or_model_id"
            r"|failed to open GGUF file|(?i:failed to load (the )?model)|error loading model|HFValidationError"
            r"|No such file or directory.*\.(gguf|safetensors|json)"
        ),
    ),
    Cause(
        "no usable GPU",
        "The server finds no GPU that it can use. Check nvidia-smi, CUDA_VISIBLE_DEVICES, and that the installed build "
        "fits the driver; without a GPU install the server's build for CPUs.",
        re.compile(
            r"Found no NVIDIA driver|No CUDA GPUs are available|CUDA driver version is insufficient"
            r"|NVIDIA driver on your system is too old|Failed to infer device type|Device string must not be empty"
            r"|Torch not compiled with CUDA enabled|CUDA is not available|CUDA error: invalid device ordinal"
            r"|no kernel image is available|CUDA unknown error|NVML Shared Library Not Found|no CUDA-capable device"
            r"|lib(cuda|cudart|cublas|cudnn|nvrtc|nccl)\w*\.so\S*: cannot open shared object"
        ),
    ),
    Cause(
        "module missing",
        r"The Python module '\g<module>' is missing where the server runs: install it for the Python that the command "
        "uses.",
        re.compile(r"No module named '?(?P<module>\w+)"),
    ),
    Cause(
        "broken installation",
        "The packages where the server runs do not fit together: install it anew, in an environment of its own.",
        re.compile(r"\bImportError: |undefined symbol: |cannot open shared object file|version `\S+' not found"),
    ),
    Cause(
        "no permission",
        "The server may not read or write something that it needs; its last lines say what.",
        re.compile(r"Permission denied|\bPermissionError\b"),
    ),
    Cause(
        "disk full",
        "The disk is full: make room, or set HF_HOME to a directory on a larger one.",
        re.compile(r"No space left on device|Disk quota exceeded"),
        any_time=True,
    ),
)
"""The first that fits is taken, so what is special comes before what is general."""

_CRASH = Cause(
    "crash",
    "That is a crash in native code: install versions that fit together (server, torch, driver), and look for the "
    "first error in the log.",
)
_SIGNALS = {
    "SIGKILL": Cause(
        "killed",
        "doteval did not do that: most likely the kernel did, because memory ran out ('dmesg' tells). Take a smaller "
        "model or a shorter context, or run fewer servers at once.",
    ),
    "SIGILL": Cause(
        "wrong processor",
        "The server is compiled for another processor than this one: install or compile it for this machine.",
    ),
    "SIGSEGV": _CRASH,
    "SIGABRT": _CRASH,
    "SIGBUS": _CRASH,
    "SIGFPE": _CRASH,
}


def account(failure: ServerFailure) -> str:
    """All that is to be said about a failure: `report` and `advice`."""
    return f"{report(failure)}\n{advice(failure)}"


def report(failure: ServerFailure) -> str:
    """What happened, the command, the process, the last lines of output and where the log is."""
    lines = [f"The {failure.server} {happened(failure)}."]
    if failure.command:
        lines.append(f"  command: {masked(failure.command, failure.secrets)}")
    if failure.pid is not None:
        lines.append(f"  process: {failure.pid}")
    if failure.log is not None:
        lines.append(f"  log: {os.fspath(failure.log)}")
    if failure.pid is not None or failure.tail:
        tail = cleaned(failure.tail, failure.secrets)
        lines.append(f"  its last {'line' if len(tail) == 1 else f'{len(tail)} lines'}:" if tail else "  no output")
        lines += [f"    {line}".rstrip() for line in tail]
    return "\n".join(lines)


def happened(failure: ServerFailure) -> str:
    """What happened, as half a sentence: ``"exited with code 1 after 13 s, before it was ready"``."""
    if failure.missing:
        return f"could not be started: {failure.missing.rstrip('.')}"
    waiting = f" (waiting for {failure.awaited})" if failure.awaited else ""
    if failure.timeout is not None:
        return f"did not get ready within {failure.timeout:g} s{waiting}"
    if failure.stall is not None:
        return f"printed nothing for {failure.stall:g} s and did not get ready{waiting}"
    if failure.condition_error:
        return (
            f"was given up, as the condition for being ready raised {masked(failure.condition_error, failure.secrets)}"
        )
    name = _signal_name(failure)
    if failure.signal is not None:
        ended = f"was {'ended by doteval with' if failure.killed_by_us else 'killed by'} {name}"
    elif failure.code is None:
        ended = f"ended ({failure.reason})" if failure.reason else "ended"
    else:
        ended = f"exited with code {failure.code}" + (f", which stands for {name}" if name else "")
    if failure.ready_after is None:
        return (
            f"{ended}{f' after {_seconds(failure.lasted)}' if failure.lasted is not None else ''}, before it was ready"
        )
    if failure.lasted is None:
        return f"{ended} when it had been ready"
    return f"{ended} when it had been ready for {_seconds(max(0, failure.lasted - failure.ready_after))}"


def advice(failure: ServerFailure) -> str:
    """What to do: the advice for a known cause, or what there is to say in general."""
    cause = cause_of(failure)
    if cause is not None:
        again = cause.name in ("module missing", "broken installation") and failure.install_hint
        return f"{cause.advice} {_sentence(failure.install_hint)}" if again else cause.advice
    if failure.missing:
        return _sentence(failure.install_hint) if failure.install_hint else "Install it, or correct the command."
    if failure.timeout is not None:
        return (
            "If it only needs longer, because it downloads or compiles something the first time, raise "
            "start_timeout=; the log says how far it got."
        )
    if failure.stall is not None:
        return "The log says where it got stuck. If it is silent for long while it works, raise stall_timeout=."
    if failure.condition_error:
        return "Correct what ready= was given, or let it raise OSError for 'not yet'."
    if failure.ready_after is not None:
        return "The log says what led to it; the next setup() starts a new server."
    return "Run the command by hand to see more; the first error in the log is often the cause of the others."


def cause_of(failure: ServerFailure) -> Cause | None:
    """The known cause that fits, with its advice filled in; `None` where nothing is known."""
    text = "\n".join(cleaned(failure.tail, failure.secrets, width=None))
    for cause in CAUSES:
        if failure.ready_after is not None and not cause.any_time:
            continue
        if cause.pattern is not None and (found := cause.pattern.search(text)):
            return replace(cause, advice=found.expand(cause.advice))
    return None if failure.killed_by_us else _SIGNALS.get(_signal_name(failure))


def plain(text: str) -> str:
    """`text` without what colours it on a terminal."""
    return _ESCAPE.sub("", text)


def cleaned(tail: Sequence[str], secrets: Collection[str] = (), width: int | None = WIDTH) -> list[str]:
    """The last lines as they may be shown: without secrets, control characters and what is too much.

    Args:
        tail: The last lines of output; more than `LINES` are too many.
        secrets: What must not be shown.
        width: How much of a line is shown, in characters.
    """
    secrets = {line for secret in secrets for line in (secret, *_long_lines(secret))}
    lines = [_line(line, secrets, width) for text in tail for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines[-LINES:]


def _line(line: str, secrets: Collection[str], width: int | None) -> str:
    line = plain(line).rstrip("\r").rpartition("\r")[2]  # of a progress bar, what a terminal shows last
    line = "".join(char for char in line.expandtabs(4) if char.isprintable()).rstrip()
    line = _TOKEN.sub("***", masked(line, secrets))  # before it is cut, or half a secret would remain
    if width is not None and len(line) > width:
        return f"{line[:width]} … ({len(line) - width} more characters)"
    return line


def _long_lines(secret: str) -> list[str]:
    """What can be seen of a secret with several lines, such as a private key, where only one of them is looked at."""
    return [line for line in secret.splitlines() if len(line) >= 8]


def _signal_name(failure: ServerFailure) -> str:
    """The signal that ended it; a shell says 128 more than its number."""
    number = failure.signal
    if number is None and failure.code is not None and failure.code > 128:
        number = failure.code - 128
    if number is None:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if failure.signal is not None else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."
