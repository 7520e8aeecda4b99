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
from .clients import Client, Clients, Message
from .family import Family
from .keeper import keep
from .lifetime import ASLEEP, FALLING_ASLEEP, Lifetime
from .log import Log
from .memory import GpuMemory
from .place import LOOK_SECONDS, SETTLE_SECONDS, Place, PlaceTakenError
from .protocol import PROTOCOL
from .signals import Signals

OUTPUT_SECONDS = 0.25  # at most this often the starting clients are told that there was output
ORPHAN_SECONDS = 0.02  # how often to look for the end of who is not our child: it is not announced
_TOLD = ("id", "kind", "spec", "port", "api_key", "slots", "fraction", "shown")
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
        self._look_at: float | None = None  # when to look whether the place is whole
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._clients = Clients(self._selector, starter, self._place.listen())
        self._lifetime = Lifetime(
            time.monotonic(),
            grace=job["grace"],
            drain_seconds=job["drain_seconds"],
            stay_seconds=job["stay_seconds"],
            can_sleep=job["may_sleep"] > 0,
            tell=self._clients.tell_all,
        )
        self._bed = Bed(job["beds"], job["may_sleep"])
        self._is_refused_a_bed = False
        self._nurse: Client | None = None  # who puts it to sleep now, or wakes it up
        self._log = Log(os.path.join(job["directory"], "server.log"), job["log_bytes"], job["secrets"])
        self._gpu_memory = GpuMemory(job["gpus"])
        self._family: Family | None = None
        self._output = -1
        self._started = self._last_used = time.time()
        self._told_exit = False
        self._told_bytes = 0
        self._tell_output_at = 0.0

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
        family, lifetime = self._family, self._lifetime
        if family is None:
            self._tell_exit("it could not be started", expected=bool(lifetime.reason))
            return
        self._clients.tell_all({"event": "started", "pid": family.pid})
        while not lifetime.reason or not (family.is_gone() or lifetime.is_given_up(time.monotonic())):
            self._hear(self._selector.select(self._patience(family)))
            if family.reap() and not self._told_exit:
                self._drain_output()
                by_itself = f"it ended {'by itself' if lifetime.is_ready else 'before it was ready'}"
                self._tell_exit(lifetime.reason or by_itself, expected=bool(lifetime.reason))
                lifetime.end("the server ended", time.monotonic(), is_told=True)
            if self._signals.told_to_end:
                lifetime.end(f"its supervisor got {self._signals.told_to_end}", time.monotonic())
            self._look_after_place()
            self._tell_output()
            for number in lifetime.pass_time(time.monotonic()):
                family.send(number)
            self._clients.flush()
        self._drain_output()
        if not self._told_exit:
            self._tell_exit(lifetime.reason, expected=True)

    def fail(self, problem: BaseException) -> None:
        """Tell everybody that this is the end, and let nothing of the server survive it."""
        if self._family is not None:  # first, and in the way that needs nothing, as whatever failed may fail again
            with contextlib.suppress(OSError):
                os.killpg(self._family.pid, signal.SIGKILL)
            with contextlib.suppress(Exception):
                self._family.send(signal.SIGKILL)
        with contextlib.suppress(Exception):
            self._log.write(f"the supervisor failed: {type(problem).__name__}: {problem}\n".encode())
        if not self._told_exit:
            with contextlib.suppress(Exception):
                self._tell_exit("its supervisor failed", expected=False)

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
        due = self._lifetime.due()
        if self._has_output_to_tell():
            due.append(self._tell_output_at)
        if self._look_at is not None and not self._lifetime.reason:
            due.append(self._look_at)
        if self._told_exit and not family.adopts:
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
        self._look_at = None if self._place.watch >= 0 else time.monotonic() + LOOK_SECONDS

    def _place_may_be_gone(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._place.watch, 1 << 16)
        if self._look_at is None:
            self._look_at = time.monotonic() + SETTLE_SECONDS

    def _look_after_place(self) -> None:
        if self._look_at is None or time.monotonic() < self._look_at or self._lifetime.reason:
            return
        self._look_at = None
        try:
            if not self._place.is_whole():
                listener = self._place.mend()
                if listener is not None:
                    self._clients.listen(listener)
                self._log.open()
            self._watch_place()
        except PlaceTakenError:
            self._lifetime.end("its runtime directory was deleted, and its place is taken", time.monotonic())
        except OSError:
            self._look_at = time.monotonic() + LOOK_SECONDS

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

    def _has_output_to_tell(self) -> bool:
        return not self._lifetime.is_ready and not self._lifetime.reason and self._log.bytes > self._told_bytes

    def _tell_output(self) -> None:
        now = time.monotonic()
        if self._has_output_to_tell() and now >= self._tell_output_at:
            self._told_bytes, self._tell_output_at = self._log.bytes, now + OUTPUT_SECONDS
            self._clients.tell_all({"event": "output", "bytes": self._log.bytes})

    def _tell_exit(self, reason: str, *, expected: bool) -> None:
        self._told_exit = True
        if not expected:
            self._keep_log()
        self._clients.tell_all(
            {
                "event": "exited",
                "code": self._family.code if self._family else None,
                "reason": reason,
                "expected": expected,
                "tail": self._log.tail(),
                "log": self._log.path if self._log.is_kept else None,
            }
        )

    def _keep_log(self) -> None:
        self._log.keep(self._job["logs"], f"{self._job['id']}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")

    # ---------------------------------------------------------------- what is asked

    def _serve(self, client: Client, requests: list[Message] | None) -> None:
        if requests is None:
            self._clients.drop(client)
            if client is self._nurse:
                self._switched("whoever was to do that has gone")
            self._uses_changed(used=client.kind == "lease")
            return
        for request in requests:
            try:
                answer = self._answer(client, request)
            except (KeyError, TypeError, ValueError, OverflowError) as exc:
                answer = {"error": str(exc)}
            client.tell({"id": request.get("id"), **answer})

    def _answer(self, client: Client, request: Message) -> Message:
        lifetime, reason = self._lifetime, str(request.get("reason", ""))
        match request.get("op"):
            case "lease" | "hold" as kind:
                is_new_lease = kind == "lease" and client.kind != "lease"
                if lifetime.reason or (is_new_lease and not lifetime.is_leasable):
                    refusal = lifetime.reason or lifetime.sleep or lifetime.drain_reason
                    sleeps = not lifetime.reason and bool(lifetime.sleep)
                    return {"granted": False, "reason": refusal, "ending": bool(lifetime.reason), "sleeps": sleeps}
                lifetime.keep_alive = max(lifetime.keep_alive, float(request.get("keep_alive", 0)))
                self._become(client, kind)
                return {"granted": True, "server": self._description()}
            case "leave":
                self._become(client, "visitor")
                return {"ending": bool(lifetime.reason)}
            case "waits":
                wishes = request["wishes"]
                client.waits = [[list(map(str, names)), int(count), int(amount)] for names, count, amount in wishes]
                return {}
            case "status":
                return {"status": self._status(memory=request.get("memory", True))}
            case "ready":
                lifetime.ready(time.monotonic(), str(request.get("condition", "")))
                self._let_others_start()
                if self._family and self._gpu_memory.is_known:
                    self._family.members()  # they are remembered
                return {}
            case "end":
                return self._make_way(client, request)
            case "wake":
                return self._wake(client)
            case "switched":
                if client is self._nurse:
                    self._switched(str(request.get("problem", "")))
                return {}
            case "end sleeping":
                if lifetime.sleep == ASLEEP:
                    lifetime.end(reason, time.monotonic())
                return {"ending": bool(lifetime.reason)}
            case "give up":
                is_last = client.kind == "lease" and self._clients.uses() == 1
                if is_last and not lifetime.reason:
                    self._keep_log()
                    lifetime.end(reason, time.monotonic())
                self._become(client, "visitor")
                stays = self._log.is_kept or not lifetime.reason
                log = self._log.path if stays else None
                return {"ending": bool(lifetime.reason), "tail": self._log.tail(), "log": log}
            case "stop":
                lifetime.end(reason, time.monotonic())
                return {"ending": True}
            case _:
                return {"error": "unknown request"}

    def _make_way(self, client: Client, request: Message) -> Message:
        """Somebody needs the slots; where they can, they put the server to sleep."""
        lifetime, can_sleep = self._lifetime, bool(request.get("sleep")) and self._bed.choices > 0
        self._is_refused_a_bed = False
        ending = lifetime.make_way(
            str(request.get("reason", "")),
            self._clients.count("lease"),
            time.monotonic(),
            drain=bool(request.get("drain")),
            find_bed=self._find_bed if can_sleep else None,
        )
        if lifetime.sleep == FALLING_ASLEEP and self._nurse is None:
            self._nurse = client
            return {"ending": ending, "granted": True, "server": self._description()}
        return {"ending": ending, "granted": False, "is_full": self._is_refused_a_bed}

    def _find_bed(self) -> bool:
        self._is_refused_a_bed = not self._bed.take()
        return not self._is_refused_a_bed

    def _wake(self, client: Client) -> Message:
        """Somebody wants to use the server, and wakes it up, where its slots are free."""
        if self._lifetime.reason or self._lifetime.sleep != ASLEEP:
            return {"granted": False, "sleeps": False}
        taken = self._place.take_slots()
        if taken:
            names = dict(zip(self._job["slot_paths"], self._job["slots"] * 3, strict=False))
            return {
                "granted": False,
                "sleeps": True,
                "slots": self._job["slots"],
                "taken": sorted({names[each] for each in taken}),
            }
        self._nurse = client
        self._lifetime.wake(time.monotonic())
        return {"granted": True, "server": self._description()}

    def _switched(self, problem: str) -> None:
        self._nurse = None
        self._lifetime.switched(problem, time.monotonic())
        if self._lifetime.sleep == ASLEEP and not self._lifetime.reason:
            self._place.give_slots_back()
        elif not self._lifetime.sleep:
            self._bed.leave()

    def _let_others_start(self) -> None:
        for each in self._starts:
            fcntl.flock(each, fcntl.LOCK_UN)

    def _become(self, client: Client, kind: str) -> None:
        was, client.kind = client.kind, kind
        self._uses_changed(used="lease" in (was, kind))

    def _uses_changed(self, *, used: bool) -> None:
        if used:
            self._last_used = time.time()
        leases, holds = self._clients.count("lease"), self._clients.count("hold")
        self._lifetime.uses_changed(leases, holds, time.monotonic(), used=used)

    def _description(self) -> Message:
        """What whoever uses the server has to know."""
        return {
            **{name: self._job[name] for name in _TOLD},
            "pid": self._family.pid if self._family else None,
            "supervisor": os.getpid(),
            "protocol": PROTOCOL,
            "log": self._log.path,
            "started": self._started,
            "ready": self._lifetime.is_ready,
            "met": self._lifetime.met,
            "sleeps": bool(self._lifetime.sleep),
            "sleep": self._job["sleep"],
        }

    def _status(self, *, memory: bool) -> Message:
        description = self._description()
        del description["api_key"]
        return {
            **description,
            "slots": [] if self._lifetime.sleep == ASLEEP else description["slots"],
            "bed": self._bed.number,
            "beds": self._bed.choices,
            "leases": self._clients.count("lease"),
            "holds": self._clients.count("hold"),
            "waits": self._clients.waits(),
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
    keeper = keep(path, starter_fd, lock_fd)
    signals = Signals()
    os.chdir("/")
    starter = socket.socket(fileno=starter_fd)
    received = b""
    while b"\n" not in received:
        data = starter.recv(1 << 16)
        if not data:  # whoever started this has died in between
            return
        received += data
    line, _, rest = received.partition(b"\n")
    supervisor = Supervisor({**json.loads(line), "socket": path}, Client(starter, "lease", rest), signals, keeper)
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
