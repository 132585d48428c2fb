"""What a run folder is, from configuration to result: one run, tasks one after another, a table of a paper, one category more."""

from ..metrics import append_rows
from ..report.history import read_rows
from .configuration import Splits, choose, with_images
from .folder import command_line, config_hash, default_folder, load_config, progress_of, reading, recipe_of, run_of, save_config
from .refusals import at_hand, check_continued, check_images, check_options
from .run import decided, train, write_report

__all__ = [
    "Splits",
    "append_rows",
    "at_hand",
    "check_continued",
    "check_images",
    "check_options",
    "choose",
    "command_line",
    "config_hash",
    "decided",
    "default_folder",
    "load_config",
    "progress_of",
    "read_rows",
    "reading",
    "recipe_of",
    "run_of",
    "save_config",
    "train",
    "with_images",
    "write_report",
]
