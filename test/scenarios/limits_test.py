#!/usr/bin/python3
"""Limits, over real connections: how often an address and an account may ask, how much may be in work."""
import socket
import sys
import threading
import unittest
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from shapes import SHAPE  # noqa: E402
from souk import PASSWORD, Souk, main, order_body, wait_for  # noqa: E402

PER_S, BURST = 5, 50


class Limited(unittest.TestCase):
    """Each address of 127/8 is a client of its own; each test uses its own."""

    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'rate_limit_loopback': 'on', 'rate_limit_per_s': PER_S})

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def link(self, address):
        link = HTTPConnection('127.0.0.1', self.souk.port, timeout=60, source_address=(address, 0))
        self.addCleanup(link.close)
        return link

    def ask(self, link, path='/v1/products', headers=None):
        status, body, fields = self.souk.request('GET', path, headers=headers, connection=link)
        return status, body, fields

    def use_up(self, link, headers=None):
        """Asks until it is refused: how many were answered, and the refusal."""
        for allowed in range(10 * BURST):
            status, body, fields = self.ask(link, headers=headers)
            if status != 200:
                return allowed, status, body, fields
        self.fail('no limit')

    def test_a_kept_connection_is_told_what_remains_and_when_to_come_back(self):
        link = self.link('127.0.0.11')
        link.connect()
        end = link.sock.getsockname()
        remains = BURST
        for _ in range(20):
            status, _, fields = self.ask(link)
            self.assertEqual(status, 200)
            self.assertEqual(fields['RateLimit-Limit'], str(BURST))
            self.assertLess(int(fields['RateLimit-Remaining']), BURST)
            self.assertLessEqual(abs(remains - 1 - int(fields['RateLimit-Remaining'])), 2)
            self.assertGreaterEqual(int(fields['RateLimit-Reset']), 1)
            self.assertNotIn('Retry-After', fields)
            remains = int(fields['RateLimit-Remaining'])
        allowed, status, body, fields = self.use_up(link)
        self.assertGreaterEqual(allowed, BURST - 20)
        self.assertEqual((status, body['code']), (429, 'too_many_requests'))
        self.assertEqual(fields['RateLimit-Remaining'], '0')
        self.assertEqual(fields['Content-Type'], 'application/problem+json')
        self.assertIn(int(fields['Retry-After']), (1, 2))
        self.assertEqual(link.sock.getsockname(), end)          # a refusal does not cost the connection
        self.assertTrue(wait_for(lambda: self.ask(link)[0] == 200))
        self.assertEqual(link.sock.getsockname(), end)

    def test_many_connections_of_an_address_share_one_allowance(self):
        counts, lock = {200: 0, 429: 0}, threading.Lock()

        def client():
            link = self.link('127.0.0.12')
            for _ in range(15):
                status = self.ask(link)[0]
                with lock:
                    counts[status] += 1
        threads = [threading.Thread(target=client) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sum(counts.values()), 300)
        self.assertGreaterEqual(counts[200], BURST)
        self.assertGreater(counts[429], 0)
        self.assertEqual(self.ask(self.link('127.0.0.13'))[0], 200)     # a neighbour has its own

    def test_pipelined_requests_are_each_counted(self):
        n = 2 * BURST
        with socket.create_connection(('127.0.0.1', self.souk.port), source_address=('127.0.0.14', 0), timeout=60) as s:
            one = b'GET /v1/products HTTP/1.1\r\nHost: souk\r\n\r\n'
            last = b'GET /v1/products HTTP/1.1\r\nHost: souk\r\nConnection: close\r\n\r\n'
            s.sendall(one * (n - 1) + last)
            text = b''
            while part := s.recv(65536):
                text += part
        answered, refused = text.count(b'HTTP/1.1 200 '), text.count(b'HTTP/1.1 429 ')
        self.assertEqual(answered + refused, n)
        self.assertGreaterEqual(answered, BURST)
        self.assertGreater(refused, 0)

    def test_an_account_is_limited_wherever_it_asks_from(self):
        staff = self.souk.staff()
        links = [self.link(f'127.0.1.{i}') for i in range(1, 5)]
        statuses = [self.ask(links[i % 4], headers=staff)[0] for i in range(BURST + 40)]
        self.assertGreaterEqual(statuses.count(200), BURST - 5)     # other tests have asked as it
        self.assertIn(429, statuses)
        refusal = next(a for a in (self.ask(links[0], headers=staff) for _ in range(100)) if a[0] == 429)
        self.assertIn('account', refusal[1]['detail'])
        self.assertGreaterEqual(int(refusal[2]['Retry-After']), 1)
        self.assertEqual(self.ask(links[0])[0], 200)            # the address itself has some left

    def test_what_does_not_exist_counts_too(self):
        link = self.link('127.0.0.16')
        statuses = [self.ask(link, '/v1/nothing')[0] for _ in range(BURST + 40)]
        self.assertEqual(set(statuses), {404, 429})

    def test_health_is_never_refused(self):
        link = self.link('127.0.0.17')
        self.use_up(link)
        for _ in range(20):
            for path in ('/livez', '/readyz'):
                self.assertEqual(self.ask(link, path)[0], 200)

    def test_a_refused_post_does_nothing(self):
        sku = self.souk.product('limited-lamp', 1000, 5)
        link = self.link('127.0.0.18')
        self.use_up(link)
        body = order_body(sku)
        seen = []
        for _ in range(20):                 # an allowance may fall due meanwhile: then it is an order
            seen.append(self.souk.request('POST', '/v1/orders', body, connection=link)[0])
        self.assertIn(429, seen)
        self.souk.level()
        code, out, _ = self.souk.command('journal', 'tail', '-n', '1000')
        self.assertEqual((code, out.count('"orders.order_created"')), (0, seen.count(201)))


