"""The entry point of the daemon's process: log, lock of the state directory, then the daemon."""

import errno
import faulthandler
import gc
import logging
from pathlib import Path

from config.load import Loaded
from daemon import logs
from daemon.lifecycle import Daemon, StartRefused
from persistence.embedded.server import LockTaken, StateLock

logger = logging.getLogger("billingd")

NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
"""What a state directory may be: with a database server of its own, billing needs no disk."""


def run(loaded: Loaded, config_path: Path | None, version: str) -> int:
    """Runs the daemon in the foreground under the state directory's lock; returns the exit status.

    Raises StartRefused for what is its own: configuration, state directory, secrets, address, lock.
    """
    settings = loaded.settings
    logs.configure(settings.log.level, settings.log.format)
    gc.freeze()  # what is imported stays for good
    faulthandler.enable()  # systemd's watchdog ends us with SIGABRT: every stack is said then
    lock = StateLock(settings.state_dir, "billingd run")
    try:
        lock.acquire()
    except LockTaken as error:
        raise StartRefused(str(error)) from error
    except OSError as error:
        reason = f"the state directory {settings.state_dir} (key state_dir): {(error.strerror or '').lower()}"
        if settings.database.embedded or error.errno not in NOT_WRITABLE:
            raise StartRefused(f"cannot use {reason}") from error
        logger.warning("billing goes on without %s; alarms don't outlast the process", reason)
    try:
        return Daemon(loaded, config_path, version).run()
    finally:
        lock.release()
