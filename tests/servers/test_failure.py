"""What a person reads when a server did not start or died: complete, short enough, with advice and without secrets."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from doteval.servers._description.causes import CAUSES
from doteval.servers._description.failure import ServerFailure, advice, cause_of, happened, report
from doteval.servers._description.output import LINES, cleaned

TOKEN = "hf_nobodymayseethis"

FAILURE = ServerFailure(
    server="vllm server of 'tiny'",
    command="VLLM_API_KEY=*** vllm serve tiny --port 40001",
    pid=4711,
    code=1,
    lasted=13.04,
    tail=["loading", "it broke"],
    log="/tmp/doteval-0/logs/vllm-0123.log",
)


def account(failure: ServerFailure) -> str:
    """All that is said of a failure."""
    return f"{report(failure)}\n{advice(failure)}"


def test_the_account_is_complete() -> None:
    """What, with which command, which process, where the log is, its last lines, and what to do."""
    assert account(replace(FAILURE, tail=["loading", "OSError: [Errno 98] Address already in use"])) == (
        "The vllm server of 'tiny' exited with code 1 after 13 s, before it was ready.\n"
        "  command: VLLM_API_KEY=*** vllm serve tiny --port 40001\n"
        "  process: 4711\n"
        "  log: /tmp/doteval-0/logs/vllm-0123.log\n"
        "  its last 2 lines:\n"
        "    loading\n"
        "    OSError: [Errno 98] Address already in use\n"
        "Another process took the port just before the server did. Try again; where a fixed port is in the command, "
        "write {port} in its place and doteval chooses a free one."
    )


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "exited with code 1 after 13 s, before it was ready"),
        ({"lasted": None}, "exited with code 1, before it was ready"),
        ({"lasted": 0.8}, "exited with code 1 after 0.8 s, before it was ready"),
        ({"code": None, "signal": signal.SIGKILL}, "was killed by SIGKILL after 13 s, before it was ready"),
        ({"code": None, "signal": 99}, "was killed by signal 99 after 13 s, before it was ready"),
        ({"code": 137}, "exited with code 137, which stands for SIGKILL after 13 s, before it was ready"),
        ({"code": 255}, "exited with code 255 after 13 s, before it was ready"),
        ({"code": None}, "ended after 13 s, before it was ready"),
        (
            {"code": None, "signal": signal.SIGTERM, "killed_by_us": True},
            "was ended by doteval with SIGTERM after 13 s, before it was ready",
        ),
        ({"ready_after": 10.0}, "exited with code 1 when it had been ready for 3.0 s"),
        ({"ready_after": 10.0, "lasted": None}, "exited with code 1 when it had been ready"),
        (
            {"timeout": 600.0, "awaited": "GET /health to answer 200; it answered 404"},
            "did not get ready within 600 s (waiting for GET /health to answer 200; it answered 404)",
        ),
        ({"stall": 120.0}, "printed nothing for 120 s and did not get ready"),
        (
            {"missing": "the command 'vllm' is not installed"},
            "could not be started: the command 'vllm' is not installed",
        ),
    ],
)
def test_what_happened_is_said_in_half_a_sentence(facts: dict[str, object], said: str) -> None:
    """Each way to fail has its own words."""
    assert happened(replace(FAILURE, **facts)) == said  # type: ignore[arg-type]


def test_a_missing_command_has_no_process_and_no_output() -> None:
    """What there is not is not mentioned; the advice is how to install it."""
    failure = ServerFailure(
        server="vllm server of 'tiny'",
        command="vllm serve tiny",
        missing="the command 'vllm' is not installed: there is no executable file of this name in /usr/bin",
        install_hint="Install it with 'pip install vllm'",
    )
    assert account(failure) == (
        "The vllm server of 'tiny' could not be started: the command 'vllm' is not installed: "
        "there is no executable file of this name in /usr/bin.\n"
        "  command: vllm serve tiny\n"
        "Install it with 'pip install vllm'."
    )
    assert advice(replace(failure, install_hint="")) == "Install it, or correct the command."


@pytest.mark.parametrize(
    ("facts", "advised"),
    [
        ({"timeout": 600.0}, "raise start_timeout="),
        ({"stall": 120.0}, "raise stall_timeout="),
        ({"ready_after": 1.0}, "the next setup() starts a new server"),
        ({}, "Run the command by hand"),
        ({"code": None, "signal": signal.SIGKILL}, "most likely the kernel did, because memory ran out"),
        ({"code": 137}, "most likely the kernel did, because memory ran out"),
        ({"code": None, "signal": signal.SIGILL}, "compiled for another processor"),
        ({"code": None, "signal": signal.SIGSEGV}, "a crash in native code"),
        ({"code": None, "signal": signal.SIGKILL, "killed_by_us": True}, "Run the command by hand"),
    ],
)
def test_there_is_advice_where_the_output_says_nothing(facts: dict[str, object], advised: str) -> None:
    """From how it ended; a signal that doteval sent itself means nothing."""
    assert advised in advice(replace(FAILURE, **facts))  # type: ignore[arg-type]


SAMPLES = {
    "port taken": [
        "OSError: [Errno 98] Address already in use",
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "OSError: [Errno 48] Address already in use",
        "main: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
        "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
    ],
    "unknown option": [
        "api_server.py: error: unrecognized arguments: --frobnicate 1",
        "Error: No such option '--frobnicate'.",
        "Error: No such option: --frobnicate",
        "error: invalid argument: --frobnicate",
        "/opt/llava.llamafile: unknown argument: --frobnicate",
    ],
    "wrong value of an option": [
        "api_server.py: error: argument --dtype: invalid choice: 'half16' (choose from 'auto', 'half')",
        "api_server.py: error: argument --port: invalid int value: 'x'",
        "Error: Invalid value for '--port': 'x' is not a valid integer.",
        "error while handling argument \"--flash-attn\": error: unkown value for --flash-attn: '--numa'",
    ],
    "no access to the model": [
        (
            "OSError: You are trying to access a gated repo.\nMake sure to have access to it at "
            "https://huggingface.co/google/gemma-2-2b-it.\n401 Client Error."
        ),
        (
            "Cannot access gated repo for url https://huggingface.co/google/gemma-2-2b-it/resolve/main/config.json.\n"
            "Access to model google/gemma-2-2b-it is restricted. You must have access to it and be authenticated."
        ),
        "huggingface_hub.errors.HfHubHTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/x/y",
        "Client error '401 Unauthorized' for url 'https://huggingface.co/api/models/x'",
    ],
    "hub unreachable": [
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
            "cached files.\nCheck your internet connection or see how to run the library in offline mode at "
            "'https://huggingface.co/docs/transformers/installation#offline-mode'."
        ),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate "
            "the file on the Hub "
            "and we cannot find the requested files in the local cache."
        ),
        (
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries "
            "exceeded with url: /api/models"
        ),
        "httpx.ConnectError: [Errno -3] Temporary failure in name resolution",
    ],
    "model not found": [
        (
            "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a token"
        ),
        (
            "RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-64aa705b)\n\nRepository Not Found for url: "
            "https://huggingface.co/nobody/nothing/resolve/main/config.json.\nIf you are trying to access a private or "
            "gated repo, make sure you are authenticated."
        ),
        (
            "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/nope/model'. Use `repo_type` "
            "argument if needed."
        ),
        "OSError: /models/tiny does not appear to have a file named config.json.",
        "ValueError: Invalid repository ID or local directory specified: '/models'.",
        "RuntimeError: Cannot find any model weights with `/models/empty`",
        "ValueError: Model path does not exist: /nope.gguf",
        (
            "gguf_init_from_file: failed to open GGUF file '/models/gemma.gguf'\n"
            "llama_model_load: error loading model: llama_model_loader: failed to load model\n"
            "common_init_from_params: failed to load model '/models/gemma.gguf', try reducing --n-gpu-layers if you're "
            "running out of VRAM"
        ),
    ],
    "unsupported model": [
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: ['A']",
        (
            "ValueError: The checkpoint you are trying to load has model type `foo` but Transformers "
            "does not recognize "
            "this architecture."
        ),
        (
            "llama_model_load: error loading model: error loading model architecture: unknown model "
            "architecture: 'phi3'\n"
            "llama_load_model_from_file: failed to load model"
        ),
    ],
    "no room for the KV cache": [
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine."
        ),
        (
            "(EngineCore_DP0 pid=64528) ERROR 11-18 13:44:09 [core.py:842] ValueError: To serve at least "
            "one request with "
            "the models's max seq len (40960), (4.38 GiB KV cache is needed, which is larger than the "
            "available KV cache "
            "memory (4.00 GiB)."
        ),
        (
            "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens "
            "that can be stored in "
            "KV cache (7344)."
        ),
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    ],
    "memory taken": [
        (
            "ValueError: Free memory on device (59.32/79.15 GiB) on startup is less than desired GPU "
            "memory utilization "
            "(0.9, 71.24 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        (
            "ValueError: Available memory on node 0 (3.86/16.0 GiB) on startup is less than desired CPU "
            "memory utilization "
            "(0.92, 14.72 GiB)."
        ),
    ],
    "out of GPU memory": [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23 GiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        (
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 144817.04 MiB on device 0: "
            "cudaMalloc failed: out of "
            "memory\nalloc_tensor_range: failed to allocate CUDA0 buffer of size 151851674624\n"
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer"
        ),
    ],
    "out of memory": [
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't "
            "allocate memory: you "
            "tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "MemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        (
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 437944320\n"
            "llama_model_load: error loading model: unable to allocate CPU buffer"
        ),
    ],
    "no usable GPU": [
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
        "AssertionError: Torch not compiled with CUDA enabled",
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ],
    "module missing": [
        "ModuleNotFoundError: No module named 'llama_cpp.server'",
        (
            "/usr/bin/python: Error while finding module specification for 'llama_cpp.server' "
            "(ModuleNotFoundError: No module named 'llama_cpp')"
        ),
        "/usr/bin/python: No module named llama_cpp",
    ],
    "broken installation": [
        "ImportError: cannot import name 'cached_download' from 'huggingface_hub'",
        "OSError: vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
    ],
    "no permission": ["PermissionError: [Errno 13] Permission denied: '/models/tiny/config.json'"],
    "disk full": ["OSError: [Errno 28] No space left on device"],
}


def test_there_are_samples_of_every_known_cause() -> None:
    """Nothing in the table is without a line that a real server has printed."""
    assert set(SAMPLES) == {cause.name for cause in CAUSES}


@pytest.mark.parametrize(("name", "sample"), [(name, sample) for name in SAMPLES for sample in SAMPLES[name]])
def test_known_causes_are_recognised(name: str, sample: str) -> None:
    """From what real servers print, with other lines around it, in colour and behind vLLM's prefix."""
    lines = [f"(EngineCore pid=7) \x1b[31m{line}\x1b[0m" for line in sample.split("\n")]
    failure = replace(FAILURE, tail=["INFO 11-18 starting", *lines, "RuntimeError: Engine core initialization failed."])
    cause = cause_of(failure)
    assert cause is not None
    assert cause.name == name
    assert advice(failure) == cause.advice
    assert "\\g<" not in cause.advice
    assert 1 <= cause.advice.count(". ") + 1 <= 3


