"""The parameters of a run: names, types, allowed values, defaults and meaning, each said here once.

`avlib parameters` and the comments in the notebooks' parameters cells come from this record.
"""

import logging
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from reprlib import Repr
from runpy import run_path
from traceback import extract_tb
from typing import Annotated, Any

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

import workbook.toy  # noqa: F401  (its datasets join the table)
from avlib.dropout import DROPOUTS
from avlib.frame_networks import check_image_size, check_vision
from avlib.fusion import FUSIONS, check_dense_head, check_even_attention, check_heads
from workbook import DATA, OUTPUTS, ROOT, InputError
from workbook.data.datasets import DATASETS, Corpus
from workbook.data.folds import FOLDS, fold_range
from workbook.run.run_name import RunName
from workbook.text import in_markdown, one_line, papermill_command

OWN_FUSIONS = ROOT / "notebooks" / "my_fusions.py"


def read_own_fusions(path: Path = OWN_FUSIONS) -> None:
    """Executes the reader's own file of fusions, where there is one: it adds entries to `FUSIONS`.

    Raises InputError where it fails, with its line.
    """
    if not path.exists():
        return
    try:
        run_path(str(path))
    except Exception as error:  # of any kind: a reader wrote the file
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", "?")  # of a file that cannot be parsed
        raise InputError(f"{path}, line {line}: {type(error).__name__}: {one_line(error)}") from error


read_own_fusions()  # so that every notebook and command can open what another one has trained

CHOICES: dict[str, Collection[str]] = {  # tables that may grow while a notebook runs, so no Literals
    "dataset": DATASETS,
    "fusion": FUSIONS,
    "audio_features": ("mfcc", "logmel", "chroma", "spectrogram"),
    "dropout": DROPOUTS,
    "fold_scheme": FOLDS,
    "device": ("auto", "cpu", "cuda"),
    "protocol": ("paper", "authors", "mult"),
    "tracker": ("none", "mlflow"),
}
log = logging.getLogger(__name__)
KEYWORDS = ("", "none", "frames")  # values of `pretrained` that are no paths


_SHORT = Repr()
_SHORT.maxlevel = 2


def show(value: Any) -> str:
    """A refused value as a sentence has it; a list and a long number are shortened."""
    return repr(str(value)) if isinstance(value, str | Path) else _SHORT.repr(value)


def refuse_empty(name: str, value: Any, choices: Collection[str] = ()) -> None:
    """Raises InputError for None, null, ~ and nothing, unless they are a choice."""
    text = "None" if value is None else value.strip() if isinstance(value, str) else "a value"
    if text.lower() in ("none", "null", "~", "") and value not in choices:
        hint = ", or write none" if "none" in choices else ""
        raise InputError(f"{name} is {text or 'empty'}; leave it out for its default{hint}")


def absolute_path(name: str, value: Any) -> Path:
    """The absolute path that a parameter, or an argument, names; a relative one starts at the workbook.

    Raises InputError for what is no path.
    """
    try:
        path = ROOT / Path(value).expanduser()
        str(path).encode()
    except (RuntimeError, TypeError, ValueError):  # an unknown user, a number, no UTF-8
        raise InputError(f"{name} is {show(value)}; it should be a path") from None
    return path


def _number(value: Any) -> Any:
    """Refuses true and false, which Python takes for 1 and 0, and 010, which YAML takes for 8."""
    if isinstance(value, bool) or (isinstance(value, str) and re.match(r"\s*[-+]?0[\d_]", value)):
        raise ValueError(f"is {value}; it should be a number, without a 0 in front")
    return value


def _path(value: Any, info: ValidationInfo) -> Path:
    return absolute_path(info.field_name, value)


def _path_or_keyword(value: Any, info: ValidationInfo) -> str:
    return value if value in KEYWORDS else str(_path(value, info))


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Folder = Annotated[Path, BeforeValidator(_path)]
File = Annotated[str, BeforeValidator(_path_or_keyword)]  # as text


