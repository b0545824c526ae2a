"""Toy datasets with a known truth: `corpus` and `speaker` draw faces and voices, the others are features."""
