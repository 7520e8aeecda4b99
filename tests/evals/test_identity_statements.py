"""How a module makes, or changes, what rows write counts: by any statement, whichever way others import it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from doteval.evals._identity import credentials
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written

# Each statement of Python that can make EXAMPLES of a text, OLD, or change it.
STATEMENTS = """
# assignment
EXAMPLES = ['OLD', 'b']

# annotated
EXAMPLES: list[str] = ['OLD', 'b']

# to several
FIRST = EXAMPLES = ['OLD', 'b']

# taken apart
FIRST, (EXAMPLES, *REST) = 'a', (['OLD', 'b'], 1)

# the rest
FIRST, *EXAMPLES = 'a', 'OLD', 'b'

# augmented
EXAMPLES = ['b']
EXAMPLES += ['OLD']

# an item
EXAMPLES = ['b', '']
EXAMPLES[1] = 'OLD'

# a slice
EXAMPLES = ['b', '']
EXAMPLES[1:] = ['OLD']

# an item, augmented
EXAMPLES = ['b', '']
EXAMPLES[1] += 'OLD'

# deleted item
EXAMPLES = ['a', 'b', 'c']
del EXAMPLES[len('OLD') > 3]

# deleted
EXAMPLES = 'OLD'
TEXT = EXAMPLES
del EXAMPLES
EXAMPLES = [TEXT, 'b']

# named expression
print(end=(EXAMPLES := ['OLD', 'b']) and '')

# named expression in a value
FIRST = (EXAMPLES := ['OLD', 'b'])[0]

# named expression in a condition
if (EXAMPLES := ['OLD', 'b']):
    pass

# method
EXAMPLES = ['b']
EXAMPLES.append('OLD')

# method in a value
EXAMPLES = ['a', 'b', 'c']
FIRST = EXAMPLES.pop(len('OLD') > 3)

# method in an assertion
EXAMPLES = ['b']
assert EXAMPLES.append('OLD') is None

# given to a call
import operator
EXAMPLES = ['b', '']
operator.setitem(EXAMPLES, 1, 'OLD')

# unpacked for a call
import operator
EXAMPLES = ['b', '']
operator.setitem(*[EXAMPLES, 1, 'OLD'])

# in each of a comprehension
EXAMPLES = [['b']]
[each.append('OLD') for each in EXAMPLES]

# for
EXAMPLES = ['b']
for text in ['OLD']:
    EXAMPLES.append(text)

# for, its target
for EXAMPLES in [['OLD', 'b']]:
    pass

# for, its items
EXAMPLES = [['b']]
for each in EXAMPLES:
    each[0] = 'OLD'

# for, else
for EXAMPLES in [['b']]:
    pass
else:
    EXAMPLES = ['OLD', 'b']

# while
EXAMPLES = []
while len(EXAMPLES) < 2:
    EXAMPLES += ['OLD']

# while, its condition
EXAMPLES = ['a']
while len(EXAMPLES) < len('OLD'):
    EXAMPLES += ['b']

# with
import contextlib
with contextlib.nullcontext(['OLD', 'b']) as EXAMPLES:
    pass

# in a with
import contextlib
with contextlib.suppress(OSError):
    EXAMPLES = ['OLD', 'b']

# if
if 'OLD':
    EXAMPLES = ['OLD', 'b']

# if, its condition
LANG = 'OLD'
if LANG == 'OLD'[:3]:
    EXAMPLES = ['a', 'b']
else:
    EXAMPLES = ['c']

# if, what it overrides
LANG = 'OLD'
EXAMPLES = ['a', 'b']
if len(LANG) > 3:
    EXAMPLES = ['c']

# elif
import sys
if not sys.path:
    EXAMPLES = []
elif len('OLD') > 3:
    EXAMPLES = ['a']
else:
    EXAMPLES = ['b']

# else
import sys
if not sys.path:
    EXAMPLES = []
else:
    EXAMPLES = ['OLD', 'b']

