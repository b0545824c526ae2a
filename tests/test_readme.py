"""What README.md and the pages of docs/ show: the Python runs as printed, and what they name is there."""

import ast
import re
import shlex

import pytest
import torch
from click.testing import CliRunner
from smoke_runs import SMOKE

from workbook import ROOT
from workbook.cli import main
from workbook.data.datasets import DATASETS, Corpus, Dataset

PAGES = [ROOT / "README.md", ROOT / "notebooks/README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
LAYOUT = (ROOT / "docs/layout.md").read_text(encoding="utf-8")
EXAMPLE = "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.M | re.S))
RUN = "outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1"  # the one of the demo that the example opens

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def shapes(value) -> list[tuple[int, ...]]:
    """The shape of a tensor, or those of a tuple of tensors."""
    return [tuple(tensor.shape) for tensor in ([value] if torch.is_tensor(value) else value)]


def test_the_example_runs_as_printed_and_gives_the_shapes_it_says(smoke):
    assert RUN in EXAMPLE
    names, lines, checked = {}, EXAMPLE.replace(RUN, str(smoke)).splitlines(), 0
    frames = {DATASETS["toy"].defaults["frames"]: SMOKE["frames"]}  # of the demo -> of the run that is opened here
    for statement in ast.parse("\n".join(lines)).body:
        source = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        exec(source, names)
        printed = re.findall(r"\(\d+,[\d, ]*\)", source.partition("#")[2])
        expected = [tuple(frames.get(size, size) for size in ast.literal_eval(text)) for text in printed]
        if expected:
            value = statement.value if isinstance(statement, ast.Expr) else statement.targets[0]
            assert shapes(eval(ast.unparse(value), names)) == expected, source
            checked += len(expected)
    assert checked >= 4, "comments with shapes"


@each_page
def test_files_and_targets_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.])(?:avlib|workbook|benchmarks|docs|notebooks|params|tests)/[\w./-]*\w", text))
    assert not {name for name in named if not (ROOT / name).exists()}
    code = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S) + re.findall(r"`([^`\n]+)`", text))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make (\w+)", code, re.M)) <= targets


def test_the_layout_names_what_is_there_and_every_file_of_the_packages():
    (layout,) = re.findall(r"^```\n(avlib/ .*?)^```", LAYOUT, re.M | re.S)
    folder, package, missing, listed = "", ROOT, [], set()
    for line in layout.splitlines():
        entry = re.match(r"(?:  )?(\w+/)? +", line)
        if entry[1]:
            package = ROOT / entry[1] if not line.startswith("  ") else package
            folder = package / entry[1] if line.startswith("  ") else package
            missing += [] if folder.is_dir() else [str(folder)]
        if folder.name in ("notebooks", "docs") or package.name in ("avlib", "workbook"):
            names = re.split(r" {2,}", line[entry.end() :])[0].split()
            missing += [f"{folder}/{name}" for name in names if not [*folder.glob(f"{name}*")]]
            listed |= {folder / f"{name}.py" for name in names}
    assert not missing, "the layout in docs/layout.md"
    files = {path for name in ("avlib", "workbook") for path in (ROOT / name).rglob("*.py")}
    assert not {path for path in files - listed if path.name != "__init__.py"}, "files that the layout lacks"


def test_the_index_leads_to_every_notebook():
    index = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+\.ipynb)\)", index)) == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


@each_page
def test_links_between_pages_lead_somewhere(page):
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, section = target.partition("#")
        if ":" in target:
            continue
        path = page.parent / name if name else page
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M) if section and path.exists() else []
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        dead += [target] if not path.exists() or (section and section not in anchors) else []
    assert not dead


COMMANDS = {line for page in PAGES for line in re.findall(r"avlib (run params/[^`#\n]*[^`#\s])", page.read_text())}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_run_that_a_page_prints_can_be_planned(command, tmp_path, monkeypatch):
    monkeypatch.setattr(Dataset, "check_root", lambda dataset, root: None)  # as if the corpora were there
    monkeypatch.setattr(Corpus, "store_path", ROOT)
    monkeypatch.setitem(DATASETS, "crema", DATASETS["ravdess"])  # the one that docs/extending.md adds
    words = shlex.split(command)
    for name in {"data_root", "pretrained"} & set(words):
        words[words.index(name) + 1] = str(tmp_path)
    ended = CliRunner().invoke(main, [*words, "--dry-run", "-p", "outputs_root", str(tmp_path / "runs")])
    assert ended.exit_code == 0 and " runs, " in ended.output, ended.output
    assert not (tmp_path / "runs").exists()
