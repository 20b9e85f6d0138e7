#!/usr/bin/python3
"""Traces: one checkout is one trace, told to a collector of this test's own by OTLP/HTTP."""
import json
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from collector import CLIENT, CONSUMER, INTERNAL, SERVER, Collector  # noqa: E402
from souk import Souk, free_port, main, order_body, wait_for  # noqa: E402

PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-'


def trace_of(headers):
    return headers['traceparent'].split('-')[1]


def span_count(souk, outcome):
    """Of all processes; None without the figure."""
    found = re.findall(r'souk_spans_total\{outcome="%s"\} (\d+)' % outcome, souk.metrics())
    return sum(map(int, found)) if found else None


class Traces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.souk = Souk(settings={'otlp_endpoint': cls.collector.url + '/'})
        cls.sku = cls.souk.product('lamp', 4299, 100)

    @classmethod
    def tearDownClass(cls):
        code = cls.souk.close()
        cls.collector.close()
        assert code == 0
        assert not cls.collector.faults, cls.collector.faults

    HEARD = {('inventory', 'process orders.order_paid'), ('shipping', 'process orders.order_paid'),
             ('notifications', 'process orders.order_paid'), ('analytics', 'process orders.order_paid'),
             ('audit', 'process orders.order_paid'), ('orders', 'process payments.payment_processed'),
             ('orders', 'process inventory.stock_committed'), ('recommendations', 'process orders.order_completed'),
             ('notifications', 'send mail'), ('audit', 'process notifications.notification_sent'),
             ('payments', 'provider charge')}

    def test_one_checkout_is_one_trace(self):
        status, made, headers = self.souk.post('/v1/orders', order_body(self.sku, email='grace.secret@example.org'))
        self.assertEqual(status, 201, made)
        spans, root = self.collector.whole(trace_of(headers), self.HEARD | {
            ('orders', 'souk.orders.v1.Orders/PlaceOrder'), ('catalog', 'souk.catalog.v1.Catalog/PriceLines'),
            ('inventory', 'souk.inventory.v1.Inventory/Reserve'), ('payments', 'souk.payments.v1.Payments/Charge')})
        self.assertTrue(headers['traceparent'].endswith('-01'))
        self.assertEqual(root['spanId'], headers['traceparent'].split('-')[2])
        self.assertEqual(root['name'], 'POST /v1/orders')
        self.assertEqual(root['attributes'], {'http.request.method': 'POST', 'http.route': '/v1/orders',
                                              'http.response.status_code': 201})
        by_name = {(s['service'], s['name']): s for s in spans}
        by_id = {s['spanId']: s for s in spans}
        place = by_name['orders', 'souk.orders.v1.Orders/PlaceOrder']
        self.assertEqual(place['kind'], SERVER if self.souk.many else INTERNAL)
        self.assertEqual(place['attributes'], {'rpc.system': 'grpc' if self.souk.many else 'souk',
                                               'rpc.service': 'souk.orders.v1.Orders',
                                               'rpc.method': 'PlaceOrder'})
        charge = by_name['payments', 'provider charge']
        self.assertEqual((charge['kind'], charge['attributes']['souk.outcome']), (CLIENT, 'captured'))
        self.assertEqual(by_id[charge['parentSpanId']]['name'], 'souk.payments.v1.Payments/Charge')
        paid = by_name['shipping', 'process orders.order_paid']
        self.assertEqual(paid['kind'], CONSUMER)
        self.assertEqual(paid['attributes']['messaging.destination.name'], 'orders.order_paid')
        self.assertTrue(paid['attributes']['messaging.message.id'].startswith('evn_'))
        self.assertEqual(by_id[paid['parentSpanId']]['service'], 'orders')
        mail = by_name['notifications', 'send mail']
        self.assertEqual((mail['kind'], mail['attributes']), (CLIENT, {'souk.template': 'receipt'}))
        self.assertEqual(by_id[mail['parentSpanId']]['name'], 'process orders.order_paid')
        told = b''.join(self.collector.raw)
        for secret in b'grace.secret', b'1234567', b'Main Street', b'approve', made['access_token'].encode():
            self.assertNotIn(secret, told)

    def test_a_checkout_by_events_is_one_trace_too(self):
        status, told, headers = self.souk.post('/v1/orders', order_body(self.sku), Prefer='respond-async')
        self.assertEqual(status, 202, told)
        spans, root = self.collector.whole(trace_of(headers), self.HEARD | {
            ('auth', 'process gateway.user_checkout'), ('orders', 'process auth.user_authenticated'),
            ('orders', 'task of orders'), ('payments', 'process orders.order_created'),
            ('payments', 'task of payments')})
        self.assertEqual(root['attributes']['http.response.status_code'], 202)
        by_id = {s['spanId']: s for s in spans}
        task, = [s for s in spans if s['name'] == 'task of orders']
        self.assertEqual(by_id[task['parentSpanId']]['name'], 'process auth.user_authenticated')

    def test_a_failure_is_told(self):
        _, told, headers = self.souk.post('/v1/orders', order_body(self.sku, 'decline'))
        self.assertEqual(told['code'], 'payment_failed')
        _, root = self.collector.whole(trace_of(headers), {('notifications', 'send mail')})
        self.assertEqual((root['status'], root['attributes']['error.type']), ({}, 'payment_failed'))
        self.assertEqual(root['attributes']['http.response.status_code'], 402)

    def test_who_asks_decides_for_its_own_trace(self):
        self.assertEqual(self.souk.get('/v1/products', traceparent=PARENT + '00')[0], 200)
        headers = self.souk.get('/v1/products', traceparent=PARENT + '01')[2]
        self.assertEqual(trace_of(headers), PARENT.split('-')[1])
        spans = wait_for(lambda: [s for s in self.collector.trace(trace_of(headers))
                                  if (s['service'], s['kind']) == ('gateway', SERVER)])
        self.assertEqual([s['parentSpanId'] for s in spans], [PARENT.split('-')[2]])
        headers = self.souk.get('/v1/products', traceparent=PARENT + '00')[2]
        self.assertTrue(headers['traceparent'].endswith('-00'), headers)

    def test_idle_jobs_and_pages_tell_nothing(self):
        self.souk.get('/livez')
        self.souk.get('/metrics')
        trace = trace_of(self.souk.get('/v1/products')[2])
        self.assertTrue(wait_for(lambda: [s for s in self.collector.trace(trace) if s['service'] == 'gateway']))
        names = {s['name'] for s in self.collector.spans}
        self.assertFalse(names & {'GET /livez', 'GET /metrics', 'job orders.sweep', 'job inventory.lapse',
                                  'job payments.resolve'}, names)
        self.assertIn('GET /v1/products', names)


