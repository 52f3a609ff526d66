"""What is posted to two daemons whose inbox is one folder: neither takes the other's half of a body for its own."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from intake.posting import Postbox, Upload
from tests.support.sample import ROOT

WHOLE = b"meter_id,at\na,1\nb,2\n"
BEGIN = """
import os, sys
from pathlib import Path
from intake.posting import Postbox, Upload

postbox = Postbox(Path(sys.argv[1]))
postbox.waiting_bytes()  # empties the spool of what a killed process has left
upload = Upload(postbox)
upload.write(b"meter_id,at\\na,")
os._exit(0)  # it would go on
"""


def test_two_daemons_that_share_a_folder_take_only_whole_bodies(tmp_path: Path) -> None:
    postbox = Postbox(tmp_path)
    postbox.waiting_bytes()
    upload = Upload(postbox)
    upload.write(WHOLE)
    subprocess.run([sys.executable, "-c", BEGIN, str(tmp_path)], cwd=ROOT, check=True)
    with suppress(OSError):  # answered 503: whoever posts does it again
        postbox.accept(upload, "readings", None, "local")
    upload.close()
    assert [path.read_bytes() for path in tmp_path.glob("*.readings")] in ([WHOLE], [])
