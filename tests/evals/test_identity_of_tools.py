"""What is handed over says something of itself, as a tool does to a model: docstrings count there and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from tests.evals.identity_kinds import class_with, documented

from doteval import Result, foreach
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import unseen_in
from doteval.evals._running.depends import identity_of


def fingerprint(value: object) -> Mapping[str, str]:
    walk = Walk()
    walk.add("it", value)
    return walk.parts


def body(source: str, text: str) -> Any:
    """A function of a notebook that has tools, which say a text of themselves."""
    kind = class_with(tool=documented(text), __doc__=text)
    called = class_with(__call__=documented(text), __doc__=text)()
    shop = ModuleType("shop")
    vars(shop).update(tool=documented(text), Kit=kind, __name__="shop")
    scope: dict[str, Any] = {"tool": documented(text), "Kit": kind, "kit": kind(), "shop": shop, "__name__": "theirs"}
    scope |= {"called": {"it": [called]}, "held": {"it": [scope["kit"]]}}
    exec(compile(f"import inspect\ndef ask(q=None):\n    {source}", "<cell>", "exec"), scope)
    return scope["ask"]


HANDED = [
    *("return [tool]", "return q(tool)", "return q(tools=tool)", "mine = tool; return mine", "return tool.__doc__"),
    *("return [shop.tool]", "return q(shop.tool)", "mine = shop.tool; return mine", "return shop.tool.__doc__"),
    *("return [kit.tool]", "return q(kit.tool)", "mine = kit.tool; return mine", "return kit.tool.__doc__"),
    *("return [Kit]", "return q(Kit, 1)", "return shop.Kit", "return Kit.__doc__", "return [Kit.tool]"),
    *("mine = Kit(); return mine.tool", "return Kit().tool", "return [each.tool for each in (kit,)]"),
    *("return inspect.getdoc(q or tool())", "return getattr(kit, q).__doc__", "return (kit or q).tool"),
    *("return q(1, 2)[kit.tool]", "return lambda: kit.tool", "return q if kit.tool else 1", "return q(*[kit.tool])"),
    *(
        "return getattr(kit, 'tool')",
        "return [getattr(kit, each) for each in ('tool',)]",
        "return q(getattr(kit, q, 1))",
    ),
    *("return [kit]", "return kit", "return kit.__doc__", "return q(type(kit))", "return [each for each in [kit]]"),
    *("return q(held)", "return q(*called.values())", "return q(getattr(shop, 'tool'))", "return getattr(shop, q)"),
    *("return [vars(shop)['tool']]", "return q(vars(shop)[q])", "return [vars(shop).get('tool')]"),
    *("return list(vars(shop).values())", "return globals()['tool']", "return q(globals()[q])"),
    *("return globals().get('tool')", "return q(globals().get(q))", "return [getattr(shop, each) for each in q]"),
    *("import operator; return operator.attrgetter('tool')(shop)", "return shop.__dict__['tool']"),
    *("return q(globals()[f'to{q}'])", "return q(vars(shop)['to' + q])", "return getattr(shop, 'Kit')"),
]
CALLED = [
    *("return tool()", "return shop.tool(q, 1)", "return kit.tool(q)", "return Kit().tool()", "return shop.Kit()"),
    *("return Kit(q)", "return isinstance(q, Kit)", "return isinstance(q, (int, Kit))", "return issubclass(q, Kit)"),
    *("mine = Kit(); return mine.tool()", "return lambda: tool(q)", "return kit.tool(shop.tool())", "kit.tool()"),
    *("return shop.tool(*q)", "return shop.tool(**q)", "return [tool() for each in q]", "kit.tool.calls = 1"),
    *("return getattr(kit, 'tool')()", "return getattr(kit, q)()", "return getattr(kit, 'other', None)"),
    *("return getattr(shop, 'tool')()", "return getattr(shop, q)(1)", "return vars(shop)['tool']()"),
    *(
        "return globals()['tool'](1)",
        "return vars(shop).get('tool')()",
        "return globals()[f'to{q}']()",
        "return held[q]",
    ),
]


DOCUMENTED = ("tool", "shop.tool", "kit.tool", "Kit", "shop.Kit", "Kit.tool", "kit", "held['it'][0]", "called['it'][0]")
DOCSTRINGS = ("{}.__doc__", "inspect.getdoc({})", "getattr({}, '__doc__')", "inspect.cleandoc({}.__doc__)")
USED = [
    *("return {}.strip()", "return {}.format(q=q)", "return {}.strip().upper()", "return {}[1:]", "return {} % q"),
    *('return f"""{{{}}} and {{q}}"""', "return q({}.split()[0])", "mine = {}; return mine.strip()", "return {}.strip"),
    *(
        "return lambda: {}.strip()",
        "return [{}.strip() for each in q]",
        "{}.strip(); return 1",
        "return q or {}.strip()",
    ),
    *("return {}.__len__()", "return (mine := {}).strip()", "return '\\n'.join([{}.strip(), q])", "return {} and q"),
]
ITS_OWN = ("mine = {}; return mine.__doc__.strip()", "return [each.__doc__.strip() for each in [{}]]")


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_a_docstring_counts_however_it_is_used(documented: str) -> None:
    """As a prompt that is filled, stripped or cut."""
    sources = [used.format(docstring.format(documented)) for used in USED for docstring in DOCSTRINGS]
    unseen = [
        source
        for source in (*sources, *(used.format(documented) for used in ITS_OWN))
        if fingerprint(body(source, "one")) == fingerprint(body(source, "another"))
    ]
    assert unseen == []


def test_a_docstring_of_a_function_within_counts_however_it_is_used() -> None:
    """As those of others; one of a helper that is called is none."""
    docstrings = [each for each in DOCSTRINGS if "getattr" not in each]
    sources = [used.format(each.format("inner")) for used in USED if "lambda" not in used for each in docstrings]
    for source in (*sources, "return inner()", "return [inner() for each in q]"):
        one, same, other = (
            fingerprint(body(f"def inner():\n        {text!r}\n    {source}", "")) for text in ("one", "one", "another")
        )
        assert one == same
        assert (one != other) == ("inner()" not in source), source


@pytest.mark.parametrize("source", [*HANDED, *CALLED])
def test_what_is_handed_over_says_something_of_itself(source: str) -> None:
    """A tool's docstring is a part of the prompt; that of a helper that is called is not, nor that of its class."""
    one, same, other = (fingerprint(body(source, text)) for text in ("one", "one", "another"))
    assert one == same
    assert (one != other) == (source in HANDED)


