#!/usr/bin/python3
"""Money through a sandbox that is a server of its own, with faults of every kind.

SOUK_PAYMENTS=2000 makes as many payments as the closing check of the house asks for; 200 otherwise.
"""
import csv
import hashlib
import hmac
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import BINARY, Souk, free_port, main, order_body, wait_for  # noqa: E402

PAYMENTS = int(os.environ.get('SOUK_PAYMENTS', '200'))
SECRET = 'a secret of this test'
TIMEOUT_MS = 1500
FAULTS = ('drop_before=4,drop_after=4,error_before=4,error_after=4,delay=3,delay_ms=2500,'
          'callback_lost=10,callback_twice=15,callback_late=15,callback_first=15')
TOKENS = ['approve'] * 14 + ['decline', 'insufficient_funds', 'timeout', 'slow', 'webhook_late',
                             'webhook_twice', 'webhook_first']


class Sandbox:
    """`souk sandbox` on a folder of its own."""

    def __init__(self, callback, *flags):
        self.folder, self.port = tempfile.mkdtemp(prefix='souk-test-'), free_port()
        self.callback, self.flags = callback, flags
        self.ledger = Path(self.folder, 'sandbox.ledger')
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [BINARY, 'sandbox', '--listen', f'127.0.0.1:{self.port}', '--data', self.folder,
             '--callback', self.callback, '--secret', SECRET, *self.flags],
            stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
        line = self.process.stdout.readline()
        assert 'serves' in line, line

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait(60)

    def close(self):
        code = self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def movements(self):
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]

    def edit(self, change):
        """Stops it, lets change() rewrite its books, and starts it again."""
        code = self.stop()
        assert code == 0, code
        lines = change(self.movements())
        self.ledger.write_text(''.join(json.dumps(m, separators=(',', ':')) + '\n' for m in lines))
        self.start()


def signed(body, at=None, secret=SECRET):
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()
    return f't={at},v1={digest}'


class Payments(unittest.TestCase):
    faults, settings = (), {}

    def setUp(self):
        port = free_port()
        self.sandbox = Sandbox(f'http://127.0.0.1:{port}/v1/webhooks/sandbox', *self.faults)
        self.souk = Souk(start=False, settings={
            'sandbox_url': f'http://127.0.0.1:{self.sandbox.port}', 'sandbox_secret': SECRET,
            'sandbox_timeout_ms': TIMEOUT_MS, **self.settings})
        self.souk.port = port
        self.souk.start()
        self.addCleanup(self.close)

    def close(self):
        self.assertEqual((self.souk.close(), self.sandbox.close()), (0, 0))

    def buy(self, sku, token, quantity=1):
        status, body, _ = self.souk.post('/v1/orders', order_body(sku, token, quantity), **self.souk.staff())
        return status, body

    def order(self, order_id):
        status, body, _ = self.souk.get(f'/v1/orders/{order_id}', **self.souk.staff())
        self.assertEqual(status, 200, body)
        return body

    def orders(self):
        found, cursor = [], ''
        while True:
            status, page, _ = self.souk.get(f'/v1/orders?limit=100{cursor}', **self.souk.staff())
            self.assertEqual(status, 200, page)
            found += page['data']
            if not page['has_more']:
                return found
            cursor = '&starting_after=' + found[-1]['id']

    def payments(self, order_id):
        status, body, _ = self.souk.get(f'/v1/orders/{order_id}/payments', **self.souk.staff())
        self.assertEqual(status, 200, body)
        return body['data']

    def refund(self, payment_id, body):
        status, answer, _ = self.souk.post(f'/v1/payments/{payment_id}/refund', body, **self.souk.staff())
        return status, answer

    def reconcile(self):
        status, body, _ = self.souk.get('/v1/payments/reconciliation', **self.souk.staff())
        self.assertEqual(status, 200, body)
        return body

    def call_back(self, body, signature):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.souk.request('POST', '/v1/webhooks/sandbox', raw, {'Sandbox-Signature': signature})[0]

    def settled(self, order_id, *statuses):
        return wait_for(lambda: self.order(order_id)['status'] in statuses, 60)


