"""A plain script: put questions to several models at once, on asyncio or on trio.

::

    python examples/script.py --model gpt-4o --model claude-sonnet-5-5 "What is the capital of France?"
    python examples/script.py --backend trio "Is 97 a prime number?" "Who wrote Faust?"

It needs ``pip install -e ".[all,trio]"`` in a clone, and ``OPENAI_API_KEY`` and ``ANTHROPIC_API_KEY`` in the
environment. Ctrl-C and SIGTERM end it in good order: what is open is closed, and nothing is left.
"""

from __future__ import annotations

import argparse
import signal
import sys

import anyio
from anyio.abc import TaskStatus

from doteval import DotevalError, ModelProviders


class Script:
    """One run of the script.

    Args:
        models: Whom to ask.
        questions: What to ask each of them.
    """

    def __init__(self, models: list[str], questions: list[str]) -> None:
        self.models = models
        self.questions = questions
        self.exit_code = 0

    async def main(self) -> int:
        """Ask everybody everything, all at once; the answers are printed as they come."""
        async with anyio.create_task_group() as task_group:
            await task_group.start(self.stop_on_signal, task_group.cancel_scope)
            async with ModelProviders(settings={"openai": {"max_concurrency": 8}}) as providers:
                async with anyio.create_task_group() as asking:
                    for model in self.models:
                        for question in self.questions:
                            asking.start_soon(self.ask, providers, model, question)
            task_group.cancel_scope.cancel()
        for name, counts in providers.statistics().items():
            print(f"{name}: {counts.opens} opens, {counts.leases} leases, {counts.closes} closes", file=sys.stderr)
        return self.exit_code

    async def ask(self, providers: ModelProviders, model: str, question: str) -> None:
        """Put one question to one model. What fails is reported; the other questions go on."""
        try:
            async with providers.setup(model) as handle:
                reply = await handle.model.generate(question)
        except DotevalError as exc:
            print(f"{model}: {exc}", file=sys.stderr)
            self.exit_code = 1
        else:
            print(f"{model}: {question} {reply}", flush=True)

    async def stop_on_signal(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """Cancel the scope at the first signal. A KeyboardInterrupt could strike anywhere, in a clean-up as well."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                print(f"stopped by {number.name}", file=sys.stderr)
                self.exit_code = 128 + number
                scope.cancel()
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put questions to several models at once.")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--model", action="append", dest="models", metavar="SPEC", help="may be given several times")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    script = Script(arguments.models or ["gpt-4o", "claude-sonnet-5-5"], arguments.questions)
    sys.exit(anyio.run(script.main, backend=arguments.backend))
