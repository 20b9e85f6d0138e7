#!/usr/bin/python3
"""A sale through HTTP, as buyers and their bad luck have it."""
import json
import sys
import threading
import time
import unittest
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import Souk, main, order_body, wait_for  # noqa: E402


def at_once(n, work):
    """Runs work(i) on n threads that begin together; gives their results in order."""
    barrier, results = threading.Barrier(n), [None] * n

    def one(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


class Checkout(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'sandbox_timeout_ms': 700, 'sandbox_slow_ms': 100})

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def order(self, order_id, token):
        status, body, _ = self.souk.get(f'/v1/orders/{order_id}', Authorization='Bearer ' + token)
        self.assertEqual(status, 200, body)
        return body

    def test_a_guest_buys_and_sees_the_order_with_its_token_alone(self):
        sku = self.souk.product('lamp', 4299, 5)
        status, made, headers = self.souk.post('/v1/orders', order_body(sku, quantity=2))
        self.assertEqual(status, 201, made)
        self.assertIn(made['status'], ('paid', 'completed'))
        self.assertEqual(made['total'], {'amount': 8598, 'currency': 'EUR'})
        self.assertEqual(made['payment']['status'], 'completed')
        self.assertEqual(headers['location'], f'/v1/orders/{made["id"]}')
        self.assertTrue(wait_for(lambda: self.order(made['id'], made['access_token'])['status'] == 'completed'))
        self.assertEqual(self.souk.get(f'/v1/orders/{made["id"]}')[0], 404)
        _, other, _ = self.souk.post('/v1/orders', order_body(sku))
        self.assertEqual(self.souk.get(f'/v1/orders/{made["id"]}',
                                       Authorization='Bearer ' + other['access_token'])[0], 404)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['sold'] == 3))
        stock = self.souk.stock(sku)
        self.assertEqual((stock['on_hand'], stock['reserved'], stock['available']), (2, 0, 2))

    def test_a_declined_payment_keeps_the_order_and_it_can_be_paid_again(self):
        sku = self.souk.product('chair', 1000, 3)
        status, told, headers = self.souk.post('/v1/orders', order_body(sku, 'decline'))
        self.assertEqual(status, 402, told)
        self.assertEqual(headers['content-type'], 'application/problem+json')
        self.assertEqual(told['code'], 'payment_failed')
        bearer = {'Authorization': 'Bearer ' + told['access_token']}
        self.assertEqual(self.order(told['order_id'], told['access_token'])['status'], 'awaiting_payment')
        self.assertEqual(self.souk.stock(sku)['reserved'], 1)
        path = f'/v1/orders/{told["order_id"]}/payments'
        status, again, _ = self.souk.post(path, {'provider': 'sandbox', 'token': 'insufficient_funds'}, **bearer)
        self.assertEqual((status, again['code']), (402, 'payment_failed'))
        status, paid, _ = self.souk.post(path, {'provider': 'sandbox', 'token': 'approve'}, **bearer)
        self.assertEqual(status, 201, paid)
        self.assertIn(paid['status'], ('paid', 'completed'))
        status, attempts, _ = self.souk.get(path, **bearer)
        self.assertEqual([a['status'] for a in attempts['data']], ['completed', 'failed', 'failed'])
        status, refused, _ = self.souk.post(path, {'provider': 'sandbox', 'token': 'approve'}, **bearer)
        self.assertEqual((status, refused['code']), (409, 'not_payable'))

    def test_a_provider_that_captures_and_never_answers_is_reconciled_to_paid_once(self):
        sku = self.souk.product('clock', 2500, 3)
        status, told, headers = self.souk.post('/v1/orders', order_body(sku, 'timeout'))
        self.assertEqual(status, 202, told)
        self.assertEqual(told['status'], 'awaiting_payment')
        self.assertEqual(told['payment']['status'], 'pending')
        self.assertEqual(headers['location'], f'/v1/orders/{told["id"]}')
        self.assertTrue(wait_for(
            lambda: self.order(told['id'], told['access_token'])['status'] in ('paid', 'completed')))
        charges = [line for line in map(json.loads, open(f'{self.souk.folder_of("payments")}/sandbox.ledger'))
                   if line['key'] == told['payment']['id'] and line['outcome'] == 'captured']
        self.assertEqual(len(charges), 1)

    def test_a_slow_provider_is_waited_for(self):
        status, made, _ = self.souk.post('/v1/orders', order_body(self.souk.product('bench', 100, 3), 'slow'))
        self.assertEqual(status, 201, made)

    def test_one_key_fifty_times_at_once_makes_one_order_and_fifty_equal_answers(self):
        sku = self.souk.product('vase', 700, 100)
        body = order_body(sku)

        def buy(_):
            link = HTTPConnection('127.0.0.1', self.souk.port, timeout=60)
            link.request('POST', '/v1/orders', json.dumps(body),
                         {'Content-Type': 'application/json', 'Idempotency-Key': 'fifty'})
            answer = link.getresponse()
            text = answer.read()
            link.close()
            return answer.status, text, answer.headers['location']

        answers = at_once(50, buy)
        self.assertEqual(set(answers), {answers[0]})
        self.assertEqual(answers[0][0], 201, answers[0])
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['sold'] == 1))
        self.souk.restart()
        self.assertEqual(buy(0), answers[0])
        time.sleep(0.1)
        self.assertEqual(self.souk.stock(sku)['sold'], 1)

    def test_four_hundred_buyers_for_a_hundred_pieces(self):
        sku = self.souk.product('ticket-like', 5000, 100)
        answers = at_once(400, lambda i: self.souk.post('/v1/orders', order_body(sku, email=f'b{i}@example.org')))
        statuses = Counter(status for status, _, _ in answers)
        self.assertEqual(statuses, {201: 100, 409: 300})
        for status, body, _ in answers:
            if status == 409:
                self.assertEqual(body['code'], 'out_of_stock')
                self.assertEqual(body['errors'][0]['pointer'], '/lines/0')
                self.assertIn('remaining', body['errors'][0])
        self.assertEqual(len({body['id'] for status, body, _ in answers if status == 201}), 100)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['sold'] == 100))
        stock = self.souk.stock(sku)
        self.assertEqual((stock['on_hand'], stock['reserved'], stock['available']), (0, 0, 0))

    def test_a_paid_order_that_is_cancelled_is_refunded_and_its_stock_comes_back(self):
        sku = self.souk.product('rug', 9900, 1)
        _, made, _ = self.souk.post('/v1/orders', order_body(sku))
        bearer = {'Authorization': 'Bearer ' + made['access_token']}
        status, gone, _ = self.souk.post(f'/v1/orders/{made["id"]}/cancel', {}, **bearer)
        self.assertEqual(status, 200, gone)
        self.assertTrue(wait_for(
            lambda: self.order(made['id'], made['access_token'])['status'] == 'refunded'))
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['available'] == 1))
        _, payment, _ = self.souk.get(f'/v1/payments/{made["payment"]["id"]}', **self.souk.staff())
        self.assertEqual(payment['refunded'], made['total'])

    def test_an_order_of_goods_that_are_gone_records_nothing(self):
        sku = self.souk.product('stool', 1500, 1)
        status, told, _ = self.souk.post('/v1/orders', order_body(sku, quantity=2))
        self.assertEqual((status, told['code'], told['errors'][0]['remaining']), (409, 'out_of_stock', 1))
        self.assertEqual(self.souk.stock(sku)['reserved'], 0)


if __name__ == '__main__':
    main()
