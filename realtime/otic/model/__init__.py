"""The model file, and how it is run."""
