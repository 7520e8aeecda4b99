"""A cancellation of which anyio does not tell a task that a thread has begun."""

from __future__ import annotations

import math

from anyio import CancelScope, current_effective_deadline


def deliver_cancellation() -> None:
    """Have a cancellation delivered to the present task, at its next checkpoint, though it came before the task.

    On asyncio, anyio tells the tasks that are in a scope when it is cancelled, until they have ended. The scope around
    a worker thread may be without any by then; and what `anyio.from_thread.run` begins in it later is told of nothing.
    It would wait as if nobody had cancelled it, and for ever in what checks whether somebody has, as the
    ``acquire()`` of anyio's locks and limiters does. Whenever a scope is left, anyio tells what is around it again.
    """
    if current_effective_deadline() == -math.inf:
        with CancelScope():  # noqa: ASYNC100 - only leaving it counts
            pass
