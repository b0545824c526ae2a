"""The house: which package and which chapter may import which. docs/layout.md draws it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from workbook import ROOT

# From the ground up. A chapter imports only from floors below its own; chapters on one floor do not know each other.
FLOORS = [
    {"avlib"},
    {"ground"},
    {"data"},
    {"toy", "train"},
    {"evaluate"},
    {"attention", "predict"},
    {"studies"},
    {"plots"},
    {"explore"},
    {"run"},
    {"sweep"},
    {"cli"},
    {"benchmarks"},
]
FLOOR = {chapter: number for number, chapters in enumerate(FLOORS) for chapter in chapters}
GROUND = {"files", "lessons", "progress", "source", "task", "text"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("avlib", "workbook", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
}


def chapter(module: str) -> str:
    package, *parts = module.split(".")
    if package != "workbook":
        return package
    return "ground" if not parts or parts[0] in GROUND else parts[0]


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports at its top or in a function, or names in a text."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            names.add(node.value)
    return names & MODULES.keys()


ARROWS = {module: imported(path) - {module} for module, path in MODULES.items()}
ENTRANCES = {"avlib", "workbook"}  # they offer names of higher floors, and load them on first use


@pytest.mark.parametrize("module", sorted(MODULES.keys() - ENTRANCES))
def test_a_module_imports_its_own_chapter_and_lower_floors(module):
    own = chapter(module)
    others = {other for other in ARROWS[module] if chapter(other) != own}
    assert not {other for other in others if FLOOR[chapter(other)] >= FLOOR[own]}


def test_no_modules_import_each_other_in_a_circle():
    try:
        TopologicalSorter({module: ARROWS[module] for module in MODULES.keys() - ENTRANCES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
