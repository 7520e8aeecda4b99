"""How and where an evaluation is run, its results kept: ``Settings`` and ``Place``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ... import ReplyCache
from .._escapes import INTERRUPTS
from .._results.changed import Changed
from .._results.gates import Gate
from .._results.identity import Identity, as_it_began
from .._results.store import Store
from .declared import Contents
from .files_read import FilesRead
from .limits import Concurrency
from .retries import Retries
from .selection import Selection


@dataclass(frozen=True, slots=True)
class Place:
    """Where the results of an evaluation are kept.

    Args:
        store: The store.
        experiment: The experiment.
        name: The evaluation's name in it.
        model: The spec of its model, or nothing.
        identity: What its results depend on.
        look_again: Finds out anew what they depend on, once it has been run.
        files: The files that it reads.
        contents: What the files hold that the user says they depend on.
    """

    store: Store
    experiment: str
    name: str
    model: str
    identity: Identity
    look_again: Callable[[], Identity]
    files: FilesRead
    contents: Contents | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", as_it_began(self.identity))

    def with_contents(self) -> Place:
        """The same, with what these files hold now; blocks.

        Raises:
            DependencyError: One is not there, or cannot be read.
        """
        return self if self.contents is None else replace(self, identity={**self.identity, **self.contents.now()})


@dataclass(frozen=True, slots=True)
class Settings:
    """How an evaluation is run.

    Args:
        concurrency: How many rows at once; `None` for the evaluation's own number.
        max_errors: How many rows may raise before the evaluation does not count as finished; `None`: nobody has said.
        abort_after: After how many failures alike, one after the other, one that has not passed ends; 0: never.
        retries: When a row is run again.
        row_timeout: How long an attempt of a row may take, in seconds; 0: as long as it takes.
        selection: Which rows are run.
        epochs: How many samples of each.
        gates: What scores have to reach, besides what the evaluation itself says.
        baseline: The experiment with what they are compared with; nothing where there is none.
        allows_new: Whether gates with a baseline are not judged where that has nothing of the evaluation.
        fresh: Whether what is in the store is thrown away.
        changed: What becomes of results that are of something else.
        cache: What answers requests; `None`: what does so where it is run. ``"off"``: nothing.
        transcripts: Whether the requests of rows are kept, with their messages.
        tags: What the user notes of the run.
        asks_git: Whether git may be started, to know whether the commit is what is run.
        ends: What ends the run when a row raises it; all else but the run's cancellation is the failure of the row.
    """

    concurrency: Concurrency | None = None
    max_errors: int | None = None
    abort_after: int = 0
    retries: Retries = field(default_factory=Retries)
    row_timeout: float = 0.0
    selection: Selection = field(default_factory=Selection)
    epochs: int = 1
    gates: tuple[Gate, ...] = ()
    baseline: str = ""
    allows_new: bool = False
    fresh: bool = False
    changed: Changed = "error"
    cache: ReplyCache | Literal["off"] | None = None
    transcripts: bool = False
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    asks_git: bool = False
    ends: tuple[type[BaseException], ...] = INTERRUPTS

    @property
    def errors_allowed(self) -> int:
        """How many rows may raise before they are run again."""
        return self.max_errors or 0