@pytest.mark.parametrize("name", ["unknown option", "wrong value of an option", "module missing"])
def test_the_advice_names_what_it_is_about(name: str) -> None:
    """The option or the module, as the server spelled it."""
    for sample in SAMPLES[name]:
        said = advice(replace(FAILURE, tail=[sample]))
        assert any(word in said for word in ("--frobnicate", "--dtype", "--port", "--flash-attn", "'llama_cpp'"))


def test_a_missing_module_comes_with_how_to_install_the_server() -> None:
    """If somebody knows."""
    failure = replace(FAILURE, tail=["No module named 'vllm'"], install_hint="Install it with 'pip install vllm'")
    assert advice(failure).endswith("Install it with 'pip install vllm'.")


def test_the_log_of_a_server_that_was_ready_is_read_with_care() -> None:
    """It holds what went wrong with requests; only what can end such a server is a cause."""
    ready = replace(FAILURE, ready_after=1.0)
    assert cause_of(replace(ready, tail=['"GET /v1/models HTTP/1.1" 401 Unauthorized', "No module named 'x'"])) is None
    cause = cause_of(replace(ready, tail=["torch.OutOfMemoryError: CUDA out of memory."]))
    assert cause is not None
    assert cause.name == "out of GPU memory"


# -------------------------------------------------------------------- the last lines


