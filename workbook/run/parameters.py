"""The parameters of all notebooks: names, types, choices, defaults, and their checks.

papermill checks nothing: a misspelt name only warns, and `learning_rate: 4e-2` in YAML arrives as text.
`configure(globals())`, the guard cell of every notebook, returns `Parameters` or raises InputError with one sentence.
"""

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

import workbook.toy  # noqa: F401  (its datasets join the table)
from workbook import DATA, OUTPUTS, ROOT, InputError
from workbook.data.datasets import DATASETS

# Allowed values of parameters without a list of choices; 0 and "" stand for the dataset's default where it has one.
MUST_BE = {
    "data_root": "the path of a folder, or of a file of features",
    "heads": "a whole number from 1",
    "classes": "8, or 7 to leave neutral out",
    "vision": "efficientface, or timm:NAME such as timm:mobilenetv4_conv_small",
    "train_vision": "true or false",
    "fold": "a whole number from 0 to 4, or as many as fold_scheme has",
    "dense_head": "true or false",
    "pretrained": "none, frames, or the path of a checkpoint or of a folder of face images",
    "frame_epochs": "a whole number from 1 to 100000",
    "seed": "a whole number from 0 to 4294967295",
    "epochs": "a whole number from 1 to 100000",
    "batch_size": "a whole number from 2 to 100000",
    "learning_rate": "a number above 0",
    "image_size": "a multiple of 32 from 64 to 1024",
    "frames": "a whole number from 2 to 1000",
    "resume": "true or false",
    "outputs_root": "the path of a folder",
    "run": "the folder of a trained run",
}
WORDS = ("", "none", "frames")  # that stand in the place of a path


def choices() -> dict[str, tuple]:
    """The allowed values of each parameter with a list of choices."""
    from avlib.dropout import DROPOUTS
    from avlib.fusion import FUSIONS
    from workbook.data.folds import FOLDS
    from workbook.run.tracker import TRACKERS

    return {
        "dataset": tuple(DATASETS),
        "fusion": tuple(FUSIONS),
        "audio_features": ("mfcc", "logmel", "chroma", "spectrogram"),
        "dropout": tuple(DROPOUTS),
        "fold_scheme": tuple(FOLDS),
        "device": ("auto", "cpu", "cuda"),
        "protocol": ("paper", "authors", "mult"),
        "tracker": TRACKERS,
    }


def _number(value: Any) -> Any:
    """A text as a number; refuses true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return float(value) if isinstance(value, str) else value


def _folder(value: Any) -> Any:
    """An absolute path; a relative one starts at the workbook, not at the working directory."""
    if not isinstance(value, str):
        return value
    try:
        path = ROOT / Path(value).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:  # too long, circular links, unknown user, not UTF-8
        raise ValueError("no path") from error
    return Path(str(path).encode().decode())  # fails for a path that is not UTF-8


def _file(value: Any) -> Any:
    """An absolute path as text, or a word in its place; a relative path starts at the workbook."""
    return str(_folder(value)) if isinstance(value, str) and value not in WORDS else value


@contextmanager
def _as_input_error() -> Iterator[None]:
    """A block in which a ValueError of avlib becomes an InputError with the same sentence."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from None


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Folder = Annotated[Path, BeforeValidator(_folder)]
File = Annotated[str, BeforeValidator(_file)]


