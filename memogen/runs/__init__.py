"""What a run folder is, from configuration to result: one run, tasks one after another, a table of a paper, one category more."""

from ..metrics import append_rows
from ..report.history import read_rows
from .image_options import reading, recipe_of, run_of
from .recipe import (
    Splits,
    check_scoring,
    config_hash,
    default_folder,
    keep_config,
    load_config,
    save_config,
    settings,
    with_data,
    with_images,
)
from .rows import command_line, leads, progress_of
from .run import train, write_report

__all__ = [
    "Splits",
    "append_rows",
    "check_scoring",
    "command_line",
    "config_hash",
    "default_folder",
    "keep_config",
    "leads",
    "load_config",
    "progress_of",
    "read_rows",
    "reading",
    "recipe_of",
    "run_of",
    "save_config",
    "settings",
    "train",
    "with_data",
    "with_images",
    "write_report",
]
