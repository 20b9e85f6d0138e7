#!/usr/bin/python3
"""A service in another language: hears Souk's events at RabbitMQ, and asks a service of Souk's by gRPC.

    subscriber.py [--amqp URL] [--grpc HOST:PORT] [--db FILE] [--queue NAME] [--count N]

It counts what is sold: for each paid order it looks up the products' titles in catalog, writes them down in a
database of its own, and prints a line.  An event may be delivered more than once; the inbox makes its effect
happen once.  With --count it ends after as many orders.
"""
import argparse
import glob
import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import grpc
import pika
from google.protobuf.message import DecodeError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXCHANGE, TOPIC, SCHEMA = 'souk', 'orders.order_paid', 'souk.orders.v1.OrderPaid'
PREFETCH, CALL_S, RETRY_MOST_S = 64, 5, 30
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED,
           grpc.StatusCode.ABORTED)
TABLES = """
CREATE TABLE IF NOT EXISTS inbox (event_id TEXT PRIMARY KEY, order_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sold (product_id TEXT PRIMARY KEY, title TEXT NOT NULL, quantity INTEGER NOT NULL);
"""


class Malformed(Exception):
    """A message that will not get better by coming again."""


def messages_of(*services):
    """The Python modules of services' protos, made by protoc as those of any other project would be."""
    with tempfile.TemporaryDirectory(prefix='souk-protos-') as out:
        folders = sorted(glob.glob(f'{ROOT}/services/*/'))
        protos = [f'{ROOT}/services/common/{name}.proto' for name in ('options', 'types')]
        protos += [p for p in glob.glob(f'{ROOT}/services/*/*.proto') if '/common/' not in p]
        made = subprocess.run(['protoc', *(f'-I{f}' for f in folders), '-I/usr/include', f'--python_out={out}',
                               *protos, '/usr/include/protobuf-c/protobuf-c.proto'], stderr=subprocess.PIPE, text=True)
        if made.returncode:
            sys.exit(made.stderr)
        sys.path.insert(0, out)
        try:
            return [importlib.import_module(f'{name}_pb2') for name in services]
        finally:
            sys.path.remove(out)


class Catalog:
    """Asks catalog.  Anybody may read products, so that nobody signs for the caller."""

    def __init__(self, address, pb2):
        self.pb2 = pb2
        self.get = grpc.insecure_channel(address).unary_unary(
            '/souk.catalog.v1.Catalog/GetProduct', request_serializer=pb2.GetProductRequest.SerializeToString,
            response_deserializer=pb2.Product.FromString)

    def title(self, line, context):
        """The product's title today; that of the order where the product is gone."""
        if not line.product_id:
            return line.title
        try:
            return self.get(self.pb2.GetProductRequest(id=line.product_id), timeout=CALL_S, metadata=context).title
        except grpc.RpcError as e:
            if e.code() == grpc.StatusCode.NOT_FOUND:
                return line.title
            raise


