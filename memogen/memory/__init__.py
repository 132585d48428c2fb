"""Memories for anybody's model: torch only, nothing else of memogen is needed."""

from .policies import ReadPolicy, WritePolicy
from .vmf import MemoryRead, MemoryWrite, VMFMemory

__all__ = ["MemoryRead", "MemoryWrite", "ReadPolicy", "VMFMemory", "WritePolicy"]
