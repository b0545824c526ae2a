"""The explorer: change a clip, and see the answer and the attention follow."""
