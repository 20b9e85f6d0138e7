#!/usr/bin/python3
"""Shipping, analytics, recommendations and search, as staff and shoppers meet them."""
import sys
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import Souk, main, order_body, wait_for  # noqa: E402

PROJECTING = ('analytics', 'recommendations', 'search')


class Listeners(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'shipping_methods': 'Standard:4.90:3, Express:9.90:1'})

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def ask(self, path, staff=False):
        status, body, _ = self.souk.get(path, **(self.souk.staff() if staff else {}))
        self.assertEqual(status, 200, body)
        return body

    def product_id(self, handle):
        return self.ask(f'/v1/products/{handle}')['id']

    def buy(self, *skus, token='approve'):
        body = order_body(skus[0], token)
        body['lines'] = [{'sku': sku, 'quantity': 1} for sku in skus]
        status, made, _ = self.souk.post('/v1/orders', body)
        self.assertEqual(status, 402 if token == 'decline' else 201, made)
        return made

    def order(self, made):
        return self.souk.get(f'/v1/orders/{made["id"]}', Authorization='Bearer ' + made['access_token'])[1]

    def shipment_of(self, order_id, status):
        path = f'/v1/shipments?order_id={order_id}&status={status}'
        found = wait_for(lambda: self.ask(path, staff=True)['data'])
        self.assertEqual(len(found), 1)
        return found[0]

    def dispatch(self, shipment, body=None, **headers):
        return self.souk.post(f'/v1/shipments/{shipment["id"]}/dispatch',
                              body or {'carrier': 'DHL', 'tracking': '00340'}, **self.souk.staff(), **headers)

    def events(self, topic, subject):
        return self.ask(f'/v1/audit/events?topic={topic}&subject={subject}', staff=True)['data']

    def found(self, q):
        return [p['handle'] for p in self.ask('/v1/search?q=' + q)['data']]

    def test_an_order_is_prepared_released_and_shipped(self):
        sku = self.souk.product('parcel', 1000, 5)
        made = self.buy(sku)
        shipment = self.shipment_of(made['id'], 'released')
        self.assertEqual(shipment['lines'], [{'sku': sku, 'title': 'parcel', 'quantity': 1}])
        self.assertEqual(shipment['address']['city'], 'Berlin')
        self.assertEqual(self.souk.post(f'/v1/shipments/{shipment["id"]}/dispatch', {'carrier': 'DHL'})[0], 401)
        self.assertEqual(self.dispatch(shipment, {'tracking': '1'})[0], 400)
        status, left, _ = self.dispatch(shipment, Idempotency_Key='one')
        self.assertEqual((status, left['status'], left['tracking']), (200, 'dispatched', '00340'))
        self.assertEqual(self.dispatch(shipment, Idempotency_Key='one')[1], left)
        status, again, _ = self.dispatch(shipment)
        self.assertEqual((status, again['code']), (409, 'already_dispatched'))
        self.assertTrue(wait_for(lambda: self.order(made)['status'] == 'shipped'))
        self.assertEqual(self.ask(f'/v1/shipments/{shipment["id"]}', staff=True)['status'], 'dispatched')

        told = wait_for(lambda: self.events('orders.order_shipped', made['id']))
        self.assertEqual([e['data'] for e in told],
                         [{'order_id': made['id'], 'carrier': 'DHL', 'tracking': '00340'}])
        self.assertEqual(len(self.events('shipping.shipment_prepared', shipment['id'])), 1)
        self.assertEqual(len(self.events('shipping.shipment_dispatched', shipment['id'])), 1)
        self.assertEqual(len(self.events('orders.order_completed', made['id'])), 1)

    def test_what_is_not_paid_or_is_cancelled_does_not_leave(self):
        sku = self.souk.product('vase', 1000, 5)
        told = self.buy(sku, token='decline')
        shipment = self.shipment_of(told['order_id'], 'prepared')
        status, refused, _ = self.dispatch(shipment)
        self.assertEqual((status, refused['code']), (409, 'not_released'))
        bearer = {'Authorization': 'Bearer ' + told['access_token']}
        self.assertEqual(self.souk.post(f'/v1/orders/{told["order_id"]}/cancel', {}, **bearer)[0], 200)
        self.shipment_of(told['order_id'], 'cancelled')
        status, refused, _ = self.dispatch(shipment)
        self.assertEqual((status, refused['code']), (409, 'not_released'))
        missing = {'id': 'shp_01000000000000000000000000'}
        self.assertEqual(self.dispatch(missing)[1]['code'], 'no_such_shipment')

    def test_everybody_sees_the_shipping_methods(self):
        self.assertEqual(self.ask('/v1/shipping-methods')['data'],
                         [{'name': 'Standard', 'price': {'amount': 490, 'currency': 'EUR'}, 'days': 3},
                          {'name': 'Express', 'price': {'amount': 990, 'currency': 'EUR'}, 'days': 1}])

    def test_a_bad_setting_is_refused_at_start(self):
        souk = Souk(settings={'shipping_methods': 'Express:cheap:1'}, start=False)
        with self.assertRaises(AssertionError) as refused:
            souk.start()
        self.assertIn('"Express:cheap:1" is no name:price:days', str(refused.exception))
        souk.process = None
        souk.close()

    def test_insights_tell_what_happened_today(self):
        today = datetime.now(timezone.utc)
        days = f'from={today - timedelta(1):%Y-%m-%d}&to={today + timedelta(1):%Y-%m-%d}'
        before = self.ask('/v1/insights?' + days, staff=True)
        sku = self.souk.product('insight', 1250, 5)
        for _ in range(4):
            self.ask('/v1/products/insight')
        self.buy(sku)
        self.buy(sku)
        self.souk.post('/v1/auth/login', {'email': 'ada@example.org', 'password': 'wrong'})

        def told():
            now = self.ask('/v1/insights?' + days, staff=True)
            return now if (now['sales'] - before['sales'] >= 2 and now['views'] - before['views'] >= 4
                           and now['failed_logins'] > before['failed_logins']) else None
        now = wait_for(told)
        self.assertTrue(now)
        self.assertEqual(len(now['days']), 3)
        self.assertGreater(now['logins'], 0)
        self.assertTrue(now['conversion'])
        top = [t for t in now['top_products'] if t['title'] == 'insight']
        self.assertEqual(top[0]['quantity'], 2)
        self.assertEqual(top[0]['revenue'], [{'amount': 2500, 'currency': 'EUR'}])
        self.assertEqual(sum(day['sales'] for day in now['days']), now['sales'])
        self.assertEqual(self.souk.get('/v1/insights')[0], 401)
        status, refused, _ = self.souk.get('/v1/insights?from=2026-02-30', **self.souk.staff())
        self.assertEqual((status, refused['code']), (400, 'bad_range'))

    def test_what_is_bought_together_is_recommended_until_it_is_deleted(self):
        tea, pot, cup = (self.souk.product(handle, 500, 20) for handle in ('tea', 'teapot', 'teacup'))
        ids = {handle: self.product_id(handle) for handle in ('tea', 'teapot', 'teacup')}
        for _ in range(2):
            self.buy(tea, pot)
        self.buy(tea, cup)

        def related():
            data = self.ask(f'/v1/recommendations?product_id={ids["tea"]}')['data']
            self.assertNotIn(ids['tea'], [r['product_id'] for r in data])
            return [(r['title'], r['score']) for r in data if 'score' in r]
        self.assertTrue(wait_for(lambda: related() == [('teapot', 6), ('teacup', 3)]), related())
        self.assertIn(ids['tea'], [r['product_id'] for r in self.ask('/v1/recommendations?limit=50')['data']])
        self.souk.request('DELETE', f'/v1/products/{ids["teapot"]}', headers=self.souk.staff())
        self.assertTrue(wait_for(lambda: related() == [('teacup', 3)]), related())

    def test_a_search_follows_the_catalog(self):
        self.souk.product('umbrella', 1900, 5, description='<p>For <b>heavy</b> rain &amp; wind.</p>',
                          tags=['Zürich'])
        self.assertTrue(wait_for(lambda: self.found('umbr') == ['umbrella']))
        hit = self.ask('/v1/search?q=heavy%20rai')['data'][0]
        self.assertEqual(hit['snippet'], 'For heavy rain & wind.')
        self.assertEqual(hit['price'], {'amount': 1900, 'currency': 'EUR'})
        self.assertEqual(self.found('ZURICH'), ['umbrella'])
        self.assertEqual(self.found('%22%27%2A%28%29%3A'), [])
        self.assertEqual(self.found(''), [])
        product_id = self.product_id('umbrella')
        status, body, _ = self.souk.request('PATCH', f'/v1/products/{product_id}', {'title': 'Parasol'},
                                            self.souk.staff())
        self.assertEqual(status, 200, body)
        self.assertTrue(wait_for(lambda: self.found('parasol') == ['umbrella']))
        self.souk.request('DELETE', f'/v1/products/{product_id}', headers=self.souk.staff())
        self.assertTrue(wait_for(lambda: self.found('parasol') == []))


