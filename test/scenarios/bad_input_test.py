#!/usr/bin/python3
"""What buyers, their programs and their enemies send: each gets a clear error, and changes nothing."""
import socket
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import Souk, main, order_body  # noqa: E402


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk()
        cls.sku = cls.souk.product('lamp', 4299, 5)

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def tearDown(self):
        stock = self.souk.stock(self.sku)
        self.assertEqual((stock['on_hand'], stock['reserved'], stock['sold']), (5, 0, 0))

    def refused(self, body, status, code, pointer=None, **headers):
        got, told, fields = self.souk.post('/v1/orders', body, **headers)
        self.assertEqual(got, status, told)
        self.assertEqual(fields['content-type'], 'application/problem+json')
        self.assertEqual(told['status'], status)
        self.assertEqual(len(told['trace_id']), 32)
        if pointer is None:
            self.assertEqual(told['code'], code, told)
        else:
            self.assertIn((pointer, code), [(e['pointer'], e['code']) for e in told['errors']], told)

    def changed(self, **members):
        return {**order_body(self.sku), **members}

    def test_bodies_that_are_no_json(self):
        for raw in (b'', b'{', b'{"lines": [}', b'[]', b'"x"', b'{"a":1,"a":2}', b'{"lines": NaN}', b'\xff\xfe',
                    b'{"customer": {"email": "\xc3\x28@example.org"}}', b'{"x": "\\u0000"}', b'[' * 5000):
            got, told, _ = self.souk.post('/v1/orders', raw)
            self.assertEqual(got, 400, (raw[:40], told))

    def test_fields_that_are_unknown_missing_or_of_the_wrong_kind(self):
        line = {'sku': self.sku, 'quantity': 1}
        for body, code, pointer in (
                (self.changed(coupon='x'), 'unknown_field', '/coupon'),
                (self.changed(lines=[{**line, 'price': 1}]), 'unknown_field', '/lines/0/price'),
                (self.changed(lines='lamp'), 'wrong_type', '/lines'),
                (self.changed(lines=[{**line, 'quantity': '1'}]), 'wrong_type', '/lines/0/quantity'),
                (self.changed(lines=[{**line, 'quantity': 1.5}]), 'wrong_type', '/lines/0/quantity'),
                (self.changed(lines=[{**line, 'quantity': True}]), 'wrong_type', '/lines/0/quantity'),
                (self.changed(lines=[]), 'required', '/lines'),
                (self.changed(customer={}), 'required', '/customer/email')):
            self.refused(body, 400, code, pointer)

    def test_quantities_out_of_bounds(self):
        for quantity, code in ((0, 'too_small'), (-1, 'too_small'), (-2**63, 'too_small'), (1001, 'too_large'),
                               (2**63 - 1, 'too_large')):
            self.refused(order_body(self.sku, quantity=quantity), 400, code, '/lines/0/quantity')
        self.assertEqual(self.souk.post('/v1/orders', order_body(self.sku, quantity=2**64))[0], 400)

    def test_things_that_do_not_exist(self):
        got, told, _ = self.souk.post('/v1/orders', order_body('no-such-thing'))
        self.assertEqual((got, told['code'], told['errors'][0]['pointer']), (422, 'no_such_sku', '/lines/0/sku'))
        for path in ('/v1/products/prd_0123456789abcdefghjkmnpqrs', '/v1/orders/ord_1', '/v1/checkouts/chk_1', '/v2',
                     '/v1/products/', '/v1/products/%00', '/v1/products/%zz'):
            self.assertIn(self.souk.get(path)[0], (400, 404), path)
        got, _, fields = self.souk.request('DELETE', '/v1/orders')
        self.assertEqual(got, 405)
        self.assertIn('POST', fields['allow'])

    def test_tokens_that_are_forged_or_spoilt(self):
        good = self.souk.staff()['Authorization'].split()[1]
        head, claims, signature = good.split('.')
        none = 'eyJhbGciOiJub25lIn0'
        for token in ('x', 'a.b.c', f'{head}.{claims}.', f'{none}.{claims}.', f'{head}.{claims}.{signature[:-2]}AA',
                      f'{head}.{claims[:-2]}AA.{signature}', good + 'A', ''):
            got, told, fields = self.souk.get(f'/v1/inventory/{self.sku}', Authorization='Bearer ' + token)
            self.assertEqual(got, 401, token)
            self.assertIn('Bearer', fields['www-authenticate'])
        self.assertEqual(self.souk.get(f'/v1/inventory/{self.sku}')[0], 401)

    def test_a_guests_token_opens_no_staff_route(self):
        sku = self.souk.product('gift', 100, 5)
        _, made, _ = self.souk.post('/v1/orders', order_body(sku))
        got, told, _ = self.souk.get(f'/v1/inventory/{sku}', Authorization='Bearer ' + made['access_token'])
        self.assertIn(got, (401, 403), told)

    def test_a_body_that_is_too_large_or_of_another_kind(self):
        got, _, _ = self.souk.post('/v1/orders', b'lines=1', Content_Type='application/x-www-form-urlencoded')
        self.assertEqual(got, 415)
        with socket.create_connection(('127.0.0.1', self.souk.port)) as s:
            s.sendall(b'POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
                      b'Content-Length: 99999999\r\n\r\n')
            self.assertIn(b' 413 ', s.recv(4096))

    def test_a_key_with_another_body_is_refused_for_staff(self):
        keyed = {**self.souk.staff(), 'Idempotency-Key': 'k1'}
        path = f'/v1/inventory/{self.souk.product("keyed", 100, 5)}/restock'
        got, first, _ = self.souk.post(path, {'quantity': 1}, **keyed)
        self.assertEqual(got, 200, first)
        self.assertEqual(self.souk.post(path, {'quantity': 1}, **keyed)[1], first)
        got, told, _ = self.souk.post(path, {'quantity': 2}, **keyed)
        self.assertEqual(got, 422, told)

    def test_changes_with_a_stale_version_are_refused(self):
        sku = self.souk.product('versioned', 100, 5)
        _, product, _ = self.souk.get('/v1/products/versioned')
        path = f'/v1/products/{product["id"]}'
        _, _, headers = self.souk.get(path)
        stale = {**self.souk.staff(), 'If-Match': headers['etag']}
        got, told, _ = self.souk.request('PATCH', path, {'title': 'new'}, stale)
        self.assertEqual(got, 200, told)
        got, told, _ = self.souk.request('PATCH', path, {'title': 'newer'}, stale)
        self.assertEqual((got, told['code']), (412, 'version_mismatch'))
        stock = self.souk.stock(sku)
        got, told, _ = self.souk.request('PUT', f'/v1/inventory/{sku}',
                                         {'on_hand': 9, 'expected_version': stock['version'] + 1}, self.souk.staff())
        self.assertEqual((got, told['code']), (412, 'version_mismatch'))


if __name__ == '__main__':
    main()
