"""The command ``doteval``: one module for each thing that it does, imported when it is done."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from .. import _SDKS, __version__
from .._errors import DotevalError
from .._printed import say
from ._problem import Problem

Run = Callable[[argparse.Namespace], int]
_PART = re.compile(r"\s*(?P<whole>[0-9]{1,9})?(?:(?:\.(?P<decimals>[0-9]{0,9}))?\s*(?P<percent>%)|(?<=[0-9]))\s*")
_COMPLETING = "_ARGCOMPLETE"
"""The environment variable with which a shell asks how a line may go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; `None` for those of this process.

    Returns:
        The exit code: 0 if all is well, 1 if what was looked at or asked for is broken, 2 if the arguments cannot be
        meant, 130 after Ctrl-C, 141 where nobody reads on, as with ``| head``.

    Raises:
        SystemExit: The arguments are not understood (code 2), or only ask for help or the version (code 0); or SIGTERM
            or SIGHUP has come while a file was written (code 143 or 129).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    # argparse would take what follows "--" only where no option stands between it and the other words.
    end = words.index("--") if "--" in words and words[0] == "serve" else len(words)
    try:
        parser = _parser()
        if _COMPLETING in os.environ:
            _complete(parser)
        options = parser.parse_args(words[:end])
        options.arguments = words[end + 1 :]
        run = cast("Run", import_module(f"._{options.command}", __name__).run)
        code = run(options)
        sys.stdout.flush()  # now, as an error that comes when Python ends cannot be told well
    except BrokenPipeError:
        _discard_output()
        return 141
    except (DotevalError, Problem) as exc:
        return _failed(str(exc), exc.code if isinstance(exc, Problem) else 1)
    except ModuleNotFoundError as exc:
        if exc.name not in _SDKS:
            raise
        return _failed(f"this needs the package {exc.name}: pip install '{_SDKS[exc.name]}'", 1)
    except OSError as exc:  # a disk that is full, mostly
        _discard_output()
        return _failed(f"{f'{exc.filename}: ' if exc.filename else ''}{exc.strerror or exc}", 1)
    except KeyboardInterrupt:
        return 130
    return code


def _prepare_streams() -> None:
    """Have everything printable: in a terminal that lacks a letter, as its escape."""
    if cast("object", sys.stdout) is None:  # closed, as with ">&-"
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # what it was opened for may be something else by now
                stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """What is not printed yet never will be, and Python does not try it again at its end."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file
        return
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), output)


def _failed(problem: str, code: int) -> int:
    with suppress(OSError, AttributeError):  # nobody may be there to be told
        say(f"doteval: {problem}", file=sys.stderr)
    return code


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how a line may go on, and end."""
    with suppress(ModuleNotFoundError):  # it is an extra
        import_module("argcomplete").autocomplete(parser)


