"""The ``otic`` command."""
