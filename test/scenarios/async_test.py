#!/usr/bin/python3
"""Checkout by events alone, and what is followed of it live."""
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import PASSWORD, Souk, main, order_body, wait_for  # noqa: E402

ASYNC = {'Prefer': 'respond-async'}
MANY, BUYERS = 1000, 24


def checkout(souk, body, connection=None, **headers):
    """Presses Checkout without waiting: the answer's status, body and headers."""
    return souk.request('POST', '/v1/orders', body, {**ASYNC, **headers}, connection)


def polled(souk, checkout_id, wait_s=60):
    def ended():
        status, body, _ = souk.get(f'/v1/checkouts/{checkout_id}')
        return status == 200 and body['status'] != 'pending' and body
    return wait_for(ended, wait_s)


def events(answer):
    """The events of an open stream, as they come: (event, id, data)."""
    fields = {}
    for line in answer:
        line = line.rstrip(b'\r\n').decode()
        if line:
            name, _, value = line.partition(':')
            fields[name] = value.strip()
        elif 'data' in fields:
            yield fields['event'], int(fields['id']), json.loads(fields['data'])
            fields = {}


def followed(souk, path, **headers):
    """All events of a stream, until the server ends it."""
    link = HTTPConnection('127.0.0.1', souk.port, timeout=90)
    link.request('GET', path, headers=headers)
    answer = link.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.headers['content-type'] == 'text/event-stream'
    try:
        return list(events(answer))
    finally:
        link.close()


def signed_up(souk, email):
    """Headers of a new customer who is logged in."""
    status, made, _ = souk.post('/v1/auth/signup', {'email': email, 'password': PASSWORD, 'name': 'Grace'})
    assert status == 201, made
    return {'Authorization': 'Bearer ' + made['access_token']}


