"""What a person reads when a server did not start or died: complete, short enough, with advice and without secrets."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from doteval.providers import vllm
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
    causes=vllm.CAUSES,
)


def account(failure: ServerFailure) -> str:
    """All that is said of a failure."""
    return f"{report(failure)}\n{advice(failure)}"


def test_the_account_is_complete() -> None:
    """What, with which command, which process, where the log is, its last lines, and what to do."""
    assert account(replace(FAILURE, tail=["loading", "OSError: [Errno 98] Address already in use"])) == (
        "Port taken: the vllm server of 'tiny' exited with code 1 after 13 s, before it was ready.\n"
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
        (
            {"code": 0, "killed_by_us": True, "reason": "'doteval stop --force' was run"},
            "was stopped ('doteval stop --force' was run) after 13 s, before it was ready",
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
