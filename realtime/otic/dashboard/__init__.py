"""The live view in a terminal: pulls what there is to show, and never makes the audio wait."""
