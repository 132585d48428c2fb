"""``memogen demo``: three things that a memory does, trained and measured on the spot, on a CPU in minutes, offline, from embedded data."""

from .acts import Plan
from .course import demo

__all__ = ["Plan", "demo"]
