"""The supervisor: the process between a model server and all who use it.

Started as ``python -I -S _supervisor STARTER LOCK SOCKET_PATH``, in a session of its own, with two inherited
descriptors: the starter's socket, and its lock on the directory of the sockets. The lock is kept until its own socket
is there: whoever starts it may die at any moment and leaves no socket at which nobody listens. It uses nothing but the
standard library, one thread, and one loop. It

- makes the server the leader of a process group and, on Linux, itself the reaper of whatever the server leaves behind;
- drains the server's output into a bounded log that only its user can read, with secrets masked;
- stops the server when nobody is connected any more: TERM to all of it, again, a grace, KILL, until nothing is left.

Being connected is the whole protocol: the kernel closes the connections of whoever dies. A connection is a lease, a
hold (keep it warm) or neither (a visitor). The supervisor alone decides who gets a lease: nobody acts on a stale look.

Both directions speak a JSON object a line. The first line from the starter is the job; then every client may ask for
``lease``, ``hold``, ``leave``, ``status``, ``ready``, ``end`` and ``stop``; each is answered with the same ``id``.
Everybody is told the events ``started``, ``output``, ``ready``, ``retiring``, ``resumed``, ``ending`` and ``exited``.
When a connection closes after that, nothing of the server is left and its slots are free: the supervisor holds their
locks by inheritance.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import json
import os
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

TAIL_LINES = 50
TAIL_LINE_BYTES = 2000
KEPT_LOGS = 20
OUTPUT_SECONDS = 0.25  # at most this often the starting clients are told that there was output
PAUSE_SECONDS = 0.5  # for so long nobody leases a server between two tests that both use it
KILL_SECONDS = 10.0  # how long to wait for what was killed; what sits in the kernel longer than that cannot be helped
BUFFER_LIMIT = 1 << 18  # what is kept for a client that does not read, in bytes
MEMORY_SLACK = 256  # MiB that a GPU may have in use more than before the start and still count as free
MEMORY_SECONDS = 30.0
UNUSED = "nobody is connected any more"
LONGEST_SLEEP = 3600.0  # the system takes no more than a few weeks, and a server may be kept for ever


class Log:
    """The server's output: a file, once it is open, that is bounded by rotating once, and its last lines.

    Args:
        path: The file; what is older is in ``path + ".1"``.
        limit: How large both may get together, in bytes.
        secrets: What is masked, also where it arrives in pieces.
    """

    def __init__(self, path: str, limit: int, secrets: list[str]) -> None:
        self.path = path
        self.bytes = 0
        self._limit = max(limit // 2, 4096)
        self._secrets = sorted((secret.encode() for secret in secrets if secret), key=len, reverse=True)
        self._any_secret = re.compile(b"|".join(map(re.escape, self._secrets)) or b"(?!)")
        self._carry = b""  # the beginning of what may turn out to be a secret
        self._line = b""
        self._tail: collections.deque[bytes] = collections.deque(maxlen=TAIL_LINES)
        self._file = -1
        self._size = 0

    def open(self) -> None:
        """Begin a file, beside the one there may be."""
        before, self._file = self._file, os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0
        if before >= 0:
            os.close(before)

    def write(self, data: bytes) -> None:
        self.bytes += len(data)
        data = self._carry + data
        # From here on it may be the beginning of a secret, also where a shorter one is complete.
        end = len(data) - max((_overlap(data, secret) for secret in self._secrets), default=0)
        for found in self._any_secret.finditer(data):
            if found.start() < end < found.end():
                end = found.end()
        self._carry = data[end:]
        self._put(self._masked(data[:end]))

    def _masked(self, data: bytes) -> bytes:
        return self._any_secret.sub(b"***", data)

    def close(self) -> None:
        self._put(self._masked(self._carry))
        self._carry = b""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def keep(self, directory: str, name: str) -> None:
        """Move the file to where it outlives the server; it goes on growing there."""
        target = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            os.makedirs(directory, 0o700, exist_ok=True)
            os.replace(self.path, target)
            before, self.path = self.path, target
            with contextlib.suppress(FileNotFoundError):
                os.replace(before + ".1", target + ".1")
            logs = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(directory))
            for _, old in logs[:-KEPT_LOGS]:
                os.unlink(old)

    def tail(self) -> list[str]:
        lines = [*self._tail, self._line] if self._line else list(self._tail)
        return [line.decode("utf-8", "replace") for line in lines[-TAIL_LINES:]]

    def _put(self, data: bytes) -> None:
        if not data:
            return
        *lines, rest = (self._line + data).split(b"\n")
        self._tail.extend(line[-TAIL_LINE_BYTES:].rstrip(b"\r") for line in lines[-TAIL_LINES:])
        self._line = rest[-TAIL_LINE_BYTES:]
        with contextlib.suppress(OSError):  # a full disk does not stop a server
            if self._size + len(data) > self._limit:
                os.replace(self.path, self.path + ".1")
                self.open()
            self._size += os.write(self._file, data[-self._limit :])


def _overlap(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of `data` are the beginning of `secret`."""
    return next((n for n in range(min(len(secret) - 1, len(data)), 0, -1) if data.endswith(secret[:n])), 0)


