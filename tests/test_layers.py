"""Imports point down the house: a module may import its own room and any layer below it, nothing else."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "bedside"
MODULES = sorted(SRC.rglob("*.py"))
LAYERS = (  # top to bottom; rooms on one line are strangers
    "__main__",
    "cli",
    "verbs",
    "serve",
    "answer lint report plan",
    "rag guard voice image plots evaluate train export",
    "runtime data metrics",
    "fused",
    "text",
    "runs models",
    "recipe_file",
    "recipe progress",
    "files",
    "records extras",
    "errors",
)
DEPTH = {room: depth for depth, line in enumerate(LAYERS) for room in line.split()}


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(("bedside", *parts)).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room of a dotted name; the package's own `__init__` is above everything and belongs to none."""
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names of bedside that are imported anywhere below a node, inside functions too."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] == "bedside" and "." in name)


def upward(path: Path) -> list[str]:
    """What a module imports from a room that is not below its own."""
    own = room_of(module_name(path))
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    rooms = {room_of(name) for name in imported(ast.parse(path.read_text(encoding="utf-8")), package)}
    version = {"__version__"}  # the one name that the package itself offers
    return sorted(room for room in rooms - version - {own} if DEPTH.get(room, -1) <= DEPTH.get(own, -1))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    own = room_of(module_name(path))
    assert not own or own in DEPTH, f"'{own}' has no place in the layers; give it one"
    assert not upward(path), f"{module_name(path)} imports {upward(path)}, not below '{own}'"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import bedside.serve.app", ["serve"]),
        ("from bedside import serve", ["serve"]),
        ("from bedside.train import loop", ["train"]),
        ("def f():\n    from bedside.export.gguf import write", ["export"]),
        ("from ..serve import app", ["serve"]),
        ("from . import tasks", []),
        ("from bedside.text import chat\nfrom bedside import __version__\nimport numpy", []),
    ],
)
def test_the_check_itself_sees_every_form_of_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: list[str]
) -> None:
    monkeypatch.setattr(f"{__name__}.SRC", tmp_path)
    path = tmp_path / "evaluate" / "run.py"
    path.parent.mkdir()
    path.write_text(source, encoding="utf-8")
    assert upward(path) == expected


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path): path for path in MODULES}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = {target if target in names else target.rpartition(".")[0] for target in imported(top, package)}
        graph[name] = (found & set(names)) - {name, "bedside"}
    assert list(TopologicalSorter(graph).static_order())


def test_the_names_that_house_rules_forbid_do_not_exist() -> None:
    forbidden = {"utils", "util", "helpers", "common", "core", "base", "manager"}
    assert not [path for path in MODULES if forbidden & set(path.relative_to(SRC).with_suffix("").parts)]
