"""What a chat template makes is counted: the counting, written into its syntax tree, and the size of a value.

    environment.from_string(counting(environment.parse(source)))

A counted template calls the filters `MADE`, `PART` and `SPENT` of its environment; no template can spell their names.
What is spelled out in the template, and what grows by a number, is not counted here: see `sandbox`.
"""

from collections.abc import ItemsView, KeysView, ValuesView
from itertools import chain
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.visitor import NodeTransformer

MADE, PART, SPENT = "(made)", "(part)", "(spent)"
COUNTABLE = (str, range)
HOLDING = (list, tuple, ItemsView, KeysView, ValuesView)
ADDED = 8
"""Sums that are made before they are counted."""
FIXED = (nodes.Const, nodes.TemplateData)
OPERATORS = (nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
COUNTED = (*FIXED, *OPERATORS, nodes.Filter, nodes.Call)
"""Nodes that are counted elsewhere."""


def counting(tree: nodes.Template) -> nodes.Template:
    """The same template, with the counting written into it."""
    environment, counted = tree.environment, _Counting().visit(tree)
    assert environment is not None
    assert isinstance(counted, nodes.Template)
    counted.set_environment(environment)
    return counted


def size(value: Any, most: float = float("inf")) -> int:
    """Characters and elements of a value as if written out, shared parts again and again; stops beyond `most`.

    Raises SecurityError for a whole number of more than 64 bits, whose arithmetic has no bound.
    """
    total, rest = 0, [value]
    while rest and total <= most:
        one = rest.pop()
        total += 1
        if isinstance(one, COUNTABLE):
            total += len(one)
        elif isinstance(one, dict):
            rest += one
            rest += one.values()
        elif isinstance(one, HOLDING):
            rest += one
        elif isinstance(one, int) and one.bit_length() > 64:
            raise SecurityError("a number of more than 64 bits")
    return total


class _Counting(NodeTransformer):
    def repeated(self, node: Any) -> Any:
        """Counts one and the fixed text of the body each time that it is gone through, printed or not."""
        fixed = chain.from_iterable(node.find_all(kind) for kind in FIXED)
        texts = [part.data if isinstance(part, nodes.TemplateData) else part.value for part in fixed]
        amount = 1 + sum(len(text) for text in texts if isinstance(text, str))
        self.generic_visit(node)
        spent = nodes.Filter(nodes.Const(amount), SPENT, [], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(spent, lineno=node.lineno))
        return node

    def printed(self, node: Any) -> Any:
        """Each part of what is printed, or put together as one text."""
        self.generic_visit(node)
        node.nodes = [_made(part) for part in node.nodes]
        return node

    def added(self, node: Any) -> Any:
        """A sum, of texts or lists too."""
        return _wrapped(self._sum(node, ADDED))

    def _sum(self, node: Any, more: int) -> Any:
        node.right = self.visit(node.right)
        inner = isinstance(node.left, nodes.Add) and more > 0
        node.left = self._sum(node.left, more - 1) if inner else self.visit(node.left)
        return node

    def filtered(self, node: Any) -> Any:
        """What a filter makes; that of a block has no value of its own, and its text was counted as it was printed."""
        self.generic_visit(node)
        return node if node.node is None else _wrapped(node)

    def tested(self, node: Any) -> Any:
        """A test that compares."""
        self.generic_visit(node)
        return _made(node) if node.args else node

    def sliced(self, node: Any) -> Any:
        """A part of a list or a text."""
        self.generic_visit(node)
        return _wrapped(node, PART) if isinstance(node.arg, nodes.Slice) else node

    def listed(self, node: Any) -> Any:
        """A list or tuple, unless it holds only what the template spells out, or is what a loop assigns to."""
        self.generic_visit(node)
        spelled = all(isinstance(item, nodes.Const) for item in node.items)
        return node if spelled or getattr(node, "ctx", "") == "store" else _made(node)

    def mapped(self, node: Any) -> Any:
        """A dictionary."""
        self.generic_visit(node)
        return _made(node)

    def compared(self, node: Any) -> Any:
        """A comparison that may be of two long values, so that the clock must be looked at."""
        self.generic_visit(node)
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        return node if any(isinstance(side, nodes.Const) for side in sides) else _made(node)

    visit_For = visit_Macro = visit_CallBlock = visit_Block = repeated
    visit_Output = visit_Concat = printed
    visit_List = visit_Tuple = listed
    visit_Add, visit_Filter, visit_Test = added, filtered, tested
    visit_Getitem, visit_Dict, visit_Compare = sliced, mapped, compared


def _made(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, COUNTED) else _wrapped(node)


def _wrapped(node: nodes.Expr, by: str = MADE) -> nodes.Expr:
    return nodes.Filter(node, by, [], [], None, None, lineno=node.lineno)
