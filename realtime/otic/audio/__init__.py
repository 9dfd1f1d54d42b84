"""Sources of samples, and their conversion to the model's rate."""
