"""A collector of traces that takes OTLP over HTTP, read with the library's own classes."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class OtlpReceiver:
    """Listens on the loopback. `answers` holds each answer back while it is clear."""

    def __init__(self, port: int = 0) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.spans: list[tuple[str, Span]] = []
        """Each with the instance that has sent it."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.answers.wait(30)
                for each in request.resource_spans:
                    by = attributes(each.resource)["service.instance.id"]
                    receiver.spans += [(by, span) for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def named(self, name: str) -> list[Span]:
        return [span for _, span in self.spans if span.name == name]

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


def attributes(of: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: each.value.string_value or each.value.int_value for each in of.attributes}
