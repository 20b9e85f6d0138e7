#!/usr/bin/python3
"""Carts through HTTP: adding, changing, whose they are, and ordering what is in them."""
import json
import random
import sys
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import PASSWORD, Souk, main, order_body, wait_for  # noqa: E402


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


class World(unittest.TestCase):
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'sandbox_timeout_ms': 700, **cls.settings})
        cls.made = 0

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def product(self, amount=1000, stock=10):
        type(self).made += 1
        return self.souk.product(f'{type(self).__name__.lower()}-{self.made}', amount, stock)

    def customer(self, name):
        status, made, _ = self.souk.post('/v1/auth/signup', {
            'email': f'{name}-{random.randrange(1 << 40)}@example.org', 'password': PASSWORD, 'name': name})
        self.assertEqual(status, 201, made)
        return {'Authorization': 'Bearer ' + made['access_token']}

    def cart(self, **headers):
        status, cart, answer = self.souk.post('/v1/carts', {}, **headers)
        self.assertEqual(status, 201, cart)
        self.assertEqual(answer['location'], '/v1/carts/' + cart['id'])
        return cart['id']

    def add(self, cart, sku, quantity=1, wanted=200, **headers):
        status, body, answer = self.souk.post(f'/v1/carts/{cart}/lines', {'sku': sku, 'quantity': quantity},
                                              **headers)
        self.assertEqual(status, wanted, body)
        if wanted == 200:
            self.assertEqual(answer['etag'], f'"{body["version"]}"')
        return body

    def see(self, cart, wanted=200, **headers):
        status, body, _ = self.souk.get(f'/v1/carts/{cart}', **headers)
        self.assertEqual(status, wanted, body)
        return body

    def order(self, cart, token='approve', **headers):
        body = order_body('', token)
        del body['lines']
        return self.souk.post('/v1/orders', {**body, 'cart_id': cart}, **headers)[:2]

    def patch(self, path, body, **headers):
        return self.souk.request('PATCH', path, body, headers)[:2]

    def delete(self, path, **headers):
        return self.souk.request('DELETE', path, None, headers)[:2]

    def events(self, topic, subject):
        self.souk.level()
        code, out, error = self.souk.command('journal', 'tail', '-n', '5000')
        assert code == 0, error
        events = map(json.loads, out.splitlines())
        return [e['data'] for e in events if e['type'] == topic and e['subject'] == subject]