class Settings(unittest.TestCase):
    def test_without_sampling_nothing_is_told(self):
        collector = Collector()
        souk = Souk(settings={'otlp_endpoint': collector.url, 'trace_sample': 0})
        sku = souk.product('lamp', 100, 5)
        status, _, headers = souk.post('/v1/orders', order_body(sku))
        self.assertEqual(status, 201)
        self.assertTrue(headers['traceparent'].endswith('-00'))
        headers = souk.get('/v1/products', traceparent=PARENT + '01')[2]
        self.assertTrue(wait_for(lambda: collector.trace(trace_of(headers))))
        code, told, _ = souk.command('journal', 'tail', '-n', '100')
        self.assertEqual(code, 0)
        flags = {json.loads(line)['traceparent'][-2:] for line in told.splitlines()}
        self.assertEqual(flags, {'00'})
        self.assertEqual(souk.close(), 0)
        collector.close()
        self.assertEqual({s['traceId'] for s in collector.spans}, {PARENT.split('-')[1]})

    def test_without_an_endpoint_there_is_no_figure(self):
        souk = Souk()
        self.assertIsNone(span_count(souk, 'sent'))
        headers = souk.get('/v1/products', traceparent=PARENT + '01')[2]
        self.assertEqual((trace_of(headers), headers['traceparent'][-2:]), (PARENT.split('-')[1], '01'))
        self.assertEqual(souk.close(), 0)

    def test_the_endpoint_comes_from_the_standard_variable_too(self):
        collector = Collector()
        souk = Souk(start=False)
        souk.environment['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url
        _, told, _ = souk.command('check-config')
        self.assertIn('otlp_endpoint = ' + collector.url, told)
        souk.start()
        trace = trace_of(souk.get('/v1/products')[2])
        self.assertTrue(wait_for(lambda: collector.trace(trace)))
        self.assertEqual(souk.close(), 0)
        collector.close()

    def test_a_bad_endpoint_is_told(self):
        souk = Souk(settings={'otlp_endpoint': 'collector:4318'}, start=False)
        code, _, error = souk.command('check-config')
        self.assertNotEqual(code, 0)
        self.assertIn('no http:// or https:// URL', error)
        souk.close()


class Trouble(unittest.TestCase):
    def test_a_collector_that_comes_back_gets_what_waited(self):
        port = free_port()
        souk = Souk(settings={'otlp_endpoint': f'http://127.0.0.1:{port}'})
        sku = souk.product('lamp', 100, 5)
        status, made, headers = souk.post('/v1/orders', order_body(sku))
        self.assertEqual(status, 201, made)
        self.assertEqual(span_count(souk, 'sent'), 0)
        collector = Collector(port, says=[(503, {'retry-after': '0'}), (429, {'retry-after': '1'})])
        self.assertTrue(wait_for(lambda: any(s['kind'] == SERVER for s in collector.trace(trace_of(headers))), 60))
        self.assertEqual(collector.refused, 2)
        self.assertEqual((span_count(souk, 'dropped'), span_count(souk, 'refused')), (0, 0))
        collector.says = [(400, {})]
        souk.get('/v1/products')
        self.assertTrue(wait_for(lambda: span_count(souk, 'refused') > 0))
        self.assertEqual(souk.close(), 0)
        collector.close()
        self.assertEqual(collector.faults, [])

    def test_a_collector_that_stays_away_costs_spans_and_nothing_else(self):
        souk = Souk(settings={'otlp_endpoint': f'http://127.0.0.1:{free_port()}'})
        sku = souk.product('lamp', 100, 5)
        dropped = 0
        for _ in range(200):
            for _ in range(100):
                self.assertEqual(souk.get('/v1/products?limit=1')[0], 200)
            dropped = span_count(souk, 'dropped')
            if dropped:
                break
        self.assertGreater(dropped, 0)
        self.assertEqual(souk.post('/v1/orders', order_body(sku))[0], 201)
        self.assertEqual(souk.close(), 0)


if __name__ == '__main__':
    main()
