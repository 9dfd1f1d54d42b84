"""Fitting: windows of a data set, training, tests, export to a bundle."""