class Plain(Payments):
    def test_each_token_does_as_it_is_named(self):
        sku = self.souk.product('tea', stock=100)
        for token, statuses in (('approve', (201,)), ('decline', (402,)), ('insufficient_funds', (402,)),
                                ('timeout', (202,)), ('webhook_late', (202,)), ('webhook_twice', (201, 202)),
                                ('webhook_first', (201,)), ('slow', (202,))):
            status, body = self.buy(sku, token)
            self.assertIn(status, statuses, (token, body))
            if status == 402:
                self.assertEqual(self.order(body['order_id'])['status'], 'awaiting_payment')
                continue
            self.assertTrue(self.settled(body['id'], 'paid', 'completed'), token)
            paid = self.payments(body['id'])
            self.assertEqual([p['status'] for p in paid], ['completed'])
        keys = [m['key'] for m in self.sandbox.movements() if m['outcome'] == 'captured']
        self.assertEqual((len(keys), len(set(keys))), (6, 6))
        self.assertEqual(self.reconcile()['differences'], [])

    def test_a_callback_counts_by_its_signature_alone(self):
        sku = self.souk.product('tea', stock=100)
        self.sandbox.stop()     # nobody answers: the attempt stays pending
        try:
            status, body = self.buy(sku, 'approve')
            self.assertEqual(status, 202, body)
            payment = self.payments(body['id'])[0]
            news = {'kind': 'charge', 'key': payment['id'], 'outcome': 'captured', 'ref': 'sbx_x',
                    'reason': '', **payment['amount']}
            raw = json.dumps(news).encode()
            now = int(time.time())
            for signature in ('', 'nonsense', 't=,v1=', signed(raw, secret='another'), signed(raw + b' '),
                              signed(raw, at=now - 400), signed(raw, at=now + 400),
                              signed(raw, at=-1), f't={now},v1=' + '0' * 64,
                              signed(raw).replace('v1=', 'v0=')):
                self.assertEqual(self.call_back(raw, signature), 401, signature)
            for wrong in ({**news, 'amount': 1}, {**news, 'currency': 'USD'}, {**news, 'outcome': 'refunded'},
                          {**news, 'more': 1}, b'{', {**news, 'kind': 'void'}):
                raw_wrong = wrong if isinstance(wrong, bytes) else json.dumps(wrong).encode()
                self.assertEqual(self.call_back(raw_wrong, signed(raw_wrong)), 400, wrong)
            unknown = json.dumps({**news, 'key': 'pay_' + '0' * 26}).encode()
            self.assertEqual(self.call_back(unknown, signed(unknown)), 404)
            self.assertEqual(self.souk.request('POST', '/v1/webhooks/nobody', raw,
                                               {'Sandbox-Signature': signed(raw)})[0], 404)
            self.assertEqual(self.souk.request('POST', '/v1/webhooks/sandbox?signature=' + signed(raw), raw)[0], 400)
            self.assertEqual(self.payments(body['id'])[0]['status'], 'pending')

            late = json.dumps({**news, 'outcome': 'declined', 'reason': 'declined'}).encode()
            for each, signature in ((raw, signed(raw)), (raw, signed(raw)), (late, signed(late))):
                self.assertEqual(self.call_back(each, signature), 200)  # said again, it changes nothing
            self.assertTrue(self.settled(body['id'], 'paid', 'completed'))
            self.assertEqual([p['status'] for p in self.payments(body['id'])], ['completed'])
        finally:
            self.sandbox.start()
        named = [(d['kind'], d['key']) for d in self.reconcile()['differences']]
        self.assertEqual(named, [('missing_there', payment['id'])])

    def test_refunds_are_whole_or_in_parts_and_restock_when_nothing_is_left(self):
        sku = self.souk.product('tea', stock=10)
        status, body = self.buy(sku, 'approve', 2)
        self.assertEqual(status, 201, body)
        pay = body['payment']['id']
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['on_hand'] == 8))
        for given, code in (({'amount': {'amount': 2001, 'currency': 'EUR'}}, 422),
                            ({'amount': {'amount': 1, 'currency': 'USD'}}, 400),
                            ({'amount': {'amount': 0, 'currency': 'EUR'}}, 400)):
            self.assertEqual(self.refund(pay, given)[0], code, given)
        status, part = self.refund(pay, {'amount': {'amount': 700, 'currency': 'EUR'}, 'restock': True})
        self.assertEqual((status, part['status'], part['refunded']['amount']), (200, 'partly_refunded', 700))
        status, rest = self.refund(pay, {'restock': True})
        self.assertEqual((status, rest['status'], rest['refunded']['amount']), (200, 'refunded', 2000))
        self.assertEqual(self.refund(pay, {})[0], 409)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['on_hand'] == 10), self.souk.stock(sku))
        self.assertTrue(self.settled(body['id'], 'refunded'))

        status, other = self.buy(sku, 'approve', 1)
        self.assertEqual(self.refund(other['payment']['id'], {})[0], 200)
        self.assertTrue(self.settled(other['id'], 'refunded'))
        self.assertEqual(self.souk.stock(sku)['on_hand'], 9)    # the goods did not come back
        self.assertEqual(self.reconcile()['differences'], [])

    def test_the_report_has_a_row_for_each_movement(self):
        sku = self.souk.product('tea', stock=10)
        first, second = self.buy(sku, 'approve')[1], self.buy(sku, 'approve', 3)[1]
        self.buy(sku, 'decline')
        self.refund(second['payment']['id'], {'amount': {'amount': 150, 'currency': 'EUR'}})
        status, text, headers = self.souk.get('/v1/payments/report', **self.souk.staff())
        self.assertEqual((status, headers['content-type']), (200, 'text/csv'))
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        self.assertEqual([(r['kind'], r['status'], r['amount']) for r in rows],
                         [('charge', 'completed', '10.00'), ('charge', 'completed', '30.00'),
                          ('charge', 'failed', '10.00'), ('refund', 'done', '1.50')])
        self.assertEqual([r['order_id'] for r in rows[:2]], [first['id'], second['id']])
        self.assertEqual(rows[3]['payment_id'], second['payment']['id'])
        for query, code in (('?from=2020-01-01&to=2020-01-31', 200), ('?from=yesterday', 400),
                            ('?from=2026-02-01&to=2026-01-01', 400), ('?form=2026-01-01', 400)):
            self.assertEqual(self.souk.get('/v1/payments/report' + query, **self.souk.staff())[0], code, query)
        self.assertEqual(self.souk.get('/v1/payments/report')[0], 401)

    def test_while_the_sandbox_is_down_nothing_is_lost(self):
        sku = self.souk.product('tea', stock=10)
        self.sandbox.stop()
        status, body = self.buy(sku, 'approve')
        self.assertEqual(status, 202, body)
        self.assertEqual(self.souk.get('/v1/payments/reconciliation', **self.souk.staff())[0], 503)
        self.sandbox.start()
        self.assertTrue(wait_for(lambda: self.payments(body['id'])[0]['status'] != 'pending', 60))
        self.assertEqual(self.payments(body['id'])[0]['reason'], 'never_received')
        status, again, _ = self.souk.post(f'/v1/orders/{body["id"]}/payments',
                                          {'provider': 'sandbox', 'token': 'approve'}, **self.souk.staff())
        self.assertEqual(status, 201, again)
        self.assertEqual(self.reconcile()['differences'], [])


