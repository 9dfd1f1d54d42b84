"""``python -m realtime`` is ``otic``."""

import sys

from realtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
