"""Guard cells of notebooks, on the globals that a notebook would have."""

import pytest

from workbook import InputError
from workbook.run import configure, open_run

CELL = 'dataset: str = "toy"  # toy | ravdess\nfusion: str = "ia"\nfold: int = 0\n'
OWN = 'run: str = ""\ndevice: str = "auto"\nbaseline: str = "mean"\ndraws: int = 3\n'


def notebook(*cells: str) -> dict:
    """The globals of a notebook after these cells."""
    namespace = {}
    for cell in cells:
        exec(cell, namespace)
    return namespace | {"In": ["", *cells, "config = configure(globals())"]}


def test_the_values_are_those_of_the_parameters_cell_and_of_papermill():
    config = configure(notebook(CELL, '# Parameters\nfusion = "lt"\nfold = "4"\n'))
    assert (config.fusion, config.fold, config.heads) == ("lt", 4, 1)
    assert configure(notebook(CELL, "fold = 3")).fold == 3, "changed in another cell"
    assert configure({"fusion": "it", "clips": 3}).fusion == "it", "without a history"


@pytest.mark.parametrize("cells", [(CELL, '# Parameters\nfuson = "ia"\n'), (CELL.replace("fusion", "fuson"),)])
def test_a_misspelt_name_is_refused_wherever_it_stands(cells):
    with pytest.raises(InputError, match=r"^unknown parameter 'fuson': did you mean 'fusion'\?$"):
        configure(notebook(*cells))


def test_the_guard_runs_again_among_the_readers_own_variables():
    later = "fuson = 1\nframes = object()\nstore, classes = object(), 3"
    own = "seconds: float = 3.6"
    namespace = notebook(CELL, "# Parameters\nfold = 2\n", later, own)
    namespace["In"].append("%time not python")
    assert configure(namespace) == configure(namespace)
    assert configure(namespace).frames == 6, "a parameter that the notebook does not declare is not read from it"
    assert configure(namespace).fold == 2


def test_a_misspelling_that_was_corrected_is_forgotten():
    assert configure(notebook(CELL.replace("fusion", "fuson"), CELL)).fusion == "ia"
    assert configure(notebook(CELL, '# Parameters\nfuson = "lt"\n', CELL)).fusion == "ia"


@pytest.mark.parametrize(
    "cell, sentence",
    [
        ("baseline = 'zero'", "baseline is 'zero'; choose one of mean, zeros: did you mean 'zeros'?"),
        ("draws = 0", "draws is 0; it should be a whole number from 1 to 100"),
        ("draws = None", "draws is None; leave it out for its default"),
        ("drows = 3", "unknown parameter 'drows': did you mean 'draws'?"),
        ("fusion = 'lt'", "unknown parameter 'fusion'; known are baseline, draws, run, device"),
        ("run = 3", "run is 3; it should be text"),
        ("run = 'null'", "run is null; leave it out for its default"),
        ("device = 'gpu'", "device is 'gpu'; choose one of auto, cpu, cuda: did you mean 'cpu'?"),
    ],
)
def test_a_wrong_value_in_a_notebook_that_opens_a_run_is_one_sentence(cell, sentence):
    with pytest.raises(InputError) as refused:
        open_run(notebook(OWN, f"# Parameters\n{cell}"), baseline=("mean", "zeros"), draws=range(1, 101))
    assert str(refused.value) == sentence


def test_a_parameter_whose_value_was_deleted_does_not_become_its_default():
    for value in ("", " = None", ' = "~"'):
        with pytest.raises(InputError, match=r"^fusion is (None|~); leave it out for its default$"):
            configure(notebook(CELL.replace(' = "ia"', value)))
