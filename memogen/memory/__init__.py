"""Memories for anybody's model: torch only, nothing else of memogen is needed."""

from .attention import AttentionMemory, AttentionRead
from .policies import ReadPolicy, WritePolicy
from .vmf import MemoryRead, MemoryWrite, VMFMemory

__all__ = ["AttentionMemory", "AttentionRead", "MemoryRead", "MemoryWrite", "ReadPolicy", "VMFMemory", "WritePolicy"]
