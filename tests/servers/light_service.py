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
- ``trouble``: how it behaves, one of the names in `misbehave`,
- ``gate``: what a "slow" one reads before it goes on,
- ``patience``: a file; when it exists, "wait" and "unwell" are answered like everything else; "unwell" makes it,
- ``marker``: a file; the trouble is over when it exists, and whoever finds none makes it,
- ``model``: anything; tells servers apart,
- ``loading``: for how many seconds it starts,
- ``sleeps``: a directory. Awake, a server holds a lock on the file ``awake`` in it. It writes down in ``notes`` when
  it starts, falls asleep and wakes up, and when another one is awake meanwhile. What is in the file ``SPEC-sleep`` or
  ``SPEC-wake`` happens instead, once: "fails" (500) or "dies",
- ``crowd``: others may be awake meanwhile,
- ``adapters``: a file to which it writes what it loads and unloads.
"""

turn = _thread.allocate_lock()
wanted: list[tuple[int, _thread.LockType]] = []
"""Who asked how many requests wait, and what is released when so many do."""
waiting: list[int] = []
awake: list[int] = []
adapters: dict[str, str] = {}
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


def adapt(path: str, asked: dict[str, str]) -> tuple[int, object]:
    """Load or unload an adapter."""
    name, is_loaded = asked["lora_name"], asked["lora_name"] in adapters
    loads = path == "/v1/load_lora_adapter"
    if loads is is_loaded:
        return (400 if loads else 404), {"error": {"message": f"{name} is {'' if is_loaded else 'not '}there"}}
    if loads and asked["lora_path"].endswith("broken"):
        return 500, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16"}}
    time.sleep(0.05)  # another one may be loading it meanwhile, as with older versions
    with open(OPTIONS["adapters"], "a") as file:
        file.write(f"{'load' if loads else 'unload'} {name}\n")
    if loads:
        adapters[name] = asked["lora_path"]
    else:
        del adapters[name]
    return 200, {}


def note(text: str) -> None:
    with open(f"{OPTIONS['sleeps']}/notes", "a") as notes:
        notes.write(f"{text} {OPTIONS['model']}\n")


def wake() -> None:
    """Be awake; another one that is must not be."""
    file = os.open(f"{OPTIONS['sleeps']}/awake", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("beside" if "crowd" in OPTIONS else "CROWDED")
    awake.append(file)


def switch(action: str) -> int:
    """Fall asleep or wake up; returns the status of the answer."""
    plan = f"{OPTIONS['sleeps']}/{OPTIONS['model']}-{action}"
    if os.path.exists(plan):
        with open(plan) as file:
            trouble = file.read()
        os.unlink(plan)
        note(f"{action} {trouble}")
        if trouble == "fails":
            return 500
        os._exit(4)
    if action == "wake":
        wake()
    else:
        os.close(awake.pop())
    note(action)
    return 200


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
            elif path in ("/sleep?level=1", "/wake_up"):  # as in vLLM, the key is for what is below /v1
                status, body = switch("wake" if path == "/wake_up" else "sleep"), {}
            elif headers.get("authorization") != f"Bearer {os.environ.get('LIGHT_KEY', 'no-key-needed')}":
                status, body = 401, {"error": {"message": f"wrong key {headers.get('authorization')}"}}
            elif path.endswith("_lora_adapter"):
                status, body = adapt(path, read_json(received.decode(), 0)[0])
            elif "sleeps" in OPTIONS and not awake:
                status, body = 503, {"error": {"message": "it sleeps"}}
            else:
                request, _ = read_json(received.decode(), 0)
                prompt = request["messages"][-1]["content"]
                if "adapters" in OPTIONS and request["model"] not in (OPTIONS["model"], *adapters):
                    status, body = 404, {"error": {"message": f"no model {request['model']}"}}
                elif request.get("stream"):
                    stream(descriptor, prompt)
                    return
                else:
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
    if path == "/v1/models":
        return 200, {"data": [{"id": name} for name in (OPTIONS["model"], *adapters)]}
    if path == "/is_sleeping":
        return 200, {"is_sleeping": not awake}
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
    if prompt == "model":
        message["content"] = adapters.get(model, OPTIONS["model"])
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
    """A stream of three words; it is broken off after the first for "break", and by the end of the server for "die".

    For "vanish", too, where nothing says how much is to come: the stream just ends.
    """
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    if prompt == "vanish":
        send(descriptor, f"{head}Connection: close\r\n\r\n{event('one')}".encode())
        os._exit(3)
    send(descriptor, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    for word in ("one", "two", "three"):
        data = event(word, "stop" if word == "three" else None)
        send(descriptor, f"{len(data):x}\r\n{data}\r\n".encode())
        if prompt == "die":
            os._exit(3)
        if prompt == "break":
            return
    send(descriptor, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def event(word: str, reason: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": reason}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return "".join(("data: ", *write_json(chunk, 0), "\n\n"))


def send(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    if "trouble" in OPTIONS and is_troubled():
        misbehave(OPTIONS["trouble"])
    if "record" in OPTIONS:
        take_gpus(OPTIONS["record"])
    time.sleep(float(OPTIONS.get("loading", 0)))
    if "sleeps" in OPTIONS:
        note("start")
        wake()
    listener = _socket.socket()
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(100)
    print("Application startup complete.", flush=True)
    while True:
        descriptor, _ = listener._accept()
        _thread.start_new_thread(serve, (descriptor,))
