"""Recordings, and what training makes of them."""