class Parameters(BaseModel):
    """All parameters of a run, resolved: defaults replace "", "auto" and 0, and paths are absolute.

    A 0 stays only where the dataset has no such setting. Raises InputError with one sentence on the first mistake.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field("toy", description="name of the dataset")
    data_root: Folder = Field("", description="folder of the corpus, file of features; '' is data/<dataset>")
    fusion: str = Field("ia", description="how the branches meet, or one branch alone")
    heads: Whole = Field(1, ge=1, validate_default=True, description="heads in each cross-attention")
    dense_head: bool = Field(False, description="true adds two layers before the classifier, as in MULT")
    pretrained: File = Field("", description="a checkpoint, or what the frame network is first taught on")
    frame_epochs: Whole = Field(0, ge=0, le=100000, description="passes over single frames, with pretrained=frames")
    audio_features: str = Field("mfcc", description="audio features of clips")
    vision: str = Field("efficientface", description="the frame network")
    train_vision: bool = Field(True, description="false freezes the frame network; epochs take seconds")
    dropout: str = Field("softhard", description="modality dropout in training")
    classes: Whole = Field(0, description="emotions; 7 leaves neutral out")
    fold_scheme: str = Field("", description="how folds split the actors")
    fold: Whole = Field(0, ge=0, description="number of the fold")
    seed: Whole = Field(1, ge=0, lt=2**32, description="of all random numbers")
    epochs: Whole = Field(0, ge=1, le=100000, description="passes over the training clips")
    batch_size: Whole = Field(0, ge=2, le=100000, description="clips in a batch, without dropout's variants")
    learning_rate: Number = Field(0.0, gt=0, allow_inf_nan=False, description="at the start")
    image_size: Whole = Field(0, description="side of a face image in pixels")
    frames: Whole = Field(0, description="frames of a clip")
    device: str = Field("auto", description="auto is cuda where there is one")
    protocol: str = Field("", description="whose settings for training and preprocessing")
    resume: bool = Field(True, description="true continues the run in the run folder; false starts over")
    tracker: str = Field("none", description="where a copy of the run is kept for people who look there")
    outputs_root: Folder = Field("", description="folder of all runs; '' is outputs/")
    run: File = Field("", description="folder of a trained run; '' finds it by the other parameters")

    _shown: tuple[str, ...] = PrivateAttr(default_factory=lambda: NAMES)  # those that a notebook declares

    def __init__(self, **values):
        unknown = [name for name in values if name not in NAMES]
        if unknown:
            raise InputError(_unknown(unknown[0]))
        try:
            super().__init__(**_filled(_of_run(values) if values.get("run") else values))
        except ValidationError as error:
            raise InputError(_sentence(error.errors()[0], values)) from None

    @field_validator("dataset", "fusion", "audio_features", "dropout", "fold_scheme", "device", "protocol", "tracker")
    @classmethod
    def _is_a_choice(cls, value, info):
        if value not in choices()[info.field_name]:
            raise ValueError("not one of the choices")
        return value

    @field_validator("classes", "image_size", "frames")
    @classmethod
    def _suits_the_dataset(cls, value, info):
        dataset = DATASETS.get(info.data.get("dataset"))
        if not dataset:
            return value  # the unknown dataset is refused first
        usual = dataset.defaults[info.field_name]
        if value and not usual:
            why = "comes as features" if dataset.kind == "features" else "names its classes itself"
            raise InputError(f"{info.field_name} is {value}, but {info.data['dataset']} {why}: leave it at 0")
        fits = {
            "classes": value in dataset.classes,
            "image_size": 64 <= value <= 1024 and value % 32 == 0,
            "frames": 2 <= value <= 1000,
        }
        if usual and not fits[info.field_name]:
            raise ValueError("out of range")
        return value

    @field_validator("vision")
    @classmethod
    def _is_a_frame_network(cls, value):
        from avlib.frame_networks import check_vision

        with _as_input_error():
            check_vision(value)
        return value

    @field_validator("heads")
    @classmethod
    def _suits_the_fusion(cls, heads, info):
        from avlib.fusion import check_heads

        with _as_input_error():
            return check_heads(info.data["fusion"], heads) if "fusion" in info.data else heads

    @model_validator(mode="after")
    def _fits_together(self):
        from avlib.fusion import FUSIONS, check_dense_head
        from workbook.data.folds import FOLDS, fold_range

        check_dense_head(self.fusion, self.dense_head)
        if self.fold >= FOLDS[self.fold_scheme]:
            raise ValueError(f"fold is {self.fold}; {fold_range(self.fold_scheme)}")
        if not (self.pretrained in WORDS or self.run or Path(self.pretrained).exists()):
            told = f"pretrained is {self.pretrained}, which is no file or folder"
            raise ValueError(f"{told} (a relative path starts at {ROOT})")
        if self.device == "cuda" != _device():
            raise ValueError("device is 'cuda', but PyTorch finds no CUDA device here; choose auto or cpu")
        if self.tracker != "none" and not self.run and not find_spec(self.tracker):
            raise ValueError(f"tracker is '{self.tracker}', which is not installed: pip install -e '.[{self.tracker}]'")
        dataset = DATASETS[self.dataset]
        for name, fit in {"protocol": dataset.protocols, "fold_scheme": dataset.fold_schemes}.items():
            if getattr(self, name) not in fit:
                given = getattr(self, name)
                raise ValueError(f"{name} is '{given}', which {self.dataset} does not have; choose {' or '.join(fit)}")
        features = dataset.kind == "features"
        if features and (self.audio_features, self.vision) != ("mfcc", "efficientface"):
            raise ValueError(f"audio_features and vision are for clips, but {self.dataset} comes as features")
        if features or "video" not in FUSIONS[self.fusion].modalities:
            if not self.train_vision:
                raise ValueError("train_vision is false, but this run has no frame network: leave it at true")
            if self.teaches_frames:
                raise ValueError(f"pretrained is {self.pretrained}, but this run has no frame network: leave it out")
        if not self.run:  # a trained run may be of use without its corpus
            dataset.check_root(self.data_root)
        return self

    @property
    def of_store(self) -> dict[str, Any]:
        """The settings of the store, for `ensure_store` and `preprocess`."""
        protocol = "authors" if self.protocol == "authors" else "paper"  # MULT's concerns only training
        settings = {"frames": self.frames, "image_size": self.image_size, "audio_features": self.audio_features}
        return settings | {"protocol": protocol}

    @property
    def folder(self) -> Path:
        """The run folder: `run`, else the one with the name of the run."""
        from workbook.run.names import run_name

        return Path(self.run) if self.run else self.outputs_root / run_name(self.model_dump()).path

    @property
    def images(self) -> Path | None:
        """The folder of face images that the frame network is taught on; None where it is not, or on frames."""
        path = Path(self.pretrained)
        return path if self.pretrained not in WORDS and path.is_dir() else None

    @property
    def teaches_frames(self) -> bool:
        """Whether the frame network is taught before training, by pretrain.ipynb."""
        return self.pretrained == "frames" or self.images is not None

    @property
    def pretraining_folder(self) -> Path:
        """Where pretrain.ipynb keeps the frame network; runs with the same frames share it."""
        from workbook.run.names import pretraining_name

        return self.outputs_root / pretraining_name(self.model_dump(), of_images=self.images is not None)

    @property
    def starts_from(self) -> Path | None:
        """The file whose weights training starts from, which pretrain.ipynb may still have to make; None = fresh."""
        if self.teaches_frames:
            return self.pretraining_folder / "model.safetensors"
        return None if self.pretrained in WORDS else Path(self.pretrained)

    def command(self, notebook: str, names: Iterable[str]) -> str:
        """The command that runs a notebook with those of the named parameters that are not defaults."""
        given = [(name, value) for name, value, origin in self.rows() if origin == "given" and name in names]
        options = " ".join(f"-p {name} {quote(value)}" for name, value in given)
        return f"papermill notebooks/{notebook}.ipynb outputs/{notebook}.ipynb {options}".rstrip()

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and origin (default, dataset default or given) of every parameter, in order."""
        usual, rows = usual_values(self.dataset, self.fusion), []
        for name, value in self:
            default = "dataset default" if name in (*DATASETS[self.dataset].defaults, "data_root") else "default"
            rows.append((name, str(value) or '""', default if value == usual[name] else "given"))
        return rows

    def _declared(self) -> list[tuple[str, str, str]]:
        """Those rows that the notebook declares."""
        return [row for row in self.rows() if row[0] in self._shown]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<14} {value:<28} {origin}" for name, value, origin in self._declared())

    __str__ = __repr__

    def _repr_markdown_(self) -> str:
        lines = [f"| {name} | `{value}` | {origin} |" for name, value, origin in self._declared()]
        return "\n".join(["| parameter | value | from |", "| :-- | :-- | :-- |", *lines])


