"""The base: a causal network that learns a teacher's frames, and serves with its state."""