class Command(unittest.TestCase):
    def test_wrong_words_are_refused_with_a_reason(self):
        environment = {k: v for k, v in os.environ.items() if k != 'SOUK_SANDBOX_SECRET'}
        for words, part in (([], 'a secret is needed'), (['--secret', 's', '--faults', 'fire=1'], 'no fault "fire"'),
                            (['--secret', 's', '--faults', 'delay=101'], 'from 0 to 100'),
                            (['--secret', 's', '--faults', 'delay=60,drop_after=60'], 'more than 100'),
                            (['--latency-ms', 'x'], 'from 0 to 600000'), (['--callback'], 'needs a value'),
                            (['--demo'], 'does not take --demo')):
            told = subprocess.run([BINARY, 'sandbox', *words], capture_output=True, text=True, env=environment,
                                  cwd=tempfile.gettempdir())
            self.assertEqual(told.returncode, 2, words)
            self.assertIn(part, told.stderr)


class Crowd(Payments):
    faults = ('--latency-ms', '1000')
    settings = {'sandbox_timeout_ms': 8000}

    def test_past_half_the_pool_a_checkout_is_answered_before_its_charge(self):
        sku = self.souk.product('tea', stock=100)
        with ThreadPoolExecutor(40) as pool:
            sold = list(pool.map(lambda _: self.buy(sku, 'approve'), range(40)))
        self.assertEqual({status for status, _ in sold}, {201, 202})
        for _, body in sold:
            self.assertTrue(self.settled(body['id'], 'paid', 'completed'))
        self.assertEqual([m['outcome'] for m in self.sandbox.movements()], ['captured'] * 40)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['on_hand'] == 60))


