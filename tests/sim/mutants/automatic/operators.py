"""The changes: every way to alter one place of a function, in an order that always repeats.

A change is known by its operator and by its number among the changes of that operator in its
function, so an edit elsewhere does not rename it. Left out are annotations, defaults, decorators,
docstrings, and the texts of errors and broken invariants, none of which decides anything.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr,
}  # fmt: skip
EXTREMES = {"min": "max", "max": "min"}
LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
UNTOUCHED = frozenset({"returns", "annotation", "args", "decorator_list", "type_params"})


@dataclasses.dataclass(slots=True)
class Place:
    """One change that can be made: `parent.field` (or its item) becomes `new`."""

    operator: str
    parent: ast.AST
    field: str
    item: int | None
    old: ast.AST
    new: ast.AST
    statement: ast.stmt
    """The statement that changes, to be shown."""

    def apply(self) -> tuple[str, str]:
        """Make the change in its tree; return the first line of the statement before and after."""
        before = shown(self.statement)
        self._put(self.new)
        replaced = self.new if isinstance(self.new, ast.stmt) else self.statement
        return before, shown(replaced)

    def undo(self) -> None:
        """Take the change back."""
        self._put(self.old)

    def _put(self, node: ast.AST) -> None:
        if self.item is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.item] = node


def shown(statement: ast.stmt) -> str:
    """Return a statement's first line, or the header of a compound one."""
    bare = copy.copy(statement)
    if isinstance(bare, ast.If | ast.For | ast.While):
        bare.body, bare.orelse = [ast.Pass()], []
    return ast.unparse(bare).splitlines()[0]


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield every function with its dotted name; what is nested belongs to the outer one."""
    stack: list[tuple[str, ast.AST]] = [("", tree)]
    while stack:
        prefix, node = stack.pop(0)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield prefix + child.name, child
            elif isinstance(child, ast.ClassDef):
                stack.append((f"{prefix}{child.name}.", child))


def places(function: Function) -> Iterator[Place]:
    """Yield every change of one function, from its first statement to its last."""
    for item, statement in enumerate(function.body):
        if not _is_docstring(statement):
            yield from _of_statement(function, "body", item, statement)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _of_statement(parent: ast.AST, field: str, item: int, statement: ast.stmt) -> Iterator[Place]:
    operator = _dropped_as(statement)
    if operator:
        yield Place(operator, parent, field, item, statement, ast.Pass(), statement)
    if isinstance(statement, ast.Raise | ast.Pass):
        return
    if isinstance(statement, ast.AugAssign) and type(statement.op) in ARITHMETIC:
        other = ARITHMETIC[type(statement.op)]()
        yield Place("other-operator", statement, "op", None, statement.op, other, statement)
    yield from _inside(statement, statement)


def _dropped_as(statement: ast.stmt) -> str:
    """Return the operator that leaves a statement out, or nothing if that is no fair change."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="invariant"))) | ast.Raise():
            return "check-dropped"
        case ast.Expr() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Return(value=None):
            return "statement-dropped"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            return "statement-dropped"
        case ast.Delete(targets=[ast.Subscript(), *_]):
            return "statement-dropped"
        case ast.If(body=[*_, last], orelse=[]) if isinstance(last, LEAVES):
            return "guard-dropped"
        case _:
            return ""


def _inside(node: ast.AST, statement: ast.stmt) -> Iterator[Place]:
    """Yield the changes below a node, in source order."""
    if isinstance(node, ast.JoinedStr):
        return
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED and not isinstance(node, ast.Call):
            continue
        if isinstance(value, ast.AST):
            yield from _of_value(node, field, None, value, statement)
        elif isinstance(value, list):
            values = value[:1] if _is_invariant(node) and field == "args" else value
            for item, child in enumerate(values):
                if isinstance(child, ast.stmt):
                    yield from _of_statement(node, field, item, child)
                elif isinstance(child, ast.AST):
                    yield from _of_value(node, field, item, child, statement)


def _is_invariant(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and (
        isinstance(node.func, ast.Name) and node.func.id == "invariant"
    )


def _of_value(
    parent: ast.AST, field: str, item: int | None, node: ast.AST, statement: ast.stmt
) -> Iterator[Place]:
    if field == "test" and not isinstance(node, ast.UnaryOp | ast.Compare):
        negated = ast.UnaryOp(ast.Not(), node)
        yield Place("condition-negated", parent, field, item, node, negated, statement)
    is_record = isinstance(node, ast.Tuple) and not isinstance(parent, ast.For | ast.Compare)
    for operator, new in () if is_record else _variants(node):
        yield Place(operator, parent, field, item, node, new, statement)
    yield from _inside(node, statement)


def _variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what one expression may be replaced by."""
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "other-connective", ast.BoolOp(other, values)
            for number in range(len(values)):
                kept = values[:number] + values[number + 1 :]
                yield "operand-dropped", kept[0] if len(kept) == 1 else ast.BoolOp(op, kept)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "negation-dropped", operand
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield "other-operator", ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right)
        case ast.Call(func=ast.Name(id=name)) if name in EXTREMES:
            swapped = ast.Name(EXTREMES[name], ast.Load())
            yield "other-extreme", ast.Call(swapped, node.args, node.keywords)
        case ast.Constant(value=bool(value)):
            yield "other-boolean", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "one-more", ast.Constant(value + 1)
            yield "one-less", _number(value - 1)
        case ast.Set(elts=elements) | ast.List(elts=elements) | ast.Tuple(elts=elements):
            if len(elements) > 1 and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                for number in range(len(elements)):
                    shorter = copy.copy(node)
                    shorter.elts = elements[:number] + elements[number + 1 :]
                    yield "element-dropped", shorter
        case _:
            return


def _compared(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for operator, table in (("boundary", BOUNDARY), ("opposite", OPPOSITE)):
        for number, op in enumerate(node.ops):
            if type(op) in table:
                ops = [*node.ops[:number], table[type(op)](), *node.ops[number + 1 :]]
                yield operator, ast.Compare(node.left, ops, node.comparators)


def _number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))
