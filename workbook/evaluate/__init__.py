"""Evaluation under missing data: conditions, predictions, metrics, statistics, and the paper's tables."""
