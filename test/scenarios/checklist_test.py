#!/usr/bin/python3
"""The checklist, row by row, as a client sees it: test_<row>_<service or flow>.

Each row is walked through once; what can go wrong in it stands in the scenarios beside this one.
"""
import email
import email.policy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import PASSWORD, ROOT, Souk, free_port, main, order_body, wait_for  # noqa: E402

CHECKLIST = Path(os.environ.get('SOUK_SHARED', ROOT.parent / 'shared')) / 'requirements/checklist.md'
BOX_OFFICE = {'TK', 'F5', 'F6'}      # rows of services that are not here yet
ASYNC = {'Prefer': 'respond-async'}
BOUGHT = ('paid', 'completed')


class World(unittest.TestCase):
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.souk, cls.made = Souk(settings=cls.settings), 0

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def ask(self, method, path, body=None, wanted=(200, 201, 202, 204), **headers):
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        status, told, self.fields = self.souk.request(method, path, {} if method == 'POST' and body is None else body,
                                                      headers)
        self.assertIn(status, wanted if isinstance(wanted, tuple) else (wanted,), (method, path, told))
        return told

    def get(self, path, wanted=200, **headers):
        return self.ask('GET', path, None, wanted, **headers)

    def product(self, amount=1000, stock=10, **more):
        type(self).made += 1
        return self.souk.product(f'thing-{self.made}', amount, stock, **more)

    def sign_up(self, name='Grace'):
        type(self).made += 1
        self.address = f'{name.lower()}-{self.made}@example.org'
        made = self.ask('POST', '/v1/auth/signup', {'email': self.address, 'password': PASSWORD, 'name': name})
        self.user = made['user']
        return {'Authorization': 'Bearer ' + made['access_token']}

    def log_in(self, password=PASSWORD, wanted=200):
        return self.ask('POST', '/v1/auth/login', {'email': self.address, 'password': password}, wanted)

    def buy(self, sku, token='approve', wanted=201, **headers):
        made = self.ask('POST', '/v1/orders', order_body(sku, token), wanted, **headers)
        self.bearer = {'Authorization': 'Bearer ' + made['access_token']} if 'access_token' in made else headers
        return made

    def until_order(self, order_id, status, **headers):
        path = f'/v1/orders/{order_id}'
        order = wait_for(lambda: (o := self.get(path, **headers))['status'] == status and o)
        self.assertTrue(order, self.get(path, **headers))
        return order

    def events(self, topic, subject=''):
        path = f'/v1/audit/events?limit=100&topic={topic}' + (f'&subject={subject}' if subject else '')
        return self.get(path, **self.souk.staff())['data']

    def until_event(self, topic, subject=''):
        self.assertTrue(wait_for(lambda: self.events(topic, subject)), (topic, subject))
        return self.events(topic, subject)[-1]['data']

    def mails(self, address):
        found = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                 for path in Path(self.souk.folder_of('notifications'), 'mail').glob('*.eml')]
        return [m for m in found if address in str(m['to'])]

    def link(self, address, path):
        """The secret in the link of a mail that was kept."""
        def found():
            return [t for m in self.mails(address)
                    for t in re.findall(path + r'#([\w.~-]+)', m.get_body(('plain',)).get_content())]
        self.assertTrue(wait_for(found), [str(m) for m in self.mails(address)])
        return found()[-1]


