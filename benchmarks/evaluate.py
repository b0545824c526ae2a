"""AV, A and V of some clips: `workbook.evaluate.evaluation.predict` beside three calls of the original validation.

Both nets have the same weights and must have the same accuracies. Each batch size is measured, or the one of `--batch`.
"""

import torch

from avlib import authors_state_dict, build_model
from benchmarks.peer import Peer, theirs
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn, ratio_aims
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.evaluate.metrics import metrics

KEPT = {"AV": "both", "A": "audio", "V": "video"}  # the original names
FUSION = "ia"
BATCHES = (8, 16, 32)  # clips
AIM = 6  # times the original, with each of them


def measure(options) -> dict:
    """Seconds and accuracies (percent) on both sides, for each batch size."""
    torch.manual_seed(0)
    size, device = options.image_size or 224, options.device
    clips = all_clips(synthetic_store(options.clips or 32, options.frames, size), device)
    net = build_model(FUSION, 1, CLASSES, size).to(device, memory_format=torch.channels_last)
    peer = options.peer and Peer(options.peer)
    if peer:
        original = peer.network(FUSION, CLASSES, options.frames, size, device)
        getattr(original, "module", original).load_state_dict(authors_state_dict(net))
        evaluate = peer.evaluator(original, device)
    conditions = [condition for condition in paper_conditions("softhard") if condition.name in KEPT]
    result, tables, accuracies = {"runs": {}, "ratio": {}}, [], {}
    for batch in [options.batch] if options.batch else BATCHES:
        how = {"fold": 0, "seed": 0, "batch_size": batch}
        runs = {f"avlib {batch}": lambda how=how: tables.append(predict(net, clips, conditions, **how))}
        if peer:
            batches = [tuple(part.cpu() for part in theirs(*few)) for few in clips.batches(batch)]
            runs[f"original {batch}"] = lambda batches=batches: accuracies.update(
                {name: evaluate(batches, kept) for name, kept in KEPT.items()}
            )
        measured = in_turn(runs, options.rounds, len(clips))
        result = {name: result[name] | measured[name] for name in result}
    found = metrics(tables[0])["conditions"]
    return (
        result
        | ratio_aims(result, AIM)
        | {
            "settings": {"fusion": FUSION, "clips": len(clips), "frames": options.frames},
            "accuracy": {name: {"avlib": found[name]["accuracy"], "original": accuracies.get(name)} for name in KEPT},
        }
    )
