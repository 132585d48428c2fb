"""Models that leave memogen: as ONNX files for other programs, and as one page that draws in a reader's browser."""

from .html import write_html
from .onnx import write_onnx

__all__ = ["write_html", "write_onnx"]