class Async(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'sandbox_timeout_ms': 300, 'sandbox_slow_ms': 50})

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def test_a_guest_checks_out_without_waiting_and_follows_it(self):
        sku = self.souk.product('lamp', 4299, 5)
        status, told, headers = checkout(self.souk, order_body(sku, quantity=2))
        self.assertEqual(status, 202, told)
        self.assertEqual(told['status'], 'pending')
        self.assertTrue(told['id'].startswith('chk_'))
        self.assertEqual(headers['location'], f'/v1/checkouts/{told["id"]}')
        self.assertEqual(headers['preference-applied'], 'respond-async')
        seen = followed(self.souk, headers['location'] + '/stream')
        self.assertEqual({event for event, _, _ in seen}, {'checkout'})
        self.assertEqual([v for _, v, _ in seen], sorted({v for _, v, _ in seen}))
        end = seen[-1][2]
        self.assertEqual(end['status'], 'done', seen)
        bearer = {'Authorization': 'Bearer ' + end['access_token']}
        status, order, _ = self.souk.get(f'/v1/orders/{end["order_id"]}', **bearer)
        self.assertEqual(status, 200, order)
        self.assertIn(order['status'], ('paid', 'completed'))
        self.assertEqual(order['total'], {'amount': 8598, 'currency': 'EUR'})
        self.assertEqual(order['payment']['status'], 'completed')
        self.assertEqual(self.souk.get(f'/v1/orders/{end["order_id"]}')[0], 404)
        self.assertEqual(polled(self.souk, told['id'])['status'], 'done')

    def test_an_order_is_followed_until_it_is_cancelled(self):
        sku = self.souk.product('rope', 100, 5)
        _, made, _ = self.souk.post('/v1/orders', order_body(sku))
        path, bearer = f'/v1/orders/{made["id"]}', {'Authorization': 'Bearer ' + made['access_token']}
        self.assertEqual(self.souk.get(path + '/stream')[0], 404)
        link = HTTPConnection('127.0.0.1', self.souk.port, timeout=60)
        link.request('GET', path + '/stream', headers=bearer)
        coming = events(link.getresponse())
        event, version, first = next(coming)
        self.assertEqual((event, first['id'], first['version']), ('order', made['id'], version))
        status, told, _ = self.souk.post(path + '/cancel', {}, **bearer)
        self.assertEqual(status, 200, told)
        rest = list(coming)
        self.assertEqual(rest[-1][2]['status'] in ('cancelled', 'refunded'), True, rest)
        link.close()

    def test_http_2_has_streams_too(self):
        if not shutil.which('curl'):
            self.skipTest('there is no curl')
        sku = self.souk.product('kite', 100, 5)
        _, told, headers = checkout(self.souk, order_body(sku))
        done = subprocess.run(['curl', '-sN', '--max-time', '60', '--http2-prior-knowledge',
                               f'http://127.0.0.1:{self.souk.port}{headers["location"]}/stream'],
                              capture_output=True, check=True)
        seen = list(events(done.stdout.splitlines(keepends=True)))
        self.assertEqual(seen[-1][2]['status'], 'done', done.stdout)

    def test_every_no_is_told(self):
        souk, sku = self.souk, self.souk.product('vase', 1000, 3)
        free = souk.product('leaflet', 0, 3)
        for body, status, code, ordered in (
                (order_body(sku), 'done', None, True),
                (order_body(free), 'done', None, True),
                (order_body(sku, 'decline'), 'failed', 'payment_failed', True),
                (order_body(sku, 'insufficient_funds'), 'failed', 'payment_failed', True),
                (order_body(sku, quantity=9), 'failed', 'out_of_stock', False),
                (order_body('no-such-thing'), 'failed', 'no_such_sku', False)):
            _, told, headers = checkout(souk, body)
            end = followed(souk, headers['location'] + '/stream')[-1][2]
            self.assertEqual((end['status'], end.get('code')), (status, code), end)
            self.assertEqual('order_id' in end, ordered, end)
            later = polled(souk, told['id'])    # the order moves on, and its version with it
            self.assertEqual({k: v for k, v in later.items() if k not in ('access_token', 'version')},
                             {k: v for k, v in end.items() if k not in ('access_token', 'version')})
        status, told, _ = checkout(souk, {**order_body(sku), 'payment': {'provider': 'no', 'token': 'x'}})
        self.assertEqual((status, told['code']), (400, 'no_such_provider'))
        status, told, _ = checkout(souk, {**order_body(sku), 'lines': []})
        self.assertEqual(status, 400, told)
        self.assertEqual(souk.get('/v1/checkouts/chk_00000000000000000000000000')[0], 404)
        self.assertEqual(souk.get('/v1/checkouts/chk_00000000000000000000000000/stream')[0], 404)

    def test_what_failed_can_be_paid_again(self):
        sku = self.souk.product('boat', 1000, 3)
        _, told, _ = checkout(self.souk, order_body(sku, 'decline'))
        end = polled(self.souk, told['id'])
        self.assertEqual(end['code'], 'payment_failed')
        status, paid, _ = self.souk.post(f'/v1/orders/{end["order_id"]}/payments',
                                         {'provider': 'sandbox', 'token': 'approve'},
                                         Authorization='Bearer ' + end['access_token'])
        self.assertEqual(status, 201, paid)
        self.assertEqual(polled(self.souk, told['id'])['status'], 'done')

    def test_a_key_makes_one_checkout(self):
        sku = self.souk.product('bell', 1000, 9)
        key = {'Idempotency-Key': 'bell-1'}
        answers = [checkout(self.souk, order_body(sku), **key) for _ in range(3)]
        self.assertEqual({told['id'] for _, told, _ in answers}, {answers[0][1]['id']})
        self.assertEqual({status for status, _, _ in answers}, {202})
        self.assertEqual({h['preference-applied'] for _, _, h in answers}, {'respond-async'})
        self.assertEqual(polled(self.souk, answers[0][1]['id'])['status'], 'done')
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['sold'] == 1))
        self.assertEqual(self.souk.stock(sku)['on_hand'], 8)

    def test_a_cart_is_filled_and_bought_by_events_alone(self):
        souk, sku = self.souk, self.souk.product('kettle', 1000, 9)
        _, cart, _ = souk.post('/v1/carts', {})
        path = f'/v1/carts/{cart["id"]}'
        for key in ('kettle-1', 'kettle-1', 'kettle-2'):
            status, told, headers = souk.post(path + '/lines', {'sku': sku, 'quantity': 2},
                                              Prefer='wait=1, respond-async', Idempotency_Key=key)
            self.assertEqual((status, headers['location']), (202, path), told)
            self.assertEqual(headers['preference-applied'], 'respond-async')
        self.assertTrue(wait_for(lambda: [x['quantity'] for x in souk.get(path)[1]['lines']] == [4]))
        status, told, _ = souk.post(path + '/lines', {'sku': sku, 'quantity': 9}, Prefer='respond-async')
        self.assertEqual((status, told['code']), (409, 'out_of_stock'))
        body = order_body(sku)
        del body['lines']
        status, told, _ = checkout(souk, {**body, 'cart_id': cart['id']})
        self.assertEqual(status, 202, told)
        end = polled(souk, told['id'])
        self.assertEqual(end['status'], 'done', end)
        _, order, _ = souk.get(f'/v1/orders/{end["order_id"]}', Authorization='Bearer ' + end['access_token'])
        self.assertEqual([(x['sku'], x['quantity']) for x in order['lines']], [(sku, 4)])
        self.assertTrue(wait_for(lambda: souk.get(path)[1]['status'] == 'ordered'))
        status, told, _ = checkout(souk, {**body, 'cart_id': cart['id']})
        self.assertEqual((status, told['code']), (409, 'cart_closed'))

    def test_a_cart_can_be_changed_again_when_its_checkout_has_failed(self):
        souk, sku = self.souk, self.souk.product('stove', 1000, 2)
        _, cart, _ = souk.post('/v1/carts', {})
        path = f'/v1/carts/{cart["id"]}'
        self.assertEqual(souk.post(path + '/lines', {'sku': sku, 'quantity': 2})[0], 200)
        self.assertEqual(souk.post('/v1/orders', order_body(sku))[0], 201)
        body = order_body(sku)
        del body['lines']
        _, told, _ = checkout(souk, {**body, 'cart_id': cart['id']})
        self.assertEqual(polled(souk, told['id'])['code'], 'out_of_stock')
        self.assertTrue(wait_for(lambda: souk.request('PATCH', f'{path}/lines/{sku}', {'quantity': 1})[0] == 200))
        _, told, _ = checkout(souk, {**body, 'cart_id': cart['id']})
        self.assertEqual(polled(souk, told['id'])['status'], 'done')

    def test_whoever_does_not_read_is_dropped_and_a_drain_ends_streams(self):
        souk = Souk(settings={'sandbox_timeout_ms': 300})
        try:
            sku = souk.product('cup', 100, 5)
            _, made, _ = souk.post('/v1/orders', order_body(sku))
            link = HTTPConnection('127.0.0.1', souk.port, timeout=60)
            link.request('GET', f'/v1/orders/{made["id"]}/stream',
                         headers={'Authorization': 'Bearer ' + made['access_token']})
            coming = events(link.getresponse())
            next(coming)
            with socket.create_connection(('127.0.0.1', souk.port)) as s:   # one that just leaves
                s.sendall(f'GET /v1/orders/{made["id"]}/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer '
                          f'{made["access_token"]}\r\n\r\n'.encode())
                self.assertIn(b'200', s.recv(100))
            began = time.monotonic()
            self.assertEqual(souk.stop(), 0)
            list(coming)    # ends, and not in the middle of an event
            self.assertLess(time.monotonic() - began, 60)
            link.close()
        finally:
            self.assertEqual(souk.close(), 0)


