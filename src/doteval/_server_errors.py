"""What can go wrong with model servers that are started; apart from them, as nobody imports servers for an error."""

from __future__ import annotations

from ._errors import DotevalError


class RuntimeDirectoryError(DotevalError, OSError):
    """The directory in which model servers find each other cannot be used.

    Args:
        path: The directory.
        problem: What is wrong with it, as half a sentence.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(
            f"{path} is of no use: {problem}.\n"
            "Model servers find each other in this directory. Name another one in the environment variable "
            "DOTEVAL_RUNTIME_DIR: a short path that only you can reach."
        )


class ServersUnsupportedError(DotevalError, RuntimeError):
    """Model servers cannot be started on this system.

    Args:
        system: The system, as `sys.platform` calls it.
    """

    def __init__(self, system: str) -> None:
        self.system = system
        super().__init__(
            f"Model servers cannot be started on {system!r}.\n"
            "That takes process groups and Unix sockets, which Linux and macOS have. Start the server by other means, "
            "and lease its models with OpenAICompatibleProvider(base_url)."
        )


class ServerStartError(DotevalError, RuntimeError):
    """A model server did not get ready.

    Args:
        spec: The model it should have served.
        report: What happened, with the command, the last lines of output and where the log is; holds no secret.
        advice: What to do about it.
        cause: The short name of a known cause, such as ``"out of memory"``.
        exit_code: Its exit code, negative for the number of a signal, where it ended by itself.
        log: Where all of its output is, where there is any.
        stopped: Whether somebody has stopped it on purpose, whoever waited for it.
    """

    def __init__(
        self,
        spec: str,
        report: str,
        advice: str,
        *,
        cause: str = "",
        exit_code: int | None = None,
        log: str | None = None,
        stopped: bool = False,
    ) -> None:
        self.spec = spec
        self.report = report
        self.advice = advice
        self.cause = cause
        self.exit_code = exit_code
        self.log = log
        self.stopped = stopped
        super().__init__(f"{report}\n{advice}")


class ServerLostError(DotevalError, RuntimeError):
    """A model server ended while it was used.

    Args:
        spec: The model it served.
        report: What happened, with the command, the last lines of output and where the log is; holds no secret.
        advice: What to do about it.
        exit_code: Its exit code, negative for the number of a signal, where it is known.
        log: Where all of its output is, where it is known.
        stopped: Whether somebody has stopped it on purpose, whoever used it; it is not started again for those.
    """

    def __init__(
        self,
        spec: str,
        report: str,
        advice: str,
        *,
        exit_code: int | None = None,
        log: str | None = None,
        stopped: bool = False,
    ) -> None:
        self.spec = spec
        self.report = report
        self.advice = advice
        self.exit_code = exit_code
        self.log = log
        self.stopped = stopped
        super().__init__(f"{report}\n{advice}")
