"""``python -m benchmarks``: the cost of the memory in a training step."""

from __future__ import annotations

from benchmarks.memory_step import main

main()
