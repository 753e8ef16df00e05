"""While the command `reflrp` is being imported, Ctrl-C ends it quietly.

Importing takes a moment, in which Ctrl-C would end in a traceback of whatever is just being imported: `reflrp.cli` cannot help
that, as it is not there yet. So `reflrp/__init__.py` imports this first. It does something only where the process is the
command, and `reflrp.cli.main` takes over from it.
"""

import os
import signal
import sys
from types import FrameType


def is_command() -> bool:
    """Return whether the process was started as `reflrp` or as `python -m reflrp`, as Python itself says."""
    started = sys.orig_argv[1:]
    if "-m" in started:
        return started[started.index("-m") + 1 :][:1] == ["reflrp"]
    script = next((text for text in started if not text.startswith("-")), "")
    return os.path.basename(script) in ("reflrp", "reflrp.exe")


def end_quietly(number: int, frame: FrameType | None) -> None:
    """End the process at once, in the words and with the exit code of the command."""
    try:
        os.write(2, b"error: stopped\n")
    finally:
        os._exit(130)


if (
    is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):  # else it is ignored, as behind `nohup`
    signal.signal(signal.SIGINT, end_quietly)
