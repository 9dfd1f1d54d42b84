"""``python -m otic`` is ``otic``."""

from otic.cli.main import console

if __name__ == "__main__":
    console()
