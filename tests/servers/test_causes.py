"""Why a server failed is found in all that it has printed, by what its provider knows of it; nothing else is said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.servers.printed import CASES, EVERY, KNOWN, NOISE, SAMPLES

from doteval.providers import llamacpp, vllm
from doteval.providers.server import ServerProvider
from doteval.servers import Cause
from doteval.servers._description.causes import COMMON, ranked
from doteval.servers._description.diagnosis import Diagnosis, Examiner, examined
from doteval.servers._description.failure import ServerFailure, advice, cause_of, report
from doteval.servers._local import log_search
from doteval.servers._local.log_search import searched, searched_at_its_end

FACTS: dict[str, Any] = {"server": "vllm server of 'tiny'", "pid": 4711, "code": 1, "lasted": 13.0}


CAUSE = "ValueError: No available memory for the cache blocks."


def log_of(kind: str, sample: str) -> list[str]:
    """A log with the cause in its middle, in colour and behind the prefix of a process, and how it ended after that."""
    colour = "\x1b[31m{}\x1b[0m" if kind != "llamacpp" else "{}"
    prefix = "(EngineCore pid=7) " if kind == "vllm" else "[2026-05-28 08:41:19 TP0] " if kind == "sglang" else ""
    start = [f"INFO 11-18 13:44:{second:02} [core.py:1] loading part {second} of 55" for second in range(55)]
    end = ["Traceback (most recent call last):", *["  File 'api_server.py', in run"] * 114]
    cause = [prefix + colour.format(line) for line in sample.split("\n")]
    return [*NOISE, *start, *cause, *end, "RuntimeError: Engine core initialization failed. See root cause above."]


def test_there_is_a_sample_of_every_known_cause() -> None:
    """Nothing that a provider knows is without a line that a real server prints, and each is recognised by that."""
    recognised = {
        (cause.name, cause.pattern)
        for kind, _, sample in CASES
        for cause in ranked(KNOWN[kind])
        if cause.pattern is not None and cause.pattern.search(sample)
    }
    everything = {(cause.name, cause.pattern) for known in (*KNOWN.values(), COMMON) for cause in known}
    assert everything == recognised


@pytest.mark.parametrize(("kind", "name", "sample"), CASES)
def test_a_cause_is_found_in_the_middle_of_a_log(kind: str, name: str, sample: str) -> None:
    """Among what servers print that go on, a hundred lines before the end; in the words of who has started it."""
    lines = log_of(kind, sample)
    examiner = Examiner(KNOWN[kind])
    examiner.read("\n".join(lines))
    found = examiner.result()
    assert found.cause is not None
    assert found.cause.name == name
    assert lines[found.number - 1].count(found.match)
    assert "\\g<" not in found.cause.advice
    assert 1 <= found.cause.advice.count(". ") + 1 <= 3
    failure = ServerFailure(**{**FACTS, "tail": lines[-50:], "found": found, "causes": KNOWN[kind]})
    said = report(failure).split("\n")
    assert said[0].lower().startswith(f"{name.lower()}: the vllm server of 'tiny' exited with code 1")
    assert f"  what says so, line {found.number} of the log:" in said
    assert said[said.index(f"  what says so, line {found.number} of the log:") + 1].count(found.match.strip())
    assert advice(failure).startswith(found.cause.advice)


@pytest.mark.parametrize("kind", EVERY)
def test_what_servers_print_that_go_on_is_no_cause(kind: str) -> None:
    """Warnings, and what is said for information, are never taken for the reason."""
    assert examined(NOISE, KNOWN[kind]) == Diagnosis()


def test_a_hub_that_could_not_be_reached_is_no_cause_where_there_is_another() -> None:
    """A client of the hub says so and goes on; only of what is as vague, that may be what led to it."""
    unreachable = "'HTTPSConnectionPool(host='huggingface.co'): Max retries exceeded'"
    for kind, _, sample in CASES:
        alone, beside = examined([sample], KNOWN[kind]).cause, examined([unreachable, sample], KNOWN[kind]).cause
        assert alone is not None
        assert beside is not None
        assert beside == alone or (alone.vague and beside.name == "hub unreachable")


@pytest.mark.parametrize(
    ("kind", "sample", "said"),
    [
        ("vllm", "estimated maximum model length is 37376", "max_model_len=37376"),
        ("vllm", "max_position_embeddings=32768", "made for 32768 tokens"),
        ("vllm", "World size (2)", "ask for 2 GPUs, and the server sees 1"),
        ("vllm", "attention heads (14)", "has 14 attention heads"),
        ("vllm", "LoRA rank 64", "max_lora_rank=64"),
        ("sglang", "derived context_length (32768)", "made for 32768 tokens"),
    ],
)
def test_the_advice_has_the_numbers_that_were_printed(kind: str, sample: str, said: str) -> None:
    """What a person would have to look up stands there."""
    (line,) = (case[2] for case in CASES if case[0] == kind and sample in case[2])
    cause = examined([line], KNOWN[kind]).cause
    assert cause is not None
    assert said in cause.advice


@pytest.mark.parametrize("name", ["unknown option", "wrong value of an option", "module missing"])
def test_the_advice_names_what_it_is_about(name: str) -> None:
    """The option or the module, as the server spelled it."""
    for sample in SAMPLES[name, EVERY]:
        cause = examined([sample], ()).cause
        assert cause is not None
        assert "frobnicate" in cause.advice


def test_a_command_of_ones_own_may_start_any_of_them() -> None:
    """So all that is known is looked for; and what is known of one server only is not said of another one."""
    provider = ServerProvider(["vllm", "serve", "{spec}", "--port", "{port}"])
    causes = provider.command("tiny").causes
    assert set(causes) == {cause for known in KNOWN.values() for cause in known}
    assert examined(["ValueError: No available memory for the cache blocks."], llamacpp.CAUSES).cause is None


def test_a_launchers_own_causes_come_first() -> None:
    """Whoever writes a command says what is known of it."""
    own = Cause("no licence", "Buy one.", re.compile("licence .* expired|Permission denied"))
    found = examined(["Permission denied: licence of 2019 expired"], (own,))
    assert found.cause == own


# -------------------------------------------------------------------- what is not known


def test_the_first_exception_is_shown_where_no_cause_is_known() -> None:
    """In the first line, without the prefix of a logger, and where it is in the log."""
    lines = [
        "ERROR 05-07 02:14:18 [core.py:396] EngineCore failed to start.",
        "ERROR 05-07 02:14:18 [core.py:396] pkg.OddError: it is Tuesday",
        *["  File 'api_server.py', in run"] * 60,
        "RuntimeError: Engine core initialization failed.",
    ]
    examiner = Examiner(())
    examiner.read("\n".join(lines))
    failure = ServerFailure(**{**FACTS, "tail": lines[-50:], "found": examiner.result()})
    said = report(failure).split("\n")
    assert said[0].endswith("exited with code 1 after 13 s, before it was ready: pkg.OddError: it is Tuesday")
    at = said.index("  its first error, line 2 of the log:")
    assert said[at + 1] == "    ERROR 05-07 02:14:18 [core.py:396] pkg.OddError: it is Tuesday"
    assert said[at + 2] == "  its last 20 lines:"
    assert cause_of(failure) is None


def test_a_server_that_only_took_too_long_has_its_error_below() -> None:
    """It may be none: what happened stands alone in the first line."""
    failure = ServerFailure(**{**FACTS, "code": None, "timeout": 5.0, "tail": ["KeyError: 'x'", *["ok"] * 30]})
    assert report(failure).split("\n")[0] == "The vllm server of 'tiny' did not get ready within 5 s."
    assert "  its first error:\n    KeyError: 'x'\n  its last 20 lines:" in report(failure)


# -------------------------------------------------------------------- any log at all

SECRETS = frozenset({"my-password-1", "hf_abcdefghijklmnopqrstuvwx"})
_PIECES = st.sampled_from(
    [*(sample for _, _, sample in CASES), *SECRETS, "\x1b[31m", "\x1b]0;", "\r", "\n", "\x00", "\u202e", "\x9b", "  "]
)
LOGS = st.lists(
    st.one_of(_PIECES, st.text(max_size=20), st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
).map("".join)


@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=30, deadline=None)
@given(log=LOGS, ready=st.sampled_from([None, 1.0]))
@example(log="\x1b]" * 40_000, ready=None)
@example(log="\x9b\x1b[" * 40_000, ready=None)
@example(log="my-password-1 " * 9000 + "x" * 70_000 + "ValueError: my-password-1", ready=None)
@example(log="KV cache is needed, which is larger than" * 9000, ready=None)
@example(log="unrecognized arguments: --" + "a" * 200_000, ready=None)
@example(log="(" * 100_000 + "1: " * 100_000, ready=None)
def test_whatever_is_printed_is_told_in_bounds_and_without_secrets(kind: str, log: str, ready: float | None) -> None:
    """Random text, bytes, colours, progress bars, no end of a line: it is short, printable, and hides keys."""
    lines = log.split("\n")
    began = time.process_time()
    found = examined(lines, KNOWN[kind], was_ready=ready is not None)
    failure = ServerFailure(
        **{
            **FACTS,
            "tail": lines[-50:],
            "found": found,
            "secrets": SECRETS,
            "causes": KNOWN[kind],
            "ready_after": ready,
        }
    )
    said = f"{report(failure)}\n{advice(failure)}"
    assert time.process_time() - began < 5
    assert len(said) < 30_000
    assert all(line.isprintable() for line in said.split("\n"))
    assert not any(secret in said for secret in SECRETS)
    assert len(said.split("\n", maxsplit=1)[0]) < 600


@settings(max_examples=30, deadline=None)
@given(pieces=st.lists(st.one_of(_PIECES, st.text(max_size=20)), max_size=30), data=st.data())
def test_how_a_log_is_cut_into_pieces_makes_no_difference(pieces: list[str], data: st.DataObject) -> None:
    """Read line by line or at once, the same is found at the same place."""
    lines = "".join(pieces).split("\n")
    whole, parts = Examiner(vllm.CAUSES), Examiner(vllm.CAUSES)
    whole.read("".join(f"{line}\n" for line in lines))
    at = data.draw(st.integers(0, len(lines)))
    parts.read("".join(f"{line}\n" for line in lines[:at]))
    parts.read("".join(f"{line}\n" for line in lines[at:]))
    one, other = whole.result(), parts.result()
    assert (one.cause and one.cause.name) == (other.cause and other.cause.name)
    if one.cause is None:
        assert one == other


@pytest.mark.parametrize("turn", [1, -1])
def test_what_is_special_is_taken_wherever_it_stands(turn: int) -> None:
    """Before what is general, and after it; also in another piece."""
    examiner = Examiner(vllm.CAUSES)
    for line in ["No module named 'triton'", CAUSE, "MemoryError"][::turn]:
        examiner.read(f"{line}\n")
    assert examiner.result().line == CAUSE


def test_what_doteval_has_ended_has_no_cause_in_its_log() -> None:
    """What it was saying just then is not why."""
    failure = ServerFailure(**{**FACTS, "killed_by_us": True, "tail": [CAUSE], "causes": vllm.CAUSES})
    assert cause_of(failure) is None
    assert report(failure).startswith("The vllm server of 'tiny' exited")


def test_of_a_line_without_end_the_part_is_shown_that_counts() -> None:
    """With some of what is before it."""
    failure = ServerFailure(**{**FACTS, "tail": ["word " * 1000 + CAUSE + " word" * 1000], "causes": vllm.CAUSES})
    said = report(failure).split("\n")
    shown = said[said.index("  what says so:") + 1]
    assert shown.startswith("    … ")
    assert "word ValueError" in shown
    assert CAUSE in shown
    assert shown.endswith(" …")


# -------------------------------------------------------------------- the file


def found_in(path: Path) -> Diagnosis | None:
    async def search() -> Diagnosis | None:
        return await searched(path, vllm.CAUSES)

    return anyio.run(search)


def write(path: Path, *parts: str) -> Path:
    path.write_text("".join(parts))
    return path


def test_the_whole_file_is_looked_at(tmp_path: Path) -> None:
    """Much before the cause and after it; it is told in which line that is."""
    log = write(tmp_path / "server.log", "loading\n" * 50_000, f"{CAUSE}\n", "going down\n" * 50_000)
    found = found_in(log)
    assert found is not None
    assert found.cause is not None
    assert (found.cause.name, found.line, found.number) == ("no room for the KV cache", CAUSE, 50_001)


def test_what_was_rotated_away_is_looked_at_first(tmp_path: Path) -> None:
    """The line is of no use to anybody then."""
    write(tmp_path / "server.log.1", f"{CAUSE}\n")
    found = found_in(write(tmp_path / "server.log", "RuntimeError: it went down\n"))
    assert found is not None
    assert (found.line, found.number) == (CAUSE, 0)


@pytest.mark.parametrize("make", [lambda log: None, lambda log: log.mkdir()])
def test_without_a_file_the_last_lines_have_to_do(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """It may be gone already."""
    make(tmp_path / "server.log")
    assert found_in(tmp_path / "server.log") is None
    failure = ServerFailure(**{**FACTS, "tail": [CAUSE], "causes": vllm.CAUSES})
    cause = cause_of(failure)
    assert cause is not None
    assert cause.name == "no room for the KV cache"


def test_of_a_log_that_is_too_large_the_beginning_and_the_end_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them half of what is read at most."""
    monkeypatch.setattr(log_search, "MOST", 2 << 18)
    much = "loading\n" * 200_000
    for parts in ((f"{CAUSE}\n", much), (much, f"{CAUSE}\n")):
        found = found_in(write(tmp_path / "server.log", *parts))
        assert found is not None
        assert (found.line, found.number) == (CAUSE, 0)
    found = found_in(write(tmp_path / "server.log", much, f"{CAUSE}\n", much))
    assert found is not None
    assert found.line == ""


def test_a_line_without_an_end_is_looked_at_in_parts(tmp_path: Path) -> None:
    """Between two words; where there are none, anywhere."""
    found = found_in(write(tmp_path / "server.log", "word " * 104_848, CAUSE, "x" * 600_000))
    assert found is not None
    assert found.cause is not None
    assert CAUSE in found.line
    assert len(found.line) <= 1 << 16


def test_of_a_server_that_was_ready_only_the_end_is_looked_at(tmp_path: Path) -> None:
    """What it has survived is not what ended it, nor is what only keeps one from starting."""
    memory = "torch.OutOfMemoryError: CUDA out of memory.\n"
    log = write(tmp_path / "server.log", memory, "200 OK\n" * 100_000, f"{CAUSE}\n")
    assert searched_at_its_end(log, vllm.CAUSES) == Diagnosis()
    found = searched_at_its_end(write(log, "200 OK\n" * 100_000, memory, "KeyError: 'x'\n" * 500), vllm.CAUSES)
    assert found is not None
    assert found.cause is not None
    assert found.cause.name == "out of GPU memory"
