import pytest

from workbook.data.datasets import Corpus
from workbook.evaluate.metrics import metrics
from workbook.run.parameters import Parameters
from workbook.run.small_runs import train_small
from workbook.toy.accents import make_file


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("accents") / "people.npz"
    make_file(path)
    return {"dataset": "features", "data_root": path, "fusion": "concat", "dropout": "none", "fold_scheme": "paper"}


@pytest.mark.parametrize("choose_on", ["validation", "test"])
def test_a_small_run_has_the_weights_of_the_chosen_epoch(settings, choose_on):
    run = train_small(Parameters(**settings, epochs=2, batch_size=64, learning_rate=0.004), choose_on)
    chosen = run.history[run.history["best"]].iloc[-1]
    table = run.predict()
    assert metrics(table)["conditions"]["AV"]["accuracy"] == pytest.approx(chosen["test_accuracy"])
    assert set(table["condition"]) == {"AV"} and set(table["actor"]) == set(run.clips["test"].table["actor"])
    assert run.history["validation_accuracy"].equals(run.history["test_accuracy"]) == (choose_on == "test")


def test_a_small_run_is_tested_on_another_corpus(settings, tmp_path):
    run = train_small(Parameters(**settings, epochs=1, batch_size=64))
    make_file(tmp_path / "strangers.npz", range(101, 106))
    strangers = run.clips_of(Corpus("features", tmp_path / "strangers.npz"))
    table = run.predict(strangers)
    assert set(table["actor"]) == {*range(101, 106)} and table["seed"].eq(1).all()
    test = run.clips["test"]
    assert strangers.scales is test.scales and strangers.task == test.task
