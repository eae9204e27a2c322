"""Finds the places of a source where one operator, `not` or sign can be changed."""

import ast
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
SIGNS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
FOR_TYPE_CHECKERS = "TYPE_CHECKING"  # a condition that is false whenever tests run
NEGATED = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Await)  # conditions that may get a `not`
LARGEST = 10  # a greater number is no small constant
ANNOTATIONS = {"annotation", "returns"}
LOGGERS = {"log", "logger"}


@dataclass(frozen=True)
class _Slot:
    """A node of a tree: `getattr(parent, field)`, or its element `index`."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    statement: int  # first line of its statement, from 1

    def put(self, new: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new


@dataclass(frozen=True)
class Mutation:
    """The change `number` of a source, from 0; `line` and `statement`: the first lines of expression and statement."""

    number: int
    line: int
    statement: int
    diff: str

    def applied(self, source: str) -> str:
        """Return the changed source, without its comments."""
        tree = ast.parse(source)
        node_slot, new = list(_changes(tree))[self.number]
        node_slot.put(new)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutations(source: str) -> list[Mutation]:
    """Return all changes of a source, in its order."""
    return [
        Mutation(
            number,
            getattr(node_slot.node, "lineno", node_slot.statement),
            node_slot.statement,
            f"`{ast.unparse(node_slot.node)}` becomes `{ast.unparse(ast.fix_missing_locations(new))}`",
        )
        for number, (node_slot, new) in enumerate(_changes(ast.parse(source)))
    ]


def _changes(tree: ast.AST) -> Iterator[tuple[_Slot, ast.AST]]:
    for node_slot in _code(tree):
        for new in _replacements(node_slot.node, node_slot.parent):
            yield node_slot, new


def _code(tree: ast.AST, statement: int = 1) -> Iterator[_Slot]:
    """Yield each node that is code: no annotations, no texts, no logs."""
    for field, value in ast.iter_fields(tree):
        several = isinstance(value, list)
        for index, node in enumerate(value if several else [value]):
            if field in ANNOTATIONS or not isinstance(node, ast.AST) or _is_text(node):
                continue
            line = node.lineno if isinstance(node, ast.stmt) else statement
            yield _Slot(node, tree, field, index if several else None, line)
            yield from _code(node, line)


def _is_text(node: ast.AST) -> bool:
    """Say whether a node is a text for people, or a type."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return name in LOGGERS
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
    return isinstance(node, ast.JoinedStr)


def _replacements(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, operators, others):
            for index, operator in enumerate(operators):
                other = COMPARISONS[type(operator)]()
                yield ast.Compare(left, [*operators[:index], other, *operators[index + 1 :]], others)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.BinOp(op=ast.Add() | ast.Sub()) | ast.AugAssign(op=ast.Add() | ast.Sub()):
            changed = copy(node)
            changed.op = SIGNS[type(node.op)]()
            yield changed
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant() if _is_small_number(node, parent):
            yield ast.UnaryOp(ast.USub(), node)
    if isinstance(node, NEGATED) and _is_condition(node, parent) and ast.unparse(node) != FOR_TYPE_CHECKERS:
        yield ast.UnaryOp(ast.Not(), node)


def _is_condition(node: ast.expr, parent: ast.AST) -> bool:
    """Say whether something depends on an expression's truth."""
    tests = (getattr(parent, "test", None), getattr(parent, "guard", None), *getattr(parent, "ifs", ()))
    return isinstance(parent, ast.BoolOp) or node in tests


def _is_small_number(node: ast.Constant, parent: ast.AST) -> bool:
    """Say whether a constant is a small number that can get a sign.

    A summand's sign is the operator, which is changed itself. `axis=-1` is the last axis, so for a matrix `axis=1`.
    """
    if isinstance(parent, ast.keyword) and parent.arg == "axis":
        return False
    has_sign = isinstance(parent, ast.UnaryOp) or (isinstance(parent, ast.BinOp) and type(parent.op) in SIGNS)
    number = 0 if isinstance(node.value, bool) else node.value
    return isinstance(number, int | float) and 0 < number <= LARGEST and not has_sign
