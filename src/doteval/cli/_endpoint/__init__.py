"""One address for several models: an ASGI app that leases the model which a request names, and passes the request on.

::

    body       which model a request names, and the same request under another name
    refusal    why a request is not answered, in the form of OpenAI and of Anthropic
    app        the app
    run        ``doteval serve`` with several models: the app on hypercorn, which runs on asyncio and on trio
"""
