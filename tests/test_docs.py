"""Lists in documents and in comments are those of the tables in the code."""

import re
import tomllib

import papermill
import pytest
import yaml

from workbook import ROOT
from workbook.data.datasets import DATASETS
from workbook.run.parameters import choices
from workbook.sweep.notebooks import NOTEBOOKS

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
OF_CLIPS = {
    "dataset": {name for name, dataset in DATASETS.items() if dataset.kind == "clips"},
    "protocol": {"paper", "authors"},
}  # the choices that preprocess.ipynb and pretrain.ipynb name; the others are about features


def cells(page: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return set(re.findall(r"^\| `(\w+)` \|", (ROOT / page).read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_comments_of_a_parameters_cell_name_all_choices_and_no_others(notebook):
    declared = papermill.inspect_notebook(ROOT / "notebooks" / f"{notebook}.ipynb")
    wrong = {}
    for name in declared.keys() & choices().keys():
        comment = declared[name]["help"]
        listed = {part.split()[0].strip(",:;") for part in comment.split("|")} | set(choices()[name]) & words(comment)
        allowed = (
            set(choices()[name])
            if notebook not in ("preprocess", "pretrain")
            else OF_CLIPS.get(name, set(choices()[name]))
        )
        if listed != allowed:
            wrong[name] = f"names {sorted(listed - allowed)} too many and {sorted(allowed - listed)} too few: {comment}"
    assert not wrong, f"notebooks/{notebook}.ipynb, comments in the parameters cell: {wrong}"


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("page", PAGES)
def test_where_a_page_lists_the_values_of_a_parameter_it_lists_them_all(page):
    for paragraph in (ROOT / page).read_text(encoding="utf-8").split("\n\n"):
        for name in set(re.findall(r"`(\w+)` is one of", paragraph)) & choices().keys():
            missing = set(choices()[name]) - set(re.findall(r"`(\w+)`", paragraph))
            assert not missing, f"{page}, the paragraph on `{name}`: {', '.join(sorted(missing))} missing"


def test_features_md_has_a_row_for_every_dataset_of_features():
    of_features = {name for name, dataset in DATASETS.items() if dataset.kind == "features"}
    assert cells("docs/features.md") >= of_features, "docs/features.md, the first table: a dataset is missing"


def test_conda_takes_a_python_that_the_package_allows_and_all_else_from_its_files():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    *_, pip = environment["dependencies"]
    (python,) = re.findall(r"python=(3\.\d+)", " ".join(environment["dependencies"][:-1]))
    lowest, above = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert int(lowest) <= int(python.removeprefix("3.")) < int(above)
    assert pip["pip"] == ["--constraint constraints.txt", "--editable .[test]"]
    assert (ROOT / "constraints.txt").exists() and "test" in project["optional-dependencies"]
