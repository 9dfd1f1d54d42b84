"""How well a model hears."""
