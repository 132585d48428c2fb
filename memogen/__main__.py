"""``python -m memogen`` is the command ``memogen``."""

from __future__ import annotations

import sys

from memogen.cli import main

if __name__ == "__main__":
    sys.exit(main())