class Services(World):
    def test_G_gateway(self):
        sku = self.product()
        self.get('/v1/products')                                                # a guest on a public route
        self.assertEqual(self.get('/v1/users/me', 401)['code'], 'unauthenticated')
        self.get('/v1/users/me', 401, Authorization='Bearer ' + 'x' * 40)       # authenticated by JWT
        self.assertEqual(self.get('/v1/users/me', **self.sign_up())['email'], self.address)
        made = self.buy(sku)                                                    # auth, orders, payments in one
        link = HTTPConnection('127.0.0.1', self.souk.port, timeout=60)
        link.request('GET', f'/v1/orders/{made["id"]}/stream', headers=self.bearer)
        answer = link.getresponse()
        self.assertEqual((answer.status, answer.headers['content-type']), (200, 'text/event-stream'))
        self.assertIn(b'event: order\n', [answer.readline() for _ in range(3)])
        link.close()
        self.assertIn('/v1/orders', self.get('/openapi.json')['paths'])

    def test_AN_auth(self):
        self.sign_up()
        self.log_in('wrong password', 401)
        first = self.log_in()
        bearer = {'Authorization': 'Bearer ' + first['access_token']}
        second = self.ask('POST', '/v1/auth/refresh', {'refresh_token': first['refresh_token']})
        self.ask('POST', '/v1/auth/refresh', {'refresh_token': first['refresh_token']}, 401)    # spent
        self.ask('POST', '/v1/auth/refresh', {'refresh_token': second['refresh_token']}, 401)   # its family too
        bearer = {'Authorization': 'Bearer ' + self.log_in()['access_token']}
        sessions = self.get('/v1/auth/sessions', **bearer)['data']
        other = next(s for s in sessions if not s.get('current'))
        self.ask('DELETE', f'/v1/auth/sessions/{other["id"]}', **bearer)
        self.ask('POST', '/v1/auth/logout', **bearer)
        self.get('/v1/users/me', 401, **bearer)
        self.ask('POST', '/v1/auth/password-resets', {'email': self.address}, 202)
        token = self.link(self.address, 'password-resets')
        self.ask('POST', f'/v1/auth/password-resets/{token}', {'password': PASSWORD + '!'}, 204)
        self.log_in(wanted=401)
        self.log_in(PASSWORD + '!')
        self.assertTrue(self.get('/.well-known/jwks.json'))
        self.until_event('auth.user_logged_in', self.user['id'])
        self.until_event('auth.failed_login_attempt')

    def test_AZ_authz(self):
        staff, customer = self.souk.staff(), self.sign_up()
        self.assertEqual(self.user['roles'], ['customer'])
        thing = {'title': 'Thing', 'variants': [{'price': {'amount': 1, 'currency': 'EUR'}}]}
        self.ask('POST', '/v1/products', thing, 403, **customer)
        path = f'/v1/users/{self.user["id"]}/roles'
        self.ask('PUT', path, {'roles': ['admin']}, **staff)
        self.assertTrue(wait_for(lambda: self.souk.post('/v1/products', thing, **customer)[0] == 201))
        self.ask('PUT', path, {'roles': ['customer']}, **staff)
        self.assertTrue(wait_for(lambda: self.souk.post('/v1/products', thing, **customer)[0] == 403))
        self.buy(self.product(), **customer)                                    # may purchase
        self.assertIn('superadmin', json.dumps(self.get('/v1/roles', **staff)))
        self.get('/v1/roles', 403, **customer)
        self.assertTrue(wait_for(lambda: {'catalog.CreateProduct', 'authz.ListRoles'} <= {
            e['data']['resource'] for e in self.events('authz.access_denied', self.user['id'])}))
        self.until_event('authz.access_granted', self.user['id'])

    def test_US_users(self):
        staff, me = self.souk.staff(), self.sign_up()
        home = order_body('')['shipping_address']
        told = self.ask('PATCH', '/v1/users/me', {'name': 'Grace Hopper', 'addresses': [home]}, **me)
        self.assertEqual((told['name'], told['addresses'][0]['city']), ('Grace Hopper', 'Berlin'))
        kinds = wait_for(lambda: (k := {a['kind'] for a in self.get('/v1/users/me/activity', **me)['data']})
                         >= {'registered', 'profile_updated'} and k)
        self.assertTrue(kinds, self.get('/v1/users/me/activity', **me))
        self.ask('POST', '/v1/invitations', {'email': 'lin@example.org', 'role': 'admin'}, **staff)
        token = self.link('lin@example.org', 'invitations')
        made = self.ask('POST', f'/v1/invitations/{token}/accept', {'name': 'Lin', 'password': PASSWORD}, 201)
        self.assertEqual(made['user']['roles'], ['admin'])
        found = self.get('/v1/users?q=lin@', **staff)['data']
        self.assertEqual([u['email'] for u in found], ['lin@example.org'])
        self.ask('POST', f'/v1/users/{made["user"]["id"]}/disable', **staff)
        self.ask('POST', '/v1/auth/login', {'email': 'lin@example.org', 'password': PASSWORD}, 401)
        self.assertEqual(self.get('/v1/users/me/export', **me)['user']['email'], self.address)
        self.ask('POST', '/v1/users/me/erase', **me)
        self.log_in(wanted=401)

    def test_CA_catalog(self):
        staff = self.souk.staff()
        sku = self.product(4299, 3, category='Lamps > Desk', tags=['brass'], vendor='Potter')
        handle = sku
        path = '/v1/products/' + self.get(f'/v1/products/{handle}')['id']
        self.assertIn(handle, [p['handle'] for p in self.get('/v1/products?q=brass%20potter')['data']])
        self.assertEqual(self.get(path)['variants'][0]['available'], 3)
        etag = self.fields['ETag']
        self.ask('PATCH', path, {'title': 'Great', 'variants': [{'sku': sku, 'stock': 9}]}, If_Match=etag, **staff)
        self.ask('PATCH', path, {'title': 'Late'}, 412, If_Match=etag, **staff)
        self.assertTrue(wait_for(lambda: self.get(path)['variants'][0]['available'] == 9))
        self.ask('POST', path + '/images', {'url': 'https://images.example.org/lamp.jpg'}, **staff)
        for form in ('shopify', 'woocommerce'):
            file = self.get(f'/v1/exports/{form}', **staff)
            self.assertIn(handle.encode(), file)
            told = self.ask('POST', f'/v1/imports/{form}', file, Content_Type='text/csv', **staff)
            self.assertEqual((told['created'], told['updated'], told['skipped']), (0, 0, []))
        self.assertTrue(self.until_event('catalog.product_viewed', path.split('/')[-1]))
        self.ask('DELETE', path, **staff)
        self.get(path, 404)

    def test_CT_cart(self):
        lamp, chair = self.product(4299, 5), self.product(1999, 5)
        cart = '/v1/carts/' + self.ask('POST', '/v1/carts', {}, 201)['id']
        self.ask('POST', cart + '/lines', {'sku': lamp, 'quantity': 1})
        told = self.ask('POST', cart + '/lines', {'sku': chair, 'quantity': 2})
        self.assertEqual(told['total']['amount'], 8297)
        self.ask('POST', cart + '/lines', {'sku': chair, 'quantity': 9}, 409)
        self.assertEqual(self.ask('PATCH', f'{cart}/lines/{chair}', {'quantity': 1})['total']['amount'], 6298)
        self.assertEqual(self.ask('DELETE', f'{cart}/lines/{lamp}')['total']['amount'], 1999)
        self.assertEqual([line['sku'] for line in self.get(cart)['lines']], [chair])
        self.until_event('catalog.product_added_to_cart', cart.split('/')[-1])
        self.until_event('cart.cart_updated', cart.split('/')[-1])

    def test_OR_orders(self):
        staff, sku = self.souk.staff(), self.product(1000, 5)
        me = self.sign_up()
        made = self.buy(sku, **me)
        self.assertIn(made['status'], BOUGHT)
        self.until_order(made['id'], 'completed', **me)
        self.assertEqual([o['id'] for o in self.get('/v1/orders', **me)['data']], [made['id']])
        self.get(f'/v1/orders/{made["id"]}', 404)
        path = f'/v1/shipments?order_id={made["id"]}&status=released'
        shipment = wait_for(lambda: self.get(path, **staff)['data'])[0]
        self.ask('POST', f'/v1/shipments/{shipment["id"]}/dispatch', {'carrier': 'DHL', 'tracking': '1'}, **staff)
        self.until_order(made['id'], 'shipped', **me)
        failed = self.buy(sku, 'decline', 402)
        self.assertEqual(failed['code'], 'payment_failed')
        path = f'/v1/orders/{failed["order_id"]}'
        self.assertEqual(self.get(path, **self.bearer)['status'], 'awaiting_payment')
        self.ask('POST', path + '/cancel', **self.bearer)
        self.until_order(failed['order_id'], 'cancelled', **self.bearer)

    def test_PA_payments(self):
        staff, sku = self.souk.staff(), self.product(1000, 5)
        made = self.buy(sku)
        payments = self.get(f'/v1/orders/{made["id"]}/payments', **self.bearer)['data']     # the buyer verifies
        self.assertEqual([(p['status'], p['amount']['amount']) for p in payments], [('completed', 1000)])
        path = f'/v1/payments/{made["payment"]["id"]}'
        self.assertEqual(self.get(path, **staff)['status'], 'completed')
        self.ask('POST', path + '/refund', {'amount': {'amount': 400, 'currency': 'EUR'}}, **staff)
        self.ask('POST', path + '/refund', {'restock': True}, **staff)
        self.until_order(made['id'], 'refunded', **self.bearer)
        self.get('/v1/payments/reconciliation', **staff)
        self.assertIn(made['payment']['id'].encode(), self.get('/v1/payments/report', **staff))
        status, _, _ = self.souk.post('/v1/webhooks/sandbox', {'type': 'captured'})
        self.assertIn(status, (400, 401, 403, 404))                                         # without a signature

    def test_IN_inventory(self):
        staff, sku = self.souk.staff(), self.product(1000, 5)
        self.buy(sku)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['on_hand'] == 4))             # committed
        declined = self.buy(sku, 'decline', 402)
        self.assertEqual(self.souk.stock(sku)['available'], 3)                              # reserved
        self.ask('POST', f'/v1/orders/{declined["order_id"]}/cancel', **self.bearer)
        self.assertTrue(wait_for(lambda: self.souk.stock(sku)['available'] == 4))           # released
        self.ask('POST', f'/v1/inventory/{sku}/restock', {'quantity': 6}, **staff)
        stock = self.souk.stock(sku)
        self.assertEqual(stock['available'], 10)
        count = {'on_hand': 7, 'expected_version': stock['version']}
        self.ask('PUT', f'/v1/inventory/{sku}', count, **staff)
        self.ask('PUT', f'/v1/inventory/{sku}', {**count, 'on_hand': 8}, (409, 412), **staff)
        self.assertTrue(wait_for(lambda: self.get(f'/v1/products/{sku}')['variants'][0]['available'] == 7))

    def test_NO_notifications(self):
        staff = self.souk.staff()
        self.sign_up()
        self.assertTrue(wait_for(lambda: len(self.mails(self.address)) == 1))               # welcome
        made = self.buy(self.product())
        path = f'/v1/notifications?order_id={made["id"]}'
        self.assertTrue(wait_for(lambda: [n for n in self.get(path, **staff)['data'] if n.get('sent_at')]))
        row = self.get(path, **staff)['data'][0]
        self.assertEqual((row['channel'], row['recipient']), ('email', 'grace@example.org'))
        self.assertTrue(row['content'] and row['status'] and row['template'])
        self.ask('POST', f'/v1/notifications/{row["id"]}/resend', **staff)
        mails = self.mails('grace@example.org')
        self.assertTrue(all(m.get_body(('plain',)) and m.get_body(('html',)) for m in mails))

    def test_SH_shipping(self):
        staff = self.souk.staff()
        self.assertTrue(self.get('/v1/shipping-methods')['data'])
        made = self.buy(self.product(), 'decline', 402)
        path = f'/v1/shipments?order_id={made["order_id"]}'
        shipment = wait_for(lambda: self.get(path, **staff)['data'])[0]                     # prepared, not released
        body = {'carrier': 'DHL', 'tracking': '00340'}
        self.ask('POST', f'/v1/shipments/{shipment["id"]}/dispatch', body, 409, **staff)
        self.ask('POST', f'/v1/orders/{made["order_id"]}/payments', {'provider': 'sandbox', 'token': 'approve'},
                 **self.bearer)
        self.assertTrue(wait_for(lambda: self.get(path, **staff)['data'][0]['status'] == 'released'))
        self.ask('POST', f'/v1/shipments/{shipment["id"]}/dispatch', body, **staff)
        self.assertEqual(self.get(f'/v1/shipments/{shipment["id"]}', **staff)['tracking'], '00340')

    def test_AL_analytics(self):
        staff, sku = self.souk.staff(), self.product(1234, 5)
        before = self.get('/v1/insights', **staff)
        self.get(f'/v1/products/{sku}', **self.sign_up())
        self.buy(sku)

        def counted():
            now = self.get('/v1/insights', **staff)
            return all(now[k] > before[k] for k in ('sales', 'views', 'logins')) and now
        now = wait_for(counted)
        self.assertTrue(now, (before, self.get('/v1/insights', **staff)))
        earned = sum(m['amount'] for m in now['revenue']) - sum(m['amount'] for m in before['revenue'])
        self.assertEqual(earned, 1234)

    def test_RE_recommendations(self):
        cup, saucer = self.product(), self.product()
        ids = [self.get(f'/v1/products/{sku}')['id'] for sku in (cup, saucer)]
        body = order_body(cup)
        body['lines'].append({'sku': saucer, 'quantity': 1})
        self.ask('POST', '/v1/orders', body, 201)
        self.assertTrue(wait_for(lambda: ids[1] in json.dumps(self.get(f'/v1/recommendations?product_id={ids[0]}'))))

    def test_SE_search(self):
        staff = self.souk.staff()
        sku = self.product(vendor='Zephyrine')
        self.assertTrue(wait_for(lambda: sku in json.dumps(self.get('/v1/search?q=zephy'))))        # a prefix
        self.ask('PATCH', f'/v1/products/{sku}', {'vendor': 'Boreas'}, **staff)
        self.assertTrue(wait_for(lambda: sku in json.dumps(self.get('/v1/search?q=boreas'))))
        self.assertEqual(self.get('/v1/search?q=zephy')['data'], [])

    def test_AU_audit(self):
        me = self.sign_up()
        self.ask('PATCH', '/v1/users/me', {'name': 'Ada'}, **me)
        self.until_event('users.profile_updated', self.user['id'])
        page = self.get(f'/v1/audit/events?subject={self.user["id"]}&limit=100', **self.souk.staff())['data']
        self.assertEqual([e['position'] for e in page], sorted(e['position'] for e in page))
        self.assertEqual(next(e['data']['name'] for e in page if e['type'] == 'users.profile_updated'), 'Ada')
        self.get('/v1/audit/events', 403, **me)
        for command, said in (('verify', 'the chain is whole'), ('replay', 'equal to the live projection')):
            code, out, error = self.souk.command('journal', command)
            self.assertEqual((code, error), (0, ''))
            self.assertIn(said, out)
        self.assertEqual(self.get('/v1/dead-letters', **self.souk.staff())['data'], [])


