"""The compiled inner loops; the only room that imports numba."""
