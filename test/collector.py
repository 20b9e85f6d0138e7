"""A collector of traces: takes OTLP/HTTP in JSON, and finds fault with what is none."""
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from souk import wait_for

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5


def attributes(of):
    """A list of KeyValue as a dict; an int64 is a string in OTLP's JSON."""
    found = {}
    for pair in of:
        assert set(pair) == {'key', 'value'} and len(pair['value']) == 1, pair
        (kind, value), = pair['value'].items()
        assert kind in ('stringValue', 'intValue') and isinstance(value, str), pair
        assert pair['key'] not in found, of
        found[pair['key']] = int(value) if kind == 'intValue' else value
    return found


def read_request(body):
    """The spans of an ExportTraceServiceRequest; what is not OTLP fails."""
    assert set(body) == {'resourceSpans'}, body
    spans = []
    for resource in body['resourceSpans']:
        of = attributes(resource['resource']['attributes'])
        assert of['service.namespace'] == 'souk' and of['service.version'], of
        for scope in resource['scopeSpans']:
            assert scope['scope']['name'] == 'souk' and scope['spans'], scope
            for s in scope['spans']:
                assert re.fullmatch('[0-9a-f]{32}', s['traceId']) and int(s['traceId'], 16), s
                assert re.fullmatch('[0-9a-f]{16}', s['spanId']) and int(s['spanId'], 16), s
                assert re.fullmatch('([0-9a-f]{16})?', s.get('parentSpanId', '')), s
                assert s['name'] and s['kind'] in range(1, 6), s
                for name in 'startTimeUnixNano', 'endTimeUnixNano':
                    assert isinstance(s[name], str) and re.fullmatch('[0-9]{19}', s[name]), s
                assert int(s['startTimeUnixNano']) <= int(s['endTimeUnixNano']), s
                assert s['status'] in ({}, {'code': 2}), s
                assert set(s) <= {'traceId', 'spanId', 'parentSpanId', 'flags', 'name', 'kind', 'startTimeUnixNano',
                                  'endTimeUnixNano', 'attributes', 'status'}, s
                spans.append({**s, 'service': of['service.name'], 'attributes': attributes(s['attributes'])})
    return spans


class Collector:
    """Takes OTLP JSON; answers the first requests with what `says` lists: (status, headers)."""

    def __init__(self, port=0, says=()):
        self.spans, self.faults, self.says, self.raw = [], [], list(says), []
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers['content-length']))
                if outer.says:
                    status, headers = outer.says.pop(0)
                    outer.refused += 1
                else:
                    status, headers = 200, {}
                    try:
                        assert self.path == '/v1/traces', self.path
                        assert self.headers['content-type'] == 'application/json'
                        outer.spans += read_request(json.loads(body))
                        outer.raw.append(body)
                    except Exception as e:  # told by the test
                        outer.faults.append(repr(e))
                self.send_response(status)
                for name, value in {**headers, 'content-length': '2'}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b'{}')

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', port), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05},
                                       daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def trace(self, trace_id):
        return [s for s in list(self.spans) if s['traceId'] == trace_id]

    def whole(self, trace_id, last):
        """The trace's spans when those named in last, (service, name), have come, and their root: a tree
        whose root is the gateway's.  Fails when it does not become one."""
        def orphans(spans):
            ids = {s['spanId'] for s in spans}
            return [s for s in spans if s.get('parentSpanId', '') not in ids | {''}]

        def named(spans):
            return {(s['service'], s['name']) for s in spans}

        wait_for(lambda: last <= named(spans := self.trace(trace_id)) and not orphans(spans), 60)
        spans = self.trace(trace_id)
        assert last <= named(spans) and not orphans(spans), 'missing %s; orphans %s; of %s' % (
            last - named(spans), orphans(spans), sorted(named(spans)))
        parent = {s['spanId']: s.get('parentSpanId') for s in spans}
        assert len(parent) == len(spans), spans
        roots = [s for s in spans if not s.get('parentSpanId')]
        assert [(s['service'], s['kind']) for s in roots] == [('gateway', SERVER)], roots
        for at in parent:
            seen = set()
            while at:
                assert at not in seen, at
                seen.add(at)
                at = parent[at]
        return spans, roots[0]
