"""The work of a scoring: by which processes, shown by which bar, until which request to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from memogen.processes import Processes, Share
from memogen.progress import Bar
from memogen.stopping import Stop


@dataclass(frozen=True)
class Work:
    """One process alone, unseen and never stopped, unless told otherwise."""

    processes: Processes = field(default_factory=Processes)
    bar: Bar = field(default_factory=lambda: Bar(shown=False))
    stop: Stop = field(default_factory=Stop)

    def rounds(self, name: str, num: int, size: int) -> Iterator[Share]:
        """The turns over ``num`` images of a stage of that name, shown as they pass.

        A request to stop raises KeyboardInterrupt: at once in a process alone, and between two rounds, on all together, where they are several.
        """
        self.bar.stage(name, num)
        with self.stop.held(self.processes.world_size > 1):
            for share in self.processes.shares(num, size):
                self._agree()
                yield share
                self.bar.advance(share.total)
            self._agree()

    def _agree(self) -> None:
        if self.processes.any(self.stop.made):
            self.stop.made = True
            raise KeyboardInterrupt
