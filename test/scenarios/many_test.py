#!/usr/bin/python3
"""A process for each service, on PostgreSQL and RabbitMQ: what crosses between them, seen from outside.

Runs without a SHAPE, and in that one; SOUK_MANY has it run beside any other.
"""
import base64
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault('GRPC_VERBOSITY', 'NONE')      # it tells at length of those who were refused
import grpc  # noqa: E402
import pika  # noqa: E402

import protos  # noqa: E402
from cloud_events import PREFIX, Listener, problems  # noqa: E402
from collector import CLIENT, CONSUMER, SERVER, Collector  # noqa: E402
from flows import ASYNC, SETTINGS, Flows, Mailbox, topics  # noqa: E402
from souk import PASSWORD, ROOT, Souk, free_port, main, order_body, wait_for  # noqa: E402

SALES = 100
CALL_S = 20
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
# An Ed25519 key in PKCS #8 is this and the 32 bytes of its seed (RFC 8410).
PKCS8 = bytes.fromhex('302e020100300506032b657004220420')
ELSEWHERE = os.environ.get('SHAPE', 'rabbitmq') != 'rabbitmq' and 'SOUK_MANY' not in os.environ


def figure(souk, process, pattern):
    """The sum of a process's figures whose line begins with what pattern matches."""
    page = souk.many.page(process, '/metrics')[1]
    return sum(int(n) for n in re.findall(rf'^{pattern}.* (\d+)$', page, re.M))


def served(souk, process, rpc):
    return figure(souk, process, rf'souk_requests_total{{route="/souk\.{process}\.v1\.{rpc}"')


def asked(souk, process, of):
    return figure(souk, process, rf'souk_channel_calls_total{{to="{of}"}}')


class Peer:
    """A gRPC client of a process's address that is none of Souk's."""

    def __init__(self, souk, process, credentials=None):
        address = re.search(rf'^process {process} {process} (\S+)', Path(souk.many.topology).read_text(), re.M)[1]
        self.messages = protos.messages()
        self.channel = (grpc.secure_channel(address, credentials, [('grpc.ssl_target_name_override', process)])
                        if credentials else grpc.insecure_channel(address))

    def call(self, method, out='souk.v1.Empty', metadata=(), **fields):
        """Gives the answer, or the status code that it failed with; in's type follows from the method's name."""
        package, name = re.fullmatch(r'/(souk\.\w+\.v1)\.\w+/(\w+)', method).groups()
        ask = self.channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                       response_deserializer=self.messages[out].FromString)
        try:
            return ask(self.messages[f'{package}.{name}Request'](**fields), timeout=CALL_S, metadata=metadata)
        except grpc.RpcError as e:
            return e.code()

    def raw(self, method, message):
        """The same in bytes, for protocols that are gRPC's own."""
        return self.channel.unary_unary(method)(message, timeout=CALL_S)

    def reflect(self, message):
        return next(self.channel.stream_stream('/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo')(
            iter([message]), timeout=CALL_S))

    def close(self):
        self.channel.close()


def signed(messages, seed, user_id, until_s):
    """souk-caller-bin as the holder of seed makes it."""
    caller = messages['souk.kit.v1.Caller'](id=user_id, until_us=int(until_s * 1e6)).SerializeToString()
    with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as text:
        key.write(PKCS8 + seed), key.flush()
        text.write(caller), text.flush()
        signature = subprocess.run(['openssl', 'pkeyutl', '-sign', '-rawin', '-keyform', 'DER', '-inkey', key.name,
                                    '-in', text.name], check=True, capture_output=True).stdout
    return messages['souk.kit.v1.SignedCaller'](caller=caller, signature=signature).SerializeToString()


