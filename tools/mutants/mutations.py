"""Finds the places of a source where one operator, `not` or sign can be changed."""

import ast
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import accumulate, pairwise
from typing import TypeAlias

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
SIGNS: dict[type[ast.AST], str] = {ast.Add: "-", ast.Sub: "+"}
SIMPLE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Await)  # need no brackets behind `not`
MOST = 10  # a greater number is no small constant
ANNOTATIONS = {"annotation", "returns"}
LOGGERS = {"log", "logger"}
SIGN = re.compile(r"(not\b|-)\s*")

Change: TypeAlias = tuple[int, int, str]  # where the text begins and ends that is replaced, and what replaces it


@dataclass(frozen=True)
class Mutation:
    """One change of a source: `new` replaces the text from `start` to `end`, both in characters.

    `line` is the line of the change and `statement` the first line of its statement, both from 1.
    """

    line: int
    statement: int
    start: int
    end: int
    new: str

    def applied(self, source: str) -> str:
        """Return the changed source."""
        return source[: self.start] + self.new + source[self.end :]

    def diff(self, source: str) -> str:
        """Return the changed line as `git diff --word-diff` writes it: ``if a [-<-]{+<=+} b:``."""
        begin = source.rfind("\n", 0, self.start) + 1
        behind = source[self.end :].split("\n", maxsplit=1)[0]
        old = source[self.start : self.end]
        change = (f"[-{old}-]" if old else "") + (f"{{+{self.new}+}}" if self.new else "")
        return " ".join(f"{source[begin : self.start]}{change}{behind}".split())


def mutations(source: str) -> list[Mutation]:
    """Return all changes of a source, in its order."""
    text = _Text(source)
    found = [
        Mutation(source.count("\n", 0, start) + 1, statement, start, end, new)
        for node, parent, statement in _code(ast.parse(source))
        for start, end, new in _changes(node, parent, text)
    ]
    return sorted(found, key=lambda mutation: (mutation.start, mutation.end, mutation.new))


def _code(tree: ast.AST, statement: int = 1) -> Iterator[tuple[ast.AST, ast.AST, int]]:
    """Yield each node that is code with its parent and the line of its statement: no annotations, no texts, no logs."""
    for name, value in ast.iter_fields(tree):
        for node in value if isinstance(value, list) else [value]:
            if name in ANNOTATIONS or not isinstance(node, ast.AST) or _is_text(node):
                continue
            line = node.lineno if isinstance(node, ast.stmt) else statement
            yield node, tree, line
            yield from _code(node, line)


def _is_text(node: ast.AST) -> bool:
    """Say whether a node is a text for people, or a type."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return name in LOGGERS
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
    return isinstance(node, ast.JoinedStr)


class _Text:
    """The source, and where its operators are."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0, *accumulate(map(len, self._lines))]
        self._operators = [
            (self._starts[token.start[0] - 1] + token.start[1], self._starts[token.end[0] - 1] + token.end[1])
            for token in tokenize.generate_tokens(StringIO(source).readline)
            if token.type in {tokenize.OP, tokenize.NAME} and token.string not in {"(", ")"}
        ]

    def begin(self, node: ast.expr) -> int:
        """Return where an expression begins."""
        return self._place(node.lineno, node.col_offset)

    def end(self, node: ast.expr) -> int:
        """Return where an expression ends."""
        return self._place(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def between(self, left: ast.expr, right: ast.expr) -> tuple[int, int]:
        """Return where the operator between two expressions begins and ends, without brackets and comments."""
        begin, end = self.end(left), self.begin(right)
        inside = [place for place in self._operators if begin <= place[0] < end]
        return inside[0][0], inside[-1][1]

    def sign(self, node: ast.UnaryOp) -> tuple[int, int]:
        """Return where the `not` or the minus before an expression begins, and where what follows begins."""
        begin = self.begin(node)
        found = SIGN.match(self.source, begin)
        return begin, found.end() if found else begin

    def _place(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())  # it counts bytes


def _changes(node: ast.AST, parent: ast.AST, text: _Text) -> Iterator[Change]:
    match node:
        case ast.Compare(left, operators, others):
            for (one, other), operator in zip(pairwise([left, *others]), operators, strict=True):
                yield *text.between(one, other), COMPARISONS[type(operator)]
        case ast.BoolOp(operator, values):
            for one, other in pairwise(values):
                yield *text.between(one, other), "or" if isinstance(operator, ast.And) else "and"
        case ast.BinOp(one, ast.Add() | ast.Sub() as sign, other) | ast.AugAssign(
            one, ast.Add() | ast.Sub() as sign, other
        ):
            start, _ = text.between(one, other)
            yield start, start + 1, SIGNS[type(sign)]
        case ast.UnaryOp(ast.Not() | ast.USub()):
            yield *text.sign(node), ""
        case ast.expr() if new := _missing_before(node, parent):
            yield text.begin(node), text.begin(node), new


def _missing_before(node: ast.expr, parent: ast.AST) -> str:
    """Return what can be added before an expression: `not`, a minus, or nothing."""
    if isinstance(node, SIMPLE) and _is_condition(node, parent):
        return "not "
    return "-" if isinstance(node, ast.Constant) and _has_a_sign_of_its_own(node, parent) else ""


def _is_condition(node: ast.expr, parent: ast.AST) -> bool:
    """Say whether something depends on an expression's truth."""
    tests = (getattr(parent, "test", None), getattr(parent, "guard", None), *getattr(parent, "ifs", ()))
    return isinstance(parent, ast.BoolOp) or node in tests


def _has_a_sign_of_its_own(node: ast.Constant, parent: ast.AST) -> bool:
    """Say whether a number is small and can get a sign.

    A summand's sign is the operator, which is changed itself. `axis=-1` is the last axis, so for a matrix `axis=1`.
    """
    if isinstance(parent, ast.keyword) and parent.arg == "axis":
        return False
    has_one = isinstance(parent, ast.UnaryOp) or (isinstance(parent, ast.BinOp) and type(parent.op) in SIGNS)
    number = 0 if isinstance(node.value, bool) else node.value
    return isinstance(number, int | float) and 0 < number <= MOST and not has_one
