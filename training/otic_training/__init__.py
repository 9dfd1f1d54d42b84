"""Trains the models that otic serves. Needs the extra ``train``."""