class Lines(World):
    def test_a_cart_adds_up_what_is_put_into_it(self):
        lamp, chair = self.product(4299), self.product(1999)
        cart = self.cart()
        empty = self.see(cart)
        self.assertEqual((empty['status'], empty['lines'], empty['total'], empty['version']),
                         ('open', [], {'amount': 0, 'currency': 'EUR'}, 1))
        self.add(cart, lamp)
        self.add(cart, chair, 2)
        body = self.add(cart, lamp, 2)
        self.assertEqual([(line['sku'], line['quantity'], line['price']['amount'], line['total']['amount'])
                          for line in body['lines']], [(lamp, 3, 4299, 12897), (chair, 2, 1999, 3998)])
        self.assertEqual(body['total'], {'amount': 16895, 'currency': 'EUR'})
        self.assertEqual(body['version'], 4)
        self.assertTrue(all(line['title'] for line in body['lines']))
        status, body = self.patch(f'/v1/carts/{cart}/lines/{chair}', {'quantity': 5})
        self.assertEqual((status, body['total']['amount'], body['version']), (200, 22892, 5), body)
        status, same = self.patch(f'/v1/carts/{cart}/lines/{chair}', {'quantity': 5})
        self.assertEqual((status, same['version']), (200, 5))
        status, body = self.delete(f'/v1/carts/{cart}/lines/{lamp}')
        self.assertEqual((status, [line['sku'] for line in body['lines']], body['total']['amount']),
                         (200, [chair], 9995), body)
        self.assertEqual(self.see(cart), body)
        self.assertEqual(len(self.events('cart.cart_updated', cart)), 5)

    def test_more_than_there_is_is_refused_with_what_is_left(self):
        sku = self.product(stock=5)
        cart = self.cart()
        told = self.add(cart, sku, 6, wanted=409)
        self.assertEqual((told['code'], told['errors'][0]['remaining'], told['errors'][0]['pointer']),
                         ('out_of_stock', 5, '/quantity'))
        self.add(cart, sku, 3)
        told = self.add(cart, sku, 3, wanted=409)
        self.assertEqual((told['code'], told['errors'][0]['remaining']), ('out_of_stock', 5))
        status, told = self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 6})
        self.assertEqual((status, told['code'], told['errors'][0]['remaining']), (409, 'out_of_stock', 5))
        status, body = self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 5})
        self.assertEqual((status, body['lines'][0]['quantity']), (200, 5))
        self.assertEqual(self.see(cart)['version'], 3)

    def test_what_is_no_cart_and_no_line_is_refused(self):
        sku = self.product(stock=5000)
        cart = self.cart()
        nobody = 'crt_' + '0' * 26
        for body, pointer in (({'sku': sku, 'quantity': 0}, '/quantity'), ({'sku': sku, 'quantity': 1001}, '/quantity'),
                              ({'sku': sku}, '/quantity'), ({'quantity': 1}, '/sku'),
                              ({'sku': 'No Sku', 'quantity': 1}, '/sku'), ({'sku': '', 'quantity': 1}, '/sku'),
                              ({'sku': sku, 'quantity': '1'}, '/quantity'), ({'sku': sku, 'quantity': 1.5}, '/quantity'),
                              ({'sku': sku, 'quantity': 1, 'price': 1}, '/price'),
                              ({'sku': sku, 'quantity': 1, 'id': cart}, '/id')):
            status, told, _ = self.souk.post(f'/v1/carts/{cart}/lines', body)
            self.assertEqual((status, told['code']), (400, 'invalid_request'), (body, told))
            self.assertEqual(told['errors'][0]['pointer'], pointer, told)
        self.assertEqual(self.add(cart, 'no-such-sku', wanted=422)['code'], 'no_such_sku')
        self.assertEqual(self.add(nobody, sku, wanted=404)['code'], 'no_such_cart')
        self.assertEqual(self.see(nobody, wanted=404)['code'], 'no_such_cart')
        self.assertEqual(self.see('%00', wanted=404)['code'], 'not_found')
        for status, told in (self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 1}),
                             self.delete(f'/v1/carts/{cart}/lines/{sku}')):
            self.assertEqual((status, told['code']), (404, 'no_such_line'))
        self.assertEqual(self.souk.post('/v1/carts', {'lines': []})[0], 400)
        self.add(cart, sku, 999)
        self.assertEqual(self.add(cart, sku, 2, wanted=400)['code'], 'quantity_too_large')
        self.assertEqual(self.see(cart)['lines'][0]['quantity'], 999)

    def test_a_cart_has_fifty_lines_at_most(self):
        skus = [self.product() for _ in range(51)]
        cart = self.cart()
        for sku in skus[:50]:
            self.add(cart, sku)
        self.assertEqual(self.add(cart, skus[50], wanted=400)['code'], 'too_many_lines')
        self.assertEqual(len(self.add(cart, skus[0])['lines']), 50)
        self.assertEqual(len(self.events('catalog.product_added_to_cart', cart)), 51)

    def test_a_change_can_be_made_to_depend_on_the_version(self):
        sku = self.product()
        cart = self.cart()
        self.add(cart, sku, 2, If_Match='"1"')
        self.assertEqual(self.add(cart, sku, If_Match='"1"', wanted=412)['code'], 'version_mismatch')
        path = f'/v1/carts/{cart}/lines/{sku}'
        self.assertEqual(self.patch(path, {'quantity': 1}, **{'If-Match': '"1"'})[0], 412)
        self.assertEqual(self.patch(path, {'quantity': 1}, **{'If-Match': '"2"'})[0], 200)
        self.assertEqual(self.delete(path, **{'If-Match': '"2"'})[0], 412)
        self.assertEqual(self.delete(path, **{'If-Match': '"3"'})[0], 200)
        # A refused line is told without a new version: nothing is "not modified" by its version alone.
        self.assertEqual(self.souk.get(f'/v1/carts/{cart}', If_None_Match='"4"')[0], 200)

    def test_one_command_twenty_times_at_once_adds_once(self):
        sku = self.product(stock=100)
        cart = self.cart()
        bodies = at_once(20, lambda _: self.add(cart, sku, 2, Idempotency_Key='twenty'))
        self.assertTrue(all(body == bodies[0] for body in bodies))
        self.assertEqual(self.add(cart, sku, 2, Idempotency_Key='twenty'), bodies[0])
        self.souk.restart()
        self.assertEqual(self.add(cart, sku, 2, Idempotency_Key='twenty'), bodies[0])
        self.assertEqual((self.see(cart)['version'], self.see(cart)['lines'][0]['quantity']), (2, 2))
        self.assertEqual(len(self.events('cart.cart_updated', cart)), 1)
        self.assertEqual(len(self.events('catalog.product_added_to_cart', cart)), 1)

    def test_commands_of_many_at_once_all_count(self):
        skus = [self.product(stock=1000) for _ in range(4)]
        cart = self.cart()
        at_once(24, lambda i: self.add(cart, skus[i % 4], 1 + i % 3))
        body = self.see(cart)
        self.assertEqual(body['version'], 25)
        self.assertEqual({line['sku']: line['quantity'] for line in body['lines']},
                         {sku: sum(1 + i % 3 for i in range(24) if i % 4 == k) for k, sku in enumerate(skus)})
        self.assertEqual(body['total']['amount'], 1000 * sum(1 + i % 3 for i in range(24)))

    def test_a_line_can_be_added_without_waiting_for_the_cart(self):
        sku = self.product(stock=5000)
        cart = self.cart()
        path, wish = f'/v1/carts/{cart}/lines', {'Prefer': 'respond-async', 'Idempotency-Key': 'once'}
        for _ in range(2):
            status, body, headers = self.souk.request('POST', path, {'sku': sku, 'quantity': 2}, wish)
            self.assertEqual((status, headers['location']), (202, f'/v1/carts/{cart}'), body)
        self.assertTrue(wait_for(lambda: self.see(cart)['lines']))
        self.assertEqual(self.see(cart)['lines'][0]['quantity'], 2)
        wish = {'Prefer': 'respond-async'}
        answers = at_once(6, lambda _: self.souk.request('POST', path, {'sku': sku, 'quantity': 600}, wish)[:2])
        queued = sum(status == 202 for status, _ in answers)
        self.assertGreaterEqual(queued, 1)
        self.assertLessEqual({body['code'] for status, body in answers if status != 202}, {'quantity_too_large'})
        self.assertTrue(wait_for(lambda: self.see(cart)['lines'][0]['quantity'] == 602))
        self.assertTrue(wait_for(lambda: len(self.see(cart).get('refused', [])) == min(queued - 1, 5)))
        self.assertEqual(self.see(cart)['lines'][0]['quantity'], 602)

    def test_prices_and_products_of_now_are_shown(self):
        lamp, chair = self.product(1000), self.product(500)
        cart = self.cart()
        self.add(cart, lamp, 2)
        product = self.add(cart, chair)['lines'][0]['product_id']
        self.change_price(product, lamp, 1100)
        body = self.see(cart)
        self.assertEqual((body['total']['amount'], body['version']), (2700, 4))
        self.assertEqual(self.delete(f'/v1/products/{product}', **self.souk.staff())[0], 204)
        body = self.see(cart)
        self.assertEqual(([line['sku'] for line in body['lines']], body['version']), ([chair], 5))
        self.assertEqual(len(self.events('cart.cart_updated', cart)), 4)

    def change_price(self, product, sku, amount):
        status, body = self.patch(f'/v1/products/{product}', {'variants': [
            {'sku': sku, 'price': {'amount': amount, 'currency': 'EUR'}}]}, **self.souk.staff())
        self.assertEqual(status, 200, body)