class Replay(unittest.TestCase):
    def check_replay(self, souk):
        code, out, error = souk.command('journal', 'replay')
        self.assertEqual(code, 0, out + error)
        for service in PROJECTING:
            line = [line for line in out.splitlines() if service in line]
            self.assertEqual(len(line), 1, out)
            self.assertIn('equal to the live projection', line[0])

    def test_projections_follow_from_the_journal_also_after_a_crash(self):
        souk = Souk()
        try:
            skus = [souk.product(f'thing-{i}', 100 + i, 50) for i in range(6)]
            for round in range(3):
                for i in range(8):
                    body = order_body(skus[i % 6])
                    body['lines'].append({'sku': skus[(i + 1 + round) % 6], 'quantity': 2})
                    status, made, _ = souk.post('/v1/orders', body)
                    self.assertEqual(status, 201, made)
                    souk.get(f'/v1/products/thing-{i % 6}')
                if round == 0:
                    souk.kill()
                    souk.start()
                self.check_replay(souk)
            souk.restart()
            self.check_replay(souk)
            found = souk.get('/v1/search?q=thing')[1]['data']
            self.assertEqual(sorted(p['handle'] for p in found), [f'thing-{i}' for i in range(6)])
        finally:
            self.assertEqual(souk.close(), 0)


if __name__ == '__main__':
    main()
