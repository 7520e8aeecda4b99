"""What a connection saves that is open before the first request.

Question: how much sooner does the first piece of the first stream come with `warm_connections=1`, where a test takes a
while between the lease and the request?
Method: a provider is entered and a model leased; 50 ms later a stream is asked for, of a server on loopback that
answers at once, with and without TLS, and the time to its first piece taken; 10 times a turn, the sides by turns. The
way to a server of a vendor takes longer by two or three times what a packet takes to go there and come back.
Units: time over time, medians of 7. Noise: some per cent.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import trustme
from _harness import BACKENDS, by_turns, ratio_row, report, running
from _loopback import model_server
from _requests import PROVIDERS

TIMES = 10


async def first_piece(sdk: str, url: str, warm_connections: int) -> float:
    """The median time until it comes, in seconds."""
    address = url if sdk == "OpenAI" else url.removesuffix("/v1")
    waits = []
    for _ in range(TIMES):
        async with PROVIDERS[sdk](
            base_url=address, api_key="no-key", max_retries=0, warm_connections=warm_connections
        ) as provider:
            async with provider.setup("m") as handle:
                await anyio.sleep(0.05)
                began = time.perf_counter()
                async with handle.model.stream("Hello") as pieces:
                    await anext(pieces)
                    waits.append(time.perf_counter() - began)
    return statistics.median(waits)


def main() -> None:
    rows = []
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as directory:
        certificate, trusted = Path(directory, "server.pem"), Path(directory, "authority.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(trusted))
        os.environ["SSL_CERT_FILE"] = str(trusted)
        for what, file in (("no TLS", ""), ("TLS", str(certificate))):
            with model_server(0.0, file) as url:
                for sdk in PROVIDERS:
                    for backend in BACKENDS:
                        figures = by_turns({str(n): running(backend, first_piece, sdk, url, n) for n in (1, 0)})
                        question = f"first piece with a warm connection, {what}"
                        rows.append(ratio_row(question, f"without, {sdk}", backend, figures["1"], figures["0"], None))
    report(rows)


if __name__ == "__main__":
    main()
