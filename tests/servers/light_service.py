"""What the light server does; the program is `light_server.py`, so that this is compiled once only.

Hundreds of them are started, and each of json, signal, socket and threading would double what that takes. So this has
what is in C below those.
"""

from __future__ import annotations

import _json
import _socket
import _thread
import fcntl
import os
import sys
import time

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[2:])
"""What makes it special:

- ``record``: a directory; it locks a file for each of its GPUs and writes down who had it when,
- ``delay``: after how many seconds `family_server.py` begins,
- ``trouble``: how it behaves, one of the names in `misbehave`,
- ``gate``: what a "slow" one reads before it goes on,
- ``patience``: a file; when it exists, "wait" and "unwell" are answered like everything else; "unwell" makes it,
- ``marker``: a file; the trouble is over when it exists, and whoever finds none makes it,
- ``model``: anything; tells servers apart.
"""

turn = _thread.allocate_lock()
wanted: list[tuple[int, _thread.LockType]] = []
"""Who asked how many requests wait, and what is released when so many do."""
waiting: list[int] = []
ailments: list[str] = []


class Reading:
    """JSON is read as `json.loads` does."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


read_json = _json.make_scanner(Reading)
write_json = _json.make_encoder(None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)


def is_troubled() -> bool:
    """Whether it behaves badly: always, or with a marker only the first time."""
    if "marker" not in OPTIONS:
        return True
    try:
        os.close(os.open(OPTIONS["marker"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def misbehave(trouble: str) -> None:
    """What goes wrong before it listens."""
    if trouble == "port":
        sys.exit("OSError: [Errno 98] error while attempting to bind on address: address already in use")
    elif trouble == "model":
        print("loading the weights ...", flush=True)
        sys.exit("OSError: no-such-model is not a local folder and is not a valid model identifier")
    elif trouble == "key":
        print(f"the key is {os.environ['LIGHT_KEY']}", flush=True)
        sys.exit(1)
    elif trouble == "silent":
        sleep()
    elif trouble == "chatty":
        for number in range(10**9):
            print(f"loading shard {number}", flush=True)
            time.sleep(0.05)
    elif trouble == "slow":
        with open(OPTIONS["gate"]) as gate:
            gate.read()


def take_gpus(directory: str) -> None:
    """Lock the file of each GPU, and write down when that began; a GPU that another server has is written down, too."""
    log = os.open(f"{directory}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    gpus = os.environ["CUDA_VISIBLE_DEVICES"]
    for gpu in gpus.split(","):
        file = os.open(f"{directory}/gpu-{gpu}", os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process is gone
        except BlockingIOError:
            os.write(log, f"{os.getpid()} TAKEN {gpu}\n".encode())
    os.write(log, f"{os.getpid()} {OPTIONS['model']} {gpus}\n".encode())


def sleep() -> None:
    """Do nothing until a signal ends it."""
    while True:
        time.sleep(3600)


def serve(descriptor: int) -> None:
    """Serve one connection until the client closes it."""
    received = b""
    with open(descriptor, "rb") as file:
        while line := file.readline():
            method, path, _ = line.decode().split()
            headers = {}
            while (header := file.readline().strip()) != b"":
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            received = file.read(int(headers.get("content-length", 0)))
            if method == "GET":
                status, body = look(path)
            elif headers.get("authorization") != f"Bearer {os.environ.get('LIGHT_KEY', 'no-key-needed')}":
                status, body = 401, {"error": {"message": f"wrong key {headers.get('authorization')}"}}
            else:
                request, _ = read_json(received.decode(), 0)
                prompt = request["messages"][-1]["content"]
                if request.get("stream"):
                    stream(descriptor, prompt)
                    return
                status, body = complete(request["model"], prompt)
            data = "".join(write_json(body, 0))
            head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            send(descriptor, (head + data).encode())
            if path == "/health" and OPTIONS.get("trouble") == "dies":
                print("the engine has no memory left for the first request", flush=True)
                os._exit(7)


def look(path: str) -> tuple[int, object]:
    if path == "/health":
        return (503 if ailments else 200), {}
    if path.startswith("/waiting?"):
        enough = _thread.allocate_lock()
        enough.acquire()
        with turn:
            wanted.append((int(path.partition("?")[2]), enough))
            tell()
        enough.acquire()
        return 200, {}
    if path == "/environment":
        return 200, {**os.environ, "cwd": os.readlink("/proc/self/cwd")}
    return 404, {}


def tell() -> None:
    """Let those go on who asked for no more than wait now."""
    for count, enough in wanted[:]:
        if len(waiting) >= count:
            wanted.remove((count, enough))
            enough.release()


def complete(model: str, prompt: str) -> tuple[int, object]:
    if prompt in ("wait", "unwell") and os.path.exists(OPTIONS.get("patience", "/nowhere")):
        pass
    elif prompt == "wait":
        with turn:
            waiting.append(_thread.get_ident())
            tell()
        sleep()
    elif prompt == "die":
        print("assertion failed in the engine", flush=True)
        os._exit(3)
    elif prompt == "fail":
        return 500, {"error": {"message": "out of luck"}}
    elif prompt == "unwell":
        ailments.append("a worker has died")
        if "patience" in OPTIONS:
            os.close(os.open(OPTIONS["patience"], os.O_CREAT))
        _thread.start_new_thread(end_soon, ())
        return 500, {"error": {"message": "EngineCore encountered an issue"}}
    message = {"role": "assistant", "content": str(os.getpid())}
    return 200, {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def end_soon() -> None:
    time.sleep(2)
    os._exit(1)


def stream(descriptor: int, prompt: str) -> None:
    """A stream of three words; it is broken off after the first for "break", and by the end of the server for "die"."""
    send(
        descriptor,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    for word in ("one", "two", "three"):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if word == "three" else None}
        event = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
        data = "".join(("data: ", *write_json(event, 0), "\n\n"))
        send(descriptor, f"{len(data):x}\r\n{data}\r\n".encode())
        if prompt == "die":
            os._exit(3)
        if prompt == "break":
            return
    send(descriptor, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def send(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    if "trouble" in OPTIONS and is_troubled():
        misbehave(OPTIONS["trouble"])
    if "record" in OPTIONS:
        take_gpus(OPTIONS["record"])
    listener = _socket.socket()
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(100)
    print("Application startup complete.", flush=True)
    while True:
        descriptor, _ = listener._accept()
        _thread.start_new_thread(serve, (descriptor,))