def test_no_more_than_the_last_lines_are_shown() -> None:
    """The cause is at the end, and a message of a thousand lines is not read."""
    shown = report(replace(FAILURE, tail=[f"line {n}" for n in range(200)])).split("\n")
    assert f"  its last {LINES} lines:" in shown
    assert shown[-LINES:] == [f"    line {n}" for n in range(150, 200)]


def test_one_line_and_none_are_called_so() -> None:
    """A server that printed nothing is no mystery of ours."""
    assert report(replace(FAILURE, tail=["only"])).endswith("  its last line:\n    only")
    assert report(replace(FAILURE, tail=["", " "])).endswith("  no output")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[32mINFO\x1b[0m:     started \x1b[1;31mbad\x1b[m", "INFO:     started bad"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("10%|#   |\r50%|##  |\r100%|####|\r", "100%|####|"),
        ("a\tb\x00\x08\x7f\u202ec", "a   bc"),
        ("trailing   ", "trailing"),
        ("  indented", "  indented"),
        ("naïve “quotes” █ 你好", "naïve “quotes” █ 你好"),
        ("x" * 450, "x" * 400 + " … (50 more characters)"),
        ("a surrogate \udcff here", "a surrogate  here"),
    ],
)
def test_lines_are_made_fit_to_be_shown(printed: str, shown: str) -> None:
    """No colours, no control characters, of a progress bar the last state, and no line without end."""
    assert cleaned([printed]) == [shown]


def test_blank_lines_at_the_end_are_dropped_and_others_are_kept() -> None:
    """As is the shape of a traceback."""
    assert cleaned(["a", "", "  b", "", "\x1b[0m"]) == ["a", "", "  b"]


def test_no_secret_is_shown() -> None:
    """Neither what is known as one, nor what looks like one; cutting or colouring a line reveals none."""
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----"
    failure = replace(
        FAILURE,
        command=f"serve {TOKEN}",
        secrets={TOKEN, "my-password", key},
        tail=[
            f"non-default args: {{'hf_token': '{TOKEN}'}}",
            "x" * 395 + "my-password",
            "my-\x1b[1mpassword",
            "http://me:pass@host/v1",
            "read AAAABBBBCCCC",
            "using hf_abcdefghijklmnopqrstuvwx from the cache and sk-proj-abcdefghijklmnop",
        ],
    )
    text = account(failure)
    for secret in (TOKEN, "my-p", "password", "me:pass", "AAAABBBB", "hf_abc", "sk-proj"):
        assert secret not in text
    assert "'hf_token': '***'" in text
