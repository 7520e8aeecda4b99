"""What a library puts on its objects and the user's classes is that of its version; what the user gave it counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import attr
import attrs
import jinja2
import jinja2.nativetypes
import jinja2.sandbox
import pydantic
import pytest
from tests.evals.identity_kinds import Plain
from tests.evals.test_identity_values import fingerprint

from doteval.evals._identity import templates
from doteval.evals._running.dataset import Source


class Own(jinja2.Environment):
    """An environment of the user's."""


def environment(kind: Any = jinja2.Environment, **options: Any) -> Any:
    return kind(autoescape=True, **options)


def holding(where: str, value: Any, kind: Any = jinja2.Environment) -> Any:
    made = environment(kind)
    getattr(made, where)["upper"] = value
    return made


def without(name: str, kind: Any = jinja2.Environment) -> Any:
    made = environment(kind)
    del made.filters[name]
    return made


def template(source: str, kind: Any = jinja2.Environment, **options: Any) -> Any:
    return environment(kind, **options).from_string(source)


def marked(value: str) -> Callable[[str], str]:
    return lambda text: text + value


JINJA: dict[str, Callable[[str], Any]] = {
    "setting": lambda value: environment(trim_blocks=value == "one"),
    "text": lambda value: environment(comment_start_string=f"<{value}"),
    "undefined": lambda value: environment(undefined=jinja2.Undefined if value == "one" else jinja2.StrictUndefined),
    "finalize": lambda value: environment(finalize=marked(value)),
    "filter": lambda value: holding("filters", marked(value)),
    "filter of Jinja": lambda value: holding("filters", jinja2.filters.FILTERS["lower" if value == "one" else "trim"]),
    "test": lambda value: holding("tests", marked(value)),
    "global": lambda value: holding("globals", value),
    "policy": lambda value: holding("policies", value),
    "filter that is taken away": lambda value: without("upper" if value == "one" else "lower"),
    "loader": lambda value: environment(loader=jinja2.DictLoader({"it": value})),
    "class of the user's": lambda value: holding("filters", marked(value), Own),
    "setting of a class of the user's": lambda value: environment(Own, lstrip_blocks=value == "one"),
    "native": lambda value: holding("filters", marked(value), jinja2.nativetypes.NativeEnvironment),
    "sandbox": lambda value: holding("filters", marked(value), jinja2.sandbox.SandboxedEnvironment),
    "template": lambda value: jinja2.Template(f"{value} {{{{ x }}}}"),
    "template's block": lambda value: template(f"{{% block a %}}{value}{{% endblock %}}"),
    "template's environment": lambda value: holding("filters", marked(value)).from_string("{{ x|upper }}"),
    "template's globals": lambda value: environment().from_string("{{ x }}", globals={"y": value}),
    "template of a loader": lambda value: environment(loader=jinja2.DictLoader({"it": value})).get_template("it"),
    "asynchronous": lambda value: template(f"{value} {{{{ x }}}}", enable_async=True),
    "native template": lambda value: template(f"{value} {{{{ x }}}}", jinja2.nativetypes.NativeEnvironment),
    "method": lambda value: jinja2.Template(f"{value} {{{{ x }}}}").render,
    "macro": lambda value: template(f"{{% macro a(x) %}}{value}{{{{ x }}}}{{% endmacro %}}").module.a,
    "macro's variable": lambda value: (
        template(f"{{% set y = '{value}' %}}{{% macro a() %}}{{{{ y }}}}{{% endmacro %}}").module.a
    ),
    "module": lambda value: template(f"{{% set y = '{value}' %}}{{% set z = 1 %}}").module,
    "expression": lambda value: environment().compile_expression(f"x + '{value}'"),
}


def of_attrs(*, is_old: bool = False, **options: Any) -> Callable[[Any], Any]:
    """Makes a class of attrs, with a field of that."""

    def make(field: Any) -> Any:
        members = {"__module__": __name__, "__annotations__": {"text": str}, "text": field}
        made: Any = type("Made", (), members)
        return (attr.s(auto_attribs=True, **options) if is_old else attrs.define(**options))(made)

    return make


def of_option(name: str, *, is_old: bool = False, **options: Any) -> Callable[[str], Any]:
    return lambda value: of_attrs(is_old=is_old, **{name: value == "one"}, **options)(attrs.field(default="a"))


def hooked(value: str) -> Any:
    return lambda instance, attribute, given: given + value


ATTRS: dict[str, Callable[[str], Any]] = {
    "default": lambda value: of_attrs()(attrs.field(default=value)),
    "factory": lambda value: of_attrs()(attrs.field(factory=lambda: value)),
    "validator": lambda value: of_attrs()(attrs.field(validator=lambda *_: value)),
    "converter": lambda value: of_attrs()(attrs.field(converter=lambda _: value)),
    "metadata": lambda value: of_attrs()(attrs.field(metadata={"a": value})),
    "alias": lambda value: of_attrs()(attrs.field(alias=value)),
    "only by its name": lambda value: of_attrs()(attrs.field(kw_only=value == "one")),
    "compared": lambda value: of_attrs()(attrs.field(eq=marked(value))),
    "shown": lambda value: of_attrs()(attrs.field(repr=marked(value))),
    "set": lambda value: of_attrs()(attrs.field(on_setattr=hooked(value))),
    "set in all": lambda value: of_attrs(on_setattr=hooked(value))(attrs.field()),
    "type": lambda value: attrs.make_class("Made", {"text": attrs.field(type=str if value == "one" else int)}),
    "frozen": of_option("frozen"),
    "slots": of_option("slots"),
    "equal": of_option("eq"),
    "in an order": of_option("order"),
    "hashed": of_option("unsafe_hash"),
    "shown in all": of_option("repr"),
    "made": of_option("init"),
    "as text": of_option("str"),
    "old": of_option("frozen", is_old=True, slots=True, cache_hash=True, unsafe_hash=True),
    "object": of_attrs()(attrs.field(default="a")),
}


