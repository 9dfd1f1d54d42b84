"""Tests of several rooms together, with servers and files of their own."""
