"""CloudEvents 1.0 as a stock AMQP client sees them: events in binary mode, heard at the exchange "souk"."""
import re
import threading

import pika

PREFIX = 'cloudEvents:'
MEDIA_TYPE = re.compile(r'[\w.+-]+/[\w.+-]+(;.*)?')
RFC3339 = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)')
TRACEPARENT = re.compile(r'00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}')


def problems(properties):
    """What CloudEvents 1.0 and its AMQP binding in binary mode do not allow, as text."""
    found = {name.removeprefix(PREFIX): value for name, value in (properties.headers or {}).items()
             if name.startswith(PREFIX)}
    for name in ('id', 'source', 'specversion', 'type'):
        if not found.get(name):
            yield f'{name} is required'
    if found.get('specversion') != '1.0':
        yield f'specversion is {found.get("specversion")}'
    if not re.match(r'[^\s#]+$', found.get('source', '')):
        yield f'source {found.get("source")} is no URI reference'
    if not RFC3339.fullmatch(found.get('time', '')):
        yield f'time {found.get("time")} is not of RFC 3339'
    if not MEDIA_TYPE.fullmatch(properties.content_type or ''):
        yield f'content type {properties.content_type}'
    for name, value in found.items():
        if not re.fullmatch('[a-z0-9]{1,20}', name):
            yield f'{name} is no name of an attribute'
        if not isinstance(value, str) or not value:
            yield f'{name} has no value'


class Listener:
    """Hears every event from now on: `heard` has a tuple of routing key, properties and body for each."""

    def __init__(self, url):
        self.heard, self.stopping = [], False
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.exchange_declare('souk', 'topic', durable=True)
        queue = self.channel.queue_declare('', exclusive=True).method.queue
        self.channel.queue_bind(queue, 'souk', '#')
        self.thread = threading.Thread(target=self.listen, args=(queue,))
        self.thread.start()

    def listen(self, queue):
        for method, properties, body in self.channel.consume(queue, auto_ack=True, inactivity_timeout=0.2):
            if method:
                self.heard.append((method.routing_key, properties, body))
            elif self.stopping:
                return

    def topics(self):
        return {key for key, _, _ in list(self.heard)}

    def close(self):
        self.stopping = True
        self.thread.join()
        self.connection.close()
