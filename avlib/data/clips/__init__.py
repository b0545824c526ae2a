"""Clips in, arrays out: reading films and sounds (`media`), finding faces, computing audio features."""
