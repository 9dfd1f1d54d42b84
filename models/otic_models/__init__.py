"""Bundled models: ``NAME.tflite``, each with its card ``NAME.md``."""