def computed(says: str, **options: Any) -> Any:
    """A model that computes a field."""

    def text(self: object) -> str:
        return says

    made: Any = pydantic.computed_field(return_type=str, **options)(property(text))
    return type("Made", (pydantic.BaseModel,), {"__module__": __name__, "text": made})


PYDANTIC: dict[str, Callable[[str], Any]] = {
    "computed": computed,
    "computed title": lambda value: computed("same", title=value),
    "computed description": lambda value: computed("same", description=value),
    "computed alias": lambda value: computed("same", alias=value),
    "computed and hidden": lambda value: computed("same", repr=value == "one"),
    "generic": lambda value: pydantic.RootModel[list[str] if value == "one" else list[int]],
    "object of a generic": lambda value: pydantic.RootModel[list[str]]([value]),
}


@pytest.fixture
def other_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of Jinja: settings, filters, tests, globals, policies, and what its code is made of."""
    make = jinja2.Environment.__init__

    @functools.wraps(make)
    def make_with_more(self: Any, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        self.of_another_version, self.newer = "text", make.__doc__
        self.flag, self.hook, self.more = False, jinja2.pass_context, {}

    monkeypatch.setattr(jinja2.Environment, "__init__", make_with_more)
    renamed = FunctionType(jinja2.filters.do_upper.__code__, vars(jinja2.filters), "do_renamed")
    renamed.__qualname__ = renamed.__name__
    for name, found in (
        ("FILTERS", {"title": renamed, "newer": jinja2.filters.do_upper}),
        ("TESTS", {"even": renamed, "newer": jinja2.filters.do_upper}),
        ("NAMESPACE", {"lipsum": renamed, "newer": jinja2.filters.do_upper}),
        ("POLICIES", {"urlize.rel": "another", "newer": True}),
    ):
        for key, each in found.items():
            monkeypatch.setitem(getattr(jinja2.defaults, f"DEFAULT_{name}"), key, each)
        taken = "truncate.leeway" if name == "POLICIES" else [*getattr(jinja2.defaults, f"DEFAULT_{name}")][1]
        monkeypatch.delitem(getattr(jinja2.defaults, f"DEFAULT_{name}"), taken)
    monkeypatch.setattr(jinja2.runtime, "missing", type("Missing", (), {"__module__": "jinja2.utils"})())
    monkeypatch.setattr(templates, "_defaults_of", templates._defaults_of.__wrapped__)  # type: ignore[attr-defined]
    jinja2.environment.get_spontaneous_environment.cache_clear()


@pytest.fixture
def other_attrs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Another version of attrs: what it puts into a class, and the fields of its fields."""
    kept = attr.Attribute.__getstate__  # type: ignore[attr-defined]
    monkeypatch.setattr(attr.Attribute, "__getstate__", lambda self: (*kept(self), "more"))

    def as_there(made: Any) -> Any:
        kind = made if isinstance(made, type) else type(made)
        made_otherwise: dict[str, Any] = dict(vars(attr._make))  # type: ignore[attr-defined]
        exec("def made(self, more=3): return more", made_otherwise)
        for name in ("__ne__", "__replace__", "__setstate__"):
            setattr(kind, name, made_otherwise["made"])
        for name in ("__attrs_props__", "__attrs_own_setattr__"):
            setattr(kind, name, name)
        return made

    return as_there


@pytest.fixture
def other_pydantic(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Another version of pydantic: a setting less, and what a generic model for a type says where it is."""

    def as_there(made: Any) -> Any:
        kind = made if isinstance(made, type) else type(made)
        if "[" in kind.__name__:
            monkeypatch.setattr(kind, "__module__", "pydantic.root_model")
        else:
            monkeypatch.delitem(pydantic.fields.ComputedFieldInfo.__dataclass_fields__, "examples", raising=False)
        return made

    return as_there


def known(value: object) -> Any:
    rows = Source("it", ("x",), [(value,)]).look()
    assert rows is not None
    return fingerprint(value), fingerprint(Plain(value)), next(rows).inputs.key


def check(kinds: dict[str, Callable[[str], Any]], kind: str, here: Any, as_there: Callable[[Any], Any]) -> None:
    made = [kinds[kind](value) for value in ("one", "another")]
    same, other = (known(as_there(each)) for each in made)
    assert same == here
    assert other[0] != here[0]
    assert other[1] != here[1]


@pytest.mark.parametrize("kind", JINJA)
def test_what_jinja_puts_there_does_not_count(kind: str, request: pytest.FixtureRequest) -> None:
    """And the user's filters, tests, globals, policies, settings and sources do."""
    here = known(JINJA[kind]("one"))
    request.getfixturevalue("other_jinja")
    check(JINJA, kind, here, lambda made: made)
    assert known(JINJA[kind]("another"))[2] != here[2]


@pytest.mark.parametrize("kind", ATTRS)
def test_what_attrs_puts_there_does_not_count(kind: str, request: pytest.FixtureRequest) -> None:
    """And fields, defaults, validators, converters, hooks and what the class is asked to do count."""
    here = known(ATTRS[kind]("one"))
    check(ATTRS, kind, here, request.getfixturevalue("other_attrs"))


@pytest.mark.parametrize("kind", PYDANTIC)
def test_what_pydantic_puts_there_does_not_count(kind: str, request: pytest.FixtureRequest) -> None:
    """And what a computed field is, and what a generic model is for, count."""
    here = known(PYDANTIC[kind]("one"))
    check(PYDANTIC, kind, here, request.getfixturevalue("other_pydantic"))
