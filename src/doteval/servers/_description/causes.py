"""``Cause``: what is known to keep a server from starting, or to end it; what it prints then, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass


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
CAUSE_OF_SIGNAL = {
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
