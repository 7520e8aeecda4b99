"""The layers of the package: an import goes downward only.

Every import statement counts, also one inside a function or under ``TYPE_CHECKING``: a module that names a type of a
layer above it knows about that layer, and whoever reads it has to read both. Where a lower layer needs the shape of
something above, it says so in a `Protocol` of its own. What Python does by itself, namely importing the parent packages
of a module, does not count: the ``__init__`` of a package is its face and stands above its modules.
"""

from __future__ import annotations

import ast
import functools
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "doteval"

# Lowest first. The entry that matches most of a module's name decides; a package stands for all that is in it.
LAYERS = (
    (
        "doteval._chains",
        "doteval._errors",
        "doteval._server_errors",
        "doteval._frames",
        "doteval._explained",
        "doteval._context_managers",
        "doteval._hooks_written",
        "doteval._unbuilt",
        "doteval._secrets",
        "doteval._canonical",
        "doteval._spec",
        "doteval._keywords",
        "doteval._printed",
        "doteval._hints",
        "doteval._forked",
        "doteval._writer",
        "doteval._unwritable",
        "doteval._database_files",
        "doteval._caller",
        "doteval._undelivered",
    ),
    (
        "doteval._loop",
        "doteval._hold",
        "doteval._pool.records",
        "doteval._pool.inside",
        "doteval._pool.deadlock",
        "doteval._pool.entries",
        "doteval._pool.leases",
        "doteval._pool.queue",
        "doteval._pool.account",
        "doteval._pool.holding",
        "doteval._pool.waits",
        "doteval._pool.books",
        "doteval._pool.admission",
        "doteval._pool.ledger",
        "doteval._pool.events",
        "doteval._pool.containment",
        "doteval._pool.interrupts",
        "doteval._pool.snapshot",
        "doteval._pool.turn",
        "doteval._pool.resource",
    ),
    ("doteval._pool", "doteval._handle", "doteval._setup"),
    (
        "doteval._provider",
        "doteval._runtime",
        "doteval._pooled",
        "doteval._pool_options",
        "doteval._messages",
        "doteval._model",
        "doteval._model_request",
        "doteval._replies",
    ),
    ("doteval.servers", "doteval.providers"),
    ("doteval._registry",),
    ("doteval",),  # the public face: only the module itself, not all that is in it
    ("doteval.evals", "doteval.testing", "doteval.blocking"),
    ("doteval._tables",),
    ("doteval.pytest_plugin", "doteval.cli", "doteval.__main__"),
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
FACE = LAYER_OF["doteval"]
# The face names two things of a part that stands on it, as users do; like all its names, they are imported when used.
LENT = {"doteval": "doteval.evals"}

# Rooms beside each other of which the first knows nothing of the second.
STRANGERS = (
    ("doteval.evals._results", "doteval.evals._running"),
    ("doteval.evals._results", "doteval.evals._identity"),
    ("doteval.evals._identity", "doteval.evals._running"),
    ("doteval.evals._identity", "doteval.evals._results"),
)
# All that others import of the rooms of evaluations; the rest is their own business.
DOORS = {
    "doteval.cli": {
        "doteval.evals._results.alike",
        "doteval.evals._results.blocks",
        "doteval.evals._results.transcript",
        "doteval.evals._results.compare",
        "doteval.evals._results.export",
        "doteval.evals._results.live",
        "doteval.evals._results.names",
        "doteval.evals._results.pricing",
        "doteval.evals._results.record",
        "doteval.evals._results.report",
        "doteval.evals._results.tables",
        "doteval.evals._results.upkeep",
    },
    "doteval.pytest_plugin": {
        "doteval.evals._identity.library",
        "doteval.evals._results.gates",
        "doteval.evals._results.identity",
        "doteval.evals._results.names",
        "doteval.evals._results.tables",
        "doteval.evals._running.arguments",
        "doteval.evals._running.checks",
        "doteval.evals._running.dataset",
        "doteval.evals._running.depends",
        "doteval.evals._running.engine",
        "doteval.evals._running.files_read",
        "doteval.evals._running.missing",
        "doteval.evals._running.selection",
        "doteval.evals._running.settings",
        "doteval.evals._running.telling",
    },
}

# Knows nothing of what doteval is about, so that who stands on its face may use it like a library.
TOOLS = {
    "doteval._caller",
    "doteval._chains",
    "doteval._database_files",
    "doteval._forked",
    "doteval._printed",
    "doteval._secrets",
    "doteval._undelivered",
    "doteval._unwritable",
    "doteval._writer",
}
# Stands between the pool and an author's open(), and tells of its mistakes what the pool tells.
STANDS_IN = ("doteval.testing._swallowing", "doteval._context_managers")

# Pure and synchronous: these need nothing but the standard library.
PURE = (
    "doteval._chains",
    "doteval._errors",
    "doteval._server_errors",
    "doteval._explained",
    "doteval._context_managers",
    "doteval._hooks_written",
    "doteval._secrets",
    "doteval._canonical",
    "doteval._spec",
    "doteval._keywords",
    "doteval._pool.records",
    "doteval._pool.inside",
    "doteval._pool.deadlock",
    "doteval._pool.entries",
    "doteval._pool.leases",
    "doteval._pool.queue",
    "doteval._pool.account",
    "doteval._pool.holding",
    "doteval._pool.waits",
    "doteval._pool.books",
    "doteval._pool.admission",
    "doteval._pool.ledger",
    "doteval._pool.events",
    "doteval._pool.snapshot",
)
# What the layers below the providers may import of other distributions.
CORE_LIBRARIES = {"anyio", "typing_extensions"}
# Modules that ask asyncio or trio themselves: for a task outside of every task group, and about Ctrl-C on trio.
PICKS_A_BACKEND = {"doteval._loop", "doteval._pool.interrupts", "doteval.evals._running.interrupts"}
# Libraries that are only known in some parts of the package, because they are slow to import or may be missing.
CONFINED = {
    "anthropic": ("doteval.providers",),
    "httpx": ("doteval.cli._endpoint.app", "doteval.providers", "doteval.servers"),
    "httpx2": ("doteval.providers",),
    "openai": ("doteval.providers",),
    "jinja2": ("doteval.evals._results.report",),
    "markupsafe": ("doteval.evals._results.report",),
    "rich": ("doteval._tables", "doteval.pytest_plugin._evals.progress"),
    "pytest": ("doteval.evals", "doteval.testing", "doteval.pytest_plugin"),
    "_pytest": (),
}


# Where a layer has rooms: which other rooms of it each may know. A change here is a change of the design.
ROOMS: dict[str, tuple[str, ...]] = {
    "doteval.servers._description": (),
    "doteval.servers._slots": ("doteval.servers._supervisor",),  # how parts of a slot are locked
    "doteval.servers._supervisor": (),  # a program of its own
    "doteval.servers._contract": ("doteval.servers._description", "doteval.servers._slots"),
    "doteval.servers._local": (
        "doteval.servers._contract",
        "doteval.servers._description",
        "doteval.servers._slots",
        "doteval.servers._supervisor",  # its protocol
    ),
}


def name_of(path: Path) -> str:
    parts = ("doteval", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@functools.cache
def imports(name: str) -> list[tuple[str, int]]:
    """The absolute names of the modules that a module imports, each with its line."""
    found: list[tuple[str, int]] = []
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), path)):
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")
                source = ".".join([*parts[: len(parts) - node.level + 1], *([source] if source else [])])
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                found.append((submodule if submodule in MODULES else source, node.lineno))
    return found


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer_of(name: str) -> int | None:
    entries = [entry for entry in LAYER_OF if is_within(name, entry) and (entry != "doteval" or name == entry)]
    return LAYER_OF[max(entries, key=len)] if entries else None


