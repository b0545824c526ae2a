"""The toy corpora, whose truth is known: drawn faces and voices (`corpus`), and a toy MOSEI (`mosei`)."""