# ---- both shapes ------------------------------------------------------------------------------------

def rows_of(souk, order_id):
    """What a sale left in the store, without ids and times."""
    of_order = f"order_id = '{order_id}'"
    reservations = f'(SELECT reservation_id FROM inventory_reservation WHERE {of_order})'
    out = {}
    for table, where in (('orders_order', f"id = '{order_id}'"), ('orders_line', of_order),
                         ('payments_attempt', of_order), ('payments_refund', of_order),
                         ('inventory_reservation', of_order),
                         ('inventory_reservation_line', f'reservation_id IN {reservations}')):
        found = souk.rows(table.partition('_')[0], f'SELECT * FROM {table} WHERE {where} ORDER BY 1, 2')
        out[table] = [{k: shown(k, row[k]) for k in row} for row in found]
    return out


def shown(name, value):
    if name.endswith('_us'):
        return 'never' if value == 0 else 'at some time'
    if isinstance(value, str) and '_' in value and len(value.partition('_')[2]) == 26:
        return value.partition('_')[0]      # an id
    if name in ('ref', 'payment_ref') and value:
        return 'a reference'
    return value


class Shapes(unittest.TestCase):
    def test_both_shapes_of_checkout_end_in_the_same_rows(self):
        souk = Souk(settings={'sandbox_timeout_ms': 300, 'sandbox_slow_ms': 50})
        try:
            goods = [souk.product(f'thing-{i}', 100 * i, 50) for i in range(3)]
            me = signed_up(souk, 'grace@example.org')
            pairs = []
            for who in ({}, me):
                for token in ('approve', 'decline', 'insufficient_funds', 'slow', 'timeout'):
                    pairs.append((who, order_body(goods[1], token)))
                both = order_body(goods[1])
                both['lines'] = [{'sku': goods[2], 'quantity': 3}, {'sku': goods[0], 'quantity': 1}]
                del both['shipping_address']
                pairs += [(who, both), (who, order_body(goods[0]))]
            orders = []
            for who, body in pairs:
                status, told, _ = souk.post('/v1/orders', body, **who)
                self.assertIn(status, (201, 202, 402), told)
                _, follows, _ = checkout(souk, body, **who)
                end = polled(souk, follows['id'])
                orders.append((body, told.get('order_id') or told['id'], end['order_id']))
            self.assertTrue(wait_for(lambda: self.all_settled(souk, orders)))
            souk.stop()
            for body, waited, followed_ in orders:
                self.assertEqual(rows_of(souk, followed_), rows_of(souk, waited), body)
            for table in ('orders_checkout', 'orders_checkout_line'):
                self.assertEqual(souk.rows('orders', f'SELECT * FROM {table}'), [], table)
        finally:
            self.assertEqual(souk.close(), 0)

    def all_settled(self, souk, orders):
        _, page, _ = souk.request('GET', '/v1/orders?limit=100', headers=souk.staff())
        open_ = [o for o in page['data'] if o['status'] == 'paid' or
                 (o['status'] == 'awaiting_payment' and o['payment']['status'] == 'pending')]
        return not open_ and len(page['data']) == 2 * len(orders)


