"""Shows our own errors without our own frames: what failed, what to do, and where in the user's code.

An error of ours says by itself what is wrong, so the way that it took through doteval, the event loop and the SDK is of
use to nobody who did not write these. What is left are the frames of the user: of the error, and of what caused it.
Where none are left, as in a fixture of the plugin, there is only the message.

``--full-trace`` and ``--tb=native`` show everything, as they always do; all other styles apply to what is left. The
line at the end of the run begins with the cause instead of the name of a class, as pytest cuts it off at 80 columns.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from typing import Any, TypeGuard, cast

import pytest

from .._chains import leaves_of, members_of, only_one_in
from .._errors import DotevalError, ModelRequestError, ModelSetupError, ProviderLoadError
from .._frames import chain_of, is_users
from .._printed import printable

_OURS = (
    *(
        "doteval.pytest_plugin",
        "doteval._chains",
        "doteval._errors",
        "doteval._frames",
        "doteval._spec",
        "doteval._registry",
        "doteval._printed",
    ),
    *("doteval._canonical", "doteval._secrets"),
)
"""What a run imports that has nothing to do with models."""


class Failures:
    """The hooks.

    Args:
        config: The run's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._manager = config.pluginmanager
        self._style = str(config.getoption("tbstyle", "auto"))
        self._shows_all = self._style == "native" or bool(config.getoption("fulltrace", False))
        self._shows_locals = bool(config.getoption("showlocals", False))

    def take_part(self) -> None:
        """From now on, there may be errors of ours."""
        if not self._manager.is_registered(self):
            self._manager.register(self, "doteval-failures")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Shorten what is told of an error of ours."""
        report = yield
        error: BaseException | None = None if call.excinfo is None else call.excinfo.value
        group = _as_group(error)
        if error is not None and group is None and _leads_to_us(error) and report.outcome == "failed":
            if not self._shows_all:
                report.longrepr = self._shown(error, item)
        elif group is not None and report.outcome == "failed" and not self._shows_all and _concerns_us(group):
            self._shorten(report.longrepr, group)
        only = None if error is None else only_one_in(error)
        crash: Any = getattr(report.longrepr, "reprcrash", None)
        if only is not None and report.outcome == "failed" and crash is not None:
            crash.message = _told_first(only, crash.message)
        if error is not None and (_leads_to_us(error) if group is None else _concerns_us(group)):
            _make_printable(report.longrepr)
        return report

    def _shorten(self, shown: Any, group: BaseExceptionGroup[BaseException]) -> None:
        """Leave out of what pytest prints of a group, as Python does, all frames but the user's, in the members too."""
        entries: Any = getattr(getattr(shown, "reprtraceback", None), "reprentries", ())
        if len(entries) != 1 or getattr(entries[0], "style", None) != "native":
            return  # only a line, or nothing, is told of it
        printed = traceback.TracebackException.from_exception(group)
        _strip(printed, group, self._plugins())
        entries[0].lines = list(printed.format())

    def _plugins(self) -> AbstractSet[str]:
        return {getattr(plugin, "__name__", "") for plugin in self._manager.get_plugins()}

    def _shown(self, error: BaseException, item: pytest.Item) -> Any:
        plugins = self._plugins()
        own_filter: Callable[[Any], Any] = getattr(item, "_traceback_filter", lambda excinfo: excinfo.traceback)

        def users(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
            found = own_filter(excinfo)
            kept = [entry for entry in found if is_users(entry.frame.raw, plugins)]
            if self._style == "auto":  # as pytest does it, but where the last one may be none of the user's
                middle = range(1, len(kept) - 1)
                kept = [entry.with_repr_style("short" if n in middle else None) for n, entry in enumerate(kept)]
            return type(found)(kept)

        parts: list[tuple[Any, Any, str | None]] = []
        for each, joint in chain_of(error):
            if each.__traceback__ is None:
                continue  # it was never raised, as what a fake is told to fail with: there are no lines to show
            excinfo = _from_exception(each)
            frames = users(excinfo)
            if not frames:
                continue
            style: Any = "short" if self._style == "short" else "long"
            shown: Any = excinfo.getrepr(style=style, tbfilter=users, showlocals=self._shows_locals, chain=False)
            if isinstance(each, BaseExceptionGroup):
                self._shorten(shown, cast("BaseExceptionGroup[BaseException]", each))
            shown.reprcrash.path, shown.reprcrash.lineno = str(frames[-1].path), frames[-1].lineno + 1
            parts.append((shown.reprtraceback, shown.reprcrash, joint))
        bare: Any = _from_exception(error).getrepr(style="value", chain=False)
        lines = bare.reprtraceback.reprentries[-1].lines
        if isinstance(error, Warning):  # its text does not say that it is an error here
            lines[0] = f"{type(error).__name__}: {lines[0]}"
        lines += _notes_of(error)
        if not parts:
            return bare
        if self._style == "line":
            return type(bare)([(bare.reprtraceback, parts[-1][1], None)])
        if parts[-1][2] is not None:  # of the error itself, there is only the message
            parts.append((bare.reprtraceback, bare.reprcrash, None))
        return type(bare)(parts)


def _make_printable(shown: Any) -> None:
    """Have nothing in what pytest prints that a terminal would obey: a message may say what a model has said."""
    chain: Any = getattr(shown, "chain", None) or [(getattr(shown, "reprtraceback", None), None, None)]
    for shown_traceback, crash, _ in [*chain, (None, getattr(shown, "reprcrash", None), None)]:
        for entry in getattr(shown_traceback, "reprentries", ()):
            entry.lines = [*map(printable, entry.lines)]
        if crash is not None:
            crash.message = printable(crash.message)


class FailuresToCome:
    """Looks whether there may be any: not before a test has imported doteval, or uses a fixture of ours.

    Args:
        failures: What takes part then.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures

    def pytest_collection_finish(self) -> None:
        """All modules of tests are imported."""
        if any(name.startswith("doteval.") and not name.startswith(_OURS) for name in sys.modules):
            self._failures.take_part()


def _from_exception(error: BaseException) -> pytest.ExceptionInfo[BaseException]:
    kind: Any = pytest.ExceptionInfo  # whose method has no types
    excinfo: pytest.ExceptionInfo[BaseException] = kind.from_exception(error)
    return excinfo


def _notes_of(error: BaseException) -> list[str]:
    notes: object = getattr(error, "__notes__", None)
    return (
        [line for note in cast("list[object]", notes) for line in str(note).split("\n")]
        if isinstance(notes, list)
        else []
    )


def _is_ours(error: BaseException) -> TypeGuard[DotevalError | Warning]:
    """Whether it is an error of ours, or a warning of ours, where these are errors."""
    return isinstance(error, DotevalError) or (
        isinstance(error, Warning) and type(error).__module__.startswith("doteval.")
    )


def _cause(error: DotevalError | Warning) -> str:
    """What comes first where there is little room."""
    match error:
        case ModelSetupError():
            return error.reason
        case ModelRequestError() | ProviderLoadError():
            return error.problem
        case _:
            return str(error)


def _as_group(error: BaseException | None) -> BaseExceptionGroup[BaseException] | None:
    return cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None


def _leads_to_us(error: BaseException) -> bool:
    """Whether an error is of ours, or of the user who has made it of one of ours."""
    return _ours_behind(error) is not None


def _ours_behind(error: BaseException) -> DotevalError | Warning | None:
    """What of ours an error was made of, be it in a group; the error itself, where it is one of ours."""
    for each, _ in reversed(chain_of(error)):
        for leaf in leaves_of(each):
            if _is_ours(leaf):
                return leaf
    return None


def _told_first(error: BaseException, message: str) -> str:
    """What is in the line at the end of the run: of an error that was made of one of ours, the cause first."""
    if _is_ours(error):
        return _cause(error)
    ours = _ours_behind(error)
    if ours is None or isinstance(error, BaseExceptionGroup):
        return message
    return f"{_cause(ours)} ({type(error).__name__})"


def _concerns_us(group: BaseExceptionGroup[BaseException]) -> bool:
    """Whether an error of ours is in a group, or the group has come out of doteval."""
    if any(map(_is_ours, leaves_of(group))):
        return True
    frames = traceback.walk_tb(group.__traceback__)
    return any(frame.f_globals.get("__name__", "").partition(".")[0] == "doteval" for frame, _ in frames)


def _strip(printed: traceback.TracebackException, error: BaseException, plugins: AbstractSet[str]) -> None:
    """Leave out the frames that are none of the user's: of an error, of its members, and of what caused them."""
    left: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(printed, error)]
    while left:  # what is printed is no circle, whatever the error is
        shown, each = left.pop()
        if shown is None or each is None:
            continue
        frames = [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
        shown.stack[:] = [line for line, frame in zip(shown.stack, frames, strict=False) if is_users(frame, plugins)]
        left += [(shown.__cause__, each.__cause__), (shown.__context__, each.__context__)]
        left += zip(shown.exceptions or (), members_of(each), strict=False)
