"""Toy datasets with a known truth: drawn faces and synthesised voices (`corpus`), and a toy MOSEI (`mosei`)."""