class Late(Payments):
    settings = {'reservation_hold_s': 30}

    def test_money_that_comes_late_gets_stock_or_goes_back_by_itself(self):
        skus = [self.souk.product(handle, stock=2) for handle in ('kept', 'recounted', 'cancelled', 'lapsed')]
        with ThreadPoolExecutor(4) as pool:
            sold = list(pool.map(self.buy, skus, ['timeout'] * 3 + ['decline']))
        self.assertEqual([status for status, _ in sold], [202, 202, 202, 402])
        kept, recounted, cancelled, lapsed = (b.get('id') or b.get('order_id') for _, b in sold)
        self.sandbox.stop()     # it has captured three times, and nobody can ask it
        self.assertTrue(self.settled(lapsed, 'cancelled'))
        self.assertEqual(self.order(lapsed)['cancel_reason'], 'lapsed')
        self.assertTrue(wait_for(lambda: self.souk.stock(skus[3])['available'] == 2))
        self.assertEqual(self.order(kept)['status'], 'awaiting_payment')    # it may be paid
        status, body, _ = self.souk.request('PUT', f'/v1/inventory/{skus[1]}', {'on_hand': 0}, self.souk.staff())
        self.assertEqual(status, 200, body)
        status, body, _ = self.souk.post(f'/v1/orders/{cancelled}/cancel', {'reason': 'too slow'},
                                         **self.souk.staff())
        self.assertEqual(status, 200, body)
        self.sandbox.start()

        self.assertTrue(self.settled(kept, 'paid', 'completed'), self.order(kept))
        for gone in (recounted, cancelled):
            self.assertTrue(wait_for(lambda: self.payments(gone)[0]['status'] == 'refunded', 60), self.order(gone))
            self.assertTrue(self.settled(gone, 'refunded', 'cancelled'), self.order(gone))
        moved = sorted((m['of'], m['outcome']) for m in self.sandbox.movements())
        self.assertEqual(moved, sorted(
            [(kept, 'captured'), (recounted, 'captured'), (cancelled, 'captured'), (lapsed, 'declined')] +
            [(self.payments(gone)[0]['id'], 'refunded') for gone in (recounted, cancelled)]))
        self.assertTrue(wait_for(lambda: [self.souk.stock(sku)['on_hand'] for sku in skus] == [1, 0, 2, 2]))
        self.assertEqual(self.reconcile()['differences'], [])


