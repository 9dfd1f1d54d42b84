"""``python -m otic`` is ``otic``."""

from otic.cli import console

if __name__ == "__main__":
    console()
