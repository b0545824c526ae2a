"""Training: batches of clips, the training loop, pretraining; `sharing` and `descriptors` save time."""
