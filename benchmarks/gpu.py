"""What a GPU does with everything that runs on one: does it work, does it agree with the CPU, and how fast is it?

For the first hour on a card. It needs torch, timm, numpy and pandas; steps that need more are left out where it is
missing. Each step is tried on its own, and its result is printed and written at once, to --out or gpu.json. Without a
GPU the same steps run on the CPU: give --image-size 64 --frames 2 --batch 2 --clips 4 then. `--peer` adds the original
step. On a GPU, the steps that are left after seven minutes are left out.
"""

import copy
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from avlib import build_model
from avlib.dropout import DROPOUTS, variants
from avlib.fusion import FUSIONS
from avlib.model import precision
from benchmarks import train
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import peak, reset_peak
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import attention, predict
from workbook.train import sharing
from workbook.train.batches import Clips
from workbook.train.memory import channels_last
from workbook.train.pretraining import FrameClassifier, teach
from workbook.train.training import fit, optimizer_and_schedule, train_step

SMALL, SECONDS = 64, 7 * 60  # pixels of the steps that only ask whether it works; when the last step may begin
TIMED = 10  # steps of training, after three that are not counted


def measure(options) -> dict:
    """The result of each step by name; a step that fails has the error in place of it."""
    card, results, start = Card(options), {}, time.perf_counter()
    for name, step in steps(card, options).items():
        begin = time.perf_counter()
        if card.device == "cuda" and begin - start > SECONDS:
            results[name] = "left out: no time"
        else:
            try:
                results[name] = step()
            except ImportError as error:
                results[name] = f"left out: {error}"
            except Exception as error:  # of any kind: the other steps go on
                results[name] = f"failed: {type(error).__name__}: {str(error)[:500]}"
        seconds = round(time.perf_counter() - begin, 1)
        print(f"{name} ({seconds} s): {json.dumps(results[name])}", flush=True)  # noqa: T201
        (options.out or Path("gpu.json")).write_text(json.dumps(results, indent=1))
    failed = [name for name, result in results.items() if str(result).startswith("failed")]
    return {"steps": results, "failed": failed}


def steps(card: "Card", options) -> dict[str, Callable[[], object]]:
    """All steps, the most telling first."""
    every = {"card": card.describe}
    every |= {f"train with {dropout}": lambda dropout=dropout: card.trains(dropout=dropout) for dropout in DROPOUTS}
    every |= {"shared against plain": card.shares, "CPU against GPU": card.agrees}
    every |= {"a step": card.times, "waits of a step": card.waits}
    every |= {"evaluation": card.evaluation_rate}
    if card.device == "cuda":
        every["original and ceilings"] = lambda: train.measure(replace(options, device="cuda", rounds=3))
    every |= {
        "a frozen frame network": lambda: card.trains(train_vision=False),
        "teaching a frame network": card.teaches,
        "probe": card.probes,
        "captum": card.attributes,
    }
    return every | {f"resume {fusion}": lambda fusion=fusion: card.resumes(fusion) for fusion in FUSIONS}


