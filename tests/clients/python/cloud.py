"""Sends CloudEvents with the official SDK, receives the calls, and reads the CloudEvents back from them with the SDK.

Usage: cloud.py BASE PORT. The configuration calls http://127.0.0.1:PORT for the sources below https://shop.example/.
"""

import http.client
import http.server
import json
import queue
import sys
import threading
from datetime import datetime, timezone

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

BASE = sys.argv[1].removeprefix("http://")
PORT = int(sys.argv[2])
ARRIVED = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        ARRIVED.put(HTTPMessage(headers={name.lower(): value for name, value in self.headers.items()}, body=body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def post(path, headers, body):
    connection = http.client.HTTPConnection(BASE, timeout=20)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, json.loads(text or b"null")


def facts(event):
    return {**event.get_attributes(), "data": event.get_data()}


def events(endpoint):
    """CloudEvents of all kinds, each with another id and subject."""
    all_data = [
        ({"order": [1, 2.5, None]}, "application/json"),
        ("caf\u00e9 \U0001f600", "text/plain"),
        (b"\x00\xff\x01", "application/octet-stream"),
        (None, None),
    ]
    for number, (data, kind) in enumerate(all_data):
        attributes = {
            "id": f"{number}",
            "source": "https://shop.example/orders?region=eu",
            "type": "com.example.order.created",
            "subject": f'Euro \u20ac \U0001f600 100% "{number}"',
            "time": datetime(2030, 1, 31, 8, 0, tzinfo=timezone.utc),
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tidegateurl": f"{endpoint}/orders?n={number}",
            "tidegatemethod": "PUT",
            "tidegatelabels": "org=ACME",
        }
        if kind:
            attributes["datacontenttype"] = kind
        yield CloudEvent(attributes, data)


def again(event, suffix):
    """The same event under another id."""
    return CloudEvent({**event.get_attributes(), "id": event.get_id() + suffix}, event.get_data())


def arrives(event, answer):
    status, receipt = answer
    assert status == 202, receipt
    message = ARRIVED.get(timeout=20)
    assert message.headers["webhook-id"] == receipt["id"], (message, receipt)
    assert facts(from_http_event(message)) == facts(event), message
    return message, receipt


def send_all(endpoint):
    sent = 0
    for event in events(endpoint):
        message = to_binary_event(event)
        headers = dict(message.headers)
        call, receipt = arrives(event, post("/v1/events", headers, message.body))
        assert call.headers.get("content-type") == headers.get("content-type"), call
        # Negative control: what is left out is missed.
        less = {name: value for name, value in call.headers.items() if name != "ce-subject"}
        assert facts(from_http_event(HTTPMessage(headers=less, body=call.body))) != facts(event)
        status, repeated = post("/v1/events", headers, message.body)
        assert (status, repeated["id"], repeated.get("duplicate")) == (202, receipt["id"], True), repeated

        event = again(event, "-structured")
        message = to_structured_event(event)
        call, _ = arrives(event, post("/v1/events", dict(message.headers), message.body))
        assert call.body == message.body, "byte by byte"
        sent += 2
    return sent


def send_batch(endpoint):
    batch = [again(event, "-batched") for event in events(endpoint)]
    texts = [JSONFormat().write(event).decode() for event in batch]
    nameless = '{"specversion": "1.0", "id": "x", "source": "/shop", "type": "t"}'  # And no block is for its source.
    kind = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
    status, answers = post("/v1/events", kind, f"[{', '.join([*texts, nameless])}]".encode())
    assert status == 200 and [answer["status"] for answer in answers] == [202] * len(batch) + [422], answers
    assert answers[-1]["errors"][0]["pointer"] == "/tidegateurl", answers
    arrived = [from_http_event(ARRIVED.get(timeout=20)) for _ in batch]
    by_id = [{event.get_id(): facts(event) for event in events} for events in (arrived, batch)]
    assert by_id[0] == by_id[1], by_id
    return len(batch)


def send_by_source():
    """Of CloudEvents that do not say what is to be called the configuration does."""
    sent = 0
    for event in events("http://127.0.0.1:1"):
        attributes = {name: value for name, value in event.get_attributes().items() if not name.startswith("tidegate")}
        for suffix, to_message in ("-by-source", to_binary_event), ("-by-source-too", to_structured_event):
            event = CloudEvent({**attributes, "id": attributes["id"] + suffix}, event.get_data())
            message = to_message(event)
            call, _ = arrives(event, post("/v1/events", dict(message.headers), message.body))
            assert call.headers.get("authorization") == "Bearer of the configuration", call
            sent += 1
        # Who says what is to be called gets nothing of the configuration.
        event = CloudEvent({**event.get_attributes(), "id": attributes["id"] + "-own", "tidegatemethod": "PUT",
                            "tidegatelabels": "org=ACME", "tidegateurl": f"http://127.0.0.1:{PORT}/own"}, event.get_data())
        message = to_binary_event(event)
        call, _ = arrives(event, post("/v1/events", dict(message.headers), message.body))
        assert "authorization" not in call.headers, call
        sent += 1
    return sent


def refuse():
    for headers, pointer in [
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-tidegateurl": "http://shop.example/"}, "/source"),
        ({"ce-specversion": "1.0", "ce-id": "100%", "ce-type": "t", "ce-source": "/s", "ce-tidegateurl": "http://a.example/"}, "/id"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s", "ce-tidegateurl": "ftp://a.example/"}, "/tidegateurl"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s", "ce-tidegateurl": "http://a.example/"}, "/tidegateurl"),
    ]:
        status, problem = post("/v1/events", {**headers, "content-type": "text/plain"}, b"x")
        assert (status, problem["errors"][0]["pointer"]) == (422, pointer), problem
    sound = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "tidegateurl": "http://a.example/"}
    for name, value in [
        *((name, value) for name in ("specversion", "id", "source", "type") for value in (1, 1.0, True, "", [], {}, None)),
        *(("time", value) for value in ("noon", "2030-01-31", "2030-01-31T08:00:00", 1)),
        ("subject", ""), ("subject", 1), ("dataschema", "/x"), ("datacontenttype", "x"), ("other", 1.5), ("other", 2**31),
        ("Other", "x"), ("other", "\u0000"), ("other", "\uffff"), ("data_base64", "?"), ("data_base64", 1),
    ]:
        kind = {"content-type": "application/cloudevents+json"}
        status, problem = post("/v1/events", kind, json.dumps({**sound, name: value}).encode())
        pointers = [error["pointer"] for error in problem["errors"]]
        assert status == 422 and pointers[0] == f"/{name}", (name, value, problem)
    both = json.dumps({**sound, "data": 1, "data_base64": "AA=="}).encode()
    status, problem = post("/v1/events", kind, both)
    assert (status, problem["errors"][0]["pointer"]) == (422, "/data_base64"), problem
    # A header twice, which a dictionary cannot say.
    connection = http.client.HTTPConnection(BASE, timeout=20)
    connection.putrequest("POST", "/v1/events")
    for name, value in [*((f"ce-{name}", value) for name, value in sound.items()), ("ce-id", "2"), ("content-length", "0")]:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    assert (answer.status, problem["errors"][0]["pointer"]) == (422, "/id"), problem
    connection.close()
    status, problem = post("/v1/events", {"content-type": "application/cloudevents+avro"}, b"x")
    assert (status, problem["code"]) == (415, "unsupported_media_type"), problem


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    config = {"name": "orders", "urlPattern": f"{endpoint}/*", "methods": ["PUT"], "maxThroughput": 200}
    # The limit is that of an organisation: events fall under it by their label.
    kind = {"content-type": "application/json", "x-gw-ims-org-id": "ACME"}
    status, created = post("/authoring/throttlingConfigs", kind, json.dumps(config).encode())
    assert status == 200, created
    status, answer = post(f"/authoring/throttlingConfigs/{created['uid']}/deploy", kind, b"{}")
    assert status == 204, answer
    refuse()
    print(f"{send_all(endpoint) + send_batch(endpoint) + send_by_source()} CloudEvents came back as they were sent")
    assert ARRIVED.empty()


main()
