"""Memories for anybody's model: torch only, nothing else of memogen is needed."""

from .attention import AttentionMemory, AttentionRead
from .functional import DrawNumbers
from .outcomes import MemoryRead, MemoryWrite
from .policies import Policy
from .vmf import VMFMemory

__all__ = ["AttentionMemory", "AttentionRead", "DrawNumbers", "MemoryRead", "MemoryWrite", "Policy", "VMFMemory"]
