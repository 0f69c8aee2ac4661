"""Source code taken out of the lab, complete enough to run without it.

From a few functions and classes every name that their code uses is followed, through all modules of
this package. What is found is given as it is written, in an order in which it can be read and run.
Three things are cut down to what one model needs:

- a dict of variants that is only looked up by a setting keeps the variant the setting names;
- a union that stands in annotations alone keeps the classes that are there;
- a class of settings becomes a plain dataclass whose defaults are the model's own values.
"""

import ast
import copy
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from transformer_lab.exchange.syntax import Import, ModuleSource, import_lines, uses_of
from transformer_lab.settings import Config, settings_of

Place = tuple[str, str]  # a module and the name of a definition in it


@dataclass(frozen=True)
class Section:
    """The lines taken from one module."""

    module: str
    source: str


@dataclass(frozen=True)
class Gathered:
    """A program: the lines that import what is not ours, then the sections in order."""

    imports: str
    sections: list[Section]


def gather(roots: Iterable[Callable[..., object]], settings: Sequence[Config]) -> Gathered:
    """The source of `roots`, functions or classes of this package, and of all they need.

    `settings` are the values with which it is to run. Raises ValueError where two definitions of
    one name would meet; to rename one of them cures it.
    """
    gathering = _Gathering(settings)
    for root in roots:
        gathering.want(root.__module__, root.__name__)
    gathering.settle()
    return gathering.written()


@dataclass
class _Need:
    """How a definition is needed: when the code runs, and which entries of a dict (None: all)."""

    runs: bool = False
    keys: frozenset[str] | None = field(default_factory=frozenset)


