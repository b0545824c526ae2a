"""Lists in documents and in comments are those of the tables in the code."""

import ast
import re
import textwrap
import tomllib

import nbformat
import papermill
import pytest
import yaml

from workbook import ROOT
from workbook.data.datasets import DATASETS
from workbook.run.parameters import CHOICES, DEFAULTS, NAMES, comment
from workbook.run.parameters_cell import REOPENING

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_PYTHON = [path for path in sorted((ROOT / "docs").glob("*.md")) if "```python" in path.read_text(encoding="utf-8")]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_parameters_cell_has_the_types_defaults_and_comments_of_the_one_record(path):
    declared = papermill.inspect_notebook(path)
    known = {name: (DEFAULTS[name], comment(name)) for name in NAMES}
    if "run" in declared:
        known = {name: ("auto" if name == "device" else "", text) for name, text in REOPENING.items()}
    for name in declared.keys() & known.keys():
        default, text = known[name]
        assert (ast.literal_eval(declared[name]["default"]), declared[name]["help"]) == (default, text), name
        assert declared[name]["inferred_type_name"] == type(default).__name__, name
    assert "run" in declared or declared.keys() & set(NAMES)


@pytest.mark.parametrize("page", PAGES)
def test_where_a_page_lists_the_values_of_a_parameter_it_lists_them_all(page):
    for paragraph in (ROOT / page).read_text(encoding="utf-8").split("\n\n"):
        for name in set(re.findall(r"`(\w+)` is one of", paragraph)) & CHOICES.keys():
            missing = set(CHOICES[name]) - set(re.findall(r"`(\w+)`", paragraph))
            assert not missing, f"{page}, the paragraph on `{name}`: {', '.join(sorted(missing))} missing"


def test_features_md_has_a_row_for_every_dataset_of_features():
    of_features = {name for name, dataset in DATASETS.items() if dataset.kind == "features"}
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/features.md").read_text(encoding="utf-8"), re.M)
    assert set(rows) >= of_features, "docs/features.md, the first table: a dataset is missing"


def test_conda_takes_a_python_that_the_package_allows_and_all_else_from_its_files():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    *_, pip = environment["dependencies"]
    (python,) = re.findall(r"python=(3\.\d+)", " ".join(environment["dependencies"][:-1]))
    lowest, above = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert int(lowest) <= int(python.removeprefix("3.")) < int(above)
    assert pip["pip"] == ["--constraint constraints.txt", "--editable .[test]"]
    assert (ROOT / "constraints.txt").exists() and "test" in project["optional-dependencies"]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *WITH_PYTHON], ids=lambda path: path.stem)
def test_a_notebook_or_page_imports_only_names_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        sources = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    else:
        sources = [cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    for node in ast.walk(ast.parse("\n".join(sources))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("avlib", "workbook"):
            exec(ast.unparse(node), {})
