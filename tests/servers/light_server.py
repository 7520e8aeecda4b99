"""A model server that starts in 10 ms: what is in Python itself only, and as badly behaved as its arguments say.

``python -I -S light_server.py PORT [NAME=VALUE ...]`` answers ``GET /health`` and ``POST /v1/chat/completions``, and
what tests want to know of it:

- ``GET /waiting?N``: answers when N requests with the prompt "wait" are under way,
- ``GET /environment``: its environment and working directory.

It loads and unloads LoRA adapters, as vLLM does (``POST /v1/load_lora_adapter``); a request whose model is another than
its own and none of these is answered with 404.

With ``sleeps`` it keeps vLLM's protocol: ``POST /sleep?level=1``, ``POST /wake_up`` and ``GET /is_sleeping``; asleep it
refuses all completions with 503.

What it is asked for as a prompt, it does: "wait" never answers, "die" exits, "fail" answers 500, "break" ends a stream
in the middle, "unwell" answers 500, from then on ``/health`` is 503, and it exits two seconds later, as vLLM does when
its worker has died. "model" is answered with the name of its model, anything else with the process id.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/")[0])
    import light_service

    light_service.main()
