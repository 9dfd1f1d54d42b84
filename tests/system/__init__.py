"""Tests of whole processes: the command, the wheel, browsers, brokers, microphones."""
