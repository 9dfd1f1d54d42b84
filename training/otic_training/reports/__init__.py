"""What a person reads of a training."""