# try
try:
    EXAMPLES = ['a', 'b', 'c', 'd', 'e'][:: len('OLD') // 3]
except OSError:
    EXAMPLES = []

# try, what raises
EXAMPLES = ['a']
try:
    {'OLD': 1}['OLD'[:3]]
    EXAMPLES = ['b']
except KeyError:
    pass

# except
try:
    {}[1]
except KeyError:
    EXAMPLES = ['OLD', 'b']

# except, else
try:
    pass
except OSError:
    pass
else:
    EXAMPLES = ['OLD', 'b']

# finally
try:
    pass
finally:
    EXAMPLES = ['OLD', 'b']

# except*
try:
    raise ExceptionGroup('', [KeyError('OLD')])
except* KeyError as error:
    EXAMPLES = [str(error.exceptions)]

# match
match 'OLD':
    case 'x':
        EXAMPLES = []
    case _:
        EXAMPLES = ['OLD', 'b']

# match, what it takes
match {'it': ['OLD', 'b']}:
    case {'it': EXAMPLES}:
        pass

# match, the rest
match ['a', 'OLD', 'b']:
    case [_, *EXAMPLES]:
        pass

# match, its subject
EXAMPLES = {'it': ['b']}
match EXAMPLES:
    case {'it': inner}:
        inner += ['OLD']
EXAMPLES = EXAMPLES['it']

# import in a condition
LANG = 'OLD'
if len(LANG) > 3:
    from string import digits as TEXT
else:
    from string import hexdigits as TEXT
EXAMPLES = [TEXT, 'b']

# class
class Held:
    EXAMPLES = ['OLD', 'b']
EXAMPLES = Held.EXAMPLES

# class, changed
class Held:
    EXAMPLES = ['b']
Held.EXAMPLES.append('OLD')
EXAMPLES = Held.EXAMPLES

# class within a class
class Held:
    class Inner:
        EXAMPLES = ['OLD', 'b']
EXAMPLES = Held.Inner.EXAMPLES

# class of a base
class Base:
    EXAMPLES = ['OLD', 'b']
class Held(Base):
    pass
EXAMPLES = Held().EXAMPLES

# class, its keywords
EXAMPLES = ['b']
class Base:
    def __init_subclass__(cls, to, text):
        to.append(text)
class Held(Base, to=EXAMPLES, text='OLD'):
    pass

# instance
class Held:
    def __init__(self, texts):
        self.texts = texts
EXAMPLES = Held(['OLD', 'b']).texts

# attribute
class Held:
    pass
HELD = Held()
HELD.texts = ['OLD', 'b']
EXAMPLES = HELD.texts

# decorator
EXAMPLES = ['b']
def enter(to, text):
    to.append(text)
    return lambda made: made
@enter(EXAMPLES, 'OLD')
def function():
    pass

# decorator of a class
EXAMPLES = ['b']
def enter(to, text):
    to.append(text)
    return lambda made: made
@enter(EXAMPLES, text='OLD')
class Held:
    pass

# default
def make(*, texts=['OLD', 'b']):
    return texts
EXAMPLES = make()

# default, not the last
async def make(texts=['OLD', 'b'], other=None):
    pass
EXAMPLES = make.__defaults__[0]

# lambda
make = lambda: ['OLD', 'b']
EXAMPLES = make()

# comprehension
EXAMPLES = [text.lower() for text in ['OLD', 'b']]

# conditional
EXAMPLES = ['a', 'b'] if len('OLD') > 3 else ['c']

# of another name
TEXT = 'OLD'
EXAMPLES = [f'{TEXT}!', 'b']

# under another name
EXAMPLES = ['b']
OTHERS = EXAMPLES
OTHERS.append('OLD')

# within another one
EXAMPLES = ['b']
ALL = {'it': EXAMPLES}
ALL['it'] += ['OLD']

# under another name, behind a third one
EXAMPLES = [[['b']]]
FIRST = EXAMPLES[0]
OTHERS = FIRST[0]
OTHERS.append('OLD')

# under the name of an item
EXAMPLES = [['b']]
FIRST = next(iter(EXAMPLES))
FIRST.append('OLD')

# under the name of the last item
EXAMPLES = [['b']]
for each in reversed(EXAMPLES):
    pass
each.append('OLD')

# under the name of a with
import contextlib
EXAMPLES = ['b']
with contextlib.nullcontext(EXAMPLES) as each:
    pass
each.append('OLD')

# under a name in an expression
EXAMPLES = [['b']]
if (FIRST := EXAMPLES[0]):
    pass
FIRST.append('OLD')

# for, its items with others
EXAMPLES = [{}]
for each, text in zip(EXAMPLES, ['OLD']):
    each['it'] = text

# for, its items with others of a name
EXAMPLES = [{}]
OTHERS = ['OLD']
for number, each in enumerate(EXAMPLES):
    each['it'] = OTHERS[number]

# given to a call whose result is kept
EXAMPLES = ['b']
def add(to, text):
    to.append(text)
    return len(to)
COUNT = add(EXAMPLES, 'OLD') + 1

# given to a call in a condition
EXAMPLES = ['b']
def add(to, text):
    to.append(text)
    return len(to)
if not add(EXAMPLES, text='OLD'):
    raise SystemExit

# given to a call in a comprehension
EXAMPLES = [['b']]
def add(to, text):
    to.append(text)
    return len(to)
COUNTS = [add(each, 'OLD') for each in EXAMPLES]

# given to a call in a text
EXAMPLES = ['b']
def add(to, text):
    to.append(text)
    return len(to)
TEXT = f'{add(EXAMPLES, "OLD")} of them'

# its own method whose result is kept
class Held(list):
    def put(self, text):
        self.append(text)
        return len(self)
EXAMPLES = Held('b')
COUNT = EXAMPLES.put('OLD')

# globals
globals()['EXAMPLES'] = ['OLD', 'b']

# globals, updated
globals().update(EXAMPLES=['OLD', 'b'])

# vars
EXAMPLES = ['b']
vars()['EXAMPLES'] = ['OLD']

# setattr
import sys
setattr(sys.modules[__name__], 'EXAMPLES', ['OLD', 'b'])

# of the module
import sys
this = sys.modules[__name__]
this.EXAMPLES = ['OLD', 'b']

# exec
exec('EXAMPLES = ["OLD", "b"]')

# an expression
EXAMPLES = ['b']
EXAMPLES and EXAMPLES.__setitem__(0, 'OLD')
"""
MADE = dict(block.split("\n", 1) for block in STATEMENTS.removeprefix("\n# ").split("\n# "))
# How a module gets what another one makes: its text, where that is made, and other files.
IMPORTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "from": ("from made import EXAMPLES\nIT = EXAMPLES", "made.py", {}),
    "from, as": ("from made import EXAMPLES as IT", "made.py", {}),
    "import": ("import made\nIT = made.EXAMPLES", "made.py", {}),
    "import, as": ("import made as m\nIT = m.EXAMPLES", "made.py", {}),
    "import, read by rows": ("import made as m\ndef ask(q):\n    m.EXAMPLES.reverse()", "made.py", {}),
    "star": ("from made import *\nIT = EXAMPLES", "made.py", {}),
    "star, behind a star": ("from more import *\nIT = EXAMPLES", "made.py", {"more.py": "from made import *"}),
    "of a package": ("import kit.made\nIT = kit.made.EXAMPLES", "kit/made.py", {"kit/__init__.py": ""}),
    "of a package, as": ("import kit.made as m\nIT = m.EXAMPLES", "kit/made.py", {"kit/__init__.py": ""}),
    "from a package": ("from kit import made\nIT = made.EXAMPLES", "kit/made.py", {"kit/__init__.py": ""}),
    "from a module of a package": ("from kit.made import EXAMPLES as IT", "kit/made.py", {"kit/__init__.py": ""}),
    "star of a package": ("from kit.made import *\nIT = EXAMPLES", "kit/made.py", {"kit/__init__.py": ""}),
    "relative": (
        "from kit.more import IT",
        "kit/made.py",
        {"kit/__init__.py": "", "kit/more.py": "from .made import EXAMPLES as IT"},
    ),
    "relative, the module": (
        "from kit.more import IT",
        "kit/made.py",
        {"kit/__init__.py": "", "kit/more.py": "from . import made\nIT = made.EXAMPLES"},
    ),
    "exported again": (
        "from kit import EXAMPLES as IT",
        "kit/made.py",
        {"kit/__init__.py": "from .made import EXAMPLES"},
    ),
    "exported again, read of the package": (
        "import kit\nIT = kit.EXAMPLES",
        "kit/made.py",
        {"kit/__init__.py": "from kit.made import EXAMPLES"},
    ),
    "exported again, star": (
        "import kit as k\nIT = k.EXAMPLES",
        "kit/made.py",
        {"kit/__init__.py": "from .made import *"},
    ),
    "if": ("if len('x') > 3:\n    IT = ()\nelse:\n    from made import EXAMPLES as IT", "made.py", {}),
    "try": ("try:\n    import made as m\nexcept ImportError:\n    m = None\nIT = m.EXAMPLES", "made.py", {}),
    "twice": ("from made import EXAMPLES as IT\nif not IT:\n    from more import IT", "made.py", {"more.py": ""}),
    "deleted": ("import made as m\nIT = m.EXAMPLES\ndel m", "made.py", {}),
    "within a class": ("class Held:\n    import made\n    IT = made.EXAMPLES\nIT = Held.IT", "made.py", {}),
    "by a text": ("import made\nIT = getattr(made, 'EXAM' + 'PLES')", "made.py", {}),
}
MODULES = ("asked", "made", "more", "kit", "kit.made", "kit.more")
ASK = "def ask(q):\n    IT.reverse()"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def loaded(directory: Path, files: Mapping[str, str]) -> ModuleType:
    """The module of an evaluation, as in a process of its own."""
    for name in MODULES:
        sys.modules.pop(name, None)
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text if name != "asked.py" or "def ask" in text else f"{text}\n{ASK}\n")
    importlib.invalidate_caches()
    return importlib.import_module("asked")


def parts_of(module: ModuleType) -> Mapping[str, str]:
    walk = Walk()
    walk.add_function("its code", module.ask)
    return {**walk.parts}


def after_a_run(directory: Path, files: Mapping[str, str]) -> Mapping[str, str]:
    module = loaded(directory, files)
    before = parts_of(module)
    module.ask("q")
    return with_what_was_written(before, parts_of(module))


def other_layout(text: str) -> str:
    return f"# A comment\n{ast.unparse(ast.parse(text))}\n\ndef other(): return 'x'\n"


def with_another_variable(text: str) -> str:
    return f"OTHER = 'x'\n{other_layout(text)}OTHER += 'y'\n"


def edited(text: str) -> str:
    return text.replace("OLD", "something else")


@pytest.mark.parametrize("how", ["made where it is asked for", *IMPORTS])
def test_an_edit_of_any_statement_is_told_however_it_is_imported(how: str, directory: Path) -> None:
    """And layout and other variables are not; but where nobody knows which variable is read, all of these count."""
    unseen: list[str] = []
    refused: list[tuple[str, tuple[str, ...]]] = []
    another = other_layout if how == "by a text" else with_another_variable
    for kind, made in MADE.items():
        asked, place, others = IMPORTS.get(how, (f"{made}\nIT = EXAMPLES", "asked.py", {}))
        files = {**others, place: made, "asked.py": asked}
        stored = after_a_run(directory, files)
        found = changes(stored, parts_of(loaded(directory, {**files, place: another(files[place])})))
        refused += [(kind, found)] if found else []
        found = changes(stored, parts_of(loaded(directory, {**files, place: edited(files[place])})))
        unseen += [] if any("begins has changed" in each for each in found) else [kind]
    assert (unseen, refused) == ([], [])


# What a module changes that it has imported.
CHANGED_THERE = [
    "from made import EXAMPLES as IT\nIT.append('OLD')",
    "from made import EXAMPLES as IT\nOTHERS = IT\nOTHERS += ['OLD']",
    "import made\nmade.EXAMPLES.append('OLD')\ndef ask(q):\n    made.EXAMPLES.reverse()",
    "import made as m\nm.EXAMPLES = ['OLD', 'b']\ndef ask(q):\n    m.EXAMPLES.reverse()",
    "import made as m\nm.EXAMPLES += ['OLD']\nIT = m.EXAMPLES",
    "from made import Held\nHeld.texts.append('OLD')\ndef ask(q):\n    Held.texts.reverse()",
    "import made\nsetattr(made, 'EXAMPLES', ['OLD', 'b'])\nIT = made.EXAMPLES",
]


@pytest.mark.parametrize("text", CHANGED_THERE)
def test_what_is_changed_where_it_is_imported_is_told(text: str, directory: Path) -> None:
    files = {"made.py": "EXAMPLES = ['a', 'b']\nclass Held:\n    texts = ['a', 'b']", "asked.py": text}
    stored = after_a_run(directory, files)
    assert not changes(stored, parts_of(loaded(directory, {**files, "asked.py": with_another_variable(text)})))
    found = changes(stored, parts_of(loaded(directory, {**files, "asked.py": edited(text)})))
    assert any("begins has changed" in each for each in found), found


# What is made of EXAMPLES, or of what they are made of, and changes nothing of it.
MADE_OF_IT = [
    "COUNT = len(EXAMPLES) + len('OLD')",
    "TEXT = 'OLD {}'.format(EXAMPLES)",
    "TEXT = ', '.join(EXAMPLES) + 'OLD'",
    "TEXT = f'OLD {len(EXAMPLES)}'\nif TEXT == 'x':\n    TEXT = clean(f'OLD {EXAMPLES}')",
    "OTHERS = sorted(EXAMPLES, key='OLD'.count)",
    "OTHERS = list(map(clean, ['OLD']))",
    "OTHERS = load(HERE / 'OLD', LANGUAGE)",
    "class Held:\n    def __init__(self, *it): self.it = it\nHELD = Held(EXAMPLES, 'OLD')",
]
ITS_EXAMPLES = """
from pathlib import Path
HERE, LANGUAGE = Path('x'), 'en'
def clean(text): return text.strip()
def load(path, language): return [str(path), language]
EXAMPLES = list(map(clean, load(HERE / 'a', LANGUAGE)))
"""


@pytest.mark.parametrize("text", MADE_OF_IT)
def test_what_is_made_of_it_is_no_change_of_it(text: str, directory: Path) -> None:
    files = {"asked.py": f"{ITS_EXAMPLES}{text}\nIT = EXAMPLES"}
    stored = after_a_run(directory, files)
    assert not changes(stored, parts_of(loaded(directory, {"asked.py": edited(files["asked.py"])})))


SHARED = """
import os
from string import digits
class Client:
    def __init__(self, url):
        self.url, self.calls = url, 0
    def call(self):
        self.calls += 1
        return self.url
class Agent:
    said = ""
    def __init__(self, client, prompt):
        self.client, self.prompt = client, prompt
    def ask(self):
        return self.client.call() + self.prompt
class Formal(Agent):
    said = "OTHER"
TEXTS: list[str] = []
for text in "ab":
    TEXTS.append(text)
CLIENT = Client(os.environ.get("NOWHERE", "an address"))
AGENT = Agent(CLIENT, "a prompt")
FORMAL = Formal(CLIENT, "OTHER")
AGENTS = {"other": Agent(CLIENT, "OTHER")}
AGENTS["another"] = Agent(CLIENT, prompt="OTHER")
AGENTS.update(more=Agent(CLIENT, "OTHER"))
for name in "cd":
    AGENTS[name] = Agent(CLIENT, f"OTHER {name}")
if __name__ == "__main__":
    print(Agent(CLIENT, "OTHER").ask())
os.environ.setdefault("SOMETHING_OF_IT", "OTHER")
os.environ["SOMETHING_OF_IT"] = "OTHER"
def other(agent=Agent(CLIENT, "OTHER")):
    return agent.ask()
def ask(q):
    TEXTS.reverse()
    return AGENT.ask() + TEXTS[0]
"""
LIKE_IT = {
    "other things of what is shared": ("OTHER", "something else"),
    "an annotation in a loop": ("    TEXTS.append(text)", "    kept: str\n    TEXTS.append(text)"),
    "the kind of a text": ('"an address"', 'u"an address"'),
    "another import": ("import digits", "import ascii_letters, digits"),
    "a docstring": ("class Client:", 'class Client:\n    """A client."""'),
}


@pytest.mark.parametrize("edit", LIKE_IT)
def test_what_is_made_of_the_same_is_another_thing(edit: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_IT", "")
    stored = after_a_run(directory, {"asked.py": SHARED})
    other = SHARED.replace(*LIKE_IT[edit])
    assert other != SHARED
    assert not changes(stored, parts_of(loaded(directory, {"asked.py": other})))
    found = changes(stored, parts_of(loaded(directory, {"asked.py": SHARED.replace("an address", "another one")})))
    assert "how the value 'CLIENT' begins has changed" in found or "how the value 'AGENT' begins has changed" in found


@pytest.mark.parametrize(
    "text",
    [
        "IT = [{'user': 'a', 'password': 'OLD'}, {'user': 'b', 'password': 'x'}]",
        "IT = [dict(user='a', api_key='OLD'), 1]",
        "SECRET = 'OLD'\nIT = [SECRET, 1]",
        "if 1:\n    SECRET: str = 'OLD'\nIT = [SECRET, 1]",
        "HELD = {}\nHELD['password'] = 'OLD'\nIT = [HELD['password'], 1]",
        "USER, PASSWORD = 'u', 'OLD'\nIT = [USER, PASSWORD]",
        "PASSWORD = ''\nPASSWORD += 'OLD'\nIT = [PASSWORD, 1]",
        "if (PASSWORD := 'OLD'):\n    IT = [PASSWORD, 1]",
        "for PASSWORD in ['OLD']:\n    IT = [PASSWORD, 1]",
        "HELD = {}\nHELD.setdefault('api_key', 'OLD')\nIT = [*HELD.values(), 1]",
        "IT = [*dict([('password', 'OLD')]).values(), 1]",
        "IT = [(lambda password='OLD': password)(), 1]",
    ],
)
def test_a_credential_counts_and_nobody_finds_it_out(
    text: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what is kept, by trying what it may be."""
    stored = after_a_run(directory, {"asked.py": text})
    found = changes(stored, parts_of(loaded(directory, {"asked.py": edited(text)})))
    assert any("begins has changed" in each for each in found), found
    monkeypatch.setattr("doteval.evals._identity.credentials._SALT", b"another one")
    monkeypatch.setattr("doteval.evals._identity.credentials._slowly", credentials._slowly.__wrapped__)
    assert any(
        "begins has changed" in each for each in changes(stored, parts_of(loaded(directory, {"asked.py": text})))
    )


def test_many_credentials_are_guarded_together(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each takes long."""
    guarded: set[bytes] = set()

    def slowly(digest: bytes) -> str:
        guarded.add(digest)
        return ""

    monkeypatch.setattr("doteval.evals._identity.credentials._slowly", slowly)
    added = "".join(f"IT.append(str(dict(user='u', password='{number}')))\n" for number in range(50))
    after_a_run(directory, {"asked.py": f"IT = []\n{added}"})
    assert len(guarded) == 1