class _Parser(argparse.ArgumentParser):
    """One whose help is output like any other: what cannot be printed is an error, which argparse keeps to itself."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is not sys.stdout:
            super()._print_message(message, file)
        elif message:
            file.write(message)
            file.flush()


@cache
def _parser() -> argparse.ArgumentParser:
    parser = cast(
        "argparse.ArgumentParser",
        _Parser(prog="doteval", description="Look at providers and results, and run model servers."),
    )
    parser.add_argument("--version", action="version", version=f"doteval {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    providers = commands.add_parser(
        "providers",
        help="list the registered model providers",
        description="Import every registered model provider, and tell which are broken and why. "
        "The exit code is 1 if one is.",
    )
    _add_json(providers)
    _add_serve(commands)
    _add_servers(commands)
    _add_stop(commands)
    _add_results(commands)
    _add_cache(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="start a model server, or several behind one address, and keep them until Ctrl-C",
        usage="doteval serve [options] SPEC [-- ARGUMENT ...]\n"
        "       doteval serve [options] NAME=SPEC [NAME=SPEC ...]",
        description="Start the server of a model, or join it where it is running, print how to use it, and keep it "
        "until Ctrl-C. All tests and programs of this user that ask for the same share it. Several models, or one with "
        "a name, get one address: a request is answered by the model that it names, whose server is started when it "
        "is first asked for.",
        epilog="What stands after '--' is for the server, in its own words, and the same as a keyword argument where "
        "there is one, as in: doteval serve vllm:Qwen/Qwen3-0.6B -- --max-model-len 4096",
    )
    serve.add_argument(
        "specs",
        nargs="+",
        metavar="[NAME=]SPEC",
        help="the model, with a provider's name in front: vllm:Qwen/Qwen3-0.6B; NAME is what requests call it",
    )
    serve.add_argument(
        "--command",
        dest="server_command",
        metavar="COMMAND",
        help="start this command, with {port} and {spec} filled in; SPEC is then just the model's name",
    )
    serve.add_argument(
        "--ready",
        metavar="PATH",
        help="with --command: ready when GET PATH is answered with 200 (default: /health); "
        "'port': when the port is open",
    )
    serve.add_argument(
        "--setting",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="a keyword argument of the provider, as in: doteval serve vllm:Qwen/Qwen3-0.6B --setting "
        "gpu_memory_utilization=0.5 --setting gpus=[0]; with --command also what {KEY} in it stands for; of several "
        "models NAME.KEY=VALUE is for one. The value is JSON, or else text",
    )
    serve.add_argument("--port", type=int, help="where it listens (default: a free port; of several models: 8000)")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="of several models: the address it listens at; another one than this machine's own wants a key, that of "
        "DOTEVAL_API_KEY or else a new one (default: 127.0.0.1)",
    )
    serve.add_argument(
        "--wait",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="of several models: how long a request may wait until its model is ready (default: 1800)",
    )
    serve.add_argument(
        "--keep-alive",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long it stays when nobody uses it any more; inf: until it is stopped (default: 0)",
    )
    serve.add_argument("--show-key", action="store_true", help="print the API key also where no terminal is")
    _add_json(serve)


def _add_servers(commands: Commands[argparse.ArgumentParser]) -> None:
    servers = commands.add_parser(
        "servers",
        help="list the model servers that are running",
        description="List the model servers of this user that doteval has started and that are running.",
    )
    _add_json(servers)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects, for programs")


def _add_stop(commands: Commands[argparse.ArgumentParser]) -> None:
    stop = commands.add_parser(
        "stop",
        help="stop model servers",
        description="Stop model servers, and wait until nothing of them is left.",
    )
    stop.add_argument("names", nargs="*", metavar="ID|SPEC", help="which: an id, its beginning, or a model")
    stop.add_argument("--all", action="store_true", help="all of them")
    stop.add_argument("--force", action="store_true", help="also those that somebody is using")
    _add_json(stop)


def _add_results(commands: Commands[argparse.ArgumentParser]) -> None:
    experiment = (
        "an experiment, or EXPERIMENT@PART for those of its evaluations that PART names, or is part of the name of"
    )
    listing = commands.add_parser(
        "list", help="list the experiments whose results are kept", description="List the experiments, oldest first."
    )
    show = commands.add_parser(
        "show",
        help="show the results of an experiment",
        description="Print a line for each evaluation and score, and the first rows that failed; or all of a row.",
    )
    _add_experiment(show, "name", "NAME", experiment)
    show.add_argument("--errors", type=_count, default=3, metavar="N", help="how many failed rows to show (default: 3)")
    rows = show.add_mutually_exclusive_group()
    rows.add_argument("--row", metavar="ID", help="show all of one row: its number, its column id, or its key")
    rows.add_argument("--failed", action="store_true", help="show all of every row that failed")
    _add_prices(show)
    compare = commands.add_parser(
        "compare",
        help="compare the results of two experiments or models, row by row",
        description="Print the mean difference of every score over the rows that both have, with its 95 % interval.",
    )
    _add_experiment(compare, "before", "A", experiment)
    _add_experiment(compare, "after", "B", "the same")
    compare.add_argument(
        "--score",
        action="append",
        default=[],
        metavar="NAME",
        help="compare only this score, in the evaluations that have it on either side, and let nothing else fail; may "
        "be given several times (default: all)",
    )
    compare.add_argument(
        "--fail-if",
        choices=("worse", "different"),
        help="exit with 1 where a score of B is clearly worse than that of A, or different, among all that are "
        "compared, or nobody can tell; where B lacks an evaluation or a score; and where rows that A has results of "
        "failed in B, or lack a score",
    )
    compare.add_argument(
        "--max-lost",
        type=_part,
        default="0",
        metavar="N|P%",
        help="with --fail-if: how many of the rows that A has results of may have failed in B, be missing there as B "
        "has not finished, or lack a score (default: 0)",
    )
    export = commands.add_parser(
        "export", help="write results as JSON lines, CSV or Parquet", description="Write all rows of an experiment."
    )
    _add_experiment(export, "name", "NAME", experiment)
    export.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl", help="(default: jsonl)")
    export.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")
    report = commands.add_parser(
        "report",
        help="write a page about an experiment, or several, with every row",
        description="Write one page of HTML that needs nothing else, and print its name. All rows are in it.",
    )
    _add_experiment(report, "names", "NAME", f"{experiment}; several are shown beside each other", nargs="+")
    _add_prices(report)
    report.add_argument("-o", "--output", metavar="FILE", help="where to (default: NAME.html)")
    view = commands.add_parser(
        "view",
        help="serve the page to this machine, with what is added while a run goes on",
        description="Serve the page about an experiment, or about all, to this machine until Ctrl-C, and print its "
        "address. What runs add is shown as it comes; nothing is written.",
    )
    _add_experiment(view, "name", "NAME", f"{experiment} (default: all that there is)", nargs="?")
    _add_prices(view)
    view.add_argument("--port", type=_count, default=0, metavar="PORT", help="where it listens (default: a free port)")
    view.add_argument("--open", action="store_true", help="open the page in your browser")
    again = commands.add_parser(
        "rescore",
        help="give results other scores, without asking a model",
        description="Call a function on every output that is kept, and keep what it returns, as an experiment of its "
        "own. The function's arguments say what it gets: output, columns of the dataset, prompt, metadata, record. "
        "The exit code is 1 if it raised.",
    )
    _add_experiment(again, "name", "NAME", experiment)
    again.add_argument("scorer", metavar="FILE.py:FUNCTION", help="the function; also MODULE:FUNCTION")
    again.add_argument(
        "--evaluation",
        metavar="FILE.py:EVALUATION",
        help="whose dataset gives the function its columns, where the store has not kept them as they were",
    )
    again.add_argument("--as", dest="into", metavar="NEW", help="the experiment it becomes (default: NAME-rescored)")
    again.add_argument("--add", action="store_true", help="keep the scores of other names")
    again.add_argument(
        "--failed", action="store_true", help="score failed rows, too, by what a model had told them last"
    )
    again.add_argument("--overwrite", action="store_true", help="replace what is in that experiment already")
    delete = commands.add_parser(
        "delete",
        help="delete results, by name or by age",
        description="Delete experiments, or the evaluations that EXPERIMENT@PART names, and make the file smaller. It "
        "asks before it does. What is being run is not deleted.",
    )
    _add_experiment(delete, "names", "NAME", experiment, nargs="*")
    delete.add_argument(
        "--older-than", type=_age, metavar="AGE", help="only what was last written so long ago: 90m, 12h, 30d or 8w"
    )
    delete.add_argument("--yes", action="store_true", help="do not ask")
    copy = commands.add_parser(
        "copy",
        help="keep an experiment under another name as well",
        description="Keep the results of an experiment under another name as well, in place of what stands there, if "
        "--replace says so: at once, or not at all.",
    )
    _add_experiment(copy, "name", "NAME", "the experiment")
    copy.add_argument("new", metavar="NEW", help="its other name")
    copy.add_argument("--replace", action="store_true", help="replace the experiment that has that name")
    rename = commands.add_parser(
        "rename", help="give an experiment another name", description="Give an experiment another name."
    )
    _add_experiment(rename, "name", "OLD", "the experiment")
    rename.add_argument("new", metavar="NEW", help="its new name, which no other one has")
    for parser in (delete, copy, rename):
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    for parser in (listing, show, compare, again, delete, copy, rename):
        _add_json(parser)
    for parser in (listing, show, compare, export, report, view, again, delete, copy, rename):
        parser.add_argument(
            "--store",
            default=".doteval/results.db",
            metavar="FILE",
            help="where results are kept (default: .doteval/results.db)",
        )


def _add_prices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prices",
        metavar="FILE",
        help='what a million tokens cost, as JSON: {"gpt-4o": {"input": 2.5, "output": 10, "cached": 1.25}}; '
        "also cache_write and reasoning",
    )
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="MODEL=IN,OUT",
        help="the same for one model: IN,OUT[,CACHED[,CACHE_WRITE[,REASONING]]]; MODEL may be a pattern: gpt-4o*",
    )


def _add_cache(commands: Commands[argparse.ArgumentParser]) -> None:
    cache = commands.add_parser(
        "cache",
        help="look at the replies that are kept, or remove some",
        description="Print what the cache of replies holds of each model, or remove replies from it.",
    )
    which = cache.add_mutually_exclusive_group()
    which.add_argument("--clear", action="store_true", help="remove all replies")
    which.add_argument(
        "--older-than", type=_age, metavar="AGE", help="remove the replies that are older: 90m, 12h, 30d or 8w"
    )
    cache.add_argument("--model", metavar="NAME", help="only those of this model, as its server calls it")
    cache.add_argument(
        "--file",
        default=".doteval/replies.db",
        metavar="FILE",
        help="where they are kept (default: .doteval/replies.db)",
    )
    _add_json(cache)


def _add_experiment(
    parser: argparse.ArgumentParser, name: str, metavar: str, text: str, nargs: str | None = None
) -> None:
    action: Any = parser.add_argument(name, metavar=metavar, help=text, nargs=nargs)
    action.completer = _experiments  # which is how argcomplete finds it


def _experiments(prefix: str, parsed_args: argparse.Namespace, **_others: object) -> list[str]:
    """What may stand there, for a shell that asks."""
    listed = import_module("doteval.evals").Store(parsed_args.store).evaluations()
    return sorted({stored.experiment for stored in listed if stored.experiment.startswith(prefix)})


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return min(number, sys.maxsize)


def _part(text: str) -> Callable[[int], int]:
    """So many, or so many in a hundred, of whatever number there is."""
    found = _PART.fullmatch(text)
    if found is not None and not found["percent"]:
        rows = int(found["whole"])
        return lambda _: rows
    digits = "" if found is None else f"{found['whole'] or ''}{found['decimals'] or ''}"
    if found is None or not digits or int(digits) > 100 * (scale := 10 ** len(found["decimals"] or "")):
        raise argparse.ArgumentTypeError(f"is a number such as 3, or a share such as 5% or 4.9%, not {text!r}")
    return lambda total: total * int(digits) // (100 * scale)


def _age(text: str) -> float:
    """A time in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and unit in units and len(number) < 10):
        raise argparse.ArgumentTypeError(f"is a number and a unit, such as 90m, 12h, 30d or 8w, not {text!r}")
    return float(number) * units[unit]


_count.__name__ = "number"  # what argparse calls it where it is none