class Owners(World):
    def test_a_guests_cart_is_whose_who_knows_its_id_and_a_users_is_the_users(self):
        sku = self.product()
        ada, bob = self.customer('ada'), self.customer('bob')
        guests, adas = self.cart(), self.cart(**ada)
        self.add(guests, sku)
        self.see(guests, **bob)
        self.add(adas, sku, **ada)
        for other in ({}, bob, self.souk.staff()):
            self.see(adas, wanted=404, **other)
            self.add(adas, sku, wanted=404, **other)
            path = f'/v1/carts/{adas}/lines/{sku}'
            self.assertEqual(self.patch(path, {'quantity': 2}, **other)[0], 404)
            self.assertEqual(self.delete(path, **other)[0], 404)
            self.assertEqual(self.order(adas, **other)[0], 404)
            self.assertIn(self.souk.post(f'/v1/carts/{adas}/merge', {}, **other)[0], (401, 404))
        self.assertEqual(self.see(adas, **ada)['lines'][0]['quantity'], 1)
        self.assertEqual(len(self.events('cart.cart_updated', adas)), 1)
        self.assertEqual(len(self.events('catalog.product_added_to_cart', adas)), 1)

    def test_a_guests_cart_that_a_user_changes_is_the_users(self):
        sku = self.product()
        ada, bob = self.customer('ada'), self.customer('bob')
        cart = self.cart()
        self.add(cart, sku)
        self.add(cart, sku, **ada)
        self.see(cart, wanted=404)
        self.see(cart, wanted=404, **bob)
        self.assertEqual(self.see(cart, **ada)['lines'][0]['quantity'], 2)
        self.assertEqual(self.see('mine', **ada)['id'], cart)

    def test_my_cart_is_the_newest_that_is_open(self):
        ada = self.customer('ada')
        self.assertEqual(self.see('mine', wanted=404, **ada)['code'], 'no_such_cart')
        self.assertEqual(self.souk.get('/v1/carts/mine')[0], 401)
        self.cart(**ada)
        newest = self.cart(**ada)
        self.assertEqual(self.see('mine', **ada)['id'], newest)

    def test_after_login_a_guests_cart_goes_into_the_users(self):
        lamp, chair, vase = (self.product(1000), self.product(500), self.product(50))
        ada, bob = self.customer('ada'), self.customer('bob')
        mine, guests = self.cart(**ada), self.cart()
        self.add(mine, lamp, 2, **ada)
        self.add(mine, vase, 1, **ada)
        self.add(guests, chair, 3)
        self.add(guests, lamp, 1)
        status, body, _ = self.souk.post(f'/v1/carts/{guests}/merge', {}, **ada)
        self.assertEqual((status, body['id']), (200, mine), body)
        self.assertEqual({line['sku']: line['quantity'] for line in body['lines']}, {lamp: 3, vase: 1, chair: 3})
        self.assertEqual(body['total']['amount'], 4550)
        for _ in range(2):
            status, again, _ = self.souk.post(f'/v1/carts/{guests}/merge', {}, **ada)
            self.assertEqual((status, again), (200, body))
        self.assertEqual(self.see(guests, **ada), body)
        self.see(guests, wanted=404)
        self.see(guests, wanted=404, **bob)
        self.assertEqual(self.souk.post(f'/v1/carts/{guests}/merge', {}, **bob)[0], 404)
        self.assertEqual(self.souk.post(f'/v1/carts/{self.cart()}/merge', {})[0], 401)
        self.assertEqual(self.add(guests, vase, **ada)['id'], mine)

    def test_who_has_no_cart_keeps_the_guests(self):
        sku = self.product()
        ada = self.customer('ada')
        cart = self.cart()
        self.add(cart, sku)
        status, body, _ = self.souk.post(f'/v1/carts/{cart}/merge', {}, **ada)
        self.assertEqual((status, body['id'], len(body['lines'])), (200, cart, 1))
        self.see(cart, wanted=404)
        self.assertEqual(self.see('mine', **ada)['id'], cart)

    def test_what_goes_beyond_a_line_at_a_merge_is_named(self):
        sku = self.product(stock=5000)
        ada = self.customer('ada')
        mine, guests = self.cart(**ada), self.cart()
        self.add(mine, sku, 600, **ada)
        self.add(guests, sku, 600)
        _, body, _ = self.souk.post(f'/v1/carts/{guests}/merge', {}, **ada)
        self.assertEqual(body['lines'][0]['quantity'], 1000)
        self.assertEqual([(r['sku'], r['quantity'], r['code']) for r in body['refused']],
                         [(sku, 200, 'quantity_too_large')])

    def test_one_merge_twenty_times_at_once_merges_once(self):
        sku = self.product()
        ada = self.customer('ada')
        mine, guests = self.cart(**ada), self.cart()
        self.add(mine, sku, 1, **ada)
        self.add(guests, sku, 2)
        answers = at_once(20, lambda _: self.souk.post(f'/v1/carts/{guests}/merge', {}, **ada)[:2])
        self.assertEqual({(status, body['id'], body['lines'][0]['quantity']) for status, body in answers},
                         {(200, mine, 3)})


