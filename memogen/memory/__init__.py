"""Memories for anybody's model: torch only, nothing else of memogen is needed."""

from .attention import AttentionMemory, AttentionRead
from .functional import DrawNumbers
from .policies import Policy
from .protocol import MemoryRead, MemoryWrite, MixtureMemory
from .shard import ShardedMemory
from .vmf import VMFMemory

__all__ = ["AttentionMemory", "AttentionRead", "DrawNumbers", "MemoryRead", "MemoryWrite", "MixtureMemory", "Policy", "ShardedMemory", "VMFMemory"]
