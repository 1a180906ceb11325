"""What keeps libraries that evaluate expressions from evaluating a response as a program.

sympy's `parse_expr`, behind `sympify` and several verifiers of reasoning-gym, turns a text into
Python and calls `eval`; some of those verifiers call `eval` themselves. Here the Python is read
first and refused unless it is arithmetic, so that what is evaluated can be expensive, for which a
worker has its limits, but can do nothing else.
"""

from __future__ import annotations

import ast
import sys
from typing import Any

# What an expression may call: constructors of sympy, which take numbers and names, and mathematics.
CALLS = frozenset({
    "Integer", "Float", "Rational", "Symbol", "Function", "Tuple", "Matrix", "Abs", "abs",
    "Max", "Min", "max", "min", "Mod", "sign", "factorial", "factorial2", "subfactorial",
    "binomial", "gamma", "gcd", "lcm", "floor", "ceiling", "sqrt", "cbrt", "root", "exp",
    "log", "ln", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "Eq", "Ne", "Lt", "Le", "Gt",
    "Ge",
})  # fmt: skip
_NODES = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.BinOp,
    ast.operator,
    ast.UnaryOp,
    ast.unaryop,
    ast.Compare,
    ast.cmpop,
    ast.Tuple,
    ast.List,
    ast.Call,
)


class NotArithmeticError(ValueError):
    """An expression that does more than calculate."""


def arithmetic(code: str) -> str:
    """The same code, if it calculates with numbers, names and lists, and calls only `CALLS`.

    Raises NotArithmeticError for anything else: attributes, subscripts, other calls, statements.
    """
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotArithmeticError(f"{code[:80]!r} is no expression") from error
    for node in ast.walk(tree):
        if not isinstance(node, _NODES) or (isinstance(node, ast.Call) and not _may(node)):
            raise NotArithmeticError(f"{code[:80]!r} does more than calculate")
    return code


def _may(call: ast.Call) -> bool:
    called, names = call.func, CALLS
    if isinstance(called, ast.Call):
        called, names = called.func, frozenset({"Function"})  # Function("f")(x)
    return isinstance(called, ast.Name) and called.id in names and not call.keywords


def guard_sympy() -> None:
    """Let sympy's parser, and all that uses it, evaluate nothing but arithmetic."""
    # It comes with an optional package.
    from sympy.parsing import sympy_parser

    write = sympy_parser.stringify_expr
    if getattr(write, "is_guarded", False):
        return

    def guarded(*arguments: Any) -> str:
        return arithmetic(write(*arguments))

    guarded.is_guarded = True  # type: ignore[attr-defined]
    sympy_parser.stringify_expr = guarded


def guard_modules(package: str) -> None:
    """Let the modules of a package that are imported evaluate nothing but arithmetic.

    A name of the module comes before the built-in one, so that no other module is concerned.
    """

    def guarded_eval(source: Any, *_: Any) -> Any:
        return eval(arithmetic(source), {"__builtins__": {}})

    def guarded_exec(source: Any, *_: Any) -> None:
        raise NotArithmeticError(f"{str(source)[:80]!r} is a program")

    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            vars(module).update(eval=guarded_eval, exec=guarded_exec)