def open_inbox(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(TABLES)
    return db


def known(db, event_id):
    return db.execute('SELECT 1 FROM inbox WHERE event_id = ?', (event_id,)).fetchone() is not None


def keep(db, event_id, order_id, sold):
    """The effect and the mark that it happened, together; false if it had happened before."""
    db.execute('BEGIN IMMEDIATE')
    try:
        new = db.execute('INSERT INTO inbox VALUES (?, ?) ON CONFLICT DO NOTHING', (event_id, order_id)).rowcount == 1
        for product_id, title, quantity in sold if new else ():
            db.execute('INSERT INTO sold VALUES (?, ?, ?) ON CONFLICT (product_id) DO UPDATE'
                       ' SET title = excluded.title, quantity = sold.quantity + excluded.quantity',
                       (product_id, title, quantity))
        db.execute('COMMIT')
    except BaseException:
        db.execute('ROLLBACK')
        raise
    return new


def attributes(properties):
    """CloudEvents 1.0 over AMQP, binary mode: each attribute is a header, the data is the body."""
    found = {}
    for name, value in (properties.headers or {}).items():
        if name.startswith(('cloudEvents:', 'cloudEvents_')):
            found[name[len('cloudEvents:'):]] = value
    if found.get('specversion') != '1.0' or not found.get('id') or found.get('dataschema') != SCHEMA:
        raise Malformed(f'no {SCHEMA}: {found}')
    return found


class Subscriber:
    def __init__(self, options):
        self.options = options
        self.orders_pb2, catalog_pb2 = messages_of('orders', 'catalog')
        self.catalog = Catalog(options.grpc, catalog_pb2)
        self.db = open_inbox(options.db)
        self.taken = 0
        self.link = None

    def run(self):
        """Connects again whenever the broker goes, each time later."""
        wait_s = 1
        while not self.done():
            try:
                self.link = pika.BlockingConnection(pika.URLParameters(self.options.amqp))
                wait_s = 1
                self.consume(self.link.channel())
                self.link.close()
            except pika.exceptions.AMQPError as e:
                print(f'broker: {e!r}; again in {wait_s} s', file=sys.stderr, flush=True)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MOST_S)

    def consume(self, channel):
        queue, dead = self.options.queue, self.options.queue + '.dead'
        channel.exchange_declare(EXCHANGE, 'topic', durable=True)
        channel.queue_declare(dead, durable=True)
        channel.queue_declare(queue, durable=True, arguments={
            'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead, 'x-single-active-consumer': True})
        channel.queue_bind(queue, EXCHANGE, TOPIC)
        channel.basic_qos(prefetch_count=PREFETCH)
        for method, properties, body in channel.consume(queue):
            try:
                self.take(attributes(properties), body)
            except Malformed as e:
                print(f'parked: {e}', file=sys.stderr, flush=True)
                channel.basic_reject(method.delivery_tag, requeue=False)
            else:
                channel.basic_ack(method.delivery_tag)      # what is written, is written
            if self.done():
                channel.cancel()                            # gives back what it did not take
                return

    def done(self):
        return 0 < self.options.count <= self.taken

    def take(self, event, body):
        """One event.  Nothing is asked of others within the transaction."""
        if known(self.db, event['id']):
            return
        order = self.orders_pb2.OrderPaid()
        try:
            order.ParseFromString(body)
        except DecodeError as e:
            raise Malformed(e) from e
        context = [(name, event[attribute]) for name, attribute in
                   (('traceparent', 'traceparent'), ('souk-correlation-id', 'correlationid')) if attribute in event]
        context.append(('souk-causation-id', event['id']))
        sold = [(line.product_id or line.sku, self.title(line, context), line.quantity) for line in order.lines]
        if not keep(self.db, event['id'], order.order_id, sold):
            return
        self.taken += 1
        goods = ', '.join(f'{quantity} x {title}' for _, title, quantity in sold)
        print(f'{order.order_id} {order.total.amount} {order.total.currency}: {goods}', flush=True)

    def title(self, line, context):
        """Waits for a catalog that is away; the broker's heartbeats go on."""
        wait_s = 1
        while True:
            try:
                return self.catalog.title(line, context)
            except grpc.RpcError as e:
                if e.code() not in PASSING:
                    raise
                print(f'catalog: {e.code().name}; again in {wait_s} s', file=sys.stderr, flush=True)
                self.link.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MOST_S)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--amqp', default='amqp://guest:guest@127.0.0.1:5672/%2F', metavar='URL')
    parser.add_argument('--grpc', default='127.0.0.1:7404', metavar='HOST:PORT', help='where catalog is called')
    parser.add_argument('--db', default='subscriber.db', metavar='FILE')
    parser.add_argument('--queue', default='example.subscriber', metavar='NAME')
    parser.add_argument('--count', type=int, default=0, metavar='N', help='end after N orders')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Subscriber(parser.parse_args()).run()
    except KeyboardInterrupt:
        pass


if __name__ == '__main__':
    main()