class Faulty(Payments):
    faults = ('--latency-ms', '2', '--faults', FAULTS)

    def run_sales(self, sku):
        dice = random.Random(3)
        plans = [(dice.choice(TOKENS), dice.randint(1, 3), dice.random()) for _ in range(PAYMENTS)]

        def sell(plan):
            token, quantity, fate = plan
            status, body = self.buy(sku, token, quantity)
            self.assertIn(status, (201, 202, 402), body)
            order_id = body.get('id') or body.get('order_id')
            if status == 402 and fate < 0.5:
                self.souk.post(f'/v1/orders/{order_id}/payments', {'provider': 'sandbox', 'token': 'approve'},
                               **self.souk.staff())
            if status == 201 and fate < 0.10:
                self.refund(body['payment']['id'], {'restock': True})
            elif status == 201 and fate < 0.20:
                self.refund(body['payment']['id'], {'amount': {'amount': 100, 'currency': 'EUR'}})
            elif fate < 0.25:
                self.souk.post(f'/v1/orders/{order_id}/cancel', {'reason': 'changed my mind'},
                               **self.souk.staff())
        self.souk.staff()
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(sell, plans))

    def is_still(self):
        """Nothing waits for anybody: no attempt and no refund of ours is without an outcome."""
        return not any(d['ours'].startswith('pending') for d in self.reconcile()['differences']) and \
            not any((o.get('payment') or {}).get('status') == 'pending' for o in self.orders())

    def test_the_books_agree_after_faults_of_every_kind_and_name_what_is_planted(self):
        sku = self.souk.product('tea', amount=1000, stock=10 * PAYMENTS)
        self.run_sales(sku)
        self.assertTrue(wait_for(self.is_still, 240))
        self.assertTrue(wait_for(self.books_agree, 60), self.reconcile())
        wait_for(lambda: self.sums()[0] == self.sums()[1], 60)
        self.assertTrue(wait_for(self.books_agree, 60), self.reconcile())   # a refund may have begun late

        of_ledger, of_orders = self.sums()
        self.assertEqual(of_ledger, of_orders)
        lines = self.sandbox.movements()
        keys = [m['key'] for m in lines]
        self.assertEqual(len(keys), len(set(keys)))
        captured = [m['of'] for m in lines if m['outcome'] == 'captured']
        self.assertEqual(len(captured), len(set(captured)), 'an order was charged twice')
        self.assertEqual(self.reconcile()['matched'], len(lines))
        self.plant(lines)

    def books_agree(self):
        books = self.reconcile()
        return books['differences'] == [] and books['matched'] == len(self.sandbox.movements())

    def sums(self):
        """Captured minus refunded, by the sandbox's books and by what orders and payments say."""
        ledger = sum(m['amount'] if m['outcome'] == 'captured' else -m['amount']
                     for m in self.sandbox.movements() if m['outcome'] in ('captured', 'refunded'))
        ours = 0
        for order in self.orders():
            status, paid = order['status'], (order.get('payment') or {})
            if status in ('paid', 'completed', 'shipped'):
                back = 0
                if paid['status'] == 'partly_refunded':
                    back = next(p for p in self.payments(order['id']) if p['id'] == paid['id'])['refunded']['amount']
                ours += order['total']['amount'] - back
        return ledger, ours

    def plant(self, lines):
        charges = [m for m in lines if m['outcome'] == 'captured']
        refunds = [m for m in lines if m['outcome'] == 'refunded']
        untouched = [m for m in charges if m['key'] not in {r['of'] for r in refunds}]
        lost, dearer, turned = untouched[0]['key'], untouched[1]['key'], untouched[2]['key']
        lost_refund, other_refund = refunds[0]['key'], refunds[1]['key']
        foreign = {**untouched[0], 'key': 'pay_' + '7' * 26}

        def change(books):
            out = [m for m in books if m['key'] not in (lost, lost_refund)] + [foreign]
            for m in out:
                if m['key'] in (dearer, other_refund):
                    m['amount'] += 1
                if m['key'] == turned:
                    m['outcome'] = 'declined'
                    m['reason'] = 'declined'
            return out
        self.sandbox.edit(change)
        found = self.reconcile()
        named = sorted((d['kind'], d['key']) for d in found['differences'])
        self.assertEqual(named, sorted([
            ('missing_there', lost), ('missing_there', lost_refund), ('missing_here', foreign['key']),
            ('amount_differs', dearer), ('amount_differs', other_refund), ('status_differs', turned)]))
        by_key = {d['key']: d for d in found['differences']}
        self.assertEqual(by_key[foreign['key']]['ours'], '')
        self.assertEqual(by_key[foreign['key']]['theirs'], f'captured {foreign["amount"]} EUR')
        self.assertTrue(by_key[turned]['ours'].startswith('captured '))
        self.assertTrue(by_key[turned]['theirs'].startswith('declined '))


if __name__ == '__main__':
    main()