class Family:
    """The server's process and all that descend from it.

    On Linux the supervisor adopts orphans, so a process that forks twice or starts a session of its own still belongs
    to it. Elsewhere the process group is all there is.
    """

    def __init__(self, job: dict[str, Any], output: int) -> None:
        self.adopts = _become_subreaper()
        self.code: int | None = None
        self.childless = False
        process = subprocess.Popen(
            job["argv"],
            env=job["environment"],
            cwd=job["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        self.pid = process.pid
        process.returncode = 0  # it is waited for here, not there

    def reap(self) -> bool:
        """Take the exit codes of all that have ended; return whether the server itself has by now."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self.pid:
                    self.code = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            self.childless = True
        return self.code is not None

    def is_gone(self) -> bool:
        self.reap()
        return self.childless and (self.adopts or not _signal_group(self.pid, 0))

    def send(self, number: int) -> None:
        """Signal all of it, each process once; what is stopped is woken up to notice."""
        members = self.members()
        for each in (number, signal.SIGCONT):
            if not self.adopts or self.pid in members.values():
                _signal_group(self.pid, each)
            for pid, group in members.items():
                if group != self.pid:
                    with contextlib.suppress(OSError):
                        os.kill(pid, each)

    def members(self) -> dict[int, int]:
        """The processes that descend from the supervisor and their groups, where the system tells, but no zombies."""
        if not self.adopts:
            return {}
        parents: dict[int, int] = {}
        groups: dict[int, int] = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:
                    state, parent, group = file.read().rpartition(b")")[2].split()[:3]
                    if state != b"Z":
                        parents[int(entry.name)], groups[int(entry.name)] = int(parent), int(group)
        found = {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid: groups[pid] for pid in found - {os.getpid()}}

    def memory(self) -> int | None:
        """What all of it has in memory, in bytes; pages that processes share count for each."""
        if not self.adopts:
            return None
        pages = 0
        for pid in self.members():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as file:
                pages += int(file.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _become_subreaper() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    pr_set_child_subreaper = 36
    return ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0 and os.path.exists("/proc/self/stat")


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anybody to signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # macOS says so of a group of zombies; of ours there is nobody else
    return True


class Client:
    """One connection."""

    def __init__(self, connection: socket.socket, kind: str = "visitor", received: bytes = b"") -> None:
        connection.setblocking(False)
        self.socket = connection
        self.kind = kind
        self.received = received
        self.unsent = b""

    def requests(self) -> list[dict[str, Any]] | None:
        """What it has asked since last time; `None` when it has gone."""
        try:
            data = self.socket.recv(1 << 16)
            if not data or len(self.received) > BUFFER_LIMIT:
                return None
            self.received += data
        except BlockingIOError:
            pass  # what came along with the job is there already
        except OSError:
            return None
        *lines, self.received = self.received.split(b"\n")
        try:
            found = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return None
        return found if all(isinstance(request, dict) for request in found) else None

    def tell(self, message: dict[str, Any]) -> None:
        """Send, or keep until it can be sent; who never reads misses something, but holds nobody up."""
        if len(self.unsent) < BUFFER_LIMIT:
            self.unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]


def _is_leaving(requests: list[dict[str, Any]] | None) -> bool:
    return requests is None or any(request.get("op") == "leave" for request in requests)


class Signals:
    """Wakes the loop up when a child has ended, and when the supervisor is told to end."""

    def __init__(self) -> None:
        self.socket, self._wakes = socket.socketpair()
        self.socket.setblocking(False)
        self._wakes.setblocking(False)
        self.told_to_end = ""
        """The signal that said so."""
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(4096)

    def _note(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:  # the loop does all the rest: this may be in the middle of anything
            self.told_to_end = signal.Signals(number).name


class Supervisor:
    """Decides how long the server lives, and who leases it."""

    def __init__(self, job: dict[str, Any], starter: Client, signals: Signals) -> None:
        self.job = job
        self.signals = signals
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.log = Log(os.path.join(job["directory"], "server.log"), job["log_bytes"], job["secrets"])
        self.output = -1
        self.family: Family | None = None
        self.clients = [starter]
        self.started = self.last_used = time.time()
        self.keep_alive = 0.0
        self.is_ready = False
        self.reason = ""  # why it ends; empty while it lives
        self.told_exit = False
        self.signals_due: list[tuple[float, int]] = []  # when to send which signal, while it is being stopped
        self.kills_until = 0.0
        self.unused_until: float | None = None
        self.drains_until: float | None = None
        self.drain_reason = ""
        self.no_drain_before = float("inf")  # not while it starts
        self.started_at = self.used_at = time.monotonic()
        self.told_bytes = 0
        self.tell_output_at = 0.0
        self.memory_before: dict[str, int] = {}

    def listen(self) -> None:
        """Make the socket at which everybody finds the server; the directory is locked."""
        self.listener.bind(self.job["socket"])
        self.listener.listen(128)
        self.listener.setblocking(False)

    def start(self) -> None:
        """Start the server; the starter leases it."""
        directory: str = self.job["directory"]
        files: dict[str, str] = self.job["files"]
        shutil.rmtree(directory, ignore_errors=True)  # of one that could not be removed
        os.mkdir(directory, 0o700)
        os.mkdir(os.path.join(directory, "tmp"), 0o700)
        for name, content in files.items():
            with open(os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(content)
        self.log.open()
        self.memory_before = _gpu_memory(self.job["gpus"])
        self.output, write_end = os.pipe()
        os.set_blocking(self.output, False)
        try:
            self.family = Family(self.job, write_end)
        except (OSError, ValueError) as exc:
            self.log.write(f"cannot start {self.job['argv'][0]}: {exc}\n".encode())
        finally:
            os.close(write_end)
        self.selector.register(self.signals.socket, selectors.EVENT_READ, self.signals.drain)
        self.selector.register(self.output, selectors.EVENT_READ, self._drain_output)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        (starter,) = self.clients
        self.selector.register(starter.socket, selectors.EVENT_READ, starter)
        self._serve(starter, starter.requests())

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        if self.family is None:
            self._tell_exit("it could not be started")
            return
        self._tell_all({"event": "started", "pid": self.family.pid})
        while not self.reason or not self._is_over():
            self._hear(self.selector.select(self._patience()))
            if self.family.reap() and not self.told_exit:
                self._drain_output()
                self._tell_exit(self.reason or f"it ended {'by itself' if self.is_ready else 'before it was ready'}")
                self._end("the server ended")
            if self.signals.told_to_end:
                self._end(f"its supervisor got {self.signals.told_to_end}")
            self._mind_the_time()
            for client in self.clients:
                self._watch(client)
        self._drain_output()
        if not self.told_exit:
            self._tell_exit(self.reason)
        self._wait_for_memory()

    def fail(self, problem: BaseException) -> None:
        """Tell everybody that this is the end, and let nothing of the server survive it."""
        self.log.write(f"the supervisor failed: {type(problem).__name__}: {problem}\n".encode())
        self.reason = ""  # whatever it was, this is not what anybody has expected
        if not self.told_exit:
            self._tell_exit("its supervisor failed")
        if self.family is not None:
            self.family.send(signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind; when the connections close, all is over."""
        self.log.close()
        shutil.rmtree(self.job["directory"], ignore_errors=True)
        with contextlib.suppress(OSError):  # the last: from then on somebody else may start the same server
            os.unlink(self.job["socket"])
        for slot in self.job["slot_fds"]:
            fcntl.flock(slot, fcntl.LOCK_UN)  # also where a child of the starter has a copy
            os.close(slot)
        for client in self.clients:
            client.socket.settimeout(1)
            client.flush()

    def _patience(self) -> float | None:
        """How long nothing has to be done by itself, in seconds."""
        now = time.monotonic()
        due = [when for when, _ in self.signals_due[:1]]
        due += [when for when in (self.unused_until, self.drains_until) if when is not None]
        if not self.is_ready and not self.reason and self.log.bytes > self.told_bytes:
            due.append(self.tell_output_at)
        if self.told_exit and self.family is not None and not self.family.adopts:
            due.append(now + 0.02)  # the end of who is not our child is not announced
        return min(max(0.0, min(due) - now), LONGEST_SLEEP) if due else None

    def _mind_the_time(self) -> None:
        assert self.family is not None
        now = time.monotonic()
        if not self.is_ready and not self.reason and self.log.bytes > self.told_bytes and now >= self.tell_output_at:
            self.told_bytes, self.tell_output_at = self.log.bytes, now + OUTPUT_SECONDS
            self._tell_all({"event": "output", "bytes": self.log.bytes})
        if self.unused_until is not None and now >= self.unused_until:
            self._end(UNUSED)
        if self.drains_until is not None and now >= self.drains_until and not self.reason:
            # Whoever leases it may wait for a lease on it itself: a wish for its slots must not stop it for ever.
            self.drains_until, self.no_drain_before = None, now + self.job["drain_seconds"]
            self._tell_all({"event": "resumed"})
        while self.signals_due and now >= self.signals_due[0][0]:
            _, number = self.signals_due.pop(0)
            self.family.send(number)
            if number == signal.SIGKILL:  # what was forked meanwhile is killed as well
                self.signals_due = [(now + 0.1, signal.SIGKILL)]

    def _is_over(self) -> bool:
        assert self.family is not None
        return self.family.is_gone() or time.monotonic() > self.kills_until

    # ---------------------------------------------------------------- what happens

    def _drain_output(self) -> None:
        for _ in range(64):  # a flood must not keep the loop from everything else
            try:
                data = os.read(self.output, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self.selector.unregister(self.output)
                return
            self.log.write(data)

    def _hear(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Serve all who have something to say, those last who leave: whoever comes instead may be there already."""
        known = len(self.clients)
        for key, _ in events:
            if not isinstance(key.data, Client):
                key.data()
        speaking = [key.data for key, mask in events if isinstance(key.data, Client) and mask & selectors.EVENT_READ]
        said = [(client, client.requests()) for client in [*speaking, *self.clients[known:]]]
        for client, requests in sorted(said, key=lambda each: _is_leaving(each[1])):
            self._serve(client, requests)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                if _peer_user(connection) == os.getuid():
                    client = Client(connection)
                    self.clients.append(client)
                    self.selector.register(connection, selectors.EVENT_READ, client)
                else:
                    connection.close()

    def _watch(self, client: Client) -> None:
        client.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        if self.selector.get_key(client.socket).events != wanted:
            self.selector.modify(client.socket, wanted, client)

    def _serve(self, client: Client, requests: list[dict[str, Any]] | None) -> None:
        if requests is None:
            self.clients.remove(client)
            self.selector.unregister(client.socket)
            client.socket.close()
            self._counts_changed(client.kind == "lease")
            return
        for request in requests:
            try:
                answer = self._answer(client, request)
            except (TypeError, ValueError, OverflowError) as exc:
                answer = {"error": str(exc)}
            client.tell({"id": request.get("id"), **answer})

    def _answer(self, client: Client, request: dict[str, Any]) -> dict[str, Any]:
        reason = str(request.get("reason", ""))
        match request.get("op"):
            case "lease" | "hold" as kind:
                refusal = self.reason or (kind == "lease" and client.kind != "lease" and self._is_draining())
                if refusal:
                    return {"granted": False, "reason": self.reason or self.drain_reason, "ending": bool(self.reason)}
                self.keep_alive = max(self.keep_alive, float(request.get("keep_alive", 0)))
                was_leased, client.kind = client.kind == "lease", kind
                self._counts_changed(was_leased or kind == "lease")
                return {"granted": True, "server": self._description()}
            case "leave":
                was_leased, client.kind = client.kind == "lease", "visitor"
                self._counts_changed(was_leased)
                return {"ending": bool(self.reason)}
            case "status":
                return {"status": self._status(memory=request.get("memory", True))}
            case "ready":
                if not self.is_ready and not self.reason:
                    self.is_ready = True
                    # It stays as long as its start took, or two that take turns would start it for every lease.
                    now = time.monotonic()
                    self.no_drain_before = now + max(now - self.started_at, self.job["stay_seconds"])
                    self._tell_all({"event": "ready"})
                return {}
            case "end":
                return {"ending": self._make_way(reason, drain=bool(request.get("drain")))}
            case "stop":
                if request.get("failed") and not self.reason:
                    self._keep_log()
                self._end(reason)
                return {"ending": True, "tail": self.log.tail(), "log": self.log.path}
            case _:
                return {"error": "unknown request"}

    # ---------------------------------------------------------------- how long it lives

    def _count(self, kind: str) -> int:
        return sum(client.kind == kind for client in self.clients)

    def _is_draining(self) -> bool:
        return self.drains_until is not None

    def _counts_changed(self, used: bool) -> None:
        if used:
            self.last_used, self.used_at = time.time(), time.monotonic()
        if self._is_draining() and not self._count("lease"):
            self._end(self.drain_reason)
        if self._count("lease") or self._count("hold"):
            self.unused_until = None
        elif not (self.is_ready and self.keep_alive > 0):
            self._end(UNUSED)  # at once: whoever leaves last is told so
        elif self.unused_until is None and not self.reason:
            self.unused_until = time.monotonic() + self.keep_alive

    def _make_way(self, reason: str, *, drain: bool) -> bool:
        """Somebody needs the slots: end where nobody leases it, else lease it to nobody new for a while."""
        now = time.monotonic()
        may_go = now >= self.no_drain_before
        if not self._count("lease"):
            if may_go or now >= self.used_at + PAUSE_SECONDS:
                self._end(reason)
        elif drain and may_go and not self.reason and not self._is_draining():
            self.drains_until, self.drain_reason = now + self.job["drain_seconds"], reason
            self._tell_all({"event": "retiring", "reason": reason})
        return bool(self.reason)

    def _end(self, reason: str) -> None:
        if self.reason:
            return
        self.reason = reason
        self.unused_until = self.drains_until = None
        # What is not ready has nothing to finish, and may not listen to TERM at all.
        now, grace = time.monotonic(), self.job["grace"] / (1 if self.is_ready else 2)
        self.signals_due = [(now, signal.SIGTERM), (now + grace / 3, signal.SIGTERM), (now + grace, signal.SIGKILL)]
        self.kills_until = now + grace + KILL_SECONDS
        if not self.told_exit:
            self._tell_all({"event": "ending", "reason": reason})

    def _keep_log(self) -> None:
        self.log.keep(self.job["logs"], f"{self.job['id']}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")

    def _tell_exit(self, reason: str) -> None:
        self.told_exit = True
        if not self.reason:
            self._keep_log()
        self._tell_all(
            {
                "event": "exited",
                "code": self.family.code if self.family else None,
                "reason": reason,
                "expected": bool(self.reason),
                "tail": self.log.tail(),
                "log": self.log.path,
            }
        )

    # ---------------------------------------------------------------- what is told

    def _tell_all(self, message: dict[str, Any]) -> None:
        for client in self.clients:
            client.tell(message)

    def _description(self) -> dict[str, Any]:
        """What whoever uses the server has to know."""
        return {
            **{name: self.job[name] for name in ("id", "kind", "spec", "port", "api_key", "slots", "shown")},
            "pid": self.family.pid if self.family else None,
            "supervisor": os.getpid(),
            "log": self.log.path,
            "started": self.started,
            "ready": self.is_ready,
        }

    def _status(self, *, memory: bool) -> dict[str, Any]:
        description = self._description()
        del description["api_key"]
        state = "ending" if self.reason else "ready" if self.is_ready else "starting"
        return {
            **description,
            "leases": self._count("lease"),
            "holds": self._count("hold"),
            "last_used": self.last_used,
            "keep_alive": self.keep_alive,
            "state": "retiring" if self._is_draining() else state,
            "memory": self.family.memory() if self.family and memory else None,
        }

    def _wait_for_memory(self) -> None:
        """The driver frees the memory of a GPU a moment after the process that used it is gone."""
        deadline = time.monotonic() + MEMORY_SECONDS
        while self.memory_before and time.monotonic() < deadline:
            now = _gpu_memory(self.job["gpus"])
            if all(now.get(gpu, 0) <= before + MEMORY_SLACK for gpu, before in self.memory_before.items()):
                return
            time.sleep(0.2)


def _gpu_memory(gpus: list[str]) -> dict[str, int]:
    """MiB in use on each of these GPUs, as far as nvidia-smi is there and tells."""
    command = shutil.which("nvidia-smi") if gpus else None
    if command is None:
        return {}
    query = [command, f"--id={','.join(gpus)}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return dict(zip(gpus, (int(line) for line in answer.stdout.split()), strict=True))
    return {}


def _peer_user(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    local_peercred = 1  # macOS and the BSDs: struct xucred begins with a version and the user
    return int(struct.unpack("2I", connection.getsockopt(0, local_peercred, struct.calcsize("2I")))[1])


def main(starter_fd: int, lock_fd: int, path: str) -> None:
    """Supervise one server, from the job to the end."""
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
    supervisor = Supervisor({**json.loads(line), "socket": path}, Client(starter, "lease", rest), signals)
    try:
        supervisor.listen()
        fcntl.flock(lock_fd, fcntl.LOCK_UN)
        os.close(lock_fd)
        supervisor.start()
        supervisor.run()
    except BaseException as exc:
        supervisor.fail(exc)
        raise
    finally:
        supervisor.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
