"""Causes of failures that servers of models have in common: what torch says of memory and GPUs, what the hub says."""

from __future__ import annotations

import re

from ...servers._description.causes import Cause

NOT_FOUND = "model not found"
_NOT_FOUND_ADVICE = (
    "There is no such model: check the spelling of the spec. A directory has to exist and hold the whole model "
    "(config.json, tokenizer and weights; for llama.cpp one .gguf file); a private one on a hub needs HF_TOKEN."
)

TORCH = (
    Cause(
        "out of GPU memory",
        "The model does not fit into the GPU's memory. Take a smaller or quantised model, a shorter context, more GPUs "
        "(tensor_parallel_size=), or end what else uses it (nvidia-smi).",
        re.compile(
            r"torch\.(?:cuda\.)?OutOfMemoryError|(?:CUDA|HIP|XPU|GPU) out of memory|(?:CUDA|HIP) error: out of memory"
            r"|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory"
        ),
        any_time=True,
    ),
    Cause(
        "type not supported",
        'This GPU cannot compute with bfloat16: pass dtype="float16".',
        re.compile(r"[Bb]float16 is (?:only supported on GPUs|not supported)"),
    ),
    Cause(
        "quantisation not supported",
        "The server cannot run this quantisation on this GPU: take another version of the model, or a newer GPU.",
        re.compile(
            r"quantization method \S{1,40} is not supported|quantization is currently not supported"
            r"|Unknown quantization method"
        ),
    ),
    Cause(
        "no compiler",
        "The server compiles kernels when it starts, and finds no compiler for that: install gcc and Python's headers "
        "(python3-dev), and CUDA's nvcc where it asks for that; or do without (vLLM: enforce_eager=True).",
        re.compile(
            r"Failed to find C compiler|fatal error: Python\.h: No such file|Could not find nvcc|nvcc: not found"
            r"|CUDA_HOME environment variable is not set|Ninja is required to load"
        ),
    ),
)
"""Of servers that compute with torch; the first that fits is taken."""

MODELS = (
    Cause(
        NOT_FOUND,
        _NOT_FOUND_ADVICE,
        re.compile(
            r"Repository Not Found|RepositoryNotFoundError|is not a local folder and is not a valid model identifier"
        ),
        vague=True,
    ),
    Cause(
        "no access to the model",
        "The hub does not give out this model without permission. Accept its terms on its page, and set HF_TOKEN to a "
        "token of that account (or run 'hf auth login').",
        re.compile(
            r"access a gated repo\b|Cannot access gated repo|GatedRepoError|Access to model \S{1,200} is restricted"
            r"|Invalid user token|Invalid credentials in Authorization header"
            r"|40[13] Client Error|Client error '40[13]"
        ),
        vague=True,
    ),
    Cause(
        "hub unreachable",
        "The model is not in the local cache and the hub cannot be reached. Check the network, HF_HUB_OFFLINE and "
        "HF_ENDPOINT, or give the directory of a downloaded model as the spec.",
        re.compile(
            r"We couldn't connect to '?https?://|LocalEntryNotFoundError|OfflineModeIsEnabled|Cannot reach https?://"
            r"|cannot find the requested files in the (?:local|disk) cache"
            r"|Failed to resolve '|Temporary failure in name resolution|Name or service not known"
            r"|huggingface\.co.{0,200}(?:Max retries exceeded|timed out|Network is unreachable)"
        ),
        vague=True,
    ),
    Cause(
        "unsupported model",
        "The installed version of the server does not know this kind of model. Install a newer version of it (and of "
        "transformers), or serve the model with another server.",
        re.compile(
            r"Model architectures .{1,200} (?:are not supported|failed to be inspected)"
            r"|does not recognize this architecture"
            r"|unknown (?:model )?architecture|The checkpoint you are trying to load has model type"
            r"|Unrecognized model in |Unsupported architecture|has no vLLM implementation"
        ),
        vague=True,
    ),
    Cause(
        NOT_FOUND,
        _NOT_FOUND_ADVICE,
        re.compile(
            r"does not appear to have (?:a file|files) named|Repo id must (?:be in the form|use alphanumeric)"
            r"|Model path does not exist|Invalid repository ID or local directory specified"
            r"|Cannot find any model weights|Error no file named|RevisionNotFoundError|Entry Not Found"
            r"|Can't load (?:the )?(?:configuration|tokenizer|model|image processor) (?:of|for) "
            r"|Incorrect path_or_model_id|HFValidationError"
            r"|No such file or directory.{0,400}\.(?:gguf|safetensors|json)"
        ),
        vague=True,
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
            r"|No HIP GPUs are available"
            r"|lib(?:cuda|cudart|cublas|cudnn|nvrtc|nccl)[\w-]{0,40}\.so\S{0,20}: cannot open shared object"
        ),
        vague=True,
    ),
)
"""Of servers that load models."""
