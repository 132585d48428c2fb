"""Memories for anybody's model: torch only, nothing else of memogen is needed."""

from .attention import AttentionMemory, AttentionRead
from .functional import DrawNumbers
from .policies import Policy
from .vmf import MemoryRead, MemoryWrite, VMFMemory

__all__ = ["AttentionMemory", "AttentionRead", "DrawNumbers", "MemoryRead", "MemoryWrite", "Policy", "VMFMemory"]
