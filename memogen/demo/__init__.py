"""``memogen demo``: three things that a memory does, trained and measured on the spot, on a CPU in minutes, offline, from embedded data."""

from .course import demo
from .plan import Plan

__all__ = ["Plan", "demo"]
