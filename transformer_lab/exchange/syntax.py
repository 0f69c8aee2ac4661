"""Python source taken apart: where a module defines a name, and which names a definition uses."""

import ast
import contextlib
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

PACKAGE = "transformer_lab"


@dataclass(frozen=True, order=True)
class Import:
    """`from module import attribute as name`; without an attribute `import module as name`."""

    module: str
    attribute: str
    name: str
    only_for_types: bool = False

    @property
    def ours(self) -> bool:
        """Whether it imports from this package."""
        return self.module.split(".")[0] == PACKAGE


class ModuleSource:
    """One module: its lines, its definitions and its imports by name."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, Import] = {}
        for statement in ast.parse(text).body:
            self._note(statement)

    def _note(self, statement: ast.stmt, only_for_types: bool = False) -> None:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            self.definitions[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for target in _targets(statement):
                self.definitions[target] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for found in imports_of(statement, only_for_types):
                self.imports[found.name] = found
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            for inner in statement.body:
                self._note(inner, only_for_types=True)

    def lines_of(self, node: ast.stmt) -> str:
        """A statement as it is written, with the comments directly above it."""
        lines = self.text.splitlines()
        decorators = getattr(node, "decorator_list", [])
        begin = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
        while begin and lines[begin - 1].strip().startswith("#"):
            begin -= 1
        return "\n".join(lines[begin : node.end_lineno])

    def with_value(self, node: ast.stmt, value: ast.expr, new: str) -> str:
        """A statement as it is written, with other text in place of a value in it."""
        whole, old = self.lines_of(node), ast.get_source_segment(self.text, value)
        assert old is not None
        return whole.replace(old, new, 1)

    def segment(self, node: ast.expr) -> str:
        """An expression as it is written."""
        found = ast.get_source_segment(self.text, node)
        assert found is not None
        return found


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [part.id for one in targets for part in ast.walk(one) if isinstance(part, ast.Name)]


def imports_of(
    statement: ast.Import | ast.ImportFrom, only_for_types: bool = False
) -> Iterator[Import]:
    """The names that an import statement brings."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            module, attribute = str(statement.module), alias.name
            yield Import(module, attribute, alias.asname or alias.name, only_for_types)
        else:
            name = alias.asname or alias.name.split(".")[0]
            yield Import(alias.name, "", name, only_for_types)


def import_lines(imports: Iterable[Import]) -> str:
    """Import statements for these names, those of Python itself first."""
    plain: dict[str, str] = {}
    named: dict[str, list[str]] = {}
    for found in sorted(imports):
        if not found.attribute:
            same = found.name == found.module.split(".")[0]
            plain[found.module] = f"import {found.module}" + ("" if same else f" as {found.name}")
        else:
            same = found.attribute == found.name
            word = found.name if same else f"{found.attribute} as {found.name}"
            named.setdefault(found.module, []).append(word)
    lines = plain | {
        f"{module} names": f"from {module} import {', '.join(words)}"
        for module, words in named.items()
    }
    ours: list[str] = []
    others: list[str] = []
    for module, line in lines.items():
        top = module.split(" ")[0].split(".")[0]
        (ours if top in sys.stdlib_module_names else others).append(line)
    return "\n\n".join("\n".join(group) for group in (ours, others) if group)


@dataclass(frozen=True, kw_only=True)
class Uses:
    """What a definition refers to.

    `names` when it runs, `hints` in annotations alone, `attributes` of anything. `lookups` gives,
    for each dict that is only looked up by settings, as in `NORMS[config.norm]`, those settings.
    """

    names: frozenset[str]
    hints: frozenset[str]
    attributes: frozenset[str]
    lookups: Mapping[str, frozenset[str]]


def uses_of(text: str, settings: Iterable[str]) -> Uses:
    """What a statement refers to outside of itself. `settings` are the names of all settings."""
    annotations = _Annotations()
    bare = ast.unparse(ast.fix_missing_locations(annotations.visit(ast.parse(text))))
    names = _free_names(symtable.symtable(bare, "source", "exec"))
    parts = list(ast.walk(ast.parse(bare)))
    return Uses(
        names=frozenset(names),
        hints=frozenset(annotations.names - names),
        attributes=frozenset(part.attr for part in parts if isinstance(part, ast.Attribute)),
        lookups=_lookups(parts, set(settings)),
    )


def _lookups(parts: list[ast.AST], settings: set[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    dicts = []
    for part in parts:
        if (
            isinstance(part, ast.Subscript)
            and isinstance(part.value, ast.Name)
            and isinstance(part.slice, ast.Attribute)
            and part.slice.attr in settings
        ):
            found.setdefault(part.value.id, set()).add(part.slice.attr)
            dicts.append(part.value)
    elsewhere = {part.id for part in parts if isinstance(part, ast.Name) and part not in dicts}
    return {name: frozenset(keys) for name, keys in found.items() if name not in elsewhere}


def _free_names(table: symtable.SymbolTable) -> set[str]:
    """Names that a scope and those in it take from outside of the statement."""
    top = table.get_type() == "module"
    found = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (not symbol.is_assigned() if top else symbol.is_global())
    }
    return found.union(*(_free_names(child) for child in table.get_children()))


class _Annotations(ast.NodeTransformer):
    """Takes annotations out of a statement, and keeps the names that stand in them."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def _read(self, annotation: ast.expr | None) -> None:
        for part in ast.walk(annotation) if annotation else ():
            if isinstance(part, ast.Name):
                self.names.add(part.id)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                self._read_text(part.value)

    def _read_text(self, text: str) -> None:
        with contextlib.suppress(SyntaxError):  # words, not a type
            self._read(ast.parse(text, mode="eval").body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._read(node.returns)
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self._read(node.annotation)
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self._read(node.annotation)
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=self.visit(node.value))
