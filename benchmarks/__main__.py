"""``python -m benchmarks``: how fast everything is; see :mod:`benchmarks.speed`."""

from __future__ import annotations

import sys

from benchmarks.speed.command import main

if __name__ == "__main__":
    sys.exit(main())
