"""Where each thread stands, as text."""

from __future__ import annotations

import sys
import threading
import traceback

__all__ = ["dump_stacks", "stack_of"]


def stack_of(thread: threading.Thread | None) -> str:
    """The stack of one thread; empty if it doesn't run."""
    frame = sys._current_frames().get(thread.ident) if thread is not None and thread.ident else None
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


def dump_stacks() -> str:
    """The stacks of all threads, each under its name: for SIGUSR1."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [
        f"--- {names.get(ident, 'unknown')} ({ident})\n" + "".join(traceback.format_stack(frame))
        for ident, frame in sorted(sys._current_frames().items())
    ]
    return "\n".join(parts)
