"""Stands where a client believes Responsys to be.

The login and the list of limits are tidegate's own. Every other call is handed in as an event; when it has its end, the
client gets the answer that Responsys gives to such a call, or what tidegate says in Responsys' words when it turns it away.
"""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 30

RECIPIENT = {
    "recordData": {
        "fieldNames": ["RIID_", "CUSTOMER_ID_", "EMAIL_ADDRESS_"],
        "records": [["4094326", "7", "ab.cd@example.com"]],
        "mapTemplateName": None,
    },
    "mergeRule": None,
    "links": [],
}
MERGED = {
    "recordData": {"fieldNames": ["RIID_"], "records": [["4094326"]], "mapTemplateName": None},
    "mergeRule": None,
    "links": [],
}
# Method, end of the path, answer; the first that fits.
ANSWERS = [
    ("GET", "/lists", [{"name": "L", "folderName": "F", "fields": [{"fieldName": "RIID_"}]}]),
    ("GET", "/listExtensions", [{"profileExtension": {"objectName": "P", "folderName": "F"}}]),
    ("GET", "/members", RECIPIENT),
    ("POST", "/members", MERGED),
    ("DELETE", "", MERGED),
]


class Front(ThreadingHTTPServer):
    """Remembers what came: method, path, the status that the client got, and the policies of the event."""

    daemon_threads = True

    def __init__(self, tidegate, upstream):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tidegate, self.upstream = tidegate, upstream
        self.calls = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.server_address[1]

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.tidegate, timeout=PATIENCE_S)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers.items(), response.read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        path = self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        policies = []
        if path.endswith("/auth/token") or path.endswith("/ratelimit"):
            # With its own Host: the answer names the address at which the client goes on.
            kept = ("host", "content-type", "authorization")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            status, headers, answer = self.server.ask(self.command, self.path, body, headers)
        else:
            status, headers, answer, policies = self.hand_in(path, body)
        self.server.calls.append([self.command, path, status, policies])
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "date", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = serve

    def hand_in(self, path, body):
        kept = ("content-type", "authorization")
        event = {
            "url": self.server.upstream + self.path,
            "method": self.command,
            "headers": {name: value for name, value in self.headers.items() if name.lower() in kept},
        }
        if body:
            event["body_text"] = body.decode()
        status, headers, answer = self.server.ask(
            "POST", "/v1/events", json.dumps(event), {"content-type": "application/json"}
        )
        if status != 202:
            return status, headers, answer, []
        receipt = json.loads(answer)
        outcome = self.end_of(receipt["id"])
        if outcome != "delivered":
            return 502, [], json.dumps({"outcome": outcome}).encode(), receipt["policies"]
        fits = (answer for method, end, answer in ANSWERS if method == self.command and path.rstrip("/").endswith(end))
        answer = json.dumps(next(fits)).encode()
        return 200, [("content-type", "application/json;charset=UTF-8")], answer, receipt["policies"]

    def end_of(self, event):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            _, _, answer = self.server.ask("GET", "/v1/events/" + event)
            outcome = json.loads(answer).get("outcome")
            if outcome:
                return outcome
            time.sleep(0.01)
        return "none"

    def log_message(self, *_):
        pass
