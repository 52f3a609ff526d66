"""Makes the mutants of a module: each is its source with one small change, as a reader might mistype it.

Changed are comparisons, arithmetic, `and` and `or`, conditions, numbers, truth values, strings without a space,
defaults, tables, keyword arguments and whole statements. Left alone are annotations, decorators, assertions, patterns,
what is logged and prose: a type checker or a reader looks after those.
"""

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LOGGERS = ("log", "_log", "_logger", "logger")
_LEFT_ALONE = (ast.Assert, ast.Import, ast.ImportFrom, ast.pattern)
_TYPES = ("Literal", "Callable", "TypeVar", "cast", "NewType")


@dataclass(frozen=True)
class Mutant:
    """One change; `line` is where its statement begins, `on_import`: it is in no function's body."""

    path: str
    name: str
    line: int
    on_import: bool
    number: int

    @cached_property
    def code(self) -> ast.Module:
        """The changed module."""
        return ast.fix_missing_locations(_Walk(self.path, self.number).changed)


def mutants(path: str) -> list[Mutant]:
    """All mutants of a file; a name that comes again in its function bears a number."""
    seen: dict[str, int] = {}
    found = []
    for number, (name, line, on_import) in enumerate(_Walk(path).found):
        seen[name] = seen.get(name, 0) + 1
        found.append(Mutant(path, f"{name} #{seen[name]}" if seen[name] > 1 else name, line, on_import, number))
    return found


class _Watched(ast.NodeTransformer):
    """Has each statement of a function's body call `__passed__` with its line first."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef):
            return node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                statements[:] = [each for statement in statements for each in (_passed(statement), statement)]
        return node


def watched(path: str) -> ast.Module:
    """A file's module with the calls of `_Watched` in it."""
    tree = ast.parse(Path(path).read_text(), path)
    _Watched().visit(tree)
    return tree


def _passed(statement: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name("__passed__", ast.Load()), [ast.Constant(statement.lineno)], [])
    return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), statement))


class _Walk(ast.NodeTransformer):
    """Goes through a module, lists each change and makes the one of that number."""

    def __init__(self, path: str, number: int | None = None) -> None:
        self.found: list[tuple[str, int, bool]] = []
        self._number = number
        self._scope: list[str] = []
        self._line, self._on_import = 0, True
        self.changed = ast.parse(Path(path).read_text(), path)
        self.visit(self.changed)

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _LEFT_ALONE) or _is_prose(node) or _is_type(node):
            return node
        outer = self._line
        self._line = node.lineno if isinstance(node, ast.stmt) else outer
        chosen = node
        for variant in _variants(node):
            before, after = (_brief(ast.unparse(each)) for each in (node, variant))
            if len(self.found) == self._number:
                chosen = ast.copy_location(variant, node)
            self.found.append(
                (f"{'.'.join(self._scope) or 'module'}: {before} => {after}", self._line, self._on_import)
            )
        scoped = isinstance(node, ast.ClassDef | ast.FunctionDef)
        if scoped:
            self._scope.append(node.name)  # type: ignore[attr-defined]
        for child in _children(node):
            self._replace(node, child)
        if scoped:
            self._scope.pop()
        self._line = outer
        return chosen

    def _replace(self, node: ast.AST, field: str) -> None:
        outer, value = self._on_import, getattr(node, field)
        self._on_import = outer and not (isinstance(node, ast.FunctionDef) and field == "body")
        if isinstance(value, list):
            value[:] = [self.visit(each) if isinstance(each, ast.AST) else each for each in value]
        elif isinstance(value, ast.AST):
            setattr(node, field, self.visit(value))
        self._on_import = outer


def _children(node: ast.AST) -> Sequence[str]:
    match node:
        case ast.ClassDef():
            return ("body",)
        case ast.FunctionDef():
            return ("args", "body")
        case ast.arguments():
            return ("defaults", "kw_defaults")
        case ast.AnnAssign() | ast.FormattedValue():
            return ("value",)
        case ast.ExceptHandler():
            return ("body",)
    return node._fields


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for position, operator in enumerate(node.ops):
                yield _with(node, ops=[*node.ops[:position], _COMPARISONS[type(operator)](), *node.ops[position + 1 :]])
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in _ARITHMETIC:
            yield _with(node, op=_ARITHMETIC[type(operator)]())
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)):
            yield ast.Constant("XX" + value)
        case ast.Call():
            if isinstance(node.func, ast.Name) and node.func.id in _NAMES:
                yield _with(node, func=ast.Name(_NAMES[node.func.id], ast.Load()))
            for keyword in node.keywords:
                if keyword.arg not in (None, "strict"):
                    yield _with(node, keywords=[each for each in node.keywords if each is not keyword])
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Delete() | ast.Return(value=None):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _is_prose(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return " " in text and text.strip() != ""
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr(values=[ast.Constant()]):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name)))):
            return name in _LOGGERS
    return False


def _is_type(node: ast.AST) -> bool:
    match node:
        case ast.Subscript(value=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name)):
            return name in _TYPES
        case ast.BinOp(op=ast.BitOr(), right=ast.Constant(value=None)) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _brief(text: str) -> str:
    return " ".join(text.split("\n")[0].split())