class Card:
    """The device, with clips and networks for it."""

    def __init__(self, options):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.size, self.frames, self.batch = options.image_size or 224, options.frames, options.batch or 8
        self.count = options.clips or 64
        self.large = synthetic_store(self.count, self.frames, self.size)
        small = synthetic_store(16, min(4, self.frames), SMALL)
        small.clips["actor"], small.clips["emotion"] = np.arange(16) % 4, small.clips["label"].astype(str)
        self.small = small

    def clips(self, large: bool = False, device: str | None = None) -> Clips:
        return all_clips(self.large if large else self.small, device or self.device)

    def network(self, fusion: str = "ia", size: int = SMALL) -> torch.nn.Module:
        torch.manual_seed(0)
        net = build_model(fusion, classes=CLASSES, image_size=size)
        return net.to(self.device, memory_format=torch.channels_last)

    def describe(self) -> dict:
        """Names and versions, and the type that training computes in."""
        with precision(torch.device(self.device)):
            dtype = torch.nn.Linear(2, 2).to(self.device)(torch.rand(1, 2, device=self.device)).dtype
        result = {"torch": str(torch.__version__), "computes in": str(dtype)}
        if self.device == "cuda":
            about = torch.cuda.get_device_properties(0)
            result |= {"name": about.name, "capability": f"{about.major}.{about.minor}"}
            result |= {"GB": round(about.total_memory / 1e9, 1), "cuDNN": torch.backends.cudnn.version()}
        return result

    def history(self, folder: Path, fusion: str = "ia", epochs: int = 1, **settings) -> list[float]:
        """The training losses of a run, which goes on where the folder has one."""
        settings = {"dropout": "softhard", "batch_size": 4, "learning_rate": 0.01, "seed": 1} | settings
        folder.mkdir(exist_ok=True)
        clips = self.clips()
        return [row["train_loss"] for row in fit(self.network(fusion), clips, clips, folder, epochs=epochs, **settings)]

    def trains(self, **settings) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            if not settings.get("train_vision", True):  # descriptors are kept beside the store
                self.small = replace(self.small, path=Path(folder) / "store")
            (loss,) = self.history(Path(folder), **settings)
        return {"loss": round(loss, 3), "finite": math.isfinite(loss)}

    def resumes(self, fusion: str) -> dict:
        """The losses of a run, and of one that was interrupted after its first epoch."""
        with tempfile.TemporaryDirectory() as folder:
            through = self.history(Path(folder) / "through", fusion, 2)
            self.history(Path(folder) / "broken", fusion, 1)
            torch.rand(99, device=self.device)
            broken = self.history(Path(folder) / "broken", fusion, 2)
        difference = max(abs(one - other) for one, other in zip(through, broken, strict=True))
        return {"losses": [round(loss, 4) for loss in through], "largest difference": difference}

    def teaches(self) -> dict:
        """The losses of a frame network that learns to name single frames."""
        N, frames, *rest = self.small.video.shape
        table = self.small.clips.loc[np.repeat(self.small.clips.index, frames)].reset_index(drop=True)
        single = all_clips(replace(self.small, video=self.small.video.reshape(N * frames, 1, *rest), clips=table))
        clips = replace(single, device=torch.device(self.device), modalities=("video",))
        net = FrameClassifier("efficientface", SMALL, CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            rows = list(teach(net, {"train": clips, "validation": clips}, Path(folder), epochs=2, seed=1))
        return {"losses": [round(row["train_loss"], 3) for row in rows]}

    def probes(self) -> dict:
        from workbook.explore.probe import Change, Inputs, Probe

        probe = Probe(self.network(), Inputs(self.clips()))
        answers = {"no change": Change(), "weaker picture": Change(video_gain=0.5, video_noise=10.0)}
        return {name: probe.answer("0", change).outputs["AV"].round(3).tolist() for name, change in answers.items()}

    def attributes(self) -> dict:
        """By how much integrated gradients miss the change, and Grad-CAM's largest value."""
        from workbook.attention.attribution import grad_cam, integrated_gradients
        from workbook.evaluate.baselines import baselines

        net, clips = self.network(), self.clips()
        audio, video, labels = clips[torch.arange(2)]
        result = integrated_gradients(net, audio, video, labels, baselines(clips, "mean"), steps=64)
        return {"incomplete": result.incomplete, "largest heat": float(grad_cam(net, audio, video, labels).max())}

    def shares(self) -> dict:
        """How far shared frames are from the plain batch: logits, gradients and running statistics, shares of norms."""
        audio, video, labels = self.clips()[torch.arange(4)]
        result = {}
        for name, dtype in (("float64", torch.float64), ("as in training", torch.float32)):
            clips, learnt = (audio.to(dtype), video.to(dtype)), []
            pairs = variants("softhard", *clips, torch.Generator(self.device).manual_seed(1))
            for forward in (sharing.forward, sharing.plain_forward):
                net = self.network().to(dtype).train()
                with precision(torch.device(self.device if dtype == torch.float32 else "cpu")):
                    logits = forward(net, pairs).logits
                F.cross_entropy(logits.float(), labels.repeat(len(pairs))).backward()
                gradients = torch.cat([weight.grad.flatten() for weight in net.parameters()])
                running = torch.cat([buffer.flatten().to(dtype) for buffer in net.buffers()])
                learnt.append((logits.detach(), gradients, running))
            parts = zip(("logits", "gradients", "running"), *learnt, strict=True)
            result[name] = {part: float((ours - plain).norm() / plain.norm()) for part, ours, plain in parts}
        return result

    def agrees(self) -> dict:
        """The largest difference to the CPU: of a probability (below 0.02 in bfloat16), and of an attention weight."""
        net, conditions = self.network(), paper_conditions("softhard")[:3]
        both = []
        for device in (self.device, "cpu"):
            clips = self.clips(device=device)
            table = predict(net.to(device), clips, conditions, fold=0, seed=1)
            both.append((table.filter(regex=r"^p\d").to_numpy(), attention(net, clips)))
        (rows, weights), (expected, of_cpu) = both
        return {
            "probability": float(np.abs(rows - expected).max()),
            "attention": max(float(np.abs(weights[name] - of_cpu[name]).max()) for name in of_cpu),
        }

    def stepper(self, shared: bool, batch: int, is_last: bool = True) -> Callable[[], object]:
        """A function that takes one step on the same clips, with colours last in memory or not."""
        layout = torch.channels_last if is_last else torch.contiguous_format
        net = self.network(size=self.size).to(memory_format=layout).train()
        sgd, _ = optimizer_and_schedule(net, 0.001, "authors")
        audio, video, labels = self.clips(large=True)[torch.arange(batch) % self.count]
        settings = {"task": self.clips().task, "dropout": "softhard", "shared": shared}
        settings["generator"] = torch.Generator(self.device).manual_seed(1)
        clips = audio, channels_last(video) if is_last else video, labels
        return lambda: train_step(net, clips, sgd, **settings)

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, step: Callable[[], object], times: int = TIMED) -> float:
        for _ in range(3):
            step()
        self.wait()
        begin = time.perf_counter()
        for _ in range(times):
            step()
        self.wait()
        return (time.perf_counter() - begin) / times

    def times(self) -> dict:
        """Milliseconds and peak memory of a step: shared or plain, small and large batches, both layouts."""
        result = {}
        for batch in (self.batch, 4 * self.batch):
            for shared, is_last in ((True, True), (False, True), (False, False)):
                name = (
                    f"{'shared' if shared else 'plain'}, batch {batch}, {'channels last' if is_last else 'contiguous'}"
                )
                reset_peak()
                try:
                    milliseconds = round(1000 * self.seconds(self.stepper(shared, batch, is_last)), 1)
                    result[name] = {"ms": milliseconds, "MB": round(peak())}
                except torch.OutOfMemoryError:
                    result[name] = "memory full"
        return result

    def waits(self) -> dict:
        """How often a step waits for the GPU, by torch's own warnings."""
        if self.device == "cpu":
            return {"waits": "left out: no GPU"}
        step = self.stepper(True, self.batch)
        step()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return {"waits": len(caught)}

    def evaluation_rate(self) -> dict:
        """Clips per second in the conditions AV, A and V, the second time, and peak memory."""
        net, clips, conditions = self.network(size=self.size), self.clips(large=True), paper_conditions("softhard")[:3]
        reset_peak()
        taken = self.seconds(lambda: predict(copy.deepcopy(net), clips, conditions, fold=0, seed=1), 1)
        return {"clips per second": round(len(clips) / taken, 1), "MB": round(peak())}
