"""``doteval view``: the page while a run goes on, for this machine and nobody else."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.evals.browser import Browser, chromium, needs_chromium
from tests.evals.requests_made import kept_as
from tests.evals.test_page import EVIL, ODD, page_of, record, stored

from doteval import Usage
from doteval.cli import _view, main
from doteval.evals import Record, Store
from doteval.evals._results import live
from doteval.evals._results.blocks import details_of, request_for_json
from doteval.evals._results.live import Live
from doteval.evals._results.pricing import Prices
from doteval.evals._results.transcript import RecordedRequest, decoded
from doteval.evals._results.upkeep import _compact


@contextmanager
def serving(path: Path) -> Iterator[_view._Server]:
    server = _view._Server(
        ("127.0.0.1", 0), Live(Store(path), lambda results: results.evaluations(), "all", Prices({}))
    )
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(server: _view._Server, address: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, address, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


def told(server: _view._Server, name: str) -> Any:
    response = asked(server, f"/{server.token}/{name}")
    assert response.status == 200, response.text  # type: ignore[attr-defined]
    return json.loads(response.text)  # type: ignore[attr-defined]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [record(number, output=text.encode("utf-8", "replace").decode()) for number, text in enumerate(ODD)]
    rows.append(record(len(ODD), error=f"ValueError: {EVIL}", traceback="Traceback: ÄRGER"))
    stored(tmp_path / "results.db", {"eval_it[a]": rows, "eval_it[b]": rows}, EVIL)
    return tmp_path / "results.db"


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("/{token}/", {}, 200),
        ("/{token}/", {"Host": "localhost:{port}"}, 200),
        ("/{token}/", {"Host": "evil.example:{port}"}, 403),
        ("/{token}/", {"Host": "LOCALHOST"}, 200),
        ("/{token}/", {"Host": "127.0.0.1:1"}, 200),  # of a tunnel
        ("/{token}/", {"Host": "[::1]:8000"}, 200),
        ("/{token}/", {"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ("/{token}/", {"Host": "evil.example"}, 403),
        ("/{token}/", {"Host": "localhost.:{port}"}, 403),
        ("/{token}/", {"Host": "localhost:x"}, 403),
        ("/{token}/", {"Host": "localhost@evil.example"}, 403),
        ("/{token}/", {"Host": "0.0.0.0:{port}"}, 403),
        ("/{token}/", {"Host": ""}, 403),
        ("/{token}/", {"Sec-Fetch-Site": "cross-site"}, 200),  # somebody has followed a link
        ("/{token}/state", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("/{token}/state", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/{token}/state", {"Sec-Fetch-Site": "same-site"}, 403),
        ("/", {}, 404),
        ("/state", {}, 404),
        ("/{token}x/", {}, 404),
        ("/%C3%A9/", {}, 404),
        ("/{token}/../etc/passwd", {}, 404),
        ("/{token}/nothing", {}, 404),
        ("/{token}", {}, 308),
        ("/{token}/rows", {}, 400),
        ("/{token}/rows?evaluation=x&after=0", {}, 400),
        ("/{token}/rows?evaluation=1&after=-1", {}, 400),
        ("/{token}/rows?evaluation=1&after=99999999999999999999", {}, 400),
        ("/{token}/rows?evaluation=77&after=0", {}, 404),
        ("/{token}/row?evaluation=1&key=nothing", {}, 404),
        ("/{token}/search?evaluation=77&text=a", {}, 404),
        ("/{token}/compare?before=1&after=77", {}, 404),
    ],
)
def test_who_may_ask_for_what(path: Path, address: str, headers: dict[str, str], status: int) -> None:
    """Whoever has the token, under a name of this machine; and no page of another site may read or frame an answer."""
    with serving(path) as server:
        known = {"token": server.token, "port": server.server_port}
        response = asked(
            server, address.format(**known), **{name: value.format(**known) for name, value in headers.items()}
        )
        assert response.status == status
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
        for method in ("POST", "OPTIONS", "PUT"):
            assert asked(server, f"/{server.token}/state", method).status == 501


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1:{port}", 400), ("evil.example", 403)])
@pytest.mark.parametrize("address", ["http://[", "http://[::1/{token}/", "http://[x]/{token}/state"])
def test_what_is_no_address(
    path: Path, capfd: pytest.CaptureFixture[str], address: str, host: str, status: int
) -> None:
    """It is refused like anything else, and nothing is printed."""
    with serving(path) as server:
        known = {"token": server.token, "port": server.server_port}
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
            connection.sendall(f"GET {address} HTTP/1.0\r\nHost: {host}\r\n\r\n".format(**known).encode())
            with connection.makefile("rb") as answer:
                assert answer.readline().split()[1] == str(status).encode()
    assert capfd.readouterr().err == ""


def test_it_is_reached_from_this_machine_only(path: Path) -> None:
    """It listens on loopback, and each time under another token."""
    with serving(path) as one, serving(path) as other:
        assert one.socket.getsockname()[0] == "127.0.0.1"
        assert one.token != other.token
        assert len(one.token) >= 32
        assert urlsplit(one.address).hostname == "127.0.0.1"


def test_what_is_told(path: Path) -> None:
    """The rows as they are stored, where a text is, how evaluations differ; and the store is not touched."""
    store = Store(path)
    before = path.read_bytes()
    (one, other) = store.evaluations()
    there = list(store.records(one))
    with serving(path) as server:
        (state, _) = told(server, "state")["evaluations"]
        assert (state["id"], state["stored"], state["errors"]) == (one.id, len(there), 1)
        block = told(server, f"rows?evaluation={one.id}&after=0")
        assert block["block"]["key"] == [each.key for each in there]
        assert not block["more"]
        assert block["last"] == state["last"]
        for each in there:
            assert told(server, f"row?evaluation={one.id}&key={each.key}") == [details_of(each)]
        assert told(server, f"search?evaluation={one.id}&text=%C3%A4rger")["found"] == [[there[-1].key, 1]]
        found = told(server, f"search?evaluation={one.id}&text=%3C%2FSCRIPT")["found"]
        assert found == [["k1", 1], ["k6", 1], [there[-1].key, 1]]
        assert told(server, f"search?evaluation={one.id}&text=inputs")["found"] == []
        assert told(server, f"compare?before={one.id}&after={other.id}")["scores"] == {}
        page = asked(server, f"/{server.token}/").text  # type: ignore[attr-defined]
        assert "connect-src &#39;self&#39;" in page
        assert '"live": true' in page
        assert EVIL not in page
        assert "2 evaluations" in asked(server, f"/{server.token}/overview").text  # type: ignore[attr-defined]
    assert path.read_bytes() == before


def test_no_row_is_missed_that_is_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two evaluations are written in turn, rows are written again; whoever asks in between knows all in the end."""
    monkeypatch.setattr(live, "BLOCK", 8)
    path = tmp_path / "results.db"
    known: dict[str, tuple[int, str]] = {}
    last = 0

    def catch_up() -> None:
        nonlocal last
        while True:
            answer = told(server, f"rows?evaluation=1&after={last}")
            columns = answer["block"]
            known.update(zip(columns["key"], zip(columns["failed"], columns["output"], strict=True), strict=True))
            last = answer["last"]
            if not answer["more"]:
                return

    with Store(path) as store:
        one, _ = store.begin("it", "one", model="", identity={})
        other, _ = store.begin("it", "other", model="", identity={})
        with serving(path) as server:
            for number in range(100):
                store.put(
                    one, record(number, error="broken") if number % 9 == 0 else record(number, output=f"{number}")
                )
                store.put(other, record(number, output="of the other"))
                if number % 10 == 9:
                    store.put(one, record(number // 2, output="again"))
                if number % 7 == 0:
                    store.close()
                    store.__enter__()
                    catch_up()
            store.close()
            catch_up()
            rows = {each.key: (int(each.failed), each.error or each.output) for each in store.records(one)}
    assert known == rows


@pytest.mark.process
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_go_are_not_taken_for_others(tmp_path: Path, seed: int) -> None:
    """Rows are written, written again and removed, also the last ones, and the file is made smaller: a page that asks
    after any of it, and reads all again where it knows more or fewer than there are, shows in the end what is there."""
    path, random = tmp_path / "results.db", Random(seed)
    shown: dict[str, str] = {}
    last = 0
    with Store(path) as store:
        one, _ = store.begin("it", "one", model="", identity={})
        seen = Live(Store(path), lambda results: results.evaluations(), "all", Prices({}))
        for step in range(60):
            keys = [each.key for each in store.records(one)]
            match random.randrange(4):
                case 0 if keys:
                    gone = keys[-1] if random.random() < 0.5 else random.choice(keys)
                    with closing(sqlite3.connect(path)) as connection, connection:
                        connection.execute("DELETE FROM rows WHERE key = ?", (gone,))
                    connection.close()
                case 1 if step % 5 == 0:
                    _compact(store)
                case _:
                    store.put(one, record(random.randrange(12), output=f"step {step}"))
            store.close()
            store.__enter__()
            if random.random() < 0.5:
                continue
            for _ in range(2):  # as often as it takes for all to be read again
                state = seen.state()
                (now,) = state["evaluations"]
                if now["last"] > last:
                    answer = json.loads(seen.rows(one.id, last) or "")
                    shown.update(zip(answer["block"]["key"], answer["block"]["output"], strict=True))
                    last = answer["last"]
                if len(shown) != now["stored"] and last <= state["counter"]:
                    shown, last = {}, 0
            assert shown == {each.key: str(each.output) for each in store.records(one)}


def test_a_store_that_cannot_be_read_is_said(path: Path) -> None:
    """The page may ask again."""
    with serving(path) as server:
        path.write_bytes(b"x" * 5000)
        for name in ("", "state", "overview"):
            response = asked(server, f"/{server.token}/{name}")
            assert response.status == 503
            assert "is no store of results" in response.text  # type: ignore[attr-defined]
        path.unlink()
        assert told(server, "state") == {"file": None, "evaluations": [], "counter": 0}


def test_what_it_cannot_show_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before it serves anything."""
    assert main(["view", "nothing", "--store", str(path)]) == 1
    assert "there is no experiment 'nothing'" in capsys.readouterr().err
    for port in ("70000", "x"):
        if port.isdecimal():
            assert main(["view", "--store", str(path), "--port", port]) == 2
        else:
            with pytest.raises(SystemExit):
                main(["view", "--store", str(path), "--port", port])
    assert "70000 cannot be listened on" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_it_ends_well_with_ctrl_c(path: Path, number: signal.Signals) -> None:
    """Cleanly, also while somebody is connected; the address was printed before."""
    command = [sys.executable, "-m", "doteval", "view", "--store", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert address.hostname is not None
        connection = http.client.HTTPConnection(address.hostname, address.port or 0, timeout=30)
        connection.request("GET", f"{address.path}state")
        assert len(json.loads(connection.getresponse().read())["evaluations"]) == 2
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 0
    assert error.strip() == ""


@pytest.mark.process
def test_the_browser_is_told_the_address_by_a_file_of_this_user(path: Path, tmp_path: Path) -> None:
    """Nothing that lets one in stands in its command line; and when the page is served no more, the file is gone."""
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\nfile = pathlib.Path(sys.argv[1].removeprefix('file://'))\n"
        "modes = [f'{each.stat().st_mode & 0o777:o}' for each in (file, file.parent)]\n"
        f"pathlib.Path({str(seen)!r}).write_text('\\n'.join([' '.join(sys.argv[1:]), *modes, file.read_text()]))\n"
    )
    browser.chmod(0o755)
    command = [sys.executable, "-m", "doteval", "view", "--open", "--store", str(path)]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=30)
        connection.request("GET", f"{urlsplit(address).path}state")  # it serves, so the browser has been called
        assert connection.getresponse().status == 200
        words, file_mode, directory_mode, *text = seen.read_text().split("\n")
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
        connection.close()
    assert urlsplit(address).path.strip("/") not in words
    assert words.startswith("file:///")
    assert (file_mode, directory_mode) == ("600", "700")
    assert f'content="0; url={address}"' in "".join(text)
    assert not Path(urlsplit(words).path).parent.exists()


@needs_chromium
@pytest.mark.process
def test_a_browser_is_led_to_the_page_by_the_file(
    browser: Browser, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself, without a click."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with serving(path) as server, _view._opened(server.address):
        browser.open(opened[0])
        browser.until("location.protocol === 'http:' && document.getElementById('status') !== null")
        browser.call("Page.navigate", url="about:blank")  # or it asks on when nobody serves it


@needs_chromium
@pytest.mark.process
def test_the_page_follows_a_run(tmp_path: Path) -> None:
    """What is added is shown, a row that is run again with its new result, an evaluation that is started over anew."""
    path = tmp_path / "results.db"
    status = "document.getElementById('status').textContent"

    def put(store: Store, *rows: Record, fresh: bool = False, name: str = "one") -> Any:
        stored, _ = store.begin("it", name, model="", identity={}, fresh=fresh)
        for each in rows:
            store.put(stored, each)
        store.close()
        store.__enter__()
        return stored

    with Store(path) as store, chromium(tmp_path) as browser:
        evaluation = put(
            store, *(record(number, output=f"first {number}", scores={"good": True}) for number in range(5))
        )
        soon = "const later = setTimeout; window.setTimeout = (what, after) => later(what, Math.min(after, 50));"
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=soon)
        with serving(path) as server:
            browser.open(f"{server.address}#tab=rows")
            browser.until(f"{status}.startsWith('5 of 5')")
            store.put(evaluation, record(5, output="sixth", scores={"good": False}))
            store.put(evaluation, record(0, error="broken"))
            store.close()
            store.__enter__()
            browser.until(f"{status}.startsWith('6 of 6')")
            assert "broken" in browser.until("document.querySelector('#space [role=row]').textContent")
            assert "not finished, 6 rows" in browser.until("document.getElementById('live').textContent")
            browser.see("document.querySelectorAll('#space [role=row]')[5].click()")
            browser.until("document.getElementById('detail').textContent.includes('sixth')")
            store.leave(evaluation)
            put(store, record(0, output="anew"), fresh=True)
            browser.until(f"{status}.startsWith('1 of 1')")
            browser.see("document.getElementById('tab-overview').click()")
            browser.until("document.querySelector('#overview td[data-name=rows]').textContent === '1'")
            browser.choose("text", "ANEW")
            browser.see("document.getElementById('tab-rows').click()")
            browser.until(f"{status} === '1 of 1 rows'")
        browser.until("document.getElementById('live').className === 'bad'")
        assert [each for each in browser.said if "net::ERR_CONNECTION_" not in each] == []


REQUESTS = [
    RecordedRequest("large", "judge", 1, 0.5, 1.25, [{"role": "user", "content": f"{EVIL} first"}], {"seed": 1}, "one"),
    RecordedRequest(
        "large", "judge", 2, 2.0, 0.5,
        [{"role": "user", "content": f"{EVIL} first"}, {"role": "assistant", "content": "second"}],
        {}, "two", {"finish_reason": "stop"}, "ValueError: late", 3, True, Usage(1200, 30),
    ),
]  # fmt: skip


def with_requests(path: Path) -> Path:
    stored(path, {"eval_it": [record(0, output="a", transcript=kept_as(REQUESTS)), record(1, output="b")]})
    return path


def test_the_requests_of_a_row_are_told_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the server, in the file, and on the terminal; and their texts are found."""
    path = with_requests(tmp_path / "results.db")
    with serving(path) as server:
        for each, found in ((0, REQUESTS), (1, [])):
            (row,) = told(server, f"row?evaluation=1&key=k{each}")
            assert [*decoded(json.dumps(row["transcript"]) if row["transcript"] else "")] == found
        for text, places in (("SECOND", [["k0", 1]]), ("late", [["k0", 1]]), ("content", []), ("messages", [])):
            assert told(server, f"search?evaluation=1&text={text}")["found"] == places
    (details,) = [text for _, text in page_of(Store(path)).blocks("details", 1)]
    lines = [json.loads(line)["transcript"] for line in details.split("\n")]
    assert [*decoded(json.dumps(lines[0]))] == REQUESTS
    assert lines[1] is None
    assert main(["show", "it", "--row", "0", "--store", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"request 1\n  large as judge: 1.25 s\n  user: {EVIL} first\n  reply: one\n" in shown
    second = "request 2\n  large as judge: 500 ms, 1,200 tokens in, 30 out, attempt 2, sent 4 times, from the cache\n"
    assert f"{second}  1 message as before\n  assistant: second\n  reply: two\n" in shown
    assert "  finish_reason: stop\n  error: ValueError: late\n" in shown
    assert main(["show", "it", "--row", "0", "--json", "--store", str(path)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["transcript"] == [request_for_json(request) for request in REQUESTS]


@needs_chromium
@pytest.mark.process
def test_the_requests_of_a_row_are_shown(browser: Browser, tmp_path: Path) -> None:
    """Each can be opened; of the messages that the one before had, only how many there are."""
    path = with_requests(tmp_path / "results.db")
    page = tmp_path / "page.html"
    assert main(["report", "it", "--store", str(path), "-o", str(page)]) == 0
    browser.open(f"{page.as_uri()}#tab=rows&row=k0")
    browser.until("document.querySelectorAll('#detail details').length === 2")
    browser.see("document.querySelectorAll('#detail summary').forEach((each) => each.click())")
    texts = [
        browser.until(f"document.querySelectorAll('#detail details')[{place}].textContent.includes('reply') && "
                      f"document.querySelectorAll('#detail details')[{place}].textContent")
        for place in (0, 1)
    ]  # fmt: skip
    assert f"user{EVIL} first" in texts[0]
    assert "1 message as before" in texts[1]
    assert "sent 4 times" in texts[1]
    assert "ValueError: late" in texts[1]
    browser.choose("text", "second")
    browser.until("document.getElementById('status').textContent === '1 of 2 rows'")
    browser.choose("text", "content")
    browser.until("document.getElementById('status').textContent === '0 of 2 rows'")
    assert browser.said == []
