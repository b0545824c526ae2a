"""Features in, arrays out: a user's own `.npz`, and the pickles of MOSEI and MOSI."""
