"""Attention: its vectors, whether they find the truth, and whether the answer depends on what they mark."""
