"""Starts the command `reflrp`, and is imported before `reflrp` is.

Importing takes a moment, in which Ctrl-C would end in a traceback of whatever is just being imported: `reflrp.cli` cannot help
that, as it is not there yet. So until it is, Ctrl-C ends the process at once, in the same words and with the same exit code.
"""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as behind `nohup`
    if ours:
        signal.signal(signal.SIGINT, _stop)
    from reflrp.cli.main import main as command

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


def _stop(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"error: stopped\n")
    finally:
        os._exit(130)