NAMES = tuple(Parameters.model_fields)
DEFAULTS = {name: field.default for name, field in Parameters.model_fields.items()}


@cache
def _device() -> str:
    """What `auto` means on this machine."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _stand_ins(dataset: Any, fusion: Any) -> dict[str, Any]:
    """What 0, "" and `auto` stand for, by name."""
    from avlib.fusion import FUSIONS

    known = dataset if isinstance(dataset, str) and dataset in DATASETS else _default_dataset()  # refused later
    usual = DATASETS[known].defaults | {"data_root": DATA / known, "outputs_root": OUTPUTS, "device": _device()}
    if isinstance(fusion, str) and fusion in FUSIONS and "video" not in FUSIONS[fusion].modalities:
        usual["pretrained"] = "none"  # there is no frame network
    return usual


def _default_dataset() -> str:
    return Parameters.model_fields["dataset"].default


def usual_values(dataset: str, fusion: str) -> dict[str, Any]:
    """The default of each parameter."""
    from avlib.fusion import FUSIONS, check_heads

    usual = DEFAULTS | _stand_ins(dataset, fusion)
    return usual | ({"heads": check_heads(fusion, usual["heads"])} if fusion in FUSIONS else {})


def _of_run(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the run in the folder `run`, with the given values of those that may differ.

    Raises InputError where there is no run, and where a given value (not a default) differs from the run's.
    """
    from workbook.run.records import MAY_CHANGE, read_record

    try:
        folder = Path(_folder(values["run"]))
    except (TypeError, ValueError):
        raise InputError(f"run is {values['run']!r}; it must be {MUST_BE['run']}") from None
    record = read_record(folder)
    if record is None:
        raise InputError(f"run is {folder}, which holds no run.json: give the folder of a trained run")
    own = {name: value for name, value in record["parameters"].items() if name not in ("device", "resume", "run")}
    if not Path(own.get("data_root", "")).exists():  # trained elsewhere; the fingerprint shows if the data differ
        del own["data_root"]
    given = {name: value for name, value in values.items() if value != Parameters.model_fields[name].default}
    for name in given.keys() & own.keys() - {*MAY_CHANGE}:
        if _plain(given[name]) != _plain(own[name]):
            raise InputError(f"{name} is {given[name]!r}, but {folder} has {own[name]!r}: leave {name} out")
    return own | {name: value for name, value in given.items() if name in (*MAY_CHANGE, "run")}