def test_every_module_has_a_layer() -> None:
    """A new module is given its place on purpose: in the table above."""
    assert [name for name in MODULES if layer_of(name) is None] == []


def test_every_import_goes_downward() -> None:
    """No module imports one of a layer above its own, and what is at the level of the face or below it not the face."""
    upward = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        for target, line in imports(name)
        if is_within(target, "doteval") and (layer_of(target) or 0) > (layer_of(name) or 0) and LENT.get(name) != target
    ]
    assert upward == []


def room_of(name: str) -> str | None:
    return next((room for room in ROOMS if is_within(name, room)), None)


def test_a_room_knows_no_other_rooms_than_it_should() -> None:
    """Inside of a layer as well, what is described, decided and done stays apart; each arrow of the table is there."""
    known: dict[str, set[str]] = {room: set() for room in ROOMS}
    for name in MODULES:
        room = room_of(name)
        if room is not None:
            known[room] |= {there for target, _ in imports(name) if (there := room_of(target)) not in (None, room)}
    assert known == {room: set(others) for room, others in ROOMS.items()}


def test_no_import_goes_in_circles() -> None:
    """The modules can be read one after the other, each after all that it imports."""
    graph = {
        name: {target for target, _ in imports(name) if target in MODULES and target not in (name, LENT.get(name))}
        for name in MODULES
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail("a cycle: " + " imports ".join(reversed(exc.args[1])))
    assert set(order) == set(MODULES)


def test_what_stands_on_the_public_face_uses_no_private_module() -> None:
    """`doteval.testing`, `doteval.blocking` and `doteval.evals` are written with what every user has."""
    private = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if layer_of(name) == FACE + 1
        for target, line in imports(name)
        if is_within(target, "doteval")
        and target not in TOOLS
        and not (name == STANDS_IN[0] and is_within(target, STANDS_IN[1]))
        and any(part.startswith("_") for part in target.split("."))
        and target.split(".")[:2] != name.split(".")[:2]
    ]
    assert private == []