class Orders(World):
    def left(self, sku):
        return self.souk.stock(sku)['available']

    def test_a_cart_is_ordered_once_and_closed(self):
        lamp, chair = self.product(4299), self.product(1999)
        cart = self.cart()
        self.add(cart, lamp, 2)
        shown = self.add(cart, chair)
        status, made = self.order(cart, Idempotency_Key='once')
        self.assertEqual(status, 201, made)
        self.assertEqual((made['total'], [(line['sku'], line['quantity']) for line in made['lines']]),
                         (shown['total'], [(lamp, 2), (chair, 1)]))
        self.assertEqual(self.order(cart, Idempotency_Key='once'), (201, made))
        status, told = self.order(cart)
        self.assertEqual((status, told['code']), (409, 'cart_closed'))
        closed = self.see(cart)
        self.assertEqual((closed['status'], closed['order_id'], closed['lines']),
                         ('ordered', made['id'], shown['lines']))
        for status, told in (self.patch(f'/v1/carts/{cart}/lines/{lamp}', {'quantity': 1}),
                             self.delete(f'/v1/carts/{cart}/lines/{lamp}'),
                             (409, self.add(cart, lamp, wanted=409))):
            self.assertEqual((status, told['code']), (409, 'cart_closed'))
        self.assertEqual(self.left(lamp), 8)
        created = self.events('orders.order_created', made['id'])
        self.assertEqual(len(created), 1)
        self.souk.restart()
        self.assertEqual(self.order(cart, Idempotency_Key='once'), (201, made))

    def test_of_twenty_checkouts_at_once_one_makes_an_order(self):
        sku = self.product(stock=100)
        cart = self.cart()
        self.add(cart, sku, 2)
        answers = at_once(20, lambda _: self.order(cart))
        codes = [body.get('code', status) for status, body in answers]
        self.assertEqual(codes.count(201), 1, codes)
        self.assertLessEqual(set(codes), {201, 'in_checkout', 'cart_closed'})
        self.assertEqual(self.left(sku), 98)

    def test_a_declined_order_keeps_what_was_in_the_cart_and_closes_it(self):
        sku = self.product()
        cart = self.cart()
        self.add(cart, sku)
        status, told = self.order(cart, 'decline')
        self.assertEqual((status, told['code']), (402, 'payment_failed'))
        self.assertEqual(self.see(cart)['order_id'], told['order_id'])
        self.assertEqual(self.order(cart)[1]['code'], 'cart_closed')
        bearer = {'Authorization': 'Bearer ' + told['access_token']}
        status, paid, _ = self.souk.post(f'/v1/orders/{told["order_id"]}/payments',
                                         {'provider': 'sandbox', 'token': 'approve'}, **bearer)
        self.assertEqual(status, 201, paid)

    def test_what_cannot_be_had_leaves_the_cart_as_it_is(self):
        sku = self.product(stock=5)
        cart = self.cart()
        shown = self.add(cart, sku, 4)
        self.assertEqual(self.souk.post('/v1/orders', order_body(sku, quantity=3))[0], 201)
        status, told = self.order(cart)
        self.assertEqual((status, told['code'], told['errors'][0]['remaining']), (409, 'out_of_stock', 2), told)
        self.assertEqual(self.see(cart), shown)
        self.assertEqual(self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 2})[0], 200)
        status, made = self.order(cart)
        self.assertEqual((status, made['lines'][0]['quantity']), (201, 2), made)

    def test_a_buyer_pays_what_the_cart_showed_or_is_asked_again(self):
        lamp, chair = self.product(1000), self.product(500)
        cart = self.cart()
        self.add(cart, lamp)
        products = [line['product_id'] for line in self.add(cart, chair)['lines']]
        status, body = self.patch(f'/v1/products/{products[0]}', {'variants': [
            {'sku': lamp, 'price': {'amount': 2000, 'currency': 'EUR'}}]}, **self.souk.staff())
        self.assertEqual(status, 200, body)
        self.assertEqual(self.delete(f'/v1/products/{products[1]}', **self.souk.staff())[0], 204)
        status, told = self.order(cart)
        self.assertEqual((status, told['code']), (409, 'cart_changed'), told)
        self.assertEqual([(e['pointer'], e['code']) for e in told['errors']],
                         [('/lines/0', 'price_changed'), ('/lines/1', 'not_for_sale')])
        self.assertEqual(self.see(cart)['total']['amount'], 2000)
        status, made = self.order(cart)
        self.assertEqual((status, made['total']['amount']), (201, 2000), made)

    def test_what_is_no_longer_for_sale_is_not_ordered_in_silence(self):
        lamp, chair = self.product(1000), self.product(500)
        cart = self.cart()
        self.add(cart, lamp)
        product = self.add(cart, chair)['lines'][1]['product_id']
        self.assertEqual(self.delete(f'/v1/products/{product}', **self.souk.staff())[0], 204)
        status, told = self.order(cart)
        self.assertEqual((status, told['code'], told['errors'][0]['pointer']), (409, 'cart_changed', '/lines/1'), told)
        self.assertEqual([line['sku'] for line in self.see(cart)['lines']], [lamp])
        status, made = self.order(cart)
        self.assertEqual((status, made['total']['amount']), (201, 1000), made)

    def test_a_new_title_is_shown_and_does_not_hold_up_an_order(self):
        sku = self.product(1000)
        cart = self.cart()
        product = self.add(cart, sku)['lines'][0]['product_id']
        self.assertEqual(self.patch(f'/v1/products/{product}', {'title': 'A better lamp'}, **self.souk.staff())[0], 200)
        status, made = self.order(cart)
        self.assertEqual(status, 201, made)
        self.assertIn('A better lamp', made['lines'][0]['title'])

    def test_what_is_added_beside_a_checkout_is_ordered_or_refused(self):
        sku = self.product(stock=1000)
        cart = self.cart()
        self.add(cart, sku)

        def shop(i):
            if i == 0:
                return self.order(cart)
            return [self.souk.post(f'/v1/carts/{cart}/lines', {'sku': sku, 'quantity': 1})[:2] for _ in range(10)]

        (status, made), *adds = at_once(7, shop)
        self.assertIn((status, made.get('code')), ((201, None), (409, 'cart_changed')), made)
        answers = [answer for added in adds for answer in added]
        self.assertLessEqual({(status, body.get('code')) for status, body in answers},
                             {(200, None), (409, 'in_checkout'), (409, 'cart_closed')})
        taken = 1 + sum(status == 200 for status, _ in answers)
        self.assertEqual(self.see(cart)['lines'][0]['quantity'], taken)
        if status == 201:
            self.assertEqual(made['lines'][0]['quantity'], taken)

    def test_an_order_is_of_lines_or_of_a_cart_that_has_some(self):
        sku = self.product()
        cart = self.cart()
        status, told = self.order(cart)
        self.assertEqual((status, told['code']), (422, 'cart_empty'))
        self.add(cart, sku)
        both = {**order_body(sku), 'cart_id': cart}
        neither = order_body(sku)
        del neither['lines']
        for body in (both, neither, {**neither, 'lines': []}, {**neither, 'cart_id': ''}, {**neither, 'cart_id': 'x'}):
            status, told, _ = self.souk.post('/v1/orders', body)
            self.assertEqual((status, told['code']), (400, 'invalid_request'), told)
        self.assertEqual(self.order('crt_' + '0' * 26)[1]['code'], 'no_such_cart')
        provider = {**neither, 'cart_id': cart, 'payment': {'provider': 'nobody', 'token': 'x'}}
        self.assertEqual(self.souk.post('/v1/orders', provider)[0], 400)
        self.add(cart, sku)
        self.assertEqual(self.order(cart)[0], 201)

    def ended(self, cart, token):
        """The end of a checkout that nobody waits for."""
        body = order_body('', token)
        del body['lines']
        status, told, headers = self.souk.request('POST', '/v1/orders', {**body, 'cart_id': cart},
                                                  {'Prefer': 'respond-async'})
        self.assertEqual(status, 202, told)
        self.assertTrue(wait_for(lambda: self.souk.get(headers['location'])[1]['status'] != 'pending'))
        return self.souk.get(headers['location'])[1]

    def test_a_checkout_by_events_alone_closes_its_cart_or_lets_it_go(self):
        sku = self.product(stock=5)
        cart = self.cart()
        self.add(cart, sku, 4)
        self.assertEqual(self.souk.post('/v1/orders', order_body(sku, quantity=3))[0], 201)
        end = self.ended(cart, 'approve')
        self.assertEqual((end['status'], end['code']), ('failed', 'out_of_stock'), end)
        self.assertTrue(wait_for(lambda: self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 2})[0] == 200))
        end = self.ended(cart, 'approve')
        self.assertEqual(end['status'], 'done', end)
        self.assertTrue(wait_for(lambda: self.see(cart)['status'] == 'ordered'))
        self.assertEqual(self.see(cart)['order_id'], end['order_id'])
        self.assertEqual(self.order(cart)[1]['code'], 'cart_closed')
        self.assertEqual(self.left(sku), 0)

    def test_a_users_cart_makes_a_users_order(self):
        sku = self.product()
        ada = self.customer('ada')
        cart = self.cart(**ada)
        self.add(cart, sku, **ada)
        status, made = self.order(cart, **ada)
        self.assertEqual(status, 201, made)
        self.assertEqual(self.souk.get(f'/v1/orders/{made["id"]}', **ada)[0], 200)
        self.assertEqual(self.see('mine', wanted=404, **ada)['code'], 'no_such_cart')


