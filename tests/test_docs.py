"""What README.md, docs and notebooks say: lists are those of the code, Python runs, names and links are there."""

import ast
import re
import shlex
import textwrap
import tomllib

import nbformat
import numpy as np
import papermill
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner
from smoke_runs import SMOKE

import workbook
from avlib import build_model
from avlib.fusion import FUSIONS
from workbook import ROOT, InputError
from workbook.cli import main
from workbook.data.datasets import DATASETS, Corpus
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.evaluation import predict
from workbook.evaluate.metrics import metrics
from workbook.run.parameters import CHOICES, DEFAULTS, FIELDS, NAMES, Parameters
from workbook.run.run_folder import network_settings
from workbook.task import Classification
from workbook.train.batches import Clips, splits
from workbook.train.training import fit

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "notebooks/README.md", *sorted((ROOT / "docs").glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def comment(name: str) -> str:
    """The comment behind a parameter in a parameters cell."""
    words = " | ".join(CHOICES[name]) if name in CHOICES else FIELDS[name].description
    empty = {"": '""', 0: "0"}.get(DEFAULTS[name], "") if name in DATASETS["toy"].defaults else ""
    return f"{words}; {empty}: the dataset's own" if empty else words


REOPENING = {  # of a notebook that opens a trained run: defaults and comments
    "run": ("", 'folder of a trained run; "": the run that was trained last'),
    "data_root": ("", "where the corpus is, if it has moved"),
    "device": ("auto", comment("device")),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_parameters_cell_has_the_types_defaults_and_comments_of_the_one_record(path):
    declared = papermill.inspect_notebook(path)
    known = REOPENING if "run" in declared else {name: (DEFAULTS[name], comment(name)) for name in NAMES}
    for name in declared.keys() & known.keys():
        default, text = known[name]
        assert (ast.literal_eval(declared[name]["default"]), declared[name]["help"]) == (default, text), name
        assert declared[name]["inferred_type_name"] == type(default).__name__, name
    assert "run" in declared or declared.keys() & set(NAMES)


@each_page
def test_where_a_page_lists_the_values_of_a_parameter_it_lists_them_all(page):
    for paragraph in page.read_text(encoding="utf-8").split("\n\n"):
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


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.stem)
def test_a_notebook_or_page_imports_only_names_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        sources = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    else:
        sources = [cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    for node in ast.walk(ast.parse("\n".join(sources))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("avlib", "workbook"):
            exec(ast.unparse(node), {})


README = PAGES[0].read_text(encoding="utf-8")
LAYOUT = (ROOT / "docs/layout.md").read_text(encoding="utf-8")
EXAMPLE = "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.M | re.S))
RUN = "outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1"  # the one of the demo that the example opens


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
    assert set(re.findall(r"\((\w+\.ipynb)\)", index)) == {path.name for path in NOTEBOOKS}


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
    monkeypatch.setattr(Parameters, "check_inputs", lambda config, **options: None)  # as if all were there
    monkeypatch.setattr(Corpus, "store_path", ROOT)
    monkeypatch.setitem(DATASETS, "crema", DATASETS["ravdess"])  # the one that docs/extending.md adds
    words = shlex.split(command)
    for name in {"data_root", "pretrained"} & set(words):
        words[words.index(name) + 1] = str(tmp_path)
    ended = CliRunner().invoke(main, [*words, "--dry-run", "-p", "outputs_root", str(tmp_path / "runs")])
    assert ended.exit_code == 0 and " runs, " in ended.output, ended.output
    assert not (tmp_path / "runs").exists()


def run_section(title: str) -> dict:
    """The names that the Python of a section of docs/extending.md defines."""
    text = (workbook.ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    code, namespace = "\n".join(re.findall(r"^```python\n(.*?)^```", section[1], re.M | re.S)), {}
    exec(compile(code, f"docs/extending.md, {title}", "exec"), namespace)
    return namespace


@pytest.fixture
def crema(tmp_path, monkeypatch):
    """The folder of twenty short sounds, named as in CREMA-D; the dataset of the example is registered."""
    monkeypatch.setattr(workbook, "DATA", tmp_path / "data")
    monkeypatch.setitem(DATASETS, "crema", None)  # so that it is taken out again
    run_section("A dataset")
    folder, rng = tmp_path / "CREMA-D" / "AudioWAV", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for actor in range(1001, 1006):
        for code in ("ANG", "HAP", "NEU", "SAD"):
            soundfile.write(folder / f"{actor}_DFA_{code}_XX.wav", 0.1 * rng.standard_normal(22050), 22050)
    (folder / "1001_DFA_JOY_XX.wav").touch()
    return folder.parent


def test_a_dataset_is_one_record_and_one_reader(crema, tmp_path):
    with pytest.raises(InputError, match=r"which is no folder; give the one that holds CREMA-D"):
        Parameters(dataset="crema").check_inputs()
    with pytest.raises(InputError, match=r"fold_scheme is loso, which crema does not have: choose groups$"):
        Parameters(dataset="crema", data_root=str(crema), fold_scheme="loso")
    given = {"dataset": "crema", "data_root": str(crema), "outputs_root": str(tmp_path), "fusion": "audio", "heads": 1}
    config = Parameters(**given, batch_size=4, dropout="none")
    assert (config.epochs, config.learning_rate, config.frames, config.classes) == (30, 0.04, 8, 6)
    assert config.folder.relative_to(tmp_path).parts[0] == "crema"
    assert "crema" in CliRunner().invoke(main, ["parameters"]).output

    with pytest.raises(InputError, match=r"there is no store of crema .*-p dataset crema"):
        config.corpus.open_store()
    made = config.corpus.preprocess(workers=1, progress=False)
    store = config.corpus.open_store()
    assert store.fingerprint == made.fingerprint and len(store) == 20
    assert list(store.problems["path"]) == [str(crema / "AudioWAV" / "1001_DFA_JOY_XX.wav")]
    assert store.manifest["names"] == ["angry", "disgust", "fearful", "happy", "neutral", "sad"]

    clips = splits(store, config.fold, config.classes, ("audio",), fold_scheme=config.fold_scheme)
    assert {name: len(part) for name, part in clips.items()} == {"train": 12, "validation": 4, "test": 4}
    net = build_model(**network_settings(config, store))
    assert net.classifier.out_features == 6
    given = {"dropout": "none", "batch_size": 4, "learning_rate": 0.01, "seed": 1, "epochs": 1}
    (row,) = fit(net, clips["train"], clips["validation"], tmp_path, **given)
    assert row["epoch"] == 1 and (tmp_path / "model.safetensors").exists()


@pytest.fixture
def clips(tiny_store):
    labels = tiny_store.clips.label.to_numpy()
    return [Clips(tiny_store, rows, labels[rows], Classification(EMOTIONS)) for rows in np.split(np.arange(48), [32])]


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setitem(FUSIONS, "gate", None)  # so that it is taken out again
    return run_section("A fusion")["GatedMeans"]


def test_a_fusion_is_one_class_and_one_entry(gate, clips, tmp_path):
    config = Parameters(fusion="gate", outputs_root=str(tmp_path), image_size=64)
    assert config.folder == tmp_path / "toy" / "gate1-softhard" / "fold0-seed1"
    with pytest.raises(InputError, match="heads is 2, but fusion 'gate' has no attention"):
        Parameters(fusion="gate", heads=2)
    net = build_model(config.fusion, image_size=64)
    given = {"dropout": "softhard", "batch_size": 16, "learning_rate": 0.01, "seed": 1, "epochs": 1}
    before = net.fusion.gate.weight.clone()
    (row,) = fit(net, *clips, tmp_path, **given)
    assert row["epoch"] == 1 and not torch.equal(net.fusion.gate.weight, before)


def test_conditions_and_figures_take_what_evaluation_gives(clips):
    conditions = run_section("A condition")["conditions"]
    predictions = predict(build_model("ia", image_size=64), clips[1], conditions, fold=0, seed=1)
    assert list(metrics(predictions)["conditions"])[-2:] == ["picture at 50%", "picture at 10%"]
    ax = run_section("A figure")["confidence"](predictions)
    assert len(ax.lines) == len(conditions)
    assert all((line.get_xdata() >= 1 / 8).all() for line in ax.lines), "the largest of eight probabilities"
