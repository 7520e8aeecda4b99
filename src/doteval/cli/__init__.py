"""The command ``doteval``: one module for each thing that it does, imported when it is done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from .. import __version__
from .._errors import DotevalError
from ._problem import Problem

Run = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; `None` for those of this process.

    Returns:
        The exit code: 0 if all is well, 1 if what was looked at or asked for is broken, 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments are not understood (code 2), or only ask for help or the version (code 0).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # argparse would take what follows "--" only where no option stands between it and the other words.
    end = words.index("--") if "--" in words and words[0] == "serve" else len(words)
    options = _parser().parse_args(words[:end])
    options.arguments = words[end + 1 :]
    run = cast("Run", import_module(f"._{options.command}", __name__).run)
    try:
        return run(options)
    except (DotevalError, Problem) as exc:
        print(f"doteval: {exc}", file=sys.stderr)
        return exc.code if isinstance(exc, Problem) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="doteval", description="Look at providers and results, and run model servers."
    )
    parser.add_argument("--version", action="version", version=f"doteval {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    commands.add_parser(
        "providers",
        help="list the registered model providers",
        description="Import every registered model provider, and tell which are broken and why. "
        "The exit code is 1 if one is.",
    )
    _add_serve(commands)
    _add_servers(commands)
    _add_stop(commands)
    _add_results(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="start a model server and keep it until Ctrl-C",
        usage="doteval serve [options] SPEC [-- ARGUMENT ...]",
        description="Start the server of a model, or join it where it is running, print how to use it, and keep it "
        "until Ctrl-C. All tests and programs of this user that ask for the same share it.",
        epilog="What stands after '--' is passed on to the server, as in: "
        "doteval serve vllm:Qwen/Qwen3-0.6B -- --max-model-len 4096",
    )
    serve.add_argument("spec", metavar="SPEC", help="the model, with a provider's name in front: vllm:Qwen/Qwen3-0.6B")
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
    serve.add_argument("--port", type=int, help="where it listens (default: a free port)")
    serve.add_argument(
        "--keep-alive",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long it stays when nobody uses it any more; inf: until it is stopped (default: 0)",
    )
    serve.add_argument("--show-key", action="store_true", help="print the API key also where no terminal is")


def _add_servers(commands: Commands[argparse.ArgumentParser]) -> None:
    servers = commands.add_parser(
        "servers",
        help="list the model servers that are running",
        description="List the model servers of this user that doteval has started and that are running.",
    )
    servers.add_argument("--json", action="store_true", help="print a JSON array, for programs")


def _add_stop(commands: Commands[argparse.ArgumentParser]) -> None:
    stop = commands.add_parser(
        "stop",
        help="stop model servers",
        description="Stop model servers, and wait until nothing of them is left.",
    )
    stop.add_argument("names", nargs="*", metavar="ID|SPEC", help="which: an id, its beginning, or a model")
    stop.add_argument("--all", action="store_true", help="all of them")
    stop.add_argument("--force", action="store_true", help="also those that somebody is using")


def _add_results(commands: Commands[argparse.ArgumentParser]) -> None:
    experiment = "an experiment, or EXPERIMENT@PART for those of its evaluations that have PART in their names"
    listing = commands.add_parser(
        "list", help="list the experiments whose results are kept", description="List the experiments, oldest first."
    )
    show = commands.add_parser(
        "show",
        help="show the results of an experiment",
        description="Print a line for each evaluation and score, and the first rows that failed.",
    )
    show.add_argument("name", metavar="NAME", help=experiment)
    show.add_argument("--errors", type=int, default=3, metavar="N", help="how many failed rows to show (default: 3)")
    compare = commands.add_parser(
        "compare",
        help="compare the results of two experiments or models, row by row",
        description="Print the mean difference of every score over the rows that both have, with its 95 % interval.",
    )
    compare.add_argument("before", metavar="A", help=experiment)
    compare.add_argument("after", metavar="B", help="the same")
    export = commands.add_parser(
        "export", help="write results as JSON lines, CSV or Parquet", description="Write all rows of an experiment."
    )
    export.add_argument("name", metavar="NAME", help=experiment)
    export.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl", help="(default: jsonl)")
    export.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")
    report = commands.add_parser(
        "report",
        help="write a page about an experiment",
        description="Write one page of HTML that needs nothing else, and print its name.",
    )
    report.add_argument("name", metavar="NAME", help=experiment)
    report.add_argument("-o", "--output", metavar="FILE", help="where to (default: NAME.html)")
    for parser in (listing, show, compare, export, report):
        parser.add_argument(
            "--store",
            default=".doteval/results.db",
            metavar="FILE",
            help="where results are kept (default: .doteval/results.db)",
        )
