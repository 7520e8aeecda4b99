"""What classes and objects enter when they are made: where nothing reads it, it is nothing that others do, too."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from doteval.evals._identity.walk import Walk

ENTERING = {
    "a class, by its base": "class Tool:\n"
    "    registry = {}\n"
    "    def __init_subclass__(cls, **more): Tool.registry[cls.__name__] = cls",
    "a class, by itself": "class Tool:\n"
    "    registry = []\n"
    "    def __init_subclass__(cls, **more):\n"
    "        super().__init_subclass__(**more)\n"
    "        cls.registry.append(cls)",
    "a class, by its metaclass": "class Meta(type):\n"
    "    registry = {}\n"
    "    def __new__(mcls, name, bases, scope):\n"
    "        mcls.registry[name] = made = super().__new__(mcls, name, bases, scope)\n"
    "        return made\n"
    "class Tool(metaclass=Meta):\n"
    "    known = None",
    "a class, by what makes it": "class Meta(type):\n"
    "    registry = []\n"
    "    def __init__(cls, name, bases, scope): cls.registry.append(name)\n"
    "class Tool(metaclass=Meta):\n"
    "    @classmethod\n"
    "    def known(cls): return [*cls.registry]",
    "a class is counted": "class Base:\n"
    "    registry = 0\n"
    "class Tool(Base):\n"
    "    def __init_subclass__(cls): Base.registry += 1",
    "the last class": "class Tool:\n    registry = None\n    def __init_subclass__(cls): Tool.registry = cls",
    "a class, in the module": "registry = {}\n"
    "class Tool:\n"
    "    def __init_subclass__(cls): registry[cls.__name__] = cls",
    "a class is counted in the module": "registry = 0\n"
    "class Tool:\n"
    "    def __init_subclass__(cls):\n"
    "        global registry\n"
    "        registry += 1",
    "a class, by a function": "registry = []\n"
    "def enter(kind): registry.append(kind)\n"
    "class Tool:\n"
    "    def __init_subclass__(cls): enter(cls)",
    "a class, by a decorator": "class Tool:\n"
    "    registry = {}\n"
    "    @classmethod\n"
    "    def enter(cls, kind): cls.registry[kind.__name__] = kind; return kind\n"
    "    @classmethod\n"
    "    def known(cls): return list(cls.registry)",
    "a class, by a descriptor": "class Field:\n"
    "    registry = []\n"
    "    def __set_name__(self, owner, name): Field.registry.append((owner, name))\n"
    "class Tool:\n    known = None",
    "an object, by its class": "class Tool:\n    registry = []\n    def __init__(self): Tool.registry.append(self)",
    "an object, by itself": "class Tool:\n    registry = []\n    def __init__(self): self.registry.append(self)",
    "an object is counted": "class Tool:\n"
    "    registry = 0\n"
    "    def __new__(cls):\n"
    "        Tool.registry += 1\n"
    "        return super().__new__(cls)",
    "an object, by what it is of": "class Tool:\n"
    "    registry = []\n"
    "    def __init__(self): self.__class__.registry.append(self)",
}
ONE = """
{enter}
class {name}(Tool):
    {field}
    def run(self, q): return q + '{name}'
made_{name} = {name}()
"""
ASKING = {
    "not": ("def ask(q): return made_A.run(q)", False),
    "by name": ("def ask(q): return made_A.run(q), HOLDER.registry", True),
    "by a text": ("def ask(q): return made_A.run(q), getattr(HOLDER, 'registry')", True),
    "by a text in a format": ("def ask(q): return made_A.run(q), '{0.registry}'.format(HOLDER)", True),
    "by what is put together": ("def ask(q): return made_A.run(q), getattr(HOLDER, f'reg{q}')", True),
    "by whatever": ("def ask(q): return made_A.run(q), [getattr(HOLDER, each) for each in dir(HOLDER)]", True),
    "of all": ("def ask(q): return made_A.run(q), [each for each in vars(HOLDER).values()]", True),
    "by a method that a library calls": (
        (
            "class Job:\n"
            "    def invoke(self, q): return look(q)\n"
            "def look(q): return made_A.run(q), HOLDER.registry\n"
            "JOB = Job()\n"
            "def ask(q): return runner.run(JOB)"
        ),
        True,
    ),
}


def looked_at(source: str) -> dict[str, str]:
    module = sys.modules["registered"] = ModuleType("registered")
    library = ModuleType("runner")
    library.__file__ = "/site-packages/runner.py"
    exec("def run(job): return job.invoke('q')", vars(library))
    vars(module)["runner"] = library
    try:
        exec(source, vars(module))
        walk = Walk()
        walk.add_function("its code", vars(module)["ask"])
        return {**walk.parts}
    finally:
        del sys.modules["registered"]


def of_tools(entering: str, asking: str, *names: str) -> dict[str, str]:
    """What rows of the first of some tools depend on, where all of them were made."""
    enter = "@Tool.enter" if "def enter(cls" in entering else ""
    field = "field = Field()" if "class Field" in entering else ""
    tools = "".join(ONE.format(enter=enter, field=field, name=name) for name in names)
    return looked_at(f"import sys\n{entering}\n{tools}\n{asking.replace('HOLDER', holder_of(entering))}")


def holder_of(entering: str) -> str:
    if entering.startswith("registry"):
        return "sys.modules['registered']"
    return next(each for each in ("Field", "Meta", "Base", "Tool") if f"class {each}" in entering)


@pytest.mark.parametrize("entering", ENTERING.values(), ids=ENTERING)
@pytest.mark.parametrize(("asking", "counts"), ASKING.values(), ids=ASKING)
def test_a_list_of_all_that_were_made_counts_where_it_is_read(entering: str, asking: str, counts: bool) -> None:
    if "format" in asking and entering.startswith("registry"):
        counts = False  # of modules, nobody looks for names in texts
    one, more = (of_tools(entering, asking, *names) for names in ("A", "AB"))
    assert (one != more) is counts, {name: part for name, part in more.items() if one.get(name) != part}
    assert one == of_tools(entering, asking, "A")


@pytest.mark.parametrize("entering", ENTERING.values(), ids=ENTERING)
def test_what_stands_beside_such_a_list_counts(entering: str) -> None:
    asked, _ = ASKING["not"]
    place = entering.index("\n", entering.index("class Tool")) if "class Tool" in entering else 0
    head, rest = entering[:place], entering[place:]
    one, another = (f"{head}\n    text = {text!r}{rest}" for text in ("one", "two"))
    assert of_tools(one, asked, "A") != of_tools(another, asked, "A")


def test_settings_that_a_class_is_made_with_count() -> None:
    source = (
        "class Tool:\n"
        "    def __init_subclass__(cls, prompt): cls.prompt = prompt\n"
        "class A(Tool, prompt='one'): pass\n"
        "TEXT = '{tool.prompt}'\n"
        "def ask(q): return TEXT.format(tool=A)"
    )
    assert looked_at(source) != looked_at(source.replace("'one'", "'two'"))