def _plain(value: Any) -> str:
    """A value as text; 0.04 and "0.04" give the same."""
    try:
        return str(value).lower() if isinstance(value, bool) else str(float(value))
    except (TypeError, ValueError):
        return str(value)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with defaults in place of every 0, "", `auto`, None and missing value."""
    given = {name: value for name, value in values.items() if value is not None}
    fusion = given.get("fusion", Parameters.model_fields["fusion"].default)
    for name, value in _stand_ins(given.get("dataset", _default_dataset()), fusion).items():
        if str(given.get(name, "")) in ("", "0", "0.0", "auto"):
            given[name] = value
    return given


def _sentence(error: dict[str, Any], values: dict[str, Any]) -> str:
    """One sentence for an entry of pydantic's list of errors about these values."""
    cause = error.get("ctx", {}).get("error")
    if not error["loc"] or isinstance(cause, InputError):  # our own error: already a sentence
        return str(cause)
    name = error["loc"][0]
    said = f"{name} is {values[name]!r}"
    if name in MUST_BE:
        return f"{said}; it must be {MUST_BE[name]}"
    return _refused(name, values[name], choices()[name])


def _unknown(name: str, known: Iterable[str] = NAMES) -> str:
    return f"unknown parameter '{name}'{_nearest(name, known) or '; `avlib parameters` lists the known ones'}"


def _refused(name: str, value: Any, allowed: Iterable) -> str:
    if isinstance(allowed, range):
        return f"{name} is {value!r}; it must be a whole number from {allowed[0]} to {allowed[-1]}"
    return f"{name} is {value!r}; choose one of {', '.join(map(str, allowed))}{_nearest(value, allowed)}"


def _nearest(word: Any, known: Iterable) -> str:
    """The end of a sentence, `: did you mean 'fusion'?`, or "" where no known name is near."""
    near = get_close_matches(str(word), [str(name) for name in known], n=1)
    return f": did you mean '{near[0]}'?" if near else ""


def configure(namespace: dict[str, Any], **own: Iterable | type[str]) -> Parameters:
    """The resolved parameters of a notebook, from its `globals()`. Writes nothing; may be called again.

    It shows the parameters that the notebook declares; the others have their defaults.

    own : the allowed values of each parameter that only this notebook has, such as baseline=("zeros", "mean") or
        draws=range(1, 101), or str for any text; they are checked and stay where they are, in the notebook
    Raises InputError for a value that does not fit, and for an unknown name in the parameters cell or in papermill's
    cell after it. Other variables of the notebook are ignored.
    """
    assigned = _assigned(namespace.get("In", []))
    for name in assigned:
        if name not in (*NAMES, *own):
            raise InputError(_unknown(name, (*NAMES, *own)))
    for name, allowed in own.items():
        if allowed is str:
            if not isinstance(namespace[name], str):
                raise InputError(f"{name} is {namespace[name]!r}; it must be text")
        elif isinstance(namespace[name], bool) or namespace[name] not in allowed:
            raise InputError(_refused(name, namespace[name], allowed))
    declared = [name for name in assigned or NAMES if name in namespace and name in NAMES]
    config = Parameters(**{name: namespace[name] for name in declared})
    config._shown = tuple(declared)
    return config


def _assigned(history: list[str]) -> list[str]:
    """The names assigned in the newest parameters cell and in papermill's cell after it.

    A parameters cell assigns at least three parameters; papermill's has a known first line. Earlier versions of a cell
    that the reader has changed since are ignored.
    """
    cell, injected = [], []
    for source in history:
        names = _targets(source)
        if source.startswith("# Parameters\n"):
            injected = names
        elif sum(name in NAMES for name in names) >= 3:
            cell, injected = names, []
    return [*cell, *injected]


def _targets(source: str) -> list[str]:
    """The plain names assigned at the top level of a cell; none where it is not Python."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    targets = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return [target.id for target in targets if isinstance(target, ast.Name)]
