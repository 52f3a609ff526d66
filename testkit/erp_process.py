"""The fake ERP as a process that can be killed and frozen; its argument is a JSON document of FakeAltibiz's."""

import json
import sys

from altibiz.fake.server import serve

if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