@pytest.mark.parametrize(
    ("source", "called"),
    [
        ("import importlib; return importlib.import_module(q).TEXT", "import_module"),
        ("import importlib; return importlib.import_module(f'tools.{q}').TEXT", "import_module"),
        ("import importlib; return importlib.import_module('tools.' + q).TEXT", "import_module"),
        ("import sys; return sys.modules[q].TEXT", "sys.modules"),
        ("import sys; return sys.modules.get(q.lower()).TEXT", "sys.modules"),
        ("import sys; return sys.modules[__name__]", None),
        ("return globals()[q]", None),
        ("import importlib; return [importlib.import_module(each) for each in q]", "import_module"),
        ("import importlib; return importlib.import_module('json').dumps", None),
        ("return globals()['tool']()", None),
        ("return [globals()[each] for each in ('tool',)]", None),
        ("return getattr(shop, q)", None),
        ("return vars(shop)[q]", None),
    ],
)
def test_who_reads_what_nobody_can_know_is_told(source: str, called: str | None) -> None:
    """Once, by the name of what it calls; whatever a module holds that is handed over is known."""
    found = [*unseen_in(fingerprint([body(source, "one"), body(source, "one")]))]
    told = f"ask gives '{called}' a name that is known only when it runs"
    assert found == ([] if called is None else [f"{told}: what it reads there is not noticed where it changes"])


IMPORTED = [
    *(
        "from shop import tool; return [tool]",
        "import shop; return q(shop.tool)",
        "from shop import tool as t; return t",
    ),
    *("import shop as s; return [s.Kit]", "from shop import Kit; return Kit", "from shop import kit; return q(kit)"),
    *("from shop import tool, kit; return lambda: q(tool)", "from shop import tool; return tool.__doc__"),
    *("import shop.more; return shop.tool", "import shop.more as more; return [more.tool]"),
    *("from shop import more; return q(more.tool)", "import importlib; return importlib.import_module('shop').tool"),
    *("import sys; return sys.modules['shop'].tool", "from shop import tool; mine = tool; return q(mine)"),
]
IMPORTED_AND_CALLED = [
    *("from shop import tool; return tool()", "import shop; return shop.tool(q)", "from shop import Kit; return Kit()"),
    *("from shop import tool, Kit; return Kit(tool())", "from shop import kit; return kit.tool()"),
    *("import shop.more; return shop.more.tool()", "from shop import tool as t; return lambda: t()"),
    *("from shop import Kit; return isinstance(q, Kit)", "from shop import kit; return getattr(kit, 'tool')()"),
]


@pytest.mark.parametrize("source", [*IMPORTED, *IMPORTED_AND_CALLED])
def test_what_is_imported_where_it_is_handed_over(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under whatever name, with the package that it is in."""
    found: list[Mapping[str, str]] = []
    for text in ("one", "one", "another"):
        shop, more = ModuleType("shop"), ModuleType("shop.more")
        kind = class_with(tool=documented(text), __doc__=text)
        vars(shop).update(
            tool=documented(text), Kit=kind, kit=kind(), more=more, __path__=[], __file__="/theirs/shop.py"
        )
        vars(more).update(tool=documented(text), __file__="/theirs/more.py")
        monkeypatch.setitem(sys.modules, "shop", shop)
        monkeypatch.setitem(sys.modules, "shop.more", more)
        found.append(fingerprint(body(source, "")))
    one, same, other = found
    assert one == same
    assert (one != other) == (source in IMPORTED)


def of_a_class(text: str, **members: Any) -> Any:
    return class_with(__doc__=text, **members)()


IN_ROWS = {
    "function": documented,
    "method": lambda text: class_with(tool=documented(text))().tool,
    "class": lambda text: class_with(__doc__=text),
    "method of a class": lambda text: class_with(tool=documented(text)),
    "what can be called": lambda text: of_a_class(text, __call__=documented("")),
    "in a list": lambda text: [documented(text)],
    "data": lambda text: of_a_class(text, one=1),
}


@pytest.mark.parametrize("kind", IN_ROWS)
def test_tools_in_rows(kind: str) -> None:
    """Those in rows, too; but what is only data says nothing of itself."""

    def found(text: str) -> object:
        @foreach("tool", [(IN_ROWS[kind](text),)])
        def eval_it(tool: Any) -> Result:
            return Result(tool)

        return identity_of(eval_it, models={})

    assert found("one") == found("one")
    assert (found("one") != found("another")) == (kind != "data")
