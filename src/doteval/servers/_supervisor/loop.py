"""``Supervisor``: one loop in one thread, around one server; and `supervise`, from the job to the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import time

from .bed import Bed
from .clients import Client, Clients
from .family import Family
from .keeper import keep
from .lifetime import ASLEEP, SIGNAL, TELL, Lifetime
from .log import Log
from .memory import GpuMemory
from .messages import Answer, Message, Tell, described
from .place import Place, PlaceTakenError
from .policy import BED, GIVE_SLOTS_BACK, KEEP_LOG, LEAVE_BED, LOOK, SAY_EXITED, SLOTS, Policy
from .signals import Signals

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Callable

ORPHAN_SECONDS = 0.02  # how often to look for the end of who is not our child: it is not announced
LONGEST_SLEEP = 3600.0  # the system takes no more than a few weeks, and a server may be kept for ever


class Supervisor:
    """Starts a server, and does what its clients ask, until nothing of it is left.

    Args:
        job: What to run and how; the starter's first line, and the path of the socket.
        starter: Who has started this.
        signals: What tells that a process has ended.
        keeper: Where the keeper is told the process group of the server.
    """

    def __init__(self, job: Message, starter: Client, signals: Signals, keeper: int) -> None:
        self._job = job
        self._keeper = keeper
        locks = list(zip(job["slot_paths"], job["slot_fds"], strict=True))
        number = len(job["slots"])
        slots, parts = dict(locks[:number]), dict(locks[2 * number :])
        self._place = Place(job["socket"], job["directory"], slots, job["files"], parts)
        self._starts = [fd for _, fd in locks[number : 2 * number]]  # while it starts, others do not beside it
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._clients = Clients(self._selector, starter, self._place.listen())
        self._lifetime = Lifetime(
            time.monotonic(),
            grace=job["grace"],
            drain_seconds=job["drain_seconds"],
            stay_seconds=job["stay_seconds"],
            can_sleep=job["may_sleep"] > 0,
        )
        self._policy = Policy(starter, self._lifetime)
        self._bed = Bed(job["beds"], job["may_sleep"])
        self._log = Log(os.path.join(job["directory"], "server.log"), job["log_bytes"], job["secrets"])
        self._gpu_memory = GpuMemory(job["gpus"])
        self._family: Family | None = None
        self._output = -1
        self._started = self._last_used = time.time()
        self._used_at = self._lifetime.used_at

    def start(self) -> None:
        """Start the server; the starter leases it."""
        self._place.make_directory()
        self._log.open()
        self._output, write_end = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._family = Family(self._job["argv"], self._job["environment"], self._job["cwd"], write_end)
            os.write(self._keeper, str(self._family.pid).encode())
        except (OSError, ValueError) as exc:
            self._log.write(f"cannot start {self._job['argv'][0]}: {exc}\n".encode())
        finally:
            os.close(write_end)
        self._selector.register(self._signals.socket, selectors.EVENT_READ, self._signals.drain)
        self._selector.register(self._output, selectors.EVENT_READ, self._drain_output)
        self._clients.attend()
        self._watch_place()
        self._serve(self._clients.starter, self._clients.starter.requests())

    def run(self) -> None:
        """Serve everybody until nothing of the server is left, or cannot be ended."""
        family, lifetime, policy = self._family, self._lifetime, self._policy
        if family is None:
            policy.failed("it could not be started", expected=bool(lifetime.reason))
            self._act()
            return
        self._clients.tell_all(Tell.started(family.pid))
        while not lifetime.reason or not (family.is_gone() or lifetime.is_given_up(time.monotonic())):
            self._hear(self._selector.select(self._patience(family)))
            if family.reap():
                self._drain_output()
                policy.exited(time.monotonic())
            if self._signals.told_to_end:
                policy.signalled(self._signals.told_to_end, time.monotonic())
            policy.pass_time(time.monotonic())
            self._act()
            self._clients.flush()
        self._drain_output()
        policy.is_over()
        self._act()

    def fail(self, problem: BaseException) -> None:
        """Tell everybody that this is the end, and let nothing of the server survive it."""
        if self._family is not None:  # first, and in the way that needs nothing, as whatever failed may fail again
            with contextlib.suppress(OSError):
                os.killpg(self._family.pid, signal.SIGKILL)
            with contextlib.suppress(Exception):
                self._family.send(signal.SIGKILL)
        with contextlib.suppress(Exception):
            self._log.write(f"the supervisor failed: {type(problem).__name__}: {problem}\n".encode())
        with contextlib.suppress(Exception):
            self._policy.failed("its supervisor failed")
            self._act()

    def close(self) -> None:
        """Leave nothing behind; when the connections close, all is over, but for memory that the driver has to free."""
        self._log.close()
        self._place.remove()
        if self._gpu_memory.is_known:
            self._clients.say_goodbye()
            self._clients.hang_up()  # nobody who leaves waits for the driver: whoever comes does, for the slots
            self._gpu_memory.wait(self._family.seen if self._family else set())
        self._let_others_start()
        self._place.leave_slots()
        if not self._gpu_memory.is_known:
            self._clients.say_goodbye()

    # ---------------------------------------------------------------- what happens

    def _patience(self, family: Family) -> float | None:
        """How long nothing has to be done by itself, in seconds."""
        now = time.monotonic()
        due = self._policy.due()
        if self._policy.has_said_exit and not family.adopts:
            due.append(now + ORPHAN_SECONDS)
        return min(max(0.0, min(due) - now), LONGEST_SLEEP) if due else None

    def _hear(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, _ in events:
            if not isinstance(key.data, Client):
                key.data()
        for client, requests in self._clients.heard(events):
            self._serve(client, requests)

    def _watch_place(self) -> None:
        before = self._place.watch
        if before >= 0:
            self._selector.unregister(before)
        self._place.look_after()
        if self._place.watch >= 0:
            self._selector.register(self._place.watch, selectors.EVENT_READ, self._place_may_be_gone)
        self._policy.watches(self._place.watch >= 0, time.monotonic())

    def _place_may_be_gone(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._place.watch, 1 << 16)
        self._policy.may_be_deleted(time.monotonic())

    def _drain_output(self) -> None:
        for _ in range(64):  # a flood must not keep the loop from everything else
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(self._output)
                return
            self._log.write(data)
            self._policy.printed(self._log.bytes)

    # ---------------------------------------------------------------- what is to be done

    def _act(self) -> None:
        """Do what the policy says is to be done."""
        does: dict[str, Callable[..., object]] = {
            TELL: self._clients.tell_all,
            SIGNAL: self._send,
            KEEP_LOG: self._keep_log,
            SAY_EXITED: self._say_exited,
            LOOK: self._look_after_place,
            GIVE_SLOTS_BACK: self._place.give_slots_back,
            LEAVE_BED: self._bed.leave,
        }
        while self._policy.effects:
            name, arguments = self._policy.effects.popleft()
            does[name](*arguments)
        if self._used_at != self._lifetime.used_at:  # the one is for the policy, the other one for people
            self._used_at, self._last_used = self._lifetime.used_at, time.time()

    def _send(self, number: int) -> None:
        if self._family is not None:
            self._family.send(number)

    def _look_after_place(self) -> None:
        try:
            is_whole = self._place.is_whole()
            if not is_whole:
                listener = self._place.mend()
                if listener is not None:
                    self._clients.listen(listener)
            if not is_whole or not os.path.exists(self._log.path):
                self._log.open()
            self._watch_place()
            if not self._place.is_whole():  # again, before anybody would have told
                self._policy.look_again(time.monotonic(), soon=True)
        except PlaceTakenError:
            self._policy.place_taken(time.monotonic())
        except OSError as exc:  # where it takes long, somebody else takes the place
            self._policy.look_again(time.monotonic(), soon=isinstance(exc, BlockingIOError))

    def _say_exited(self, reason: str, expected: bool) -> None:
        if not expected:
            self._keep_log()
        code, log = self._family.code if self._family else None, self._log.path if self._log.is_kept else None
        stopped = self._policy.is_stopped
        self._clients.tell_all(
            Tell.exited(code, reason, expected=expected, stopped=stopped, tail=self._log.tail(), log=log)
        )

    def _keep_log(self) -> None:
        self._log.keep(self._job["logs"], f"{self._job['id']}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")

    # ---------------------------------------------------------------- what is asked

    def _serve(self, client: Client, requests: list[Message] | None) -> None:
        if requests is None:
            self._clients.drop(client)
            self._policy.gone(client, time.monotonic())
            self._act()
            return
        for request in requests:
            try:
                answer = self._answer(client, request)
            except (KeyError, TypeError, ValueError, OverflowError) as exc:
                answer = Answer.error(str(exc))
            client.tell({"id": request.get("id"), **answer})

    def _answer(self, client: Client, request: Message) -> Message:
        """The policy's answer, with all that only the loop knows."""
        policy, now = self._policy, time.monotonic()
        answer = policy.ask(client, request, now)
        if answer is BED:
            answer = policy.beds(client, now, found=self._bed.take())
        elif answer is SLOTS:
            names = dict(zip(self._job["slot_paths"], self._job["slots"] * 3, strict=False))
            taken = sorted({names[each] for each in self._place.take_slots()})
            answer = policy.slots(client, self._job["slots"], taken, now)
        self._act()
        match request.get("op"):
            case "status":
                return Answer.status(self._status(memory=request.get("memory", True)))
            case "ready":
                self._let_others_start()
                if self._family and self._gpu_memory.is_known:
                    self._family.members()  # they are remembered
            case "give up":
                ending = answer["ending"]
                log = self._log.path if self._log.is_kept or not ending else None
                return Answer.last_words(ending=ending, tail=self._log.tail(), log=log)
            case _:
                pass
        return Answer.granted(self._description()) if answer.get("granted") else answer

    def _let_others_start(self) -> None:
        for each in self._starts:
            fcntl.flock(each, fcntl.LOCK_UN)

    def _description(self) -> Message:
        """What whoever uses the server has to know."""
        return described(
            self._job,
            pid=self._family.pid if self._family else None,
            supervisor=os.getpid(),
            log=self._log.path,
            started=self._started,
            ready=self._lifetime.is_ready,
            met=self._lifetime.met,
            sleeps=bool(self._lifetime.sleep),
        )

    def _status(self, *, memory: bool) -> Message:
        description = self._description()
        del description["api_key"]
        return {
            **description,
            "slots": [] if self._lifetime.sleep == ASLEEP else description["slots"],
            "bed": self._bed.number,
            "beds": self._bed.choices,
            "leases": self._policy.count("lease"),
            "holds": self._policy.count("hold"),
            "waits": self._policy.waits(),
            "last_used": self._last_used,
            "keep_alive": self._lifetime.keep_alive,
            "state": self._lifetime.state,
            "memory": self._family.memory() if self._family and memory else None,
            "ended_by": self._family.ended_by if self._family else [],
        }


def supervise(starter_fd: int, lock_fd: int, path: str) -> None:
    """Supervise one server, from the job to the end.

    Args:
        starter_fd: The starter's connection; its first line is the job.
        lock_fd: The starter's lock on the directory of the sockets.
        path: Where to listen.
    """
    os.chdir("/")  # the keeper, too: neither keeps a directory of its starter's in use
    keeper = keep(path, starter_fd, lock_fd)
    signals = Signals()
    starter = socket.socket(fileno=starter_fd)
    received = b""
    while b"\n" not in received:
        data = starter.recv(1 << 16)
        if not data:  # whoever started this has died in between
            return
        received += data
    line, _, rest = received.partition(b"\n")
    with contextlib.suppress(BlockingIOError):
        if starter.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":  # after the job, and before the server
            return
    supervisor = Supervisor({**json.loads(line), "socket": path}, Client(starter, rest), signals, keeper)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_UN)
        os.close(lock_fd)
        supervisor.start()
        supervisor.run()
    except BaseException as exc:
        supervisor.fail(exc)
        raise
    finally:
        supervisor.close()
    os._exit(0)  # at once: whoever stops a server waits for that, and what Python would tidy up now ends anyway
