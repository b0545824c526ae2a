"""The paper's package stands alone: without the workbook and without the libraries that only the workbook needs."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import workbook

# What avlib needs, and what these libraries need in turn.
NEEDED = {"torch", "torchvision", "timm", "safetensors", "numpy", "pyyaml", "pillow", "jinja2", "filelock", "click"}
NEEDED |= {"tqdm"}

TRAIN_A_STEP = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # None: an import of these fails
import avlib
assert "torch" not in sys.modules
import torch
net = avlib.build_model("ia", image_size=64)
audio, video, labels = torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64), torch.tensor([1, 3])
audio, video, labels = avlib.modality_dropout("softhard", audio, video, labels)
optimiser, before = torch.optim.SGD(net.parameters(), lr=0.1), net.classifier.weight.clone()
torch.nn.functional.cross_entropy(net(audio, video).logits, labels).backward()
optimiser.step()
assert not torch.equal(before, net.classifier.weight)
for name in avlib.__all__:
    getattr(avlib, name)
"""


def test_avlib_trains_a_step_where_neither_the_workbook_nor_its_libraries_are_installed():
    project = tomllib.loads((workbook.ROOT / "pyproject.toml").read_text())["project"]
    distributions = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    assert distributions >= NEEDED
    owners = importlib.metadata.packages_distributions()
    blocked = {
        module
        for module, names in owners.items()
        if {name.lower().replace("_", "-") for name in names} & (distributions - NEEDED)
    }
    assert {"librosa", "pandas", "jupyterlab", "av"} <= blocked
    command = [sys.executable, "-c", TRAIN_A_STEP, "workbook", *sorted(blocked)]
    subprocess.run(command, check=True, cwd=workbook.ROOT)
