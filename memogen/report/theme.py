"""The colours of pictures: on white, on the dark page, or on a transparent ground that suits both."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

BLUE: Colour = (66, 133, 244)
RED: Colour = (219, 68, 55)
SERIES = ("#4285f4", "#e8710a", "#12a4af", "#b36ae2")  # lines of one chart, in order; each reads on white and on black
REAL, FAKE = SERIES[0], SERIES[1]


@dataclass(frozen=True)
class Theme:
    """``ground`` None is transparent; ``ink`` writes, ``faint`` draws grids and idle bars."""

    ground: Colour | None
    ink: Colour
    faint: Colour


LIGHT = Theme(ground=(255, 255, 255), ink=(60, 66, 76), faint=(222, 226, 231))
DARK = Theme(ground=(29, 32, 38), ink=(196, 201, 209), faint=(58, 63, 72))
CLEAR = Theme(ground=None, ink=(120, 128, 140), faint=(150, 157, 168))


def web(colour: Colour) -> str:
    """#rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
