"""Small changes of Python sources, all of them in one syntax tree with a switch for each.

Every expression that can be changed becomes ``changed if __mutant__ == 7 else expression``, so a
process that has imported the package and collected its tests can be any mutant, by a number. The
arguments of ``@dataclass`` and ``strict=`` are left alone: they forbid what nobody does.
"""

import ast
import builtins
import copy
import hashlib
import importlib.abc
import importlib.machinery
from dataclasses import dataclass

SWITCH = "__mutant__"
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "argmin": "argmax",
         "floor": "ceil", "ceil": "floor", "minimum": "maximum", "maximum": "minimum"}  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change: its number, where it is, and the lines whose tests can notice it."""

    number: int
    key: str
    path: str
    line: int
    name: str
    before: str
    after: str
    lines: frozenset  # of the changed statement, or of what a default or a decorator belongs to
    names: frozenset  # for changes at import: what mentions these can notice
    at_import: bool


def changes(node):
    """Yield (name of the change, replacement) of every small change of an expression."""
    if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in OPERATORS:
        new = copy.deepcopy(node)
        new.op = OPERATORS[type(node.op)]()
        yield "operator", new
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[i] = OPERATORS[type(operator)]()
            yield "comparison", new
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "number", ast.Constant(node.value * 2 + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "boolean", ast.Constant(not node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield "sign or negation", node.operand
    if isinstance(node, ast.IfExp):
        yield "condition", ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield "name", ast.Attribute(node.value, NAMES[node.attr], ast.Load())
    if isinstance(node, ast.Name) and node.id in NAMES:
        yield "name", ast.Name(NAMES[node.id], ast.Load())


def statement_changes(node):
    """Yield (name, before, after, replacement) of the changes of a statement."""
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        new = copy.deepcopy(node)
        new.op = OPERATORS[type(node.op)]()
        yield "operator", ast.unparse(node), ast.unparse(new), new
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", ast.unparse(node), "pass", ast.Pass()


class _Schemata(ast.NodeTransformer):
    """Build the tree that is all mutants of a file."""

    def __init__(self, path, source, first_number):
        self.path, self.next_number, self.mutants = path, first_number, []
        self.tree = ast.parse(source)
        self._parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self._texts = {  # as they are before they are changed, of which keys are made
            node: ast.unparse(node) for node in ast.walk(self.tree) if isinstance(node, ast.stmt)
        }
        self._counts = {}
        self.changed = ast.fix_missing_locations(self.visit(self.tree))

    def visit(self, node):
        if isinstance(node, ast.arg):
            return node  # nothing but an annotation
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "dataclass":
            return node
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return node
        if isinstance(node, FUNCTIONS[:2]):
            node.returns, returns = None, node.returns
            node = self.generic_visit(node)
            node.returns = returns
            return node
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                node.value = self.visit(node.value)
            return node
        if isinstance(node, ast.stmt):
            return self._statement(node)
        if isinstance(node, ast.expr):
            return self._expression(node)
        return self.generic_visit(node)

    def _expression(self, node):
        found = [
            (self._note(node, name, ast.unparse(node), ast.unparse(new)), copy.deepcopy(new))
            for name, new in changes(node)
            if isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        ]
        result = self.generic_visit(node)
        for number, new in found:
            result = ast.copy_location(ast.IfExp(self._is_on(number), new, result), node)
        return result

    def _statement(self, node):
        found = [
            (self._note(node, name, before, after), new)
            for name, before, after, new in statement_changes(node)
        ]
        negated = None
        if isinstance(node, (ast.If, ast.While)):
            test = ast.unparse(node.test)
            negated = self._note(node, "condition", f"if {test}", f"if not ({test})")
            plain = copy.deepcopy(node.test)
        node = self.generic_visit(node)
        if negated is not None:
            new = ast.UnaryOp(ast.Not(), plain)
            node.test = ast.copy_location(ast.IfExp(self._is_on(negated), new, node.test), node)
        for number, new in found:
            node = ast.copy_location(ast.If(self._is_on(number), [new], [node]), node)
        return node

    @staticmethod
    def _is_on(number):
        name = ast.Name(SWITCH, ast.Load())
        return ast.Compare(name, [ast.Eq()], [ast.Constant(number)])

    def _note(self, node, name, before, after):
        """Number a change, and note where it is."""
        outer = [node]
        while outer[-1] in self._parents:
            outer.append(self._parents[outer[-1]])
        pairs = list(zip(outer[1:], outer, strict=False))
        at_import = not any(
            isinstance(parent, FUNCTIONS)
            and (child in parent.body if isinstance(parent.body, list) else child is parent.body)
            for parent, child in pairs
        )
        definitions = (*FUNCTIONS[:2], ast.ClassDef)
        within = next((each for each in outer if isinstance(each, definitions)), None)
        statement = next(each for each in outer if isinstance(each, ast.stmt))
        if at_import and within is not None:
            lines, names = range(within.lineno, within.end_lineno + 1), {within.name}
        elif at_import:
            lines = ()
            names = {each.id for each in ast.walk(statement) if isinstance(each, ast.Name)}
        else:
            body = getattr(statement, "body", None)
            end = body[0].lineno - 1 if body else statement.end_lineno
            lines, names = range(statement.lineno, max(end, statement.lineno) + 1), set()
        where = ".".join(each.name for each in reversed(outer) if isinstance(each, definitions))
        what = f"{self.path} {where or 'module'} {name} {' '.join(before.split())} -> {after}"
        self._counts[what] = self._counts.get(what, 0) + 1
        text = self._texts[statement if at_import or within is None else within]
        digest = hashlib.sha1(f"{what} {self._counts[what]} {text}".encode()).hexdigest()[:12]
        number, self.next_number = self.next_number, self.next_number + 1
        self.mutants.append(
            Mutant(
                number,
                digest,
                self.path,
                node.lineno,
                name,
                before,
                after,
                frozenset(lines),
                frozenset(names),
                at_import,
            )  # fmt: skip
        )
        return number


class Mutator(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import modules as all of their mutants; `be` says which one.

    Parameters
    ----------
    root : Path
        Where the package is.

    paths : list of Path
        The files to change, below it.
    """

    def __init__(self, root, paths):
        builtins.__dict__[SWITCH] = 0
        self.mutants, self._code = [], {}
        for path in paths:
            within = path.relative_to(root)
            built = _Schemata(str(within), path.read_text(), len(self.mutants) + 1)
            self.mutants += built.mutants
            module = ".".join(within.with_suffix("").parts)
            self._code[module] = str(path), compile(built.changed, str(path), "exec")

    @staticmethod
    def be(number):
        """Be a mutant; 0 is the package as it is."""
        builtins.__dict__[SWITCH] = number

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._code:
            return None
        file = self._code[fullname][0]
        return importlib.machinery.ModuleSpec(fullname, self, origin=file)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__file__, code = self._code[module.__name__]
        exec(code, module.__dict__)
