"""The parameters of every notebook: names, types, choices and defaults, checked where they enter.

papermill passes on whatever it is given: a misspelt name only warns, `learning_rate: 4e-2` in YAML arrives as text.
`configure(globals())`, the guard cell of every notebook, turns that into `Parameters` or into one sentence.
"""

import ast
import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
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

from avlib import DATA, OUTPUTS, ROOT, InputError
from avlib.data.datasets import DATASETS

# What is allowed where there is no list of choices; 0 and "" are the dataset's own default where it has one.
MUST_BE = {
    "data_root": "the path of a folder, or of a file of features",
    "heads": "a whole number from 1",
    "classes": "8, or 7 to leave neutral out",
    "vision": "efficientface, or timm:NAME such as timm:mobilenetv4_conv_small",
    "train_vision": "true or false",
    "fold": "a whole number from 0 to 4, or as many as fold_scheme has",
    "dense_head": "true or false",
    "pretrained": "the path of a file",
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


def choices() -> dict[str, tuple]:
    """The values allowed for each parameter that has a list of them; some as the module that knows them lists them."""
    from avlib.data.folds import FOLDS
    from avlib.dropout import DROPOUTS
    from avlib.fusion import FUSIONS

    return {
        "dataset": tuple(DATASETS),
        "fusion": tuple(FUSIONS),
        "audio_features": ("mfcc", "logmel", "chroma", "spectrogram"),
        "dropout": tuple(DROPOUTS),
        "fold_scheme": tuple(FOLDS),
        "device": ("auto", "cpu", "cuda"),
        "protocol": ("paper", "authors", "mult"),
    }


def _number(value: Any) -> Any:
    """The number that a text holds; true and false are none here, though Python would count with them."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return float(value) if isinstance(value, str) else value


def _folder(value: Any) -> Any:
    """An absolute path; a relative one starts at the workbook, wherever the working directory is."""
    if not isinstance(value, str):
        return value
    try:
        path = ROOT / Path(value).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:  # too long, links in a circle, no such user, not UTF-8
        raise ValueError("no path") from error
    return Path(str(path).encode().decode())  # refuses what cannot be written as UTF-8


def _file(value: Any) -> Any:
    """An absolute path as text, or "" for none; a relative one starts at the workbook."""
    return str(_folder(value)) if isinstance(value, str) and value else value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Folder = Annotated[Path, BeforeValidator(_folder)]
File = Annotated[str, BeforeValidator(_file)]


class Parameters(BaseModel):
    """Everything that a run depends on, resolved: no "" or "auto" is left where there is a default, nor a 0
    but for what features do not have; paths are absolute.

    Raises InputError, one sentence on the first thing wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field("toy", description="the corpus")
    data_root: Folder = Field("", description="folder of the corpus, file of features; '' is data/<dataset>")
    fusion: str = Field("ia", description="how the branches meet, or one branch alone")
    heads: Whole = Field(1, ge=1, validate_default=True, description="heads in each cross-attention")
    dense_head: bool = Field(False, description="two more layers before the classifier, as MULT has them")
    pretrained: File = Field("", description="EfficientFace's or the authors' checkpoint; '' is fresh weights")
    audio_features: str = Field("mfcc", description="what the network hears")
    vision: str = Field("efficientface", description="what looks at a frame")
    train_vision: bool = Field(True, description="false leaves what looks at a frame as it is; seconds an epoch")
    dropout: str = Field("softhard", description="modality dropout in training")
    classes: Whole = Field(0, description="emotions; 7 leaves neutral out")
    fold_scheme: str = Field("", description="how the actors are dealt out to folds")
    fold: Whole = Field(0, ge=0, description="which split of the actors")
    seed: Whole = Field(1, ge=0, lt=2**32, description="one for everything random")
    epochs: Whole = Field(0, ge=1, le=100000, description="passes over the training clips")
    batch_size: Whole = Field(0, ge=2, le=100000, description="clips, before dropout multiplies them")
    learning_rate: Number = Field(0.0, gt=0, allow_inf_nan=False, description="at the start")
    image_size: Whole = Field(0, description="pixels along a side of a face")
    frames: Whole = Field(0, description="faces taken from a clip")
    device: str = Field("auto", description="auto is cuda where there is one")
    protocol: str = Field("", description="whose settings of training and preprocessing")
    resume: bool = Field(True, description="go on with what the run folder holds; false starts over")
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

    @field_validator("dataset", "fusion", "audio_features", "dropout", "fold_scheme", "device", "protocol")
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
            return value  # the dataset is refused, and that is said first
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
    def _can_look(cls, value):
        from avlib.vision import check_vision

        check_vision(value)
        return value

    @field_validator("heads")
    @classmethod
    def _suits_the_fusion(cls, heads, info):
        from avlib.fusion import check_heads

        return check_heads(info.data["fusion"], heads) if "fusion" in info.data else heads

    @model_validator(mode="after")
    def _fits_together(self):
        from avlib.data.folds import FOLDS, fold_range
        from avlib.fusion import FUSIONS, check_dense_head

        check_dense_head(self.fusion, self.dense_head)
        if self.fold >= FOLDS[self.fold_scheme]:
            raise ValueError(f"fold is {self.fold}; {fold_range(self.fold_scheme)}")
        if self.pretrained and not self.run and not Path(self.pretrained).is_file():
            raise ValueError(f"pretrained is {self.pretrained}, which is no file (a relative path starts at {ROOT})")
        if self.device == "cuda" != _device():
            raise ValueError("device is 'cuda', but PyTorch finds no CUDA device here; choose auto or cpu")
        dataset = DATASETS[self.dataset]
        for name, fit in {"protocol": dataset.protocols, "fold_scheme": dataset.fold_schemes}.items():
            if getattr(self, name) not in fit:
                given = getattr(self, name)
                raise ValueError(f"{name} is '{given}', which {self.dataset} does not have; choose {' or '.join(fit)}")
        features = dataset.kind == "features"
        if features and (self.audio_features, self.vision) != ("mfcc", "efficientface"):
            raise ValueError(f"audio_features and vision are for clips, but {self.dataset} comes as features")
        if not self.train_vision and (features or "video" not in FUSIONS[self.fusion].modalities):
            raise ValueError("train_vision is false, but this network looks at no frames: leave it at true")
        dataset.check_root(self.data_root)
        return self

    @property
    def of_store(self) -> dict[str, Any]:
        """What the store of the dataset is made with, as `ensure_store` and `preprocess` take it."""
        protocol = "authors" if self.protocol == "authors" else "paper"  # that of MULT is about training alone
        settings = {"frames": self.frames, "image_size": self.image_size, "audio_features": self.audio_features}
        return settings | {"protocol": protocol}

    @property
    def folder(self) -> Path:
        """The run folder: `run`, or the one that the name of the run leads to."""
        from avlib.run.names import run_name

        return Path(self.run) if self.run else self.outputs_root / run_name(self.model_dump()).path

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


@cache
def _device() -> str:
    """What `auto` means on this machine."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _stand_ins(dataset: Any) -> dict[str, Any]:
    """What 0, "" and `auto` stand for, by name."""
    known = dataset if isinstance(dataset, str) and dataset in DATASETS else _default_dataset()  # others: refused later
    return DATASETS[known].defaults | {"data_root": DATA / known, "outputs_root": OUTPUTS, "device": _device()}


def _default_dataset() -> str:
    return Parameters.model_fields["dataset"].default


def usual_values(dataset: str, fusion: str) -> dict[str, Any]:
    """The value that each parameter has where none is given."""
    from avlib.fusion import FUSIONS, check_heads

    usual = {name: field.default for name, field in Parameters.model_fields.items()} | _stand_ins(dataset)
    return usual | ({"heads": check_heads(fusion, usual["heads"])} if fusion in FUSIONS else {})


def _of_run(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the run in the folder `run`, with those given that may differ from its own.

    Raises InputError where there is no run, and where another value is given than the run has; a default is not given.
    """
    from avlib.run.records import MAY_CHANGE, read_record

    try:
        folder = Path(_folder(values["run"]))
    except (TypeError, ValueError):
        raise InputError(f"run is {values['run']!r}; it must be {MUST_BE['run']}") from None
    record = read_record(folder)
    if record is None:
        raise InputError(f"run is {folder}, which holds no run.json: give the folder of a trained run")
    own = {name: value for name, value in record["parameters"].items() if name not in ("device", "resume", "run")}
    if not Path(own.get("data_root", "")).exists():  # trained elsewhere; the fingerprint tells whether data differ
        del own["data_root"]
    given = {name: value for name, value in values.items() if value != Parameters.model_fields[name].default}
    for name in given.keys() & own.keys() - {*MAY_CHANGE}:
        if _plain(given[name]) != _plain(own[name]):
            raise InputError(f"{name} is {given[name]!r}, but {folder} has {own[name]!r}: leave {name} out")
    return own | {name: value for name, value in given.items() if name in (*MAY_CHANGE, "run")}


def _plain(value: Any) -> str:
    """A value as text, the same for a number and for a text that holds it."""
    try:
        return str(value).lower() if isinstance(value, bool) else str(float(value))
    except (TypeError, ValueError):
        return str(value)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with what stands in for every 0, "" and `auto`, and for every None or missing one."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in _stand_ins(given.get("dataset", _default_dataset())).items():
        if str(given.get(name, "")) in ("", "0", "0.0", "auto"):
            given[name] = value
    return given


def _sentence(error: dict[str, Any], values: dict[str, Any]) -> str:
    """One sentence for an entry of pydantic's list of errors about these values."""
    cause = error.get("ctx", {}).get("error")
    if not error["loc"] or isinstance(cause, InputError):  # raised by us about several of them, a sentence already
        return str(cause)
    name = error["loc"][0]
    said = f"{name} is {values[name]!r}"
    if name in MUST_BE:
        return f"{said}; it must be {MUST_BE[name]}"
    allowed = choices()[name]
    return f"{said}; choose one of {', '.join(map(str, allowed))}{_nearest(values[name], allowed)}"


def _unknown(name: str) -> str:
    return f"unknown parameter '{name}'{_nearest(name, NAMES) or '; `avlib parameters` lists the known ones'}"


def _nearest(word: Any, known: Iterable) -> str:
    """The end of a sentence, `: did you mean 'fusion'?`, or "" where no known name is near."""
    near = get_close_matches(str(word), [str(name) for name in known], n=1)
    return f": did you mean '{near[0]}'?" if near else ""


def configure(namespace: dict[str, Any]) -> Parameters:
    """The resolved parameters of a notebook, from its `globals()`. Writes nothing; may be called again.

    It shows those that the notebook declares; it has the others too, with their defaults.

    Raises InputError for a value that does not fit, and for a name in the parameters cell, or in the one that papermill
    puts after it, that is no parameter. Other variables of the notebook are left alone.
    """
    assigned = _assigned(namespace.get("In", []))
    for name in assigned:
        if name not in NAMES:
            raise InputError(_unknown(name))
    declared = [name for name in assigned or NAMES if name in namespace]
    config = Parameters(**{name: namespace[name] for name in declared})
    config._shown = tuple(declared)
    return config


def _assigned(history: list[str]) -> list[str]:
    """The names that the newest parameters cell, and papermill's cell where one came after it, give a value to.

    A parameters cell is known by assigning at least three parameters, papermill's by its first line. Older versions of
    either are what the reader has since mended.
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
