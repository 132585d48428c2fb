"""The command line: finds the command, runs it, and turns whatever goes wrong into one line and an exit code.

0 all well; 1 our fault, or a training that diverged; 2 the user's input; 130 stopped on request (Ctrl-C, SIGTERM). A traceback appears only
with ``--debug``. Nothing here imports torch: a command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # longer spinning ruins a busy machine; a small step on an idle one takes 1.4 times as long

from memogen import __version__
from memogen.cli.options import UsageError
from memogen.errors import InputError
from memogen.names import printable
from memogen.overrides import nearest
from memogen.stopping import stopping

INPUT, OURS, STOPPED = 2, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks ends no command
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with stopping():
            code = _run(words)
        if argv is None:  # the work is done: a request to stop that arrives while Python ends changes nothing
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return code
    except KeyboardInterrupt as stopped:
        if _leads():
            print(f"\nmemogen: {stopped if str(stopped) else 'stopped'}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as in `memogen data list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)


def _run(words: list[str]) -> int:
    from memogen.cli.table import COMMANDS

    words = ["tasks", *words[1:]] if words[:1] == ["stream"] else words  # its earlier name
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"memogen {__version__}")
        return 0
    name, rest = _command(words, list(COMMANDS))
    if not name:
        print(overview(f"{words[0]} "))
        return 0
    from memogen.cli.parser import call

    return call(name, COMMANDS[name], rest)


def _command(words: list[str], names: list[str]) -> tuple[str, list[str]]:
    """The command and the words after it; an empty name asks for the overview of a group such as ``memory``."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in names:
            return name, words[length:]
    if any(name.startswith(f"{words[0]} ") for name in names):
        if len(words) == 1 or words[1] in ("-h", "--help"):
            return "", []
        group = [name.split()[1] for name in names if name.startswith(f"{words[0]} ")]
        raise UsageError(f"{words[0]}: no command '{words[1]}'{nearest(words[1], group)}; there are {', '.join(group)}")
    raise UsageError(f"no command '{words[0]}'{nearest(words[0], [name.split()[0] for name in names])}; memogen --help lists them")


def overview(group: str = "") -> str:
    """The commands with one line each, all or those of one group."""
    from memogen.cli.table import COMMANDS

    rows = [(name, (function.__doc__ or "").splitlines()[0]) for name, function in COMMANDS.items() if name.startswith(group)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {summary}" for name, summary in rows]
    head = [f"memogen {__version__}: generative models with memory", "", f"usage: memogen {group or 'COMMAND '}... [options]", ""]
    return "\n".join([*head, *lines, "", "memogen COMMAND --help explains a command; --debug shows the traceback of an error."])


def _explain(error: Exception) -> int:
    """One line on standard error, and the exit code."""
    message = printable(" ".join(str(error).split()))
    if isinstance(error, InputError):
        print(f"memogen: {message}", file=sys.stderr)
        return INPUT
    if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        where = printable(str(error.filename)) if error.filename is not None else "output"
        print(f"memogen: {where}: cannot be read or written ({error.strerror}); check the path, its permissions and the free space", file=sys.stderr)
        return INPUT
    if isinstance(error, MemoryError) or "can't allocate memory" in message or _is(error, "torch", "OutOfMemoryError"):
        print(f"memogen: out of memory ({message[:200]}); make batches, --num or the model smaller", file=sys.stderr)
        return INPUT
    if _is(error, "memogen.training.fit", "Stopped"):
        if _leads():
            print(f"memogen: {message}", file=sys.stderr)
        return STOPPED
    if _is(error, "memogen.training.window", "NonFiniteLoss"):
        print(f"memogen: {message}", file=sys.stderr)
        return OURS
    if _alone(error, message):
        rank = os.environ.get("RANK", "0")
        what = "another process of this training has ended or cannot be reached; start all of them again to continue from the last checkpoint"
        print(f"memogen: process {rank}: {what}", file=sys.stderr)
        return OURS
    print(f"memogen: {type(error).__name__}: {message} (a bug in memogen: run again with --debug for the traceback)", file=sys.stderr)
    return OURS


def _alone(error: Exception, message: str) -> bool:
    """Whether one of several processes has lost another."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    lost = ("gloo", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")
    return _is(error, "torch.distributed", "DistError") or (isinstance(error, RuntimeError) and any(words in message for words in lost))


def _leads() -> bool:
    """Whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether the error is of that class, without importing it: where its module was never imported, nobody can have raised it."""
    home = sys.modules.get(module)
    return home is not None and isinstance(error, getattr(home, name))
