"""What is checked and measured on a machine."""