class _Gathering:
    """The search for all definitions that are needed."""

    def __init__(self, settings: Sequence[Config]) -> None:
        self._values = {
            setting.name: getattr(config, setting.name)
            for config in settings
            for setting in settings_of(type(config))
        }
        self._configs: dict[Place, Config] = {
            (type(config).__module__, type(config).__name__): config for config in settings
        }
        self._modules: dict[str, ModuleSource] = {}
        self._needs: dict[Place, _Need] = {}
        self._imports: set[Import] = set()
        self._attributes: set[str] = set()
        self._followed: set[tuple[str, str]] = set()
        self._changed = True

    def want(
        self, module: str, name: str, *, runs: bool = True, keys: frozenset[str] | None = None
    ) -> None:
        """Take a name as it is known in a module; nothing is taken for a builtin."""
        place = self._find(module, name)
        if place is None:
            return
        self._changed |= place not in self._needs
        need = self._needs.setdefault(place, _Need())
        wider = None if keys is None or need.keys is None else need.keys | keys
        self._changed |= wider != need.keys or (runs and not need.runs)
        need.keys, need.runs = wider, need.runs or runs

    def settle(self) -> None:
        """Follow what is needed until nothing more is found."""
        while self._changed:
            self._changed = False
            for place in list(self._needs):
                for statement in self._statements(place):
                    piece = (place[0], ast.unparse(statement))
                    if piece not in self._followed:
                        self._followed.add(piece)
                        self._follow(*piece)

    def written(self) -> Gathered:
        """Everything that was found."""
        self._check_names()
        order = self._module_order()
        sections: dict[str, list[str]] = {}
        for place in sorted(
            self._needs, key=lambda place: (order[place[0]], self._definition(place).lineno)
        ):
            sections.setdefault(place[0], []).append(self._text(place))
        return Gathered(
            import_lines(self._imports),
            [Section(module, "\n\n\n".join(parts)) for module, parts in sections.items()],
        )

    def _follow(self, module: str, text: str) -> None:
        uses = uses_of(text, self._values)
        self._changed |= not uses.attributes <= self._attributes
        self._attributes |= uses.attributes
        for name in uses.names:
            keys = frozenset(str(self._values[key]) for key in uses.lookups.get(name, ()))
            self.want(module, name, keys=keys or None)
        for hint in uses.hints:
            self.want(module, hint, runs=False)

    def _module(self, name: str) -> ModuleSource:
        if name not in self._modules:
            text = inspect.getsource(importlib.import_module(name))
            self._modules[name] = ModuleSource(name, text)
        return self._modules[name]

    def _definition(self, place: Place) -> ast.stmt:
        return self._module(place[0]).definitions[place[1]]

    def _find(self, module: str, name: str) -> Place | None:
        """Where a name is defined. What is imported from elsewhere is noted, and has no place."""
        source = self._module(module)
        if name in source.definitions:
            return module, name
        found = source.imports.get(name)
        if found is None:
            return None
        if not found.ours:
            self._imports.add(replace(found, only_for_types=False))
            return None
        if found.attribute != name:
            raise ValueError(f"{module} imports {found.module} in a form that cannot be followed.")
        return self._find(found.module, name)

    def _statements(self, place: Place) -> Sequence[ast.stmt]:
        """What a definition comes down to here."""
        definition = self._definition(place)
        if place in self._configs:
            self._imports.add(Import("dataclasses", "dataclass", "dataclass"))
            return self._methods(place)
        if self._is_alias(place):
            return []
        entries = self._entries(place)
        if entries is None:
            return [definition]
        keys, values = zip(*entries, strict=True)
        narrowed = copy.copy(definition)
        narrowed.value = ast.Dict(keys=list(keys), values=list(values))  # type: ignore[attr-defined]
        return [narrowed]

    def _text(self, place: Place) -> str:
        source, definition = self._module(place[0]), self._definition(place)
        if place in self._configs:
            methods = [source.lines_of(method) for method in self._methods(place)]
            return "\n\n".join([plain_settings(self._configs[place]), *methods])
        if self._is_alias(place):
            members = [part.id for part in ast.walk(definition) if isinstance(part, ast.Name)]
            there = [name for name in members[1:] if self._find(place[0], name) in self._needs]
            return f"{place[1]} = {' | '.join(there) or 'object'}"
        entries = self._entries(place)
        if entries is None:
            return source.lines_of(definition)
        lines = [f"    {source.segment(key)}: {source.segment(value)},\n" for key, value in entries]
        whole: ast.expr = definition.value  # type: ignore[attr-defined]
        return source.with_value(definition, whole, f"{{\n{''.join(lines)}}}")

    def _entries(self, place: Place) -> list[tuple[ast.expr, ast.expr]] | None:
        """The entries of a dict that are needed; None when this is no dict, or all of them are."""
        value, keys = getattr(self._definition(place), "value", None), self._needs[place].keys
        if not isinstance(value, ast.Dict) or not keys:
            return None
        found = {
            key.value: (key, entry)
            for key, entry in zip(value.keys, value.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        return (
            [entry for key, entry in found.items() if key in keys] if keys <= set(found) else None
        )

    def _is_alias(self, place: Place) -> bool:
        """Whether this is a union that stands in annotations alone."""
        value = getattr(self._definition(place), "value", None)
        return isinstance(value, ast.BinOp) and not self._needs[place].runs

    def _methods(self, place: Place) -> list[ast.stmt]:
        """The methods and properties of a class of settings that the code asks for."""
        definition = self._definition(place)
        assert isinstance(definition, ast.ClassDef)
        return [
            part
            for part in definition.body
            if isinstance(part, ast.FunctionDef) and part.name in self._attributes
        ]

    def _module_order(self) -> dict[str, int]:
        """Modules in the order in which Python finishes importing them."""
        order: dict[str, int] = {}
        begun: set[str] = set()

        def visit(name: str) -> None:
            if name not in begun:
                begun.add(name)
                for found in self._module(name).imports.values():
                    if found.ours and not found.only_for_types:
                        visit(found.module)
                order[name] = len(order)

        for module, _ in self._needs:
            visit(module)
        return order

    def _check_names(self) -> None:
        """Raise ValueError when one name would stand for two things."""
        owners: dict[str, object] = {}
        things: list[tuple[str, object]] = [(found.name, found) for found in self._imports]
        for name, thing in things + [(place[1], place[0]) for place in self._needs]:
            if owners.setdefault(name, thing) != thing:
                raise ValueError(
                    f"{name} means one thing in {owners[name]} and another in {thing}: rename one "
                    "of them, so that both can stand in one file."
                )


def plain_settings(config: Config) -> str:
    """A class of settings as a dataclass that needs nothing of ours, with a config's values."""
    kind = type(config)
    lines = ["@dataclass(frozen=True, kw_only=True)", f"class {kind.__name__}:"]
    lines.append(f'    """{(inspect.getdoc(kind) or kind.__name__).splitlines()[0]}"""')
    for setting in settings_of(kind):
        value = getattr(config, setting.name)
        lines.append("")
        lines.append(f"    # {setting.label}: {setting.help}")
        lines.append(f"    {setting.name}: {setting.kind.__name__} = {value!r}")
    return "\n".join(lines)
