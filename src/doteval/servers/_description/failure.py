"""Why a server did not start, or died: from the facts to what a person reads. Nothing here looks at the world."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..._secrets import masked
from .causes import CAUSE_OF_SIGNAL, Cause
from .diagnosis import Diagnosis, examined
from .output import cleaned, excerpt

_FEW_LINES = 20
"""How many of the last lines are shown where the one that counts is shown apart from them."""
_NEAR = 5
"""Among how many of the last lines it need not be shown apart."""
_SHORT = 200
"""How much of an error that is not known stands in the first line, in characters."""
_LONG = 2000
"""How much is told of what a condition for being ready has raised, in characters."""
_NAMED = re.compile(r"[\w.]{0,100}(?:Error|Exception)(?:: |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFailure:
    """What is known about a server that did not get ready, or that ended while it was used.

    Args:
        server: What it is, such as ``"vllm server of 'meta-llama/Llama-3.1-8B'"``.
        command: The command, without secrets.
        pid: Its process.
        code: Its exit code, if it exited.
        signal: The number of the signal that killed it, if one did.
        reason: Why it ended, as half a sentence; told where doteval has ended it, or it left no exit code.
        killed_by_us: Whether that signal, or the exit, was asked for by doteval.
        stopped: Whether somebody has asked for that, whoever used the server.
        lasted: How long it ran before it ended or was given up, in seconds.
        ready_after: How long it took to get ready, in seconds; `None` if it never did.
        timeout: The limit for getting ready that passed, in seconds.
        stall: The limit for being silent that passed, in seconds.
        silent: What to call its supervisor, where that does not answer.
        awaited: What was waited for, as `Readiness.awaited` says it.
        condition_error: What the condition for being ready raised.
        missing: The `problem` of a `CommandMissingError`.
        tail: Its last lines of output.
        causes: What is known to keep such a server from starting, besides what is known of all.
        found: What its whole log says; `None` where only the last lines can be looked at.
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
    stopped: bool = False
    lasted: float | None = None
    ready_after: float | None = None
    timeout: float | None = None
    stall: float | None = None
    silent: str = ""
    awaited: str = ""
    condition_error: str = ""
    missing: str = ""
    tail: Sequence[str] = ()
    causes: Sequence[Cause] = ()
    found: Diagnosis | None = None
    log: str | os.PathLike[str] | None = None
    secrets: Collection[str] = ()
    install_hint: str = ""


def report(failure: ServerFailure) -> str:
    """Why, and what happened, in one line; the command, the process, where the log is, the error and the last lines."""
    diagnosis = _diagnosis(failure)
    error = excerpt(diagnosis.line, diagnosis.match, failure.secrets)
    lines = [_first_line(failure, diagnosis, error)]
    if failure.command:
        lines.append(f"  command: {masked(failure.command, failure.secrets)}")
    if failure.pid is not None:
        lines.append(f"  process: {failure.pid}")
    if failure.log is not None:
        lines.append(f"  log: {os.fspath(failure.log)}")
    if failure.pid is not None or failure.tail:
        tail = cleaned(failure.tail, failure.secrets)
        if error and not any(line.strip() == error for line in tail[-_NEAR:]):
            where = f", line {diagnosis.number} of the log" if diagnosis.number else ""
            lines += [f"  {'what says so' if diagnosis.cause else 'its first error'}{where}:", f"    {error}"]
            tail = tail[-_FEW_LINES:]
        lines.append(f"  its last {'line' if len(tail) == 1 else f'{len(tail)} lines'}:" if tail else "  no output")
        lines += [f"    {line}".rstrip() for line in tail]
    return "\n".join(lines)


def _first_line(failure: ServerFailure, diagnosis: Diagnosis, error: str) -> str:
    told = f"he {failure.server} {happened(failure)}"
    if diagnosis.cause is not None:
        name = diagnosis.cause.name
        return f"{name[0].upper()}{name[1:]}: t{told}."
    if not error or failure.timeout is not None or failure.stall is not None or failure.condition_error:
        return f"T{told}."
    named = _NAMED.search(error)
    error = error[named.start() :] if named else error
    return f"T{told}: {error if len(error) <= _SHORT else f'{error[:_SHORT]} …'}"


def happened(failure: ServerFailure) -> str:
    """What happened, as half a sentence: ``"exited with code 1 after 13 s, before it was ready"``."""
    if failure.missing:
        return f"could not be started: {failure.missing.rstrip('.')}"
    waiting = f" (waiting for {failure.awaited})" if failure.awaited else ""
    if failure.silent:
        waiting = f"{waiting}, and its supervisor ({failure.silent}) does not answer"
    if failure.timeout is not None:
        return f"did not get ready within {failure.timeout:g} s{waiting}"
    if failure.stall is not None:
        return f"printed nothing for {failure.stall:g} s and did not get ready{waiting}"
    if failure.condition_error:
        raised = masked(failure.condition_error, failure.secrets)
        return f"was given up, as the condition for being ready raised {raised[:_LONG]}{' …' * (len(raised) > _LONG)}"
    name = _signal_name(failure)
    if failure.killed_by_us and failure.reason:
        ended = f"was stopped ({failure.reason})"
    elif failure.signal is not None:
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
    if failure.silent:
        return "Its supervisor is stopped, or very busy; 'doteval stop --force' with its id ends it all the same."
    if failure.timeout is not None:
        return (
            "If it only needs longer, because it downloads or compiles something the first time, raise "
            "start_timeout=; the log says how far it got."
        )
    if failure.stall is not None:
        return "The log says where it got stuck. If it is silent for long while it works, raise stall_timeout=."
    if failure.condition_error:
        return "Correct what ready= was given, or let it raise OSError for 'not yet'."
    if failure.stopped:
        return "That was on purpose, so nobody who used it starts it again; the next setup() starts a new server."
    if failure.ready_after is not None:
        return "The log says what led to it; the next setup() starts a new server."
    return "Run the command by hand to see more; the first error in the log is often the cause of the others."


def cause_of(failure: ServerFailure) -> Cause | None:
    """The known cause that fits, with its advice filled in; `None` where nothing is known."""
    cause = _diagnosis(failure).cause
    if cause is not None:
        return cause
    return None if failure.killed_by_us else CAUSE_OF_SIGNAL.get(_signal_name(failure))


def _diagnosis(failure: ServerFailure) -> Diagnosis:
    """What its output says; nothing where doteval has ended it, or it was not even started."""
    if failure.killed_by_us or failure.missing:
        return Diagnosis()
    if failure.found is not None:
        return failure.found
    return examined(failure.tail, failure.causes, was_ready=failure.ready_after is not None)


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
