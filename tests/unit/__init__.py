"""Tests of one room at a time; no process, server or recording."""
