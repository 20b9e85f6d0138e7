#!/usr/bin/python3
"""The commands, on a folder where Souk runs and where it does not."""
import json
import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from shapes import SHAPE  # noqa: E402
from souk import BINARY, PASSWORD, ROOT, Souk, main, order_body, wait_for  # noqa: E402

# A folder that a command opens itself is the embedded shape's.
on_a_stopped_souk = unittest.skipUnless(SHAPE == 'embedded', 'each process has to run for its commands')
SHARED = Path(os.environ.get('SOUK_SHARED', ROOT.parent / 'shared')) / 'data/shopify'


def services():
    told = subprocess.run([BINARY, 'map', '--json'], capture_output=True, text=True).stdout
    return [s['name'] for s in json.loads(told)['services']]


class Commands(unittest.TestCase):
    def setUp(self):
        self.souk = Souk('--demo', start=False)
        self.addCleanup(self.close)

    def close(self):
        self.assertEqual(self.souk.close(), 0)

    def login(self):
        status, body, _ = self.souk.post('/v1/auth/login', {'email': 'ada@example.org', 'password': PASSWORD})
        return status, body

    def test_every_command_explains_itself(self):
        listed = subprocess.run([BINARY, '--help'], capture_output=True, text=True).stdout
        for name in ('run', 'sandbox', 'admin', 'import', 'export', 'journal', 'deadletters', 'map', 'check-config'):
            self.assertIn(f'souk {name}', listed)
            told = subprocess.run([BINARY, name, '--help'], capture_output=True, text=True)
            self.assertEqual(told.returncode, 0)
            self.assertIn('example: ', told.stdout)

    def test_wrong_words_are_refused_with_a_reason(self):
        for words, part in ((['fly'], 'there is no command'), (['run', '--fast'], 'does not take --fast'),
                            (['admin'], 'usage:'), (['journal', 'burn'], 'not "burn"'),
                            (['export', 'ebay'], 'not "ebay"'), (['import', 'woocommerce'], 'usage:'),
                            (['run', '--listen'], 'needs a value'), (['map', 'x'], 'takes no "x"')):
            told = subprocess.run([BINARY, *words], capture_output=True, text=True, cwd=self.souk.folder)
            self.assertEqual(told.returncode, 2, words)
            self.assertIn(part, told.stderr)

    def test_several_processes_of_payments_do_not_get_a_sandbox_each(self):
        topology = Path(self.souk.folder, 'topology.conf')
        for address, settings, refused in (('127.0.0.1:2,127.0.0.1:3', {}, True), ('127.0.0.1:2', {}, False),
                                           ('127.0.0.1:2,127.0.0.1:3', {'SOUK_SANDBOX': 'off'}, False),
                                           ('127.0.0.1:2,127.0.0.1:3', {'SOUK_SANDBOX_URL': 'http://s:1'}, False)):
            rest = [n for n in services() if n != 'payments']
            topology.write_text('store postgresql://127.0.0.1:1/none\nbroker outbox\n'
                                f'process money payments {address}\nprocess rest {",".join(rest)} 127.0.0.1:4\n')
            told = subprocess.run([BINARY, 'run', '--topology', topology, '--process', 'money', '--data',
                                   f'{self.souk.folder}/no/where'], env={**os.environ, **settings}, capture_output=True, text=True)
            self.assertEqual(told.returncode, 1)
            self.assertIn('several addresses' if refused else 'No such file', told.stderr, (address, settings))

    @on_a_stopped_souk
    def test_an_admin_made_before_the_first_start_can_log_in(self):
        code, out, error = self.souk.command('admin', 'create', 'ada@example.org', stdin=PASSWORD + '\n')
        self.assertEqual((code, error), (0, ''))
        self.assertIn('can log in', out)
        self.souk.start()
        status, body = self.login()
        self.assertEqual(status, 200, body)
        self.assertEqual(body['user']['roles'], ['superadmin'])

    def test_an_admin_made_while_it_runs_can_log_in_at_once(self):
        self.souk.start()
        self.assertEqual(self.login()[0], 401)
        code, _, error = self.souk.command('admin', 'create', 'ada@example.org', stdin=PASSWORD + '\n')
        self.assertEqual((code, error), (0, ''))
        status, body = self.login()
        self.assertEqual(status, 200, body)
        status, _, _ = self.souk.get('/v1/audit/events', Authorization='Bearer ' + body['access_token'])
        self.assertEqual(status, 200)

    def test_a_bad_admin_is_refused(self):
        if SHAPE != 'embedded':
            self.souk.start()
        for email, password, part in (('ada@example.org', 'short', 'password'), ('no-address', PASSWORD, 'e-mail'),
                                      ('ada@example.org', '', 'password')):
            code, _, error = self.souk.command('admin', 'create', email, stdin=password + '\n')
            self.assertEqual(code, 1, (email, password))
            self.assertIn(part, error)

    def test_demo_goods_are_on_sale_once_it_is_ready(self):
        self.souk.start()
        status, page, _ = self.souk.get('/v1/products?limit=100')
        self.assertEqual(status, 200)
        self.assertGreater(len(page['data']), 10)
        sku = page['data'][0]['variants'][0]['sku']
        self.assertEqual(self.souk.post('/v1/orders', order_body(sku))[0], 201)

    @unittest.skipUnless(SHARED.is_dir(), 'no shared data here')
    def test_the_real_exports_import_completely_and_again_change_nothing(self):
        self.souk.flags = ()
        self.souk.start()
        products = variants = 0
        for path in sorted(SHARED.glob('*.csv')):
            code, out, error = self.souk.command('import', 'shopify', str(path))
            self.assertEqual((code, error), (0, ''))
            counts = out.splitlines()[-1].replace(';', ',').split(', ')
            products, variants = products + int(counts[0].split()[0]), variants + int(counts[1].split()[0])
        self.assertEqual((products, variants), (40, 45))
        before = self.souk.get('/v1/products?limit=100')[1]
        events = self.events()
        for path in sorted(SHARED.glob('*.csv')):
            code, out, _ = self.souk.command('import', 'shopify', str(path))
            self.assertIn('0 new, 0 changed', out)
        self.assertEqual(self.souk.get('/v1/products?limit=100')[1], before)
        self.assertEqual(self.events(), events)

    def test_what_is_exported_comes_back_whether_it_runs_or_not(self):
        def shown(souk):
            return sorted((p['handle'], p['title'], p['description'], p['tags'], p['images'],
                           [(v['sku'], v['title'], v['price'], v.get('compare_at_price'), v['available'])
                            for v in p['variants']]) for p in souk.get('/v1/products?limit=100')[1]['data'])
        self.souk.start()
        goods = shown(self.souk)
        self.assertGreater(len(goods), 10)
        for form in ('shopify', 'woocommerce'):
            path = f'{self.souk.folder}/{form}.csv'
            self.assertEqual(self.souk.command('export', form, path), (0, '', ''))
            code, out, error = self.souk.command('export', form)
            self.assertEqual((code, error, out), (0, '', Path(path).read_text()))
            status, text, headers = self.souk.get(f'/v1/exports/{form}', **self.souk.staff())
            self.assertEqual((status, headers['content-type']), (200, 'text/csv'))
            self.assertEqual(text, Path(path).read_bytes())
            self.assertEqual(self.souk.get(f'/v1/exports/{form}')[0], 401)
            other = Souk(start=SHAPE != 'embedded')
            try:
                code, out, error = other.command('import', form, path)
                self.assertEqual((code, error), (0, ''))
                self.assertEqual(out, f'{len(goods)} products, {sum(len(g[5]) for g in goods)} variants; '
                                      f'{len(goods)} new, 0 changed, 0 rows skipped\n')
                if SHAPE == 'embedded':
                    other.start()
                self.assertEqual(shown(other), goods)
                status, told, _ = other.request('POST', f'/v1/imports/{form}', Path(path).read_bytes(),
                                                {'Content-Type': 'text/csv', **other.staff()})
                self.assertEqual((status, told['created'], told['updated'], told['skipped']), (200, 0, 0, []))
            finally:
                self.assertEqual(other.close(), 0)
        code, _, error = self.souk.command('export', 'shopify', f'{self.souk.folder}/no/such/folder.csv')
        self.assertEqual(code, 1)
        self.assertIn('No such file', error)

    def events(self):
        """How many catalog and inventory events the journal has."""
        self.souk.level()
        code, out, _ = self.souk.command('journal', 'tail', '-n', '100000')
        self.assertEqual(code, 0)
        return sum('"type":"catalog.new' in line or '"type":"catalog.product_u' in line or
                   '"type":"inventory.' in line for line in out.splitlines())

    def test_the_journal_is_told_verified_and_replayed_while_it_runs(self):
        self.souk.start()
        sku = self.souk.product('lamp', 100, 5)
        self.souk.post('/v1/orders', order_body(sku))
        self.assertTrue(wait_for(lambda: 'orders.order_completed' in self.souk.command('journal', 'tail')[1]))
        for running in (True, False) if SHAPE == 'embedded' else (True,):
            if not running:
                self.souk.stop()
            code, out, error = self.souk.command('journal', 'verify')
            self.assertEqual((code, error), (0, ''))
            self.assertIn('the chain is whole', out)
            code, out, error = self.souk.command('journal', 'replay')
            self.assertEqual((code, error), (0, ''))
            self.assertIn('catalog: ', out)
            self.assertIn('equal to the live projection', out)
            self.assertEqual(self.souk.command('deadletters', 'list'), (0, '', ''))

    @on_a_stopped_souk
    def test_a_second_souk_on_the_folder_is_refused(self):
        self.souk.start()
        code, _, error = self.souk.command('run', '--listen', '127.0.0.1:0')
        self.assertEqual(code, 1)
        self.assertIn('in use', error)

    def test_check_config_names_the_place_of_a_mistake(self):
        os.makedirs(self.souk.data)
        Path(self.souk.data, 'souk.conf').write_text('currency = EUR\nlog = loud\n')
        self.souk.environment.pop('SOUK_LOG')
        code, _, error = self.souk.command('check-config')
        self.assertEqual(code, 1)
        self.assertIn('souk.conf:2: log: "loud"', error)
        Path(self.souk.data, 'souk.conf').write_text('currency = JPY # yen\n')
        code, out, _ = self.souk.command('check-config')
        self.assertEqual(code, 0)
        self.assertIn('currency = JPY', out)

    def test_sigterm_ends_it_cleanly_while_requests_run(self):
        self.souk.start()
        sku = self.souk.product('lamp', 100, 5)
        import threading
        answers = []
        buyer = threading.Thread(target=lambda: answers.append(self.souk.post('/v1/orders', order_body(sku, 'slow'))))
        buyer.start()
        time.sleep(0.5)
        self.assertEqual(self.souk.stop(), 0)
        buyer.join()
        self.assertEqual(answers[0][0], 201)


if __name__ == '__main__':
    main()
