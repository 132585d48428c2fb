"""The command line: finds the command, runs it, and turns every error into one line and an exit code.

Exit codes: 0 success; 1 a bug in memogen, or a training that diverged; 2 wrong input; 130 stopped on request (Ctrl-C, SIGTERM). ``--debug`` shows
the traceback. Nothing here imports torch: a command imports what it needs when it runs.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # longer spinning ruins a busy machine; a small step on an idle one takes 1.4 times as long

from memogen import __version__
from memogen.configs import nearest
from memogen.errors import InputError, printable
from memogen.stopping import stopping

INPUT, OURS, STOPPED = 2, 1, 130

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor. Memory that it gives back has to be cleared by the system at every step anew.

    Has no effect without glibc, or where the environment sets the allocator's thresholds itself.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and not own else None
    if mallopt is not None:
        for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(threshold, _KEPT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: what is printed there is lost, and must not end up elsewhere
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open to the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a character that the terminal cannot show must not end a command
    keep_freed_memory()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with stopping():
            code = _run(words)
        if argv is None:  # the work is done: a request to stop while Python exits must not change the exit code
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return code
    except KeyboardInterrupt as stopped:
        return _told(f"\nmemogen: {stopped if str(stopped) else 'stopped'}", STOPPED)
    except BrokenPipeError:  # the reader of our output has closed it, as in `memogen data list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)


def _run(words: list[str]) -> int:
    from memogen.cli.table import COMMANDS

    if words[:1] == ["stream"]:  # the former name of tasks
        words = ["tasks", *words[1:]]
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"memogen {__version__}")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            from memogen.cli.parser import call

            return call(name, COMMANDS[name], words[length:])
    group = [name.split()[1] for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if not group:
        raise InputError(f"no command '{words[0]}'{nearest(words[0], [name.split()[0] for name in COMMANDS])}; memogen --help lists them")
    if len(words) > 1 and words[1] not in ("-h", "--help"):
        raise InputError(f"{words[0]}: no command '{words[1]}'{nearest(words[1], group)}; there are {', '.join(group)}")
    print(overview(f"{words[0]} "))
    return 0


def overview(group: str = "") -> str:
    """The commands with one line each: all, or those whose name starts with ``group``."""
    from memogen.cli.table import COMMANDS

    rows = [(name, (function.__doc__ or "").splitlines()[0]) for name, function in COMMANDS.items() if name.startswith(group)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {summary}" for name, summary in rows]
    head = [f"memogen {__version__}: generative models with memory", "", f"usage: memogen {group or 'COMMAND '}... [options]", ""]
    return "\n".join([*head, *lines, "", "memogen COMMAND --help explains a command; --debug shows the traceback of an error."])


def _explain(error: Exception) -> int:
    """Print one line on standard error and return the exit code."""
    message = printable(" ".join(str(error).split()))
    if isinstance(error, InputError):
        print(f"memogen: {message}", file=sys.stderr)
        return INPUT
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)):
        where = printable(str(error.filename)) if error.filename is not None else "output"
        print(f"memogen: {where}: cannot be read or written ({error.strerror}); check the path, its permissions and the free space", file=sys.stderr)
        return INPUT
    if isinstance(error, MemoryError) or "can't allocate memory" in message or _is(error, "torch", "OutOfMemoryError"):
        print(f"memogen: out of memory ({message[:200]}); make batches, --num or the model smaller", file=sys.stderr)
        return INPUT
    if _is(error, "memogen.training.fit", "Stopped"):
        return _told(f"memogen: {message}", STOPPED)
    if _is(error, "memogen.training.log", "NonFiniteLoss"):
        print(f"memogen: {message}", file=sys.stderr)
        return OURS
    lost = isinstance(error, RuntimeError) and any(
        words in message for words in ("gloo", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")
    )
    if os.environ.get("WORLD_SIZE", "1") != "1" and (lost or _is(error, "torch.distributed", "DistError")):
        what = "another process of this training has ended or cannot be reached; start all of them again to continue from the last checkpoint"
        print(f"memogen: process {os.environ.get('RANK', '0')}: {what}", file=sys.stderr)
        return OURS
    print(f"memogen: {type(error).__name__}: {message} (a bug in memogen: run again with --debug for the traceback)", file=sys.stderr)
    return OURS


def _told(line: str, code: int) -> int:
    """``code``, after the first of several processes has printed the line."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
    return code


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether the error is of that class. A module that was never imported cannot have raised it, and is not imported here."""
    home = sys.modules.get(module)
    return home is not None and isinstance(error, getattr(home, name))
