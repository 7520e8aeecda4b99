"""How the documentation is built: ``nox -s docs``. Nothing is fetched, neither to build it nor to read it."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Any

from docutils import nodes

import doteval
import doteval.blocking
import doteval.servers
import doteval.testing

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "doteval"
author = "the doteval developers"
copyright = "the doteval developers"
version = release = doteval.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.svgbob"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [
    ("py:class", "doteval._messages.MessageObject"),  # said in words: what has a role and a content
    ("py:class", "doteval._replies.file.KeptReplies"),  # said in words: what `doteval cache` prints of a model
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"  # what docstrings set in single backticks: a name of ours becomes a link, all else stays code
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["diagrams.css"]
html_title = f"doteval {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

PUBLIC = {
    name: f"{module.__name__}.{name}"
    for module in (doteval.blocking, doteval.testing, doteval.servers, doteval)
    for name in module.__all__
}
for name, home in doteval._HOME.items():
    value = getattr(doteval, name)
    if isinstance(value, type):
        # It claims to be defined in doteval. Sphinx looks for comments and the order of members where it really is.
        value.__module__ = resolve_name(home, "doteval")
for module in [module for name, module in sys.modules.items() if name.startswith("doteval.servers._")]:
    for name in re.findall(r"^class (\w+)", inspect.getsource(module), re.MULTILINE):
        vars(module)[name].__module__ = module.__name__
del doteval.ModelProvider.__new__  # its signature takes everything; that of __init__ is the one to show
for name in doteval.__all__:
    init = vars(getattr(doteval, name)).get("__init__") if isinstance(getattr(doteval, name), type) else None
    if init is not None and "__signature__" in vars(init):
        # Its signature comes from a declaration; without a source, Sphinx looks for the defaults nowhere else.
        stub: dict[str, Any] = {}
        exec("def __init__(self): ...", stub)  # noqa: S102
        vars(stub["__init__"]).update(vars(init))
        getattr(doteval, name).__init__ = stub["__init__"]
del doteval.ChatModel.__init__  # nobody makes one: it is a protocol

PRIVATE = re.compile(r"doteval\.(.*\.)?(\w*T(_co)?|EventKind|Factory|Failures|HandleManager|Replies)")
"""Type variables and aliases in signatures; they have no entry of their own."""


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    """Link names of ours wherever they were defined, and leave alone what is not ours.

    A misspelt name in a page stays a warning: there it is written with ``doteval.`` in front.
    """
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    public = PUBLIC.get(target.rpartition(".")[2])
    if public is not None and public != target and not target.startswith(public.rpartition(".")[0] + ".testing"):
        domain = env.domains.python_domain
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, contnode)
    if not target.startswith("doteval.") or PRIVATE.fullmatch(target):
        return contnode  # code in a docstring, or a type of somebody else's: to link it, it would have to be fetched
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