class Parameters(BaseModel):
    """All parameters of a run. Defaults replace 0, "" and `auto`, and paths are absolute.

    A 0 stays only where the dataset has no such setting. `model_fields_set` has the names of the values that no default
    replaces. Raises InputError with one sentence on the first mistake.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field("toy", description="the corpus")
    data_root: Folder = Field(
        "", description='where the corpus is: a folder, or a file of features; "": data/<dataset>'
    )
    fusion: str = Field("ia", description="how the branches meet, or one branch alone")
    heads: Whole = Field(1, ge=1, description="in each cross-attention; mult has 5")
    dense_head: bool = Field(False, description="two more layers before the classifier, as in MULT")
    even_attention: bool = Field(False, description="attention that stays even: was it needed?")
    pretrained: File = Field("", description="none, frames (by pretrain.ipynb), a checkpoint, a folder of face images")
    frame_epochs: Whole = Field(0, ge=0, le=100000, description="passes over single frames in pretrain.ipynb")
    class_weights: bool = Field(
        False, description="pretrain.ipynb weighs classes: a rare one counts like a frequent one"
    )
    audio_features: str = Field("mfcc", description="of each 23 ms of sound")
    vision: str = Field("efficientface", description="the frame network, or one of timm: timm:mobilenetv4_conv_small")
    train_vision: bool = Field(True, description="False freezes the frame network; epochs take seconds")
    dropout: str = Field("softhard", description="modality dropout in training")
    balanced: bool = Field(False, description="the modality that answers better alone learns more slowly (OGM-GE)")
    classes: Whole = Field(0, description="how many emotions; 7 leaves neutral out")
    fold_scheme: str = Field("", description="how people are split")
    fold: Whole = Field(0, ge=0, description="which people train, validate and test")
    seed: Whole = Field(1, ge=0, le=2**32 - 1, description="of weights, order, augmentation and dropout")
    epochs: Whole = Field(0, ge=1, le=100000, description="passes over the training clips")
    batch_size: Whole = Field(0, ge=2, le=100000, description="clips in a batch, before dropout multiplies them")
    learning_rate: Number = Field(0.0, gt=0, allow_inf_nan=False, description="at the start")
    image_size: Whole = Field(0, ge=0, le=1024, description="side of a face image in pixels, a multiple of 32 from 64")
    frames: Whole = Field(0, ge=0, le=1000, description="of a clip")
    device: str = Field("auto", description="auto is cuda where there is one")
    protocol: str = Field("", description="whose settings, where paper and code differ")
    resume: bool = Field(True, description="go on where the run stopped; False starts over")
    tracker: str = Field("none", description="where a copy of the run is kept")
    outputs_root: Folder = Field("", description='the folder of all runs; "": outputs/')

    def __init__(self, /, **values):
        for name, value in values.items():
            if name not in NAMES:
                raise InputError(unknown(name))
            choices = KEYWORDS if name == "pretrained" else CHOICES.get(name, ())
            refuse_empty(name, value, (*choices, "") if DEFAULTS[name] == "" else choices)
        stand_ins = _stand_ins(values)
        try:
            super().__init__(**values | stand_ins)
        except ValidationError as error:
            raise InputError(_sentence(error.errors()[0])) from None
        self.model_fields_set.difference_update(stand_ins)

    @field_validator(*CHOICES, mode="before")
    @classmethod
    def _is_a_choice(cls, value, info):
        if value not in tuple(CHOICES[info.field_name]):
            raise ValueError(not_a_choice(value, CHOICES[info.field_name]))
        return value

    @field_validator("heads")
    @classmethod
    def _fits_the_fusion(cls, heads, info):
        return check_heads(info.data["fusion"], heads) if "fusion" in info.data else heads

    @model_validator(mode="after")
    def _fits_together(self):
        dataset, branches = DATASETS[self.dataset], FUSIONS[self.fusion].modalities
        check_dense_head(self.fusion, self.dense_head)
        check_even_attention(self.fusion, self.even_attention)
        check_vision(self.vision)
        if self.image_size:
            check_image_size(self.image_size)
        for name in ("classes", "image_size", "frames"):
            if getattr(self, name) and not dataset.defaults[name]:
                reason = "comes as features" if dataset.kind == "features" else "names its classes itself"
                raise ValueError(f"{name} is {getattr(self, name)}, but {self.dataset} {reason}: leave it at 0")
        options = {"protocol": dataset.protocols, "fold_scheme": dataset.fold_schemes, "classes": dataset.classes}
        for name, choices in options.items():
            if choices and getattr(self, name) not in choices:
                reason = f"which {self.dataset} does not have: choose {' or '.join(map(str, choices))}"
                raise ValueError(f"{name} is {getattr(self, name)}, {reason}")
        if self.fold >= FOLDS[self.fold_scheme]:
            raise ValueError(f"fold is {self.fold}; {fold_range(self.fold_scheme)}")
        if dataset.kind == "features" and (self.audio_features, self.vision) != ("mfcc", "efficientface"):
            raise ValueError(f"audio_features and vision are for clips, but {self.dataset} comes as features")
        has_frames = dataset.kind == "clips" and "video" in branches
        if not has_frames and (self.teaches_frames or not self.train_vision):
            name = "pretrained" if self.teaches_frames else "train_vision"
            raise ValueError(f"{name} is {getattr(self, name)}, but this run has no frame network: leave it out")
        if self.balanced and len(branches) == 1:
            raise ValueError(f"balanced is true, but fusion '{self.fusion}' has one branch: leave it at false")
        if self.frames == 1:
            raise ValueError("frames is 1; it should be 2 or more")
        return self

    def check_inputs(self, *, is_here: bool = True) -> None:
        """Raises InputError where the corpus, the weights or the tracker is missing, and the device if it `is_here`."""
        if not (self.pretrained in KEYWORDS or Path(self.pretrained).exists()):
            message = f"pretrained is {self.pretrained}, which is no file or folder"
            raise InputError(f"{message} (a relative path starts at {ROOT})")
        if is_here:
            self.check_device()
        if self.tracker != "none" and not find_spec(self.tracker):
            install = f"pip install -e '.[{self.tracker}]'"
            raise InputError(f"tracker is '{self.tracker}', which is not installed: {install}")
        DATASETS[self.dataset].check_root(self.data_root)

    def check_device(self) -> None:
        """Raises InputError where the device is missing here."""
        if self.device == "cuda" and (reason := _why_no_gpu()):
            raise InputError(f"device is 'cuda', but {reason}; choose auto or cpu")

    @property
    def of_training(self) -> dict[str, Any]:
        """The settings of `fit`."""
        names = {"dropout", "epochs", "batch_size", "learning_rate", "seed", "protocol", "train_vision", "balanced"}
        return self.model_dump(include=names)

    @property
    def _name(self) -> RunName:
        return RunName(self.model_dump(), usual_values(self.dataset, self.fusion))

    @property
    def folder(self) -> Path:
        """The run folder, below outputs_root."""
        return self.outputs_root / self._name.folder()

    @property
    def corpus(self) -> Corpus:
        """The dataset at data_root, with the settings of its store."""
        protocol = "authors" if self.protocol == "authors" else "paper"  # MULT's concerns only training
        return Corpus(self.dataset, self.data_root, self.frames, self.image_size, self.audio_features, protocol)

    @property
    def images(self) -> Path | None:
        """The folder of face images that the frame network is taught on; None where there is none."""
        path = Path(self.pretrained)
        return path if self.pretrained not in KEYWORDS and path.is_dir() else None

    @property
    def teaches_frames(self) -> bool:
        """Whether pretrain.ipynb teaches the frame network before training."""
        return self.pretrained == "frames" or self.images is not None

    @property
    def frame_network_folder(self) -> Path:
        """Where pretrain.ipynb keeps the frame network; runs with the same frames share it."""
        return self.outputs_root / self._name.frame_network(of_images=self.images is not None)

    @property
    def starts_from(self) -> Path | None:
        """The file of weights that training starts from, which pretrain.ipynb may have to make; None = fresh."""
        if self.teaches_frames:
            return self.frame_network_folder / "model.safetensors"
        return None if self.pretrained in KEYWORDS else Path(self.pretrained)

    @property
    def changes(self) -> dict[str, str]:
        """The parameters that are not defaults, as text."""
        usual = usual_values(self.dataset, self.fusion)
        return {name: str(value) for name, value in self if value != usual[name]}

    def command(self, notebook: str, names: Iterable[str]) -> str:
        """The command that runs a notebook with those of the named parameters that are not defaults."""
        return papermill_command(notebook, {name: value for name, value in self.changes.items() if name in names})

    def __repr__(self) -> str:
        return "\n".join(f"{name:<14} {value}" for name, value in self.changes.items()) or "all parameters: default"

    __str__ = __repr__

    def _repr_markdown_(self) -> str:
        """The parameters that are not defaults; a click unfolds all."""
        summary = ", ".join(f"{name} <code>{in_markdown(value)}</code>" for name, value in self.changes.items())
        rows = [f"| {name} | <code>{in_markdown(value)}</code> | {FIELDS[name].description} |" for name, value in self]
        table = "\n".join(["| parameter | value | |", "| :-- | :-- | :-- |", *rows])
        summary = f"<summary>Parameters: {summary or 'all defaults'}</summary>"
        return f"<details>{summary}\n\n{table}\n\n</details>"


FIELDS = Parameters.model_fields
NAMES = tuple(FIELDS)
DEFAULTS = {name: field.default for name, field in FIELDS.items()}


@cache
def _device() -> str:
    """The device that `auto` is here: cuda or cpu. Logs why a GPU of this machine is not used."""
    reason = _why_no_gpu()
    if "compiled" in reason:
        log.warning("%s: device auto is the CPU", reason)
    return "cpu" if reason else "cuda"


@cache
def _why_no_gpu() -> str:
    """Why PyTorch cannot compute on a GPU here; "" where it can.

    A GPU runs what is compiled for its major version up to its minor one, or for any earlier version as PTX.
    """
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device here"
    names, (major, minor) = torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
    compiled = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in names]
    versions = [(arch[1], int(arch[2]), int(arch[3])) for arch in compiled if arch]  # AMD's names have another form
    for kind, own, least in versions:
        if (kind == "compute" or own == major) and (own, least) <= (major, minor):
            return ""
    reason = f"not compiled for {torch.cuda.get_device_name()} (sm_{major}{minor}; only {' '.join(names)})"
    return f"this PyTorch is {reason}" if versions else ""


def usual_values(dataset: str, fusion: str) -> dict[str, Any]:
    """The default of each parameter; an unknown dataset or fusion is refused later."""
    usual = DATASETS.get(dataset, DATASETS[DEFAULTS["dataset"]]).defaults
    usual = usual | {"data_root": DATA / dataset, "outputs_root": OUTPUTS, "device": _device()}
    if fusion in FUSIONS:
        usual["heads"] = check_heads(fusion, DEFAULTS["heads"])
        if "video" not in FUSIONS[fusion].modalities:
            usual["pretrained"] = "none"  # there is no frame network
    return DEFAULTS | usual


def _stand_ins(values: dict[str, Any]) -> dict[str, Any]:
    """The defaults that replace every 0, "", `auto` and missing value."""
    texts = {name: value if isinstance(value, str) else show(value) for name, value in values.items()}
    usual = usual_values(*(texts.get(name, DEFAULTS[name]) for name in ("dataset", "fusion")))
    signs = ("", "0", "0.0", "auto")
    replaced = [name for name in NAMES if name not in texts or {texts[name], str(DEFAULTS[name])} <= {*signs}]
    return {name: usual[name] for name in replaced if usual[name] != DEFAULTS[name]}


def allowed(name: str) -> str:
    """The allowed values of a parameter, such as `lt | it | ia`, `from 1 to 100000` or `True | False`."""
    if name in CHOICES:
        return " | ".join(CHOICES[name])
    if FIELDS[name].annotation is bool:
        return "True | False"
    words, limits = {"ge": "from", "gt": "above", "le": "to"}, FIELDS[name].metadata
    return " ".join(f"{words[key]} {getattr(rule, key)}" for key in words for rule in limits if hasattr(rule, key))


def _sentence(error: dict[str, Any]) -> str:
    """One sentence for an entry of pydantic's list of errors."""
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    if not error["loc"]:
        return reason  # of parameters that do not fit together: a sentence already
    name = error["loc"][0]
    if reason:
        return reason if reason.startswith(name) else f"{name} {reason}"
    rule = error["msg"].replace("Input should", "it should").partition(",")[0]
    return f"{name} is {show(error['input'])}; {rule}"


def unknown(name: str, known: Collection[str] = ()) -> str:
    """The sentence that refuses an unknown parameter; known : the names of a notebook, all of a run by default."""
    names = f"; known are {', '.join(known)}" if 0 < len(known) < 12 else "; `avlib parameters` lists the known ones"
    return f"unknown parameter '{name}'{nearest(name, known or NAMES) or names}"


def not_a_choice(value: Any, choices: Iterable) -> str:
    """The sentence, but for the name, that refuses a value."""
    text = value if isinstance(value, str) else show(value)
    return f"is {show(value)}; choose one of {', '.join(map(str, choices))}{nearest(text, choices)}"


def nearest(word: str, known: Iterable) -> str:
    """The end of a sentence, `: did you mean 'fusion'?`, or "" where no known name is similar."""
    matches = get_close_matches(word[:99], map(str, known), n=1)
    return f": did you mean '{matches[0]}'?" if matches else ""