class Flows(World):
    def test_F1_browse(self):
        sku = self.product(description='<p>Made by hand.</p>')
        shopper = self.sign_up()
        listed = next(p for p in self.get('/v1/products')['data'] if p['handle'] == sku)
        told = self.get(f'/v1/products/{listed["id"]}', **shopper)
        self.assertEqual((told['description'], told['variants'][0]['price']['amount']), ('<p>Made by hand.</p>', 1000))
        seen = self.until_event('catalog.product_viewed', listed['id'])
        self.assertEqual((seen['name'], seen['viewer']), (sku, self.user['id']))

    def test_F2_add_to_cart(self):
        sku, me = self.product(1500), self.sign_up()
        cart = self.ask('POST', '/v1/carts', {}, 201, **me)['id']
        told = self.ask('POST', f'/v1/carts/{cart}/lines', {'sku': sku, 'quantity': 2}, **me)
        self.assertEqual((told['total']['amount'], told['lines'][0]['quantity']), (3000, 2))
        self.assertTrue(wait_for(lambda: self.until_event('cart.cart_updated', cart)['version'] == told['version']))
        self.assertEqual(self.until_event('cart.cart_updated', cart)['total']['amount'], 3000)

    def test_F3_checkout(self):
        sku, me = self.product(1500, 3), self.sign_up()
        cart = self.ask('POST', '/v1/carts', {}, 201, **me)['id']
        self.ask('POST', f'/v1/carts/{cart}/lines', {'sku': sku, 'quantity': 2}, **me)
        body = {k: v for k, v in order_body(sku).items() if k != 'lines'}
        made = self.ask('POST', '/v1/orders', {**body, 'cart_id': cart}, 201, **me)
        self.assertIn(made['status'], BOUGHT)
        self.assertEqual((made['total']['amount'], made['payment']['status']), (3000, 'completed'))
        for topic in ('orders.order_created', 'payments.payment_processed', 'orders.order_paid',
                      'orders.order_completed'):
            self.until_event(topic, made['id'])
        for wrong, wanted, code in ((order_body(sku, 'decline'), 402, 'payment_failed'),
                                    (order_body(sku, quantity=9), 409, 'out_of_stock'),
                                    (order_body('no-such-thing'), 422, 'no_such_sku')):
            self.assertEqual(self.ask('POST', '/v1/orders', wrong, wanted, **me)['code'], code)     # a clear error
        self.ask('POST', '/v1/orders', order_body(sku), 401, Authorization='Bearer spoilt')

    def test_F4_by_events_alone(self):
        sku, me = self.product(1500, 3), self.sign_up()
        cart = self.ask('POST', '/v1/carts', {}, 201, **me)['id']
        self.ask('POST', f'/v1/carts/{cart}/lines', {'sku': sku, 'quantity': 1}, 202, **ASYNC, **me)
        self.assertTrue(wait_for(lambda: self.get(f'/v1/carts/{cart}', **me)['lines']))
        body = {k: v for k, v in order_body(sku).items() if k != 'lines'}
        for body, status, code in (({**body, 'cart_id': cart}, 'done', None),
                                   (order_body(sku, 'decline'), 'failed', 'payment_failed'),
                                   (order_body(sku, quantity=9), 'failed', 'out_of_stock')):
            self.ask('POST', '/v1/orders', body, 202, **ASYNC, **me)
            place = self.fields['Location']
            link = HTTPConnection('127.0.0.1', self.souk.port, timeout=60)
            link.request('GET', place + '/stream', headers=me)
            seen = [json.loads(line[5:]) for line in link.getresponse() if line.startswith(b'data:')]
            link.close()
            self.assertEqual((seen[-1]['status'], seen[-1].get('code')), (status, code), seen)
            self.assertEqual(self.get(place, **me)['status'], status)


