"""A file of weights as a run folder: a checkpoint of the authors' code, or a `model.safetensors` without its folder."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save_file

from avlib.fusion import FUSIONS
from avlib.model import build_model
from avlib.weights import (
    FRAMES,
    SIGNATURES,
    Weights,
    authors_system,
    check_weights,
    load_authors_checkpoint,
    read_weights,
)
from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.files import atomic_write, checksum, path_text, writing
from workbook.run.parameters import NAMES, Parameters
from workbook.run.record import Origin, Record, now, provenance
from workbook.run.run_name import UNNAMED
from workbook.train.batches import task_and_labels

# The test of a checkpoint in the authors' format: their readme names the test actors of those that they released.
AUTHORS = {"dataset": "ravdess", "protocol": "authors", "fold_scheme": "authors", "fold": 0}
AUTHORS |= {"audio_features": "mfcc", "image_size": 224, "frames": 15}
INPUT = ("heads", "protocol", "fold_scheme", "fold", "audio_features", "image_size", "frames")  # a test needs them
READ = ("dataset", "data_root", "fusion", "dense_head", "even_attention", "vision", "classes", *UNNAMED)
TRAINING = tuple(name for name in NAMES if name not in (*INPUT, *READ))  # a test does without


def import_network(path: Path, folder: Path, values: dict[str, Any]) -> Record:
    """Makes a run folder of a file of weights, and returns its record. Nothing in the file is executed.

    values : the parameters that are known, by name; of all others the record says that they are assumed or unknown
    Raises InputError where the folder is there, where the file holds no such network, and where a value does not fit.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already: give a new folder as --out")
    try:
        path, weights = read_weights(path)
        is_authors = any(sign in weights for sign in SIGNATURES.values())
        if not is_authors and (path.parent / Record.FILE).exists():
            raise InputError(f"{path} lies in the folder of its run: give {path.parent} as run")
        system = _authors_network(path, weights) if is_authors else _own_network(path, weights)
        values = (AUTHORS if is_authors else {}) | values
        config = _parameters(path, system, values)
        sizes = {name: getattr(config, name) for name in ("heads", "image_size", "vision")}
        net = build_model(**system | sizes)
        if is_authors:
            weights = load_authors_checkpoint(path, config.heads).state_dict()
        check_weights(path, weights, net.state_dict(), f"fusion {config.fusion} with {config.vision}")
    except ValueError as error:
        raise InputError(str(error)) from None
    known = values.keys() | ({"dropout"} if system["learned_stand_ins"] else set())
    has_heads = FUSIONS[config.fusion].widths and not FUSIONS[config.fusion].own_heads
    assumed = [name for name in INPUT if name not in known and (has_heads or name != "heads")]
    unknown = [name for name in TRAINING if name not in known]
    origin = Origin(file=path_text(path.name), sha256=checksum(path), assumed=assumed, unknown=unknown)
    record = Record(
        parameters=config.model_dump(mode="json"),
        network=system | sizes,
        labels=_labels(config, system["classes"]),
        fingerprint="",
        imported=origin,
        started=now(),
        trained=now("milliseconds"),
        state="done",
        stage="import",
        **provenance(config.device) | {"device": None},
    )
    _write(folder, record, weights)
    return record


def _authors_network(path: Path, weights: Weights) -> dict[str, Any]:
    """The arguments of `build_model` that a checkpoint of the authors tells."""
    fusion, classes = authors_system(path, weights)
    system = {"fusion": fusion, "classes": classes, "dense_head": False, "even_attention": False}
    return system | {"learned_stand_ins": False, "audio_channels": 10, "video_channels": 0}


def _own_network(path: Path, weights: Weights) -> dict[str, Any]:
    """The arguments of `build_model` that weights of this workbook tell; the fusion is the one with their shapes."""
    own = {name: weight for name, weight in weights.items() if not name.startswith(FRAMES)}
    queries = [weight for name, weight in own.items() if name.endswith(".query.weight")]

    def channels(branch: str, otherwise: int) -> int:
        inputs = (own[name].shape[1] for name in sorted(own) if name.startswith(branch) and own[name].ndim == 3)
        return next(inputs, otherwise)

    system = {
        "classes": len(own["classifier.weight"]) if "classifier.weight" in own else 0,
        "dense_head": any(name.startswith("dense.") for name in own),
        "even_attention": bool(queries) and not any(weight.any() for weight in queries),
        "learned_stand_ins": any(name.endswith(".stand_in") for name in own),
        "audio_channels": channels("audio.", 10),
        "video_channels": channels("video.", 1),
    }
    shapes = {name: weight.shape for name, weight in own.items()}
    for fusion, entry in FUSIONS.items() if system["classes"] else ():
        if system["even_attention"] <= bool(entry.widths) and system["dense_head"] <= (not entry.has_dense_head):
            net = build_model(fusion, **system)
            if shapes == {name: weight.shape for name, weight in net.state_dict().items()}:
                has_frames = len(own) < len(weights) or "video" not in entry.modalities
                return {"fusion": fusion} | system | ({"video_channels": 0} if has_frames else {})
    raise InputError(f"{path} holds neither a checkpoint of the authors nor the network of a run: no fusion fits it")


def _parameters(path: Path, system: dict[str, Any], values: dict[str, Any]) -> Parameters:
    """The parameters of the run. Raises InputError where one of the values contradicts the weights."""
    if "dataset" not in values:
        raise InputError(f"{path} does not say what it was trained on: give -p dataset with its name")
    read = {name: system[name] for name in ("fusion", "dense_head", "even_attention")}
    dataset = DATASETS.get(str(values["dataset"]))
    read |= {"classes": system["classes"]} if dataset and dataset.classes else {}
    read |= {"dropout": "learned"} if system["learned_stand_ins"] else {}
    for name in read.keys() & values.keys():
        if read[name] != values[name]:
            raise InputError(f"{name} is {values[name]}, but {path} holds a network with {name} {read[name]}")
    if dataset and (dataset.kind == "features") != bool(system["video_channels"]) and read["fusion"] != "audio":
        kind = "features" if system["video_channels"] else "frames"
        raise InputError(f"dataset is {values['dataset']}, but the network of {path} reads {kind}")
    return Parameters(**values | read)


def _labels(config: Parameters, outputs: int) -> list[str]:
    """The labels of the run: of its dataset or, where that has none, of its files."""
    labels = config.corpus.record.names[-outputs:]
    has = len(labels)
    if not labels:
        task, _ = task_and_labels(config.corpus.open_store())
        labels, has = task.names, task.outputs
    if has != outputs:
        raise InputError(f"the network has {outputs} outputs, but {config.dataset} has {has} labels: give its own data")
    return list(labels)


def _write(folder: Path, record: Record, weights: Weights) -> None:
    """Writes a run folder, whole or not at all."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".import-", dir=folder.parent) as place:
            draft = Path(place, folder.name)
            with atomic_write(draft / "model.safetensors") as file:
                save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
            record.write(draft)
            draft.rename(folder)
