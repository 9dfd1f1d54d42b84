"""``python -m realtime`` is ``otic``."""

from realtime.cli import console

if __name__ == "__main__":
    console()