class Rows(unittest.TestCase):
    @unittest.skipUnless(CHECKLIST.exists(), 'the checklist is not here')
    def test_every_row_has_its_test(self):
        text = CHECKLIST.read_text()
        services = set(re.findall(r'^\| ([A-Z]{1,2}) \| ', text, re.M))
        flows = {f'F{n}' for n in re.findall(r'^(\d)\. ', text.split('## Flows')[1].split('\n## ')[0], re.M)}
        self.assertGreater(len(services) + len(flows), 20)
        have = {name.split('_')[1] for case in (Services, Flows, Down) for name in dir(case) if 'test_' in name}
        self.assertEqual((services | flows) - have, BOX_OFFICE)


class Down(World):
    """A mail server that is not there."""
    mail_port = free_port()
    settings = {'smtp_url': f'smtp://127.0.0.1:{mail_port}'}

    def test_F7_mail_waits_until_it_can_be_delivered(self):
        orders = [self.buy(self.product())['id'] for _ in range(3)]
        self.assertTrue(wait_for(lambda: len(self.events('orders.order_completed')) == 3))
        self.assertEqual(self.events('notifications.notification_sent'), [])
        folder = tempfile.mkdtemp(prefix='souk-test-')
        self.addCleanup(shutil.rmtree, folder)
        server = subprocess.Popen(['/usr/bin/python3', '-W', 'ignore', ROOT / 'test/mail_server.py',
                                   str(self.mail_port), folder])
        self.addCleanup(lambda: (server.terminate(), server.wait()))
        self.assertTrue(wait_for(lambda: len(self.events('notifications.notification_sent')) == 3, 120))
        self.assertEqual(sorted(e['data']['order_id'] for e in self.events('notifications.notification_sent')),
                         sorted(orders))
        self.assertEqual(len(list(Path(folder).glob('*.eml'))), 3)


if __name__ == '__main__':
    main()
