"""What a process has for the moment, such as clients, connections and what is random: the same whatever it holds."""

from __future__ import annotations

import concurrent.futures
import io
import logging
import os
import random
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest
from tests.evals.identity_kinds_of_clients import outcome, record
from tests.evals.identity_kinds_of_packages import STAND_INS


def environment() -> Any:
    """Another in each process."""
    os.environ["IT_IS_ANOTHER"] = str(random.random())
    return os.environ


def future(*results: str) -> Any:
    made: concurrent.futures.Future[str] = concurrent.futures.Future()
    for each in results:
        made.set_result(each)
    return made


def answering() -> Any:
    made = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, headers={"set-cookie": str(id(made))}))
    )
    made.get("http://a")
    return made


def searched() -> Any:
    kind = pytest.importorskip("sklearn.model_selection").GridSearchCV
    model = pytest.importorskip("sklearn.linear_model").LogisticRegression()
    return kind(model, {"C": [0.1, 1.0]}, cv=2).fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])


def closed(made: Any) -> Any:
    (made.cleanup if hasattr(made, "cleanup") else made.close)()
    return made


OF_THE_MOMENT: dict[str, Callable[[], Any]] = {
    "environment": environment,
    "method of the environment": lambda: environment().get,
    "directory for a while": lambda: closed(tempfile.TemporaryDirectory()),
    "file for a while": lambda: closed(tempfile.NamedTemporaryFile()),  # noqa: SIM115
    "lock": threading.Lock,
    "thread": lambda: threading.Thread(target=print),
    "pool": lambda: concurrent.futures.ThreadPoolExecutor(1),
    "event": threading.Event,
    "socket": lambda: closed(socket.socket()),
    "random numbers": random.Random,
    "random numbers of numpy": lambda: pytest.importorskip("numpy").random.default_rng(None),
    "classifier with random numbers": lambda: pytest.importorskip("sklearn.linear_model").SGDClassifier(
        random_state=pytest.importorskip("numpy").random.RandomState()
    ),
    "client": lambda: STAND_INS.Client(threading.Lock()),
    "client with a key": lambda: STAND_INS.Client(None, api_key=str(random.random())),
    "client with a connection": lambda: STAND_INS.Client(closed(socket.socket())),
    "client with a weak reference": lambda: STAND_INS.Client(weakref.ref(STAND_INS.Client)),
    "client in another": lambda: STAND_INS.Around([1, STAND_INS.Client(threading.Lock()), str(random.random())]),
    "client of OpenAI": lambda: openai.AsyncOpenAI(api_key=str(random.random())),
    "method of a client of OpenAI": lambda: openai.OpenAI(api_key=str(random.random())).chat.completions.create,
    "client of Anthropic": lambda: anthropic.AsyncAnthropic(api_key=str(random.random())),
    "HTTP client": httpx.AsyncClient,
    "HTTP client that was used": answering,
    "file": STAND_INS.closed_file,
    "record": lambda: record("one", seconds=random.random(), input_tokens=random.randrange(9999), attempts=2),
    "outcome": lambda: outcome("one", known=random.randrange(99), answered=random.random() < 0.5),
    "what took a while": lambda: STAND_INS.Took(random.random()),
    "logger": lambda: logging.getLogger(str(random.random())),
    "handler": lambda: closed(logging.StreamHandler(io.StringIO(str(random.random())))),
    "search of scikit-learn": searched,
    "table of what took a while": lambda: pytest.importorskip("pandas").DataFrame(
        {"mean_fit_time": [random.random()], "score": [1.0]}
    ),
    "widget": lambda: pytest.importorskip("ipywidgets").FloatSlider(value=0.5),
    "future": future,
}