@unittest.skipIf(ELSEWHERE, 'it is about many processes and RabbitMQ')
class Many(Flows, unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.mailbox, cls.collector = Mailbox(), Collector()
        cls.souk = Souk(start=False, shape='rabbitmq', settings={
            **SETTINGS, **cls.mailbox.settings, 'otlp_endpoint': cls.collector.url})
        cls.listener = Listener(cls.souk.many.broker.url)
        cls.souk.start()

    @classmethod
    def tearDownClass(cls):
        cls.listener.close()
        code = cls.souk.close()
        cls.collector.close()
        cls.mailbox.close()
        assert code == 0
        assert not cls.collector.faults, cls.collector.faults

    # ---- events -------------------------------------------------------------------------------------

    def test_a_stock_client_sees_every_event(self):
        self.drive()
        self.a_session_ends_before_auth_hears_of_its_checkout()
        wait_for(lambda: topics().keys() <= self.listener.topics(), 60)
        self.assertEqual(topics().keys(), self.listener.topics())
        messages, first = protos.messages(), {}
        for key, properties, body in list(self.listener.heard):
            self.assertEqual([], list(problems(properties)), key)
            headers = {k.removeprefix(PREFIX): v for k, v in properties.headers.items()}
            service, name = key.split('.')
            self.assertEqual((key, f'/souk/{service}', 'application/protobuf'),
                             (headers['type'], headers['source'], properties.content_type))
            schema = headers['dataschema']
            self.assertEqual(schema.rsplit('.', 1)[0], f'souk.{service}.v1')
            told = str(messages[schema].FromString(body))
            for secret in (PASSWORD, 'eyJ', '"approve"', '"decline"'):
                self.assertNotIn(secret, told, key)
            # Heard once more is the same event; a subject's events come in their order, without gaps.
            if first.setdefault(headers['id'], len(first)) == len(first) - 1:
                subject = (service, headers.get('subject', ''))
                first[subject] = first.get(subject, 0) + 1
                self.assertEqual(first[subject], int(headers['sequence']), (key, headers))

    def a_session_ends_before_auth_hears_of_its_checkout(self):
        """While auth is away somebody else takes its queue's place; what he holds auth gets when he goes."""
        sku = self.souk.product('late', 100, 100)
        for _ in range(5):      # auth reads the gateway's outbox too when its queue stays behind for long
            self.souk.many.kill('auth')
            other = pika.BlockingConnection(pika.URLParameters(self.souk.many.broker.url))
            other.channel().basic_consume('souk.auth', lambda *_: None)
            self.souk.start()
            gone = self.log_in('grace@example.org', PASSWORD + ' 2')
            self.ask('POST', '/v1/orders', order_body(sku), 202, **ASYNC, **gone)
            self.ask('POST', '/v1/auth/logout', **gone)
            other.close()
            if wait_for(lambda: 'auth.checkout_failed' in self.listener.topics(), 10):
                return
        self.fail('auth.checkout_failed is not seen')

    # ---- calls --------------------------------------------------------------------------------------

    def test_each_use_case_of_grpc_crosses_processes(self):
        sku = self.souk.product('crossing', 700, 50)
        contact = {'email': 'cross@example.org', 'password': PASSWORD}
        now = {}

        def sign_up():
            now['user'] = self.sign_up(contact['email'])[1]

        def change(method, body=None):
            cart = self.ask('GET', f'/v1/carts/{now["cart"]}', **now['user'])
            status, told, _ = self.souk.request(method, f'/v1/carts/{cart["id"]}/lines/{sku}', body, {
                'If-Match': '"%d"' % cart['version'], **now['user']})
            self.assertEqual(status, 200, told)

        def order():
            now['order'] = self.buy(sku, **now['user'])['id']

        # What a client does; the process that is asked and its rpc; the process that asks.
        cases = (
            ('sign-up', sign_up, 'users', 'Users/SignUp', 'gateway'),
            ('sign-up, its account', lambda: self.sign_up('more@example.org'), 'auth', 'Auth/SetCredentials', 'users'),
            ('login', lambda: self.ask('POST', '/v1/auth/login', contact), 'auth', 'Auth/Login', 'gateway'),
            ('view a profile', lambda: self.ask('GET', '/v1/users/me', **now['user']), 'users', 'Users/GetMe', 'gateway'),
            ('update a profile', lambda: self.ask('PATCH', '/v1/users/me', {'name': 'G'}, **now['user']),
             'users', 'Users/UpdateMe', 'gateway'),
            ('product details', lambda: self.ask('GET', '/v1/products/crossing'), 'catalog', 'Catalog/GetProduct', 'gateway'),
            ('add to a cart', lambda: now.update(cart=self.cart(sku, 1, **now['user'])), 'cart', 'Cart/AddLine', 'gateway'),
            ('and the stock for it', lambda: self.cart(sku), 'inventory', 'Inventory/CheckStock', 'catalog'),
            ('change a cart', lambda: change('PATCH', {'quantity': 3}), 'cart', 'Cart/ChangeLine', 'gateway'),
            ('remove from a cart', lambda: change('DELETE'), 'cart', 'Cart/RemoveLine', 'gateway'),
            ('create an order', order, 'orders', 'Orders/PlaceOrder', 'gateway'),
            ('and reserve its stock', order, 'inventory', 'Inventory/Reserve', 'orders'),
            ('and charge for it', order, 'payments', 'Payments/Charge', 'orders'),
            ('order status', lambda: self.ask('GET', f'/v1/orders/{now["order"]}', **now['user']),
             'orders', 'Orders/GetOrder', 'gateway'),
            ('may he read stock', lambda: self.ask('GET', f'/v1/inventory/{sku}', wanted=403, **now['user']),
             'authz', 'Authz/Check', 'inventory'),
        )
        for name, act, process, rpc, asker in cases:
            with self.subTest(name):
                before = served(self.souk, process, rpc), asked(self.souk, asker, process)
                act()
                self.assertGreater(served(self.souk, process, rpc), before[0], rpc)
                self.assertGreater(asked(self.souk, asker, process), before[1], f'{asker} asks {process}')
        for process in 'catalog', 'cart', 'orders', 'users', 'inventory':
            self.assertGreater(asked(self.souk, process, 'authz'), 0, process)

    def test_one_checkout_is_one_trace_across_processes(self):
        sku = self.souk.product('traced', 4299, 10)
        status, made, headers = self.souk.post('/v1/orders', order_body(sku))
        self.assertEqual(status, 201, made)
        place, reserve, charge, price = (f'souk.{s}.v1.{s.capitalize()}/{rpc}' for s, rpc in (
            ('orders', 'PlaceOrder'), ('inventory', 'Reserve'), ('payments', 'Charge'), ('catalog', 'PriceLines')))
        calls = {('gateway', 'orders', place), ('orders', 'catalog', price), ('orders', 'inventory', reserve),
                 ('orders', 'payments', charge)}
        heard = {(s, 'process orders.order_paid') for s in ('inventory', 'shipping', 'notifications', 'analytics',
                                                            'audit')}
        heard |= {('orders', 'process inventory.stock_committed'), ('recommendations', 'process orders.order_completed')}
        spans, _ = self.collector.whole(headers['traceparent'].split('-')[1], heard | {('notifications', 'send mail')} | {
            end for asker, process, name in calls for end in ((asker, name), (process, name))})
        by_id = {s['spanId']: s for s in spans}
        for asker, process, name in calls:
            here, = [s for s in spans if (s['service'], s['name'], s['kind']) == (asker, name, CLIENT)]
            there, = [s for s in spans if (s['service'], s['name'], s['kind']) == (process, name, SERVER)]
            self.assertEqual(there['parentSpanId'], here['spanId'])
        for service, name in heard:
            span, = [s for s in spans if (s['service'], s['name']) == (service, name)]
            self.assertEqual((span['kind'], by_id[span['parentSpanId']]['service']),
                             (CONSUMER, 'orders' if 'orders.' in name else 'inventory'))

    def test_nobody_but_the_gateway_says_who_asks(self):
        sku = self.souk.product('guarded', 100, 7)
        self.souk.staff()
        ada = self.souk.rows('users', "SELECT user_id FROM users_user WHERE email = 'ada@example.org'")[0]['user_id']
        peer = Peer(self.souk, 'inventory')
        self.addCleanup(peer.close)
        key = Path(self.souk.data, 'identity/gateway.key').read_text().strip()
        seed = base64.urlsafe_b64decode(key + '=' * (-len(key) % 4))
        good = signed(peer.messages, seed, ada, time.time() + 50)
        torn = good[:-1] + bytes([good[-1] ^ 1])

        def stock(*metadata):
            return peer.call('/souk.inventory.v1.Inventory/GetStock', 'souk.inventory.v1.Stock', metadata, sku=sku)

        self.assertEqual(stock(('souk-caller-bin', good)).on_hand, 7)
        for name, refused in {
                'nobody': (),
                'made up': (('souk-caller-bin', b'superadmin'),),
                'torn': (('souk-caller-bin', torn),),
                "another's key": (('souk-caller-bin', signed(peer.messages, os.urandom(32), ada, time.time() + 50)),),
                'long ago': (('souk-caller-bin', signed(peer.messages, seed, ada, time.time() - 90)),),
                'as a service that is none': (('souk-as', 'service'), ('souk-service', 'thief')),
        }.items():
            with self.subTest(name):
                self.assertEqual(stock(*refused), UNAUTHENTICATED)
        reserve = '/souk.inventory.v1.Inventory/Reserve'
        self.assertEqual(peer.call(reserve), UNAUTHENTICATED)
        self.assertEqual(peer.call(reserve, metadata=[('souk-caller-bin', good)]), UNAUTHENTICATED)
        self.assertEqual(peer.call(reserve, metadata=[('souk-service', 'cart')]), DENIED)
        self.assertEqual(self.souk.stock(sku)['available'], 7)

    def test_health_and_reflection_answer(self):
        peer = Peer(self.souk, 'inventory')
        self.addCleanup(peer.close)
        name = b'souk.inventory.v1.Inventory'
        for service in b'', name:       # HealthCheckRequest.service; HealthCheckResponse.status is SERVING
            self.assertEqual(peer.raw('/grpc.health.v1.Health/Check', b'\x0a' + bytes([len(service)]) + service), b'\x08\x01')
        self.assertIn(name, peer.reflect(b'\x3a\x01*'))                             # list_services
        self.assertIn(b'GetStockRequest', peer.reflect(b'\x22' + bytes([len(name)]) + name))    # file_containing_symbol

    # ---- who was away ---------------------------------------------------------------------------------

    def test_receipts_wait_while_notifications_is_away(self):
        sku = self.souk.product('receipted', 300, 2 * SALES)
        self.souk.many.kill('notifications')
        sold = {self.buy(sku, email='collector@example.org')['id'] for _ in range(SALES)}
        self.assertEqual(self.mailbox.to('collector@example.org'), [])
        self.souk.start()

        def receipts():
            mails = self.mailbox.to('collector@example.org')
            return [order for mail in mails for order in sold if order in mail]
        wait_for(lambda: len(receipts()) >= SALES, 60)
        # A mail for an order that comes now is sent behind all of theirs.
        last = self.buy(sku, email='collector@example.org')['id']
        self.assertTrue(wait_for(lambda: any(last in mail for mail in self.mailbox.to('collector@example.org'))))
        self.assertEqual(sorted(receipts()), sorted(sold))
        self.assertEqual(len(self.mailbox.to('collector@example.org')), SALES + 1)

    def test_a_service_in_another_language_hears_each_sale_once(self):
        sku = self.souk.product('exemplary', 4299, 50)
        address = re.search(r'^process catalog \S+ (\S+)', Path(self.souk.many.topology).read_text(), re.M)[1]
        db = f'{self.souk.folder}/sold.db'

        def begin(*more):
            return subprocess.Popen(['/usr/bin/python3', ROOT / 'examples/subscriber.py', '--amqp',
                                     self.souk.many.broker.url, '--grpc', address, '--db', db, *more],
                                    stdout=subprocess.PIPE, text=True)

        def sold():
            if not os.path.exists(db):
                return None
            link = sqlite3.connect(db)
            rows = link.execute("SELECT count(*), (SELECT quantity FROM sold WHERE title = 'exemplary') FROM inbox")
            found = rows.fetchone()
            link.close()
            return found

        first = begin()
        self.assertTrue(wait_for(lambda: os.path.exists(db)))
        connection = pika.BlockingConnection(pika.URLParameters(self.souk.many.broker.url))
        self.addCleanup(connection.close)

        def bound():
            try:
                return connection.channel().queue_declare('example.subscriber', passive=True).method.consumer_count == 1
            except pika.exceptions.ChannelClosedByBroker:
                return False
        self.assertTrue(wait_for(bound))
        self.buy(sku)
        self.assertIn(': 1 x exemplary', first.stdout.readline())
        first.kill()
        first.wait()
        first.stdout.close()
        self.buy(sku, email='second@example.org')
        second = begin('--count', '2')
        self.buy(sku, email='third@example.org')
        self.assertEqual([line.split(': ')[1] for line in second.stdout], ['1 x exemplary\n'] * 2)
        self.assertEqual(second.wait(60), 0)
        second.stdout.close()
        self.assertEqual(sold(), (3, 3))


@unittest.skipIf(ELSEWHERE, 'it is about many processes and RabbitMQ')
class MutualTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(start=False, shape='rabbitmq')
        cls.tls, topology = f'{cls.souk.folder}/tls', cls.souk.many.topology
        for folder in cls.tls, f'{cls.souk.folder}/other':
            subprocess.run([ROOT / 'deploy/certificates.sh', folder, topology], check=True, capture_output=True)
        with open(topology, 'a') as file:
            file.write(f'tls {cls.tls}\nidentity {cls.tls}/identity\n')
        cls.souk.start()

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def peer(self, process, folder, authorities=None):
        """Of inventory, with the certificate of process from folder; none where process is empty."""
        def read(name):
            return Path(name).read_bytes()
        pair = (read(f'{folder}/{process}.key'), read(f'{folder}/{process}.pem')) if process else (None, None)
        peer = Peer(self.souk, 'inventory', grpc.ssl_channel_credentials(read(f'{self.tls}/authorities.pem'), *pair))
        self.addCleanup(peer.close)
        return peer

    def test_a_checkout_works(self):
        sku = self.souk.product('lamp', 4299, 5)
        status, made, _ = self.souk.post('/v1/orders', order_body(sku))
        self.assertEqual((status, made.get('status')), (201, 'paid'), made)
        self.assertTrue(wait_for(lambda: self.souk.get(f'/v1/orders/{made["id"]}', **self.souk.staff())[1]['status']
                                 == 'completed'))

    def test_only_a_process_of_the_shop_is_heard(self):
        reserve = '/souk.inventory.v1.Inventory/Reserve'
        as_orders = [('souk-service', 'orders')]
        for process, folder in (('', ''), ('orders', f'{self.souk.folder}/other')):
            self.assertEqual(self.peer(process, folder).call(reserve, metadata=as_orders), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.peer('cart', self.tls).call(reserve, metadata=as_orders), DENIED)
        self.assertEqual(self.peer('cart', self.tls).call(reserve, metadata=[('souk-service', 'cart')]), DENIED)
        ours = self.peer('orders', self.tls).call(reserve, metadata=as_orders)
        self.assertNotIn(ours, (DENIED, UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE))


@unittest.skipIf(ELSEWHERE, 'it is about many processes and RabbitMQ')
class RunMany(unittest.TestCase):
    """tools/run_many.py on the servers of these tests, with ports of its own."""

    def setUp(self):
        self.souk = Souk(start=False, shape='rabbitmq')     # a database, a virtual host, and a client
        self.addCleanup(self.souk.close)
        self.topology = f'{self.souk.folder}/many.conf'
        text = (ROOT / 'deploy/many.conf').read_text()
        Path(self.topology).write_text(re.sub(r'127\.0\.0\.1:74\d\d', lambda _: f'127.0.0.1:{free_port()}', text))

    def begin(self):
        """A run, when all of it is ready."""
        many = self.souk.many
        run = subprocess.Popen([ROOT / 'tools/run_many.py', '--data', f'{self.souk.folder}/many', '--topology', self.topology,
                                '--listen', f'127.0.0.1:{self.souk.port}'], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, 'SOUK_STORE': many.store, 'SOUK_BROKER': many.broker.url})
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.kill)
        for line in run.stdout:
            if f'15 processes serve http://127.0.0.1:{self.souk.port}' in line:
                return run
        self.fail(f'run_many.py ends with {run.wait()}')

    def child(self, run, name):
        children = Path(f'/proc/{run.pid}/task/{run.pid}/children').read_text().split()
        return next(int(c) for c in children if f'SOUK_PROCESS={name}\0' in Path(f'/proc/{c}/environ').read_text())

    def test_it_sells_and_ends_as_a_whole(self):
        run = self.begin()
        sku = self.souk.get('/v1/products/mint-tea-glasses')[1]['variants'][0]['sku']
        status, made, _ = self.souk.post('/v1/orders', order_body(sku))
        self.assertEqual((status, made['status']), (201, 'paid'), made)
        bearer = {'Authorization': 'Bearer ' + made['access_token']}
        children = [self.child(run, name) for name in ('gateway', 'shipping', 'authz')]
        os.kill(children[1], signal.SIGKILL)
        told = run.stdout.read()
        self.assertEqual(run.wait(60), 1)
        self.assertIn('run_many        | shipping has ended with -9: the rest is stopped', told)
        self.assertFalse([c for c in children if Path(f'/proc/{c}').exists()])
        run = self.begin()
        self.assertEqual(self.souk.get(f'/v1/orders/{made["id"]}', **bearer)[0], 200)
        run.send_signal(signal.SIGTERM)
        self.assertIn('run_many        | stops', run.stdout.read())
        self.assertEqual(run.wait(60), 0)


if __name__ == '__main__':
    main()
