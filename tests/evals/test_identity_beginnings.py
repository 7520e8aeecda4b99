"""What rows write may be anything, but how its module makes it counts: so a prompt that they sort, or strip."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written

# Each has a text, OLD, that an answer depends on, and that is written in place when rows are run.
WRITTEN = {
    "sorted": """
        SHOTS = ["b: OLD", "a: other"]
        def ask(q):
            SHOTS.sort()
            return SHOTS[0] + q
        """,
    "sliced": """
        SHOTS = ["b: OLD", "a: other"]
        def ask(q):
            SHOTS[:] = sorted(SHOTS)
            return "".join(SHOTS) + q
        """,
    "taken in turns": """
        SHOTS: list[dict[str, str]] = [{"text": "OLD"}, {"text": "other"}]
        def ask(q):
            SHOTS.append(SHOTS.pop(0))
            return SHOTS[0]["text"] + q
        """,
    "filled after it was made": """
        SHOTS = []
        SHOTS.append("OLD")
        SHOTS += ["other"]
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
    "filled in a loop": """
        SHOTS = []
        for text in ("OLD", "other"):
            SHOTS.append(f"{text}!")
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
    "made where something is so": """
        import sys
        if sys.version_info > (3,):
            SHOTS = ["OLD", "other"]
        else:
            SHOTS = []
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
    "made where something may go wrong": """
        try:
            import orjson_that_nobody_has
        except ImportError:
            SHOTS = ["OLD", "other"]
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
    "a key": """
        CONFIG = {"system": "  OLD  ", "temperature": 0}
        def ask(q):
            CONFIG["system"] = CONFIG["system"].strip()
            return CONFIG["system"] + q
        """,
    "an attribute": """
        class Agent:
            def __init__(self, system):
                self.system = system
            def prompt(self):
                self.system = self.system.strip()
                return self.system
        AGENT = Agent("  OLD  ")
        def ask(q):
            return AGENT.prompt() + q
        """,
    "an attribute, of what has a name": """
        class Agent:
            def __init__(self, system):
                self.system = system
            def prompt(self):
                self.system = self.system.strip()
                return self.system
        TEXT = "  OLD  "
        CONFIG = {"system": TEXT}
        AGENT = Agent(CONFIG["system"])
        def ask(q):
            return AGENT.prompt() + q
        """,
    "a set": """
        NOTES = {"OLD"}
        def ask(q):
            NOTES.add("Be kind.")
            return " ".join(sorted(NOTES)) + q
        """,
    "a variable": """
        TEXT = "  OLD  "
        def ask(q):
            global TEXT
            TEXT = TEXT.strip()
            return TEXT + q
        """,
    "an attribute of a class": """
        class Agent:
            shots = ["OLD", "other"]
            @classmethod
            def prompt(cls):
                cls.shots.reverse()
                return cls.shots[0]
        def ask(q):
            return Agent.prompt() + q
        """,
    "in another module": """
        import prompts_of_it
        SHOTS = [prompts_of_it.SYSTEM, "other"]
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
    "a default": """
        def ask(q, shots=["b: OLD", "a: other"]):
            shots.sort()
            return shots[0] + q
        """,
    "a default of a method": """
        class Agent:
            def prompt(self, *, shots=["b: OLD", "a: other"]):
                shots.sort()
                return shots[0]
        AGENT = Agent()
        def ask(q):
            return AGENT.prompt() + q
        """,
    "an attribute of a function": """
        def prompt():
            prompt.shots.reverse()
            return prompt.shots[0]
        prompt.shots = ["OLD", "other"]
        def ask(q):
            return prompt() + q
        """,
    "imported from another module": """
        from prompts_of_it import SYSTEM as TEXT
        SHOTS = [TEXT, "other"]
        def ask(q):
            SHOTS.reverse()
            return SHOTS[0] + q
        """,
}
SAME = {
    "as it was": ("", ""),
    "layout": (' = ["', ' = [\n    "'),
    "a comment": ("def ask", "# a comment\ndef ask"),
    "an annotation": ("SHOTS = [", "SHOTS: list[str] = ["),
    "another function": ("def ask", "def other(): return 'x'\n\ndef ask"),
    "another variable": ("def ask", "OTHER = 'x'\n\ndef ask"),
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prompts_of_it.py").write_text('SYSTEM = "OLD"\n')
    yield tmp_path
    sys.modules.pop("prompts_of_it", None)


def loaded(directory: Path, text: str) -> ModuleType:
    """As in a process of its own."""
    sys.modules.pop("prompts_of_it", None)
    importlib.invalidate_caches()
    file = directory / "evaluation_of_it.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("evaluation_of_it", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluation_of_it"] = module
    exec(compile(text, file, "exec", dont_inherit=True), vars(module))
    return module


def parts_of(module: ModuleType) -> Mapping[str, str]:
    walk = Walk()
    walk.add_function("its code", module.ask)
    return {**walk.parts}


def after_a_run(directory: Path, text: str) -> Mapping[str, str]:
    module = loaded(directory, text)
    before = parts_of(module)
    for _ in range(3):
        module.ask("q")
    return with_what_was_written(before, parts_of(module))


@pytest.mark.parametrize("kind", WRITTEN)
def test_an_edit_of_what_is_written_in_place_is_told(kind: str, directory: Path) -> None:
    """And nothing else is: neither what runs have left, nor how the text is laid out."""
    text = dedent(WRITTEN[kind])
    stored = after_a_run(directory, text)
    for before, after in SAME.values():
        assert not changes(stored, parts_of(loaded(directory, text.replace(before, after, 1)))), after
    (directory / "prompts_of_it.py").write_text('SYSTEM = "something else"\n')
    found = changes(stored, parts_of(loaded(directory, text.replace("OLD", "something else"))))
    assert any("begins has changed" in each for each in found), found


STATE = {
    "a counter": "COUNT = 0\ndef ask(q):\n    global COUNT\n    COUNT += 1\n    return q",
    "a cache": "import time\nCACHE = {'begun': time.time()}\ndef ask(q):\n    return CACHE.setdefault(q, time.time())",
    "of the moment": "import uuid\nRUN = [uuid.uuid4()]\ndef ask(q):\n    RUN.append(uuid.uuid4())\n    return q",
    "of the environment": (
        "class Client:\n    def __init__(self, **config): self.config, self.calls = config, 0\n"
        "    def call(self): self.calls += 1\n"
        "import os\nCLIENT = Client(api_key=os.environ.get('KEY'))\ndef ask(q):\n    CLIENT.call()\n    return q"
    ),
}


@pytest.mark.parametrize("kind", STATE)
def test_state_that_is_made_in_the_same_way_begins_as_it_did(
    kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes of that."""
    stored = after_a_run(directory, STATE[kind])
    monkeypatch.setenv("KEY", "another one")
    assert not any("begins" in each for each in changes(stored, parts_of(loaded(directory, STATE[kind]))))


@pytest.mark.parametrize("becomes", ["gone", "no Python", "in no encoding", "deep"])
def test_a_source_text_that_cannot_be_read_is_none(becomes: str, directory: Path) -> None:
    """As that of a file that somebody is just writing: it has been loaded, and runs."""
    module = loaded(directory, dedent(WRITTEN["sorted"]))
    file = directory / "evaluation_of_it.py"
    if becomes == "gone":
        file.unlink()
    else:
        file.write_bytes({"no Python": b"def (", "in no encoding": b"\xff", "deep": b"-" * 10_000 + b"1"}[becomes])
    assert not any("begins" in each for each in parts_of(module))
