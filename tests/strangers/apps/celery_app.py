"""A queue whose workers are forked: each starts its provider when it begins, and closes it when it ends."""

from __future__ import annotations

import os
from contextlib import ExitStack

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from doteval import OpenAIProvider
from doteval.blocking import entered

directory = os.environ["QUEUE"]
app = Celery("celery_app", broker="filesystem://", backend=f"file://{directory}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{directory}/queue",
    "data_folder_out": f"{directory}/queue",
    "processed_folder": f"{directory}/done",
}
stack = ExitStack()
models = OpenAIProvider()
of_worker = {}


@worker_process_init.connect
def start(**_):
    of_worker["models"] = stack.enter_context(entered(models))


@worker_process_shutdown.connect
def stop(**_):
    stack.close()
    counts = models.statistics()
    print(f"closed {counts.opens} {counts.closes}", flush=True)


@app.task
def ask(text: str) -> tuple[int, str]:
    with of_worker["models"].setup("gpt-4o") as handle:
        return os.getpid(), handle.model.generate(text)
