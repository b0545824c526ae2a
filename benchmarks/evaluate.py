"""AV, A and V of some clips: `workbook.evaluate.evaluation.predict` beside three calls of the original validation.

Both nets have the same weights and must have the same accuracies.
"""

import torch

from avlib import authors_state_dict, build_model
from benchmarks.peer import Peer, theirs
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.evaluate.metrics import metrics

KEPT = {"AV": "both", "A": "audio", "V": "video"}  # the original names
FUSION = "ia"


def measure(options) -> dict:
    """Seconds and accuracies (percent) on both sides."""
    torch.manual_seed(0)
    size, device = options.image_size or 224, options.device
    clips = all_clips(synthetic_store(options.clips or 32, options.frames, size), device)
    net = build_model(FUSION, 1, CLASSES, size).to(device, memory_format=torch.channels_last)
    tables, accuracies = [], {}
    conditions = [condition for condition in paper_conditions("softhard") if condition.name in KEPT]
    how = {"fold": 0, "seed": 0, "batch_size": options.batch}
    runs = {"avlib": lambda: tables.append(predict(net, clips, conditions, **how))}
    if options.peer:
        peer = Peer(options.peer)
        original = peer.network(FUSION, CLASSES, options.frames, size, device)
        getattr(original, "module", original).load_state_dict(authors_state_dict(net))
        evaluate = peer.evaluator(original, device)
        batches = [tuple(part.cpu() for part in theirs(*batch)) for batch in clips.batches(options.batch)]
        runs["original"] = lambda: accuracies.update({name: evaluate(batches, kept) for name, kept in KEPT.items()})
    result = in_turn(runs, options.rounds, len(clips))
    found = metrics(tables[0])["conditions"]
    return result | {
        "settings": {"fusion": FUSION, "clips": len(clips), "batch": options.batch, "frames": options.frames},
        "accuracy": {name: {"avlib": found[name]["accuracy"], "original": accuracies.get(name)} for name in KEPT},
    }