class LeftAlone(World):
    settings = {'cart_abandoned_s': 1, 'cart_expired_s': 8}

    def test_a_cart_is_told_to_be_abandoned_until_it_is_changed_and_then_expires(self):
        sku = self.product()
        cart, empty, ordered = self.cart(), self.cart(), self.cart()
        self.add(ordered, sku)
        self.assertEqual(self.order(ordered)[0], 201)
        self.add(cart, sku)
        self.assertTrue(wait_for(lambda: self.events('cart.cart_abandoned', cart)))
        told = self.events('cart.cart_abandoned', cart)[0]
        self.assertEqual((told['cart_id'], [line['sku'] for line in told['lines']]), (cart, [sku]))
        self.see(cart)
        self.assertEqual(self.patch(f'/v1/carts/{cart}/lines/{sku}', {'quantity': 2})[0], 200)
        self.assertTrue(wait_for(lambda: self.events('cart.cart_expired', cart)))
        self.assertTrue(wait_for(lambda: self.events('cart.cart_expired', empty)))
        self.assertTrue(wait_for(lambda: self.souk.get(f'/v1/carts/{ordered}')[0] == 404))
        self.assertEqual(len(self.events('cart.cart_abandoned', cart)), 2)
        for other in (empty, ordered):
            self.assertEqual(self.events('cart.cart_abandoned', other), [])
        self.see(cart, wanted=404)
        self.add(cart, sku, wanted=404)
        self.assertEqual(len(self.events('cart.cart_expired', cart)), 1)
        self.assertEqual(self.events('cart.cart_expired', ordered), [])


if __name__ == '__main__':
    main()
