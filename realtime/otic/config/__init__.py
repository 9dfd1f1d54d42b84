"""What a person can set, and where it is read from."""