# ---- many -------------------------------------------------------------------------------------------

class Many(unittest.TestCase):
    """1,000 checkouts with every kind of failure, some of them across a crash: each has an end."""

    def setUp(self):
        self.souk = Souk(settings={'sandbox_timeout_ms': 200, 'sandbox_slow_ms': 20})
        self.ends, self.lost, self.lock = {}, [], threading.Lock()

    def tearDown(self):
        self.assertEqual(self.souk.close(), 0)

    def kinds(self):
        plenty = self.souk.product('plenty', 1000, 100000)
        scarce = self.souk.product('scarce', 1000, 5)
        free = self.souk.product('gratis', 0, 100000)
        good = {('done', None)}
        declined = {('failed', 'payment_failed')}
        return [
            (8, lambda: order_body(plenty), good), (2, lambda: order_body(free), good),
            (2, lambda: order_body(plenty, 'decline'), declined),
            (2, lambda: order_body(plenty, 'insufficient_funds'), declined),
            (2, lambda: order_body(plenty, 'nonsense'), declined),
            (1, lambda: order_body(plenty, 'slow'), good),
            (1, lambda: order_body(plenty, 'timeout'), good),
            (1, lambda: order_body(plenty, 'webhook_late'), good),
            (1, lambda: order_body(plenty, 'webhook_twice'), good),
            (1, lambda: order_body(plenty, 'webhook_first'), good),
            (2, lambda: order_body(scarce), good | {('failed', 'out_of_stock')}),
            (2, lambda: order_body(scarce, quantity=50), {('failed', 'out_of_stock')}),
            (2, lambda: order_body('nothing-of-the-kind'), {('failed', 'no_such_sku')}),
        ]

    def test_none_is_without_an_end_that_the_frontend_saw(self):
        kinds = self.kinds()
        lines = [kind for kind in kinds for _ in range(kind[0])]
        random.seed(4)
        work = [random.choice(lines) for _ in range(MANY)]
        leavers = [signed_up(self.souk, f'leaver{i}@example.org') for i in range(5)]
        threads = [threading.Thread(target=self.told, args=(self.buyer, work[i::BUYERS], i)) for i in range(BUYERS)]
        threads += [threading.Thread(target=self.told, args=(self.leaver, headers, kinds[0][1]))
                    for headers in leavers]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.lost, [])
        self.assertEqual(len(self.ends), MANY + len(leavers))
        self.whole()

    def test_a_crash_leaves_none_without_an_end(self):
        kinds = self.kinds()
        lines = [kind for kind in kinds for _ in range(kind[0])]
        for crash in range(4):
            told = {}
            for i in range(60):
                kind = random.choice(lines)
                status, body, _ = checkout(self.souk, kind[1]())
                self.assertEqual(status, 202, body)
                told[body['id']] = kind[2]
            time.sleep(0.02 * crash)
            self.souk.kill()
            self.souk.start()
            for checkout_id, wanted in told.items():
                end = polled(self.souk, checkout_id, 120)
                self.assertTrue(end, checkout_id)
                # A charge that the crash cut before it reached the provider is void: the order can be paid again.
                self.assertIn((end['status'], end.get('code')), wanted | {('failed', 'payment_failed')}, checkout_id)
        self.whole()

    def told(self, work, *args):
        try:
            work(*args)
        except Exception as e:
            self.fail_with(f'{work.__name__}: {e!r}')

    def buyer(self, work, number):
        link = HTTPConnection('127.0.0.1', self.souk.port, timeout=120)
        for i, (_, body, wanted) in enumerate(work):
            status, told, headers = checkout(self.souk, body(), link)
            if status != 202:
                self.fail_with(f'{status} {told}')
                continue
            if (i + number) % 2:
                end = followed(self.souk, headers['location'] + '/stream')[-1][2]
            else:
                end = polled(self.souk, told['id'], 120)
            if not end or (end['status'], end.get('code')) not in wanted:
                self.fail_with(f'{told["id"]}: {end}, not one of {wanted}')
            with self.lock:
                self.ends[told['id']] = end
        link.close()

    def leaver(self, headers, body):
        """Logs out behind the checkout: his session is good no more, or it was just good enough."""
        _, told, _ = checkout(self.souk, body(), **headers)
        self.souk.post('/v1/auth/logout', {}, **headers)
        end = polled(self.souk, told['id'], 120)
        if not end or (end['status'], end.get('code')) not in (('done', None), ('failed', 'bad_token')):
            self.fail_with(f'{told["id"]}: {end}')
        with self.lock:
            self.ends[told['id']] = end

    def fail_with(self, text):
        with self.lock:
            self.lost.append(text)

    def whole(self):
        """One order a checkout, one charge an order, no promise of stock that nobody made."""
        self.souk.stop()
        rows = self.souk.rows
        orders = {row['id']: row['status'] for row in rows('orders', 'SELECT id, status FROM orders_order')}
        twice = rows('orders', 'SELECT checkout_id FROM orders_order GROUP BY 1 HAVING COUNT(*) > 1')
        self.assertEqual(twice, [])
        self.assertEqual(rows('orders', "SELECT id FROM orders_checkout WHERE state <> 'REFUSED'"), [])
        scarce = "SELECT on_hand + sold AS n FROM inventory_item WHERE sku LIKE 'scarce%'"
        self.assertEqual(rows('inventory', scarce)[0]['n'], 5)
        charged = Counter()
        for line in open(f'{self.souk.folder_of("payments")}/sandbox.ledger'):
            entry = json.loads(line)
            if (entry['kind'], entry['outcome']) == ('charge', 'captured'):
                charged[entry['of']] += 1
        self.assertEqual([o for o, n in charged.items() if n > 1], [])
        for order_id in charged:
            self.assertIn(orders.get(order_id), ('PAID', 'COMPLETED'), order_id)


if __name__ == '__main__':
    main()