def test_rooms_that_are_strangers_import_nothing_of_each_other() -> None:
    """What is kept of evaluations can be read and shown without knowing how they are run."""
    known = [
        f"{name}:{line} imports {target}"
        for stranger, other in STRANGERS
        for name in MODULES
        if is_within(name, stranger)
        for target, line in imports(name)
        if is_within(target, other)
    ]
    assert known == []


def test_what_others_use_of_evaluations_is_said_here() -> None:
    """The command line and the plugin are friends of `doteval.evals`; how close, the table above says."""
    used: dict[str, set[str]] = {}
    for name in MODULES:
        for target, _ in imports(name):
            if target.startswith("doteval.evals._") and not is_within(name, "doteval.evals"):
                used.setdefault(".".join(name.split(".")[:2]), set()).add(target)
    assert used == DOORS


def test_tools_know_nothing_of_the_package() -> None:
    """They could be another distribution's."""
    assert [
        target for tool in TOOLS for target, _ in imports(tool) if is_within(target, "doteval") and target not in TOOLS
    ] == []


def test_the_pure_modules_import_the_standard_library_only() -> None:
    """What decides does no I/O and knows no event loop."""
    impure = [
        f"{name}:{line} imports {target}"
        for name in PURE
        for target, line in imports(name)
        if not is_within(target, "doteval")
        and target.split(".")[0]
        not in sys.stdlib_module_names - {"asyncio", "socket", "ssl", "subprocess", "threading"}
    ]
    assert impure == []


def test_the_core_imports_anyio_and_nothing_else() -> None:
    """Below the providers no other distribution is needed; trio by those alone who run it."""
    foreign = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if (layer_of(name) or 0) <= LAYER_OF["doteval._provider"] or name == "doteval"
        for target, line in imports(name)
        if not is_within(target, "doteval") and target.split(".")[0] not in sys.stdlib_module_names | CORE_LIBRARIES
        if name not in PICKS_A_BACKEND
    ]
    assert foreign == []


def test_slow_libraries_are_imported_in_their_own_part_only() -> None:
    """An SDK is imported by its provider and pytest by the plugin, and pytest's private parts by nobody."""
    strays = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        for target, line in imports(name)
        for library, places in CONFINED.items()
        if is_within(target, library) and not any(is_within(name, place) for place in places)
    ]
    assert strays == []


def test_few_modules_pick_a_backend() -> None:
    """anyio is the only way to the event loop, so the package does the same on asyncio and on trio.

    Each exception says at its top why it is one.
    """
    picks = {
        name for name in MODULES for target, _ in imports(name) if target.split(".")[0] in {"asyncio", "trio", "uvloop"}
    }
    assert picks == PICKS_A_BACKEND
