"""Text for the stand-in: docstrings and topics of the Python that runs it; writes nothing.

Python sources are parsed, never imported, so no module's side effect can run; only the compiled
modules, which have no source to parse, are imported.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
import importlib
from importlib.machinery import ExtensionFileLoader
from importlib.machinery import ModuleSpec
import importlib.util
import inspect
from pathlib import Path
from pydoc_data.topics import topics
import re
import sys
import sysconfig
import types
import warnings


__all__ = ["Docstring", "Function", "docstrings", "functions", "in_words", "topic_texts"]

_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)")
_PROSE = re.compile(r"[A-Z][a-z'-]*,? ")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ANSWER_CHARACTERS = range(15, 101)


@dataclass(frozen=True)
class Docstring:
    """What one module, class or function of the standard library says about itself."""

    name: str
    """Qualified name, e.g. `xml.etree.ElementTree.Element.keys`."""
    text: str
    """The docstring, indentation removed."""
    is_function: bool


@dataclass(frozen=True)
class Function:
    """A function and what its docstring says first; no differently named one says the same."""

    name: str
    answer: str

    @property
    def short_name(self) -> str:
        """The last part of the qualified name, underscores stripped, e.g. `keys`."""
        return self.name.rpartition(".")[2].strip("_")


def topic_texts() -> list[str]:
    """The language reference's topics as `help()` prints them, in order of title."""
    return [topics[title] for title in sorted(topics)]


def docstrings() -> list[Docstring]:
    """Every docstring of the running Python's standard library, in a fixed order."""
    return [*_source_docstrings(Path(sysconfig.get_path("stdlib"))), *_compiled_docstrings()]


def functions(found: Sequence[Docstring]) -> list[Function]:
    """The functions that one sentence of prose describes, and no other name shares.

    A docstring that several classes inherit is kept once; one that differently named functions
    share ("Internal function.") says nothing about either and is dropped.
    """
    sharers: dict[str, list[Function]] = defaultdict(list)
    for docstring in found:
        answer = _first_sentence(docstring.text)
        function = Function(docstring.name, answer)
        if docstring.is_function and _is_prose(answer) and in_words(function.short_name):
            sharers[_letters(answer)].append(function)
    own = [
        sharing[0]
        for sharing in sharers.values()
        if len({function.short_name for function in sharing}) == 1
    ]
    # the last of those defined twice under one name, such as a property's setter
    return list({function.name: function for function in own}.values())


def in_words(name: str) -> str:
    """An identifier's words: `etree.ElementTree.getItems` -> `etree element tree get items`."""
    return " ".join(word.lower() for word in _WORD.findall(name))


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = _SENTENCE.match(paragraph)
    return sentence.group() if sentence else paragraph


def _is_prose(answer: str) -> bool:
    """Whether it is a sentence of usable length, not a signature (`S.find(sub) -> int`)."""
    return (
        len(answer) in _ANSWER_CHARACTERS
        and _PROSE.match(answer) is not None
        and "->" not in answer
        and answer.count(" ") >= 2
    )


def _letters(answer: str) -> str:
    return "".join(filter(str.isalnum, answer.lower()))


def _source_docstrings(library: Path) -> Iterator[Docstring]:
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if _NOT_LIBRARY.isdisjoint(parts):
            module = ".".join(parts).removesuffix(".__init__")
            yield from _described(_parse(path), module)


def _parse(path: Path) -> ast.Module:
    """The syntax tree; an empty one for lib2to3's fixtures in older Pythons' syntax."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(path.read_bytes())
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def _described(node: ast.AST, name: str) -> Iterator[Docstring]:
    """The node's own docstring, then those of the definitions inside it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield Docstring(name, text, is_function)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _described(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _described(child, name)


def _compiled_docstrings() -> Iterator[Docstring]:
    for name in _compiled_modules():
        try:
            with warnings.catch_warnings(action="ignore"):  # modules that a later Python drops
                module = importlib.import_module(name)
        except ImportError:  # an extension whose system library is missing here
            continue
        yield from _documented(module, name, depth=2)


def _compiled_modules() -> list[str]:
    specs = {name: importlib.util.find_spec(name) for name in sorted(sys.stdlib_module_names)}
    return [name for name, spec in specs.items() if spec is not None and _is_compiled(spec)]


def _is_compiled(spec: ModuleSpec) -> bool:
    return spec.origin == "built-in" or isinstance(spec.loader, ExtensionFileLoader)


def _documented(owner: object, name: str, depth: int) -> Iterator[Docstring]:
    """Docstrings of a compiled module or class and of its members, `depth` levels down."""
    text = getattr(owner, "__doc__", None)
    if isinstance(text, str) and text:
        is_function = not isinstance(owner, type | types.ModuleType)
        yield Docstring(name, inspect.cleandoc(text), is_function)
    if depth and isinstance(owner, type | types.ModuleType):
        for key, member in sorted(vars(owner).items()):
            if callable(member) and not key.startswith("__"):
                yield from _documented(member, f"{name}.{key}", depth - 1)
