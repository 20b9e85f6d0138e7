"""A stock AMQP client hears what Souk publishes, and finds CloudEvents 1.0."""
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pika  # noqa: E402

from cloud_events import PREFIX, TRACEPARENT, problems  # noqa: E402
from rabbitmq_server import RabbitMQ  # noqa: E402
from souk import BINARY, main  # noqa: E402

DRIVER = Path(BINARY).parent / 'broker_test'    # one of its tests publishes for us


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.url = os.environ.get('SOUK_TEST_RABBITMQ')
        cls.server = None if cls.url else RabbitMQ()
        cls.url = cls.url or cls.server.url

    @classmethod
    def tearDownClass(cls):
        if cls.server:
            cls.server.close()

    def setUp(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url + '/%2F'))
        self.channel = self.connection.channel()
        self.channel.exchange_declare('souk', 'topic', durable=True)
        self.queue = self.channel.queue_declare('', exclusive=True).method.queue
        self.channel.queue_bind(self.queue, 'souk', '#')

    def tearDown(self):
        self.connection.close()

    def publish(self):
        """Has the driver publish; gives its topic's beginning, which is nobody else's."""
        driver = subprocess.Popen([DRIVER, 'rabbitmq_carries_all_attributes'], stdout=subprocess.DEVNULL,
                                  env={**os.environ, 'SOUK_TEST_RABBITMQ': self.url})
        self.assertEqual(0, driver.wait(120))
        return f't{driver.pid}x'

    def test_whatever_is_published_is_a_cloud_event(self):
        ours, heard = self.publish(), []
        for method, properties, body in self.channel.consume(self.queue, auto_ack=True, inactivity_timeout=5):
            if method is None:
                break
            if method.routing_key.startswith(ours):
                heard.append((method.routing_key, properties, body))
        self.assertGreaterEqual(len(heard), 3)
        for key, properties, body in heard:
            self.assertEqual([], list(problems(properties)))
            headers = {k.removeprefix(PREFIX): v for k, v in properties.headers.items()}
            self.assertEqual(key, headers['type'])
            self.assertEqual(key, properties.type)
            self.assertEqual(headers['id'], properties.message_id)
            self.assertEqual('/souk/shop', headers['source'])
            self.assertEqual('ord_ü "%"', headers['subject'])
            self.assertEqual('souk.shop.v1.Sold', headers['dataschema'])
            self.assertEqual('cor_1', headers['correlationid'])
            self.assertRegex(headers['traceparent'], TRACEPARENT)
            self.assertEqual(f'data {headers["sequence"]}'.encode(), body)
            self.assertEqual(100 + int(headers['sequence']), int(headers['position']))
            self.assertEqual('application/protobuf', properties.content_type)
            self.assertEqual(2, properties.delivery_mode)
        by_sequence = {p.headers[PREFIX + 'sequence']: p.headers for _, p, _ in heard}
        self.assertEqual({'0', '1', '2'}, set(by_sequence))
        self.assertEqual('evn_0', by_sequence['2'][PREFIX + 'causationid'])
        self.assertNotIn(PREFIX + 'causationid', by_sequence['1'])      # empty is left out


if __name__ == '__main__':
    main()