class Unlimited(unittest.TestCase):
    def test_this_machine_is_exempt_unless_it_is_said(self):
        souk = Souk(settings={'rate_limit_per_s': 1})
        self.addCleanup(lambda: self.assertEqual(souk.close(), 0))
        link = HTTPConnection('127.0.0.1', souk.port)
        for _ in range(60):
            status, _, fields = souk.request('GET', '/v1/products', connection=link)
            self.assertEqual(status, 200)
            self.assertNotIn('RateLimit-Limit', fields)
        link.close()


class Proxied(unittest.TestCase):
    def test_who_comes_through_a_trusted_proxy_is_on_record_with_his_own_address(self):
        for proxies, forwarded, recorded in (('127.0.0.1', '198.51.100.7, 203.0.113.9', '203.0.113.9'),
                                             ('127.0.0.1', '203.0.113.9, unknown', '127.0.0.1'),
                                             ('10.0.0.0/8', '203.0.113.9', '127.0.0.1')):
            souk = Souk(settings={'trusted_proxies': proxies})
            self.addCleanup(lambda souk=souk: self.assertEqual(souk.close(), 0))
            souk.staff()
            status, body, _ = souk.post('/v1/auth/login', {'email': 'ada@example.org', 'password': PASSWORD},
                                        X_Forwarded_For=forwarded)
            self.assertEqual(status, 200, body)
            found = [r['ip'] for r in souk.rows('auth', 'SELECT ip FROM auth_session ORDER BY created_at_us')]
            self.assertEqual(found, ['127.0.0.1', recorded])

    def test_what_is_no_list_of_proxies_is_refused(self):
        souk = Souk(settings={'trusted_proxies': '10.0.0.0/8, proxy.example.org'}, start=False)
        self.addCleanup(souk.close)
        for words in (['check-config'], ['run']):
            code, _, why = souk.command(*words)
            self.assertEqual(code, 1)
            self.assertIn('trusted_proxies: "proxy.example.org" is no address', why)


class Overload(unittest.TestCase):
    def test_past_what_may_be_in_work_the_answer_is_503_and_reads_go_on(self):
        souk = Souk(settings={'requests_max': 2, 'sandbox_slow_ms': 3000})
        self.addCleanup(lambda: self.assertEqual(souk.close(), 0))
        sku = souk.product('slow-lamp', 1000, 10)
        self.assertEqual(souk.get('/v1/products')[0], 200)            # authz has told what visitors may
        answers = []
        buyers = [threading.Thread(target=lambda: answers.append(souk.post('/v1/orders', order_body(sku, 'slow'))))
                  for _ in range(6)]
        for t in buyers:
            t.start()
        self.assertTrue(wait_for(lambda: len(answers) >= 4))      # two wait for their money, four were told at once
        for _ in range(20 if SHAPE == 'embedded' else 0):         # another process's answer is waited for
            self.assertEqual(souk.get('/v1/products')[0], 200)    # on the loop, and not in work
        for t in buyers:
            t.join()
        statuses = sorted(a[0] for a in answers)
        self.assertEqual(statuses, [201, 201, 503, 503, 503, 503])
        for status, body, fields in answers:
            if status == 503:
                self.assertEqual(body['code'], 'overloaded')
                self.assertGreaterEqual(int(fields['Retry-After']), 1)
        self.assertTrue(wait_for(lambda: souk.post('/v1/orders', order_body(sku))[0] == 201))
        self.assertEqual(souk.stock(sku)['available'], 7)         # of one moment: a sale may be settled meanwhile


class Logins(unittest.TestCase):
    def setUp(self):
        self.souk = Souk()
        self.addCleanup(lambda: self.assertEqual(self.souk.close(), 0))
        self.souk.staff()

    def login(self, email, password):
        return self.souk.post('/v1/auth/login', {'email': email, 'password': password})

    def test_guessing_is_ended_for_known_and_unknown_addresses_alike(self):
        for email in ('ada@example.org', 'nobody@example.org'):
            told = [self.login(email, 'wrong password')[:2] for _ in range(10)]
            self.assertEqual({(status, body['code']) for status, body in told}, {(401, 'bad_credentials')})
            status, body, fields = self.login(email, PASSWORD)
            self.assertEqual((status, body['code']), (429, 'too_many_logins'), email)
            self.assertGreater(int(fields['Retry-After']), 14 * 60 - 300)       # until the first failure is forgotten
            self.assertLessEqual(int(fields['Retry-After']), 15 * 60)
        code, _, error = self.souk.command('admin', 'create', 'grace@example.org', stdin=PASSWORD + '\n')
        self.assertEqual((code, error), (0, ''))
        self.assertEqual(self.login('grace@example.org', PASSWORD)[0], 200)     # nobody else is locked out
        self.assertIn('souk_logins_total{result="throttled"} 2', self.souk.metrics())


if __name__ == '__main__':
    main()
