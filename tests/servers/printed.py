"""What servers print: when they fail, by the cause, and when they go on; in lines of the form that theirs have."""

from __future__ import annotations

from doteval.providers import llamacpp, sglang, transformers, vllm
from doteval.servers import Cause

KNOWN: dict[str, tuple[Cause, ...]] = {
    "vllm": vllm.CAUSES,
    "sglang": sglang.CAUSES,
    "transformers": transformers.CAUSES,
    "llamacpp": llamacpp.CAUSES,
}
MODEL_SERVERS = ("vllm", "sglang", "transformers")
EVERY = (*KNOWN,)

SAMPLES: dict[tuple[str, tuple[str, ...]], list[str]] = {
    ("port taken", EVERY): [
        "OSError: [Errno 98] Address already in use",
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "OSError: [Errno 48] Address already in use",
        "main: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
        "0.01.234.567 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
        "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
        "torch.distributed.DistNetworkError: failed to bind, code: -98, name: EADDRINUSE, message: in use",
    ],
    ("unknown option", EVERY): [
        "api_server.py: error: unrecognized arguments: --frobnicate 1",
        "Error: No such option '--frobnicate'.",
        "Error: No such option: --frobnicate",
        "error: invalid argument: --frobnicate",
        "/opt/llava.llamafile: unknown argument: --frobnicate",
    ],
    ("wrong value of an option", EVERY): [
        "api_server.py: error: argument --frobnicate: invalid choice: 'half16' (choose from 'auto', 'half')",
        "api_server.py: error: argument --frobnicate: invalid int value: 'x'",
        "Error: Invalid value for '--frobnicate': 'x' is not a valid integer.",
        "error while handling argument \"--frobnicate\": error: unkown value for --frobnicate: '--numa'",
    ],
    ("disk full", EVERY): ["OSError: [Errno 28] No space left on device"],
    ("out of memory", EVERY): [
        "RuntimeError: [enforce fail at alloc.cpp:7] DefaultCPUAllocator: can't allocate memory: you tried 9",
        "OSError: [Errno 12] Cannot allocate memory",
        "MemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
    ("out of memory", ("llamacpp",)): [
        "cpu: failed to allocate buffer of size 9\nload: error loading model: unable to allocate CPU buffer",
    ],
    ("module missing", EVERY): [
        "ModuleNotFoundError: No module named 'frobnicate.server'",
        (
            "/usr/bin/python: Error while finding module specification for 'frobnicate.server' "
            "(ModuleNotFoundError: No module named 'frobnicate')"
        ),
        "/usr/bin/python: No module named frobnicate",
    ],
    ("module missing", ("transformers",)): [
        "ImportError: Missing dependencies for the serving CLI. Please install with pip",
        "ValueError: Using a `device_map` or `torch.device` context manager requires `accelerate`.",
    ],
    ("broken installation", EVERY): [
        "ImportError: cannot import name 'cached_download' from 'huggingface_hub'",
        "OSError: vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
    ],
    ("no permission", EVERY): ["PermissionError: [Errno 13] Permission denied: '/models/tiny/config.json'"],
    ("no access to the model", EVERY): [
        "OSError: You are trying to access a gated repo.\nMake sure to have access at hub.co/x.\n401 Client Error.",
        "Cannot access gated repo for url https://hub/x/resolve/main/config.json.\nYou must be authenticated.",
        "Access to model google/gemma is restricted. You must have access to it and be authenticated.",
        "huggingface_hub.errors.HfHubHTTPError: 403 Client Error: Forbidden for url: https://hub/x/y",
        "Client error '401 Unauthorized' for url 'https://hub/api/models/x'",
    ],
    ("hub unreachable", EVERY): [
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files\nCheck your internet connection.",
        "huggingface_hub.errors.LocalEntryNotFoundError: cannot find the requested files in the local cache.",
        "ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api",
        "httpx.ConnectError: [Errno -3] Temporary failure in name resolution",
    ],
    ("model not found", EVERY): [
        (
            "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on "
            "'https://hub'\n"
            "If this is a private repository, make sure to pass a token"
        ),
        (
            "RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-64aa705b)\n\nRepository Not Found "
            "for url: x\n"
            "If you are trying to access a private or gated repo, make sure you are authenticated."
        ),
        "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/nope/model'.",
        "OSError: /models/tiny does not appear to have a file named config.json.",
        "ValueError: Invalid repository ID or local directory specified: '/models'.",
        "RuntimeError: Cannot find any model weights with `/models/empty`",
        "ValueError: Model path does not exist: /nope.gguf",
    ],
    ("model not found", ("llamacpp",)): [
        (
            "gguf_init_from_file: failed to open GGUF file '/m/gemma.gguf'\nmodel_load: error loading model: no model\n"
            "params: failed to load model '/models/gemma.gguf', try reducing --n-gpu-layers if you run out of VRAM"
        ),
    ],
    ("unsupported model", EVERY): [
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: ['A']",
        "ValueError: The checkpoint you are trying to load has model type `foo` but it is not known.",
        (
            "llama_model_load: error loading model: error loading model architecture: unknown model "
            "architecture: 'phi9'\n"
            "llama_load_model_from_file: failed to load model"
        ),
    ],
    ("no usable GPU", EVERY): [
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
        "AssertionError: Torch not compiled with CUDA enabled",
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "RuntimeError: No HIP GPUs are available",
    ],
    ("out of GPU memory", MODEL_SERVERS): [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: CUDA error: out of memory",
    ],
    ("out of GPU memory", ("llamacpp",)): [
        (
            "alloc_buffer: allocating 144817.04 MiB on device 0: cudaMalloc failed: out of memory\n"
            "alloc_tensor_range: failed to allocate CUDA0 buffer of size 9\n"
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer"
        ),
        "gallocr_reserve: failed to allocate ROCm0 buffer of size 866125824\nmodel: failed to allocate compute buffers",
    ],
    ("type not supported", MODEL_SERVERS): [
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your T4 has 7.5.",
    ],
    ("quantisation not supported", MODEL_SERVERS): [
        "ValueError: The quantization method awq_marlin is not supported for the current GPU. Minimum capability: 80.",
        "ValueError: moe_wna16 quantization is currently not supported in ROCm.",
    ],
    ("no compiler", MODEL_SERVERS): [
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
        "/tmp/t/main.c:5:10: fatal error: Python.h: No such file or directory",
        "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist",
    ],
    ("memory taken", ("vllm",)): [
        (
            "ValueError: Free memory on device cuda:0 (59.3/79.1 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        (
            "ValueError: Available memory on node 0 (3.8/16.0 GiB) on startup is less than desired CPU memory "
            "utilization "
            "(0.92, 14.7 GiB)."
        ),
    ],
    ("memory changed while it was measured", ("vllm",)): [
        "AssertionError: Error in memory profiling. Initial free memory 58.2 GiB, current free memory 59.3 GiB.",
    ],
    ("no room for the KV cache", ("vllm",)): [
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
        (
            "ERROR 11-18 13:44:09 [core.py:842] ValueError: To serve at least one request with the model's max seq len "
            "(40960), (4.38 GiB KV cache is needed, which is larger than the available KV cache memory (4.0 "
            "GiB). Based on "
            "the available memory, the estimated maximum model length is 37376. Try increasing it."
        ),
        (
            "ValueError: The model's max seq len (9) is larger than the maximum number of tokens that can be "
            "stored in KV "
            "cache (8)."
        ),
        (
            "ValueError: Available memory on node 0 (3.8/16.0 GiB) on kv cache allocation is less than "
            "requested memory "
            "for kv (400.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE."
        ),
    ],
    ("no sleep mode on this machine", ("vllm",)): [
        "  Value error, Sleep mode is not supported on current platform. [type=value_error, input_type=x]",
    ],
    ("context too long", ("vllm",)): [
        (
            "  Value error, User-specified max_model_len (131072) is greater than the derived max_model_len "
            "(max_position_embeddings=32768.0 or model_max_length=None in model's config.json). To allow it, "
            "set [type=x]"
        ),
    ],
    ("too few GPUs", ("vllm",)): [
        "  Value error, World size (2) is larger than the number of available GPUs (1) in this node. If this is meant",
    ],
    ("parallel size that does not divide the model", ("vllm",)): [
        "  Value error, Total number of attention heads (14) must be divisible by tensor parallel size (4). [type=x]",
    ],
    ("LoRA adapter of too high a rank", ("vllm",)): ["ValueError: LoRA rank 64 is greater than max_lora_rank 16."],
    ("no room for the KV cache", ("sglang",)): [
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    ],
    ("memory taken", ("sglang",)): [
        "ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes. pre=70, now=20",
    ],
    ("no memory left for CUDA graphs", ("sglang",)): [
        "Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 2.00 GiB.\nPossible solutions:",
    ],
    ("context too long", ("sglang",)): [
        (
            "ValueError: Warning: User-specified context_length (65536) is greater than the derived "
            "context_length (32768)"
            ". This may lead to incorrect model outputs or CUDA errors."
        ),
    ],
    ("attention not supported", ("transformers",)): [
        "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to: no package",
    ],
    ("no room for the KV cache", ("llamacpp",)): [
        "cpu: failed to allocate buffer of size 17179869216\nkv_cache_init: failed to allocate buffer for kv cache",
    ],
    ("file incomplete", ("llamacpp",)): [
        "load: error loading model: tensor 'x' data is not within the file bounds, model is corrupted or incomplete",
    ],
    ("not a GGUF file", ("llamacpp",)): [
        "gguf_init_from_file: invalid magic characters: 'vers', expected 'GGUF'\nload: error loading model: failed",
    ],
    ("quantised cache without flash attention", ("llamacpp",)): [
        "llama_new_context_with_model: V cache quantization requires flash_attn",
    ],
}
"""Lines of the form in which servers print it, by the cause and those that do."""
CASES = [(kind, name, sample) for (name, kinds), samples in SAMPLES.items() for kind in kinds for sample in samples]

NOISE = [
    (
        "WARNING 08-27 13:59:59 [_custom_ops.py:15] Failed to import from vllm._C with ImportError('libcudart.so.12: "
        "cannot open shared object file: No such file or directory')"
    ),
    "(APIServer pid=1) WARNING 11-18 13:44:09 [x.py:1] No module named 'vllm._C'",
    "INFO 05-07 02:13:52 [utils.py:1] Port 8000 is already in use, trying port 8001",
    "[2026-02-14 02:07:50] WARNING x.py: CUDA out of memory, retrying",
    "1.06.520.107 W sched_reserve: failed to allocate compute buffers, retrying without pipeline parallelism",
    'time=2025-02-02T09:23:09.826+08:00 level=WARN source=gpu.go:432 msg="no CUDA-capable device"',
    "2025-01-01 12:00:00,123 - hub - WARNING - 403 Client Error, trying the cache",
    "/opt/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: Found no NVIDIA driver on your system.",
    "\x1b[33mWARNING\x1b[0m:  Permission denied, going on without",
]
"""What servers print that go on."""
