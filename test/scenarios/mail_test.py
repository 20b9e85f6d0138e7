"""Mails: through a server that is not ours, over its failures, and as files without one."""
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from email import message_from_bytes, policy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import Souk, free_port, main, order_body, wait_for  # noqa: E402

FAILED_RUN = re.compile(r'souk_job_runs_total\{service="notifications",job="send",ok="false"\} [1-9]')
SERVER = Path(__file__).resolve().parent.parent / 'mail_server.py'


class MailServer:
    def __init__(self, *flags):
        self.folder, self.port, self.flags = tempfile.mkdtemp(prefix='souk-mails-'), free_port(), flags
        self.process = None

    def start(self):
        self.process = subprocess.Popen(['/usr/bin/python3', str(SERVER), str(self.port), self.folder, *self.flags],
                                        stderr=subprocess.DEVNULL)

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(30)
        self.process = None

    @property
    def url(self):
        return f'smtp://127.0.0.1:{self.port}'

    def mails(self):
        return [read(p) for p in sorted(Path(self.folder).glob('*.eml'))]


def read(path):
    return message_from_bytes(Path(path).read_bytes(), policy=policy.default)


def body(mail, kind='plain'):
    return mail.get_body((kind,)).get_content()


class Case(unittest.TestCase):
    def souk(self, **settings):
        souk = Souk(settings=settings)
        self.addCleanup(lambda: self.assertEqual(souk.close(), 0))
        return souk

    def server(self, *flags, start=True):
        server = MailServer(*flags)
        self.addCleanup(server.close)
        if start:
            server.start()
        return server

    def buy(self, souk, sku, email='grace@example.org', token='approve', **more):
        asked = order_body(sku, token=token, email=email)
        asked['customer'].update(more)
        return souk.post('/v1/orders', asked)

    def listed(self, souk, **query):
        words = '&'.join(f'{k}={v}' for k, v in query.items())
        status, answer, _ = souk.get(f'/v1/notifications?{words}', **souk.staff())
        self.assertEqual(status, 200, answer)
        return answer['data']

    def becomes(self, souk, status, **query):
        found = wait_for(lambda: [n for n in self.listed(souk, **query) if n['status'] == status])
        self.assertTrue(found, self.listed(souk, **query))
        return found[0]

    def events(self, souk, topic):
        souk.level()
        status, answer, _ = souk.get(f'/v1/audit/events?topic={topic}&limit=100', **souk.staff())
        self.assertEqual(status, 200, answer)
        return answer['data']


class WithoutServer(Case):
    def test_a_receipt_is_kept_as_a_file_and_listed(self):
        souk = self.souk(public_url='https://shop.example/', mail_from='Café Søuk <shop@shop.example>')
        sku = souk.product('tea', title='Zażółć <b>gęślą</b> & jaźń')
        status, order, _ = self.buy(souk, sku, name='Günter Łoś-Ōe')
        self.assertEqual(status, 201, order)
        row = self.becomes(souk, 'kept', order_id=order['id'])
        self.assertEqual((row['template'], row['channel'], row['recipient']), ('receipt', 'email', 'grace@example.org'))
        self.assertEqual(row['order_id'], order['id'])
        self.assertRegex(row['sent_at'], r'^20\d\d-')
        path = Path(souk.folder_of('notifications')) / 'mail' / f'{row["id"]}.eml'
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        mail = read(path)
        self.assertEqual(mail.defects, [])
        self.assertEqual(mail['To'], 'grace@example.org')
        self.assertEqual(str(mail['From']), 'Café Søuk <shop@shop.example>')
        self.assertEqual(mail['Message-ID'], f'<{row["id"]}@shop.example>')
        self.assertEqual(mail['Subject'], f'Your order {order["id"]}')
        text, html = body(mail), body(mail, 'html')
        self.assertIn('Günter Łoś-Ōe', text)
        self.assertIn('1 x Zażółć <b>gęślą</b> & jaźń: 10.00 EUR', text)
        self.assertIn('Zażółć &lt;b&gt;gęślą&lt;/b&gt; &amp; jaźń', html)
        self.assertNotIn('<b>', html)
        self.assertIn('Grace Hopper, 1 Main Street, 10115 Berlin, DE', text)
        self.assertTrue(all(len(line) <= 78 for line in path.read_bytes().split(b'\r\n')))
        # The link is good for the order, and stands in no list.
        link = re.search(r'https://shop.example/orders/(\w+)#access_token=(\S+)', text)
        self.assertEqual(link[1], order['id'])
        status, seen, _ = souk.get(f'/v1/orders/{order["id"]}', Authorization='Bearer ' + link[2])
        self.assertEqual(status, 200, seen)
        self.assertNotIn(link[2], row['content'])
        self.assertIn('10.00 EUR', row['content'])
        told = self.events(souk, 'notifications.notification_sent')
        sent = [e['data'] for e in told if e['data']['notification_id'] == row['id']]
        self.assertEqual(len(sent), 1)
        self.assertNotIn('grace', str(sent))
        self.assertEqual(len(sent[0]['recipient_hash']), 64)


    def test_owners_templates_are_used_if_they_can_be_filled(self):
        souk = self.souk()
        folder = Path(souk.folder_of('notifications')) / 'templates'
        folder.mkdir()
        (folder / 'receipt.txt').write_text('Subject: Dein Einkauf für {{total}} {{currency}}\n\nDanke, {{name}}!\n')
        (folder / 'receipt.html').write_text('<p>{{#lines}}{{no_such_thing}}{{/lines}}</p>')
        _, order, _ = self.buy(souk, souk.product('tea'), name='Ōe')
        row = self.becomes(souk, 'kept', order_id=order['id'])
        mail = read(Path(souk.folder_of('notifications')) / 'mail' / f'{row["id"]}.eml')
        self.assertEqual(mail['Subject'], 'Dein Einkauf für 10.00 EUR')
        self.assertIn('Danke, Ōe!', body(mail))
        self.assertIn('your order', body(mail, 'html'))

    def test_nothing_that_a_buyer_writes_gets_into_the_header(self):
        souk = self.souk()
        sku = souk.product('tea', title='tea\r\nBcc: eve@example.org\r\n.\r\n\r\nbody' + ' long' * 30)
        for email in ('a@b.example\r\nBcc: eve@example.org', 'a@b.example\nRCPT TO:<eve@example.org>',
                      'a@b.example, eve@example.org', '<a@b.example>', 'a@b.example eve'):
            status, answer, _ = self.buy(souk, sku, email=email)
            if status == 201:
                self.assertEqual(self.becomes(souk, 'failed', order_id=answer['id'])['reason'], 'bad_address')
            else:
                self.assertIn(status, (400, 422), answer)
        status, order, _ = self.buy(souk, sku, name='Eve\r\nBcc: eve@example.org\r\n\r\nHi')
        if status == 201:
            row = self.becomes(souk, 'kept', order_id=order['id'])
            raw = (Path(souk.folder_of('notifications')) / 'mail' / f'{row["id"]}.eml').read_bytes()
            head, _, rest = raw.partition(b'\r\n\r\n')
            self.assertNotIn(b'Bcc', head)
            self.assertNotIn(b'\n', raw.replace(b'\r\n', b''))
            self.assertTrue(all(len(line) <= 78 for line in raw.split(b'\r\n')))
            self.assertEqual(read(Path(souk.folder_of('notifications')) / 'mail' / f'{row["id"]}.eml').defects, [])

    def test_every_turn_of_an_order_has_its_mail_and_each_once(self):
        souk = self.souk()
        sku = souk.product('tea', stock=100)
        status, answer, _ = self.buy(souk, sku, token='decline')
        self.assertEqual(status, 402)
        order_id = answer['order_id']
        row = self.becomes(souk, 'kept', order_id=order_id)
        self.assertEqual(row['template'], 'payment_failed')
        self.assertIn('10.00 EUR', row['content'])
        again = {'payment': {'provider': 'sandbox', 'token': 'decline'}}
        souk.post(f'/v1/orders/{order_id}/pay', again, **souk.staff())
        self.assertEqual(souk.post(f'/v1/orders/{order_id}/cancel', {}, **souk.staff())[0], 200)
        wait_for(lambda: len(self.listed(souk, order_id=order_id)) == 2)
        self.assertEqual([n['template'] for n in self.listed(souk, order_id=order_id)],
                         ['cancelled', 'payment_failed'])

        _, order, _ = self.buy(souk, sku)
        payment = order['payment']['id']
        for amount in (100, 250):
            status, answer, _ = souk.post(f'/v1/payments/{payment}/refund',
                                          {'amount': {'amount': amount, 'currency': 'EUR'}}, **souk.staff())
            self.assertEqual(status, 200, answer)
        wait_for(lambda: len(self.listed(souk, order_id=order['id'])) == 3)
        found = self.listed(souk, order_id=order['id'])
        self.assertEqual(sorted(n['template'] for n in found), ['receipt', 'refunded', 'refunded'])
        words = ' '.join(n['content'] for n in found)
        self.assertIn('1.00 EUR', words)
        self.assertIn('2.50 EUR', words)

    def test_an_account_has_its_mails_and_one_welcome(self):
        souk = self.souk()
        status, made, _ = souk.post('/v1/auth/signup', {'email': 'lin@example.org', 'name': 'Lin 林',
                                                        'password': 'correct horse battery'})
        self.assertEqual(status, 201, made)
        me = {'Authorization': 'Bearer ' + made['access_token']}
        self.assertEqual(souk.request('PATCH', '/v1/users/me', {'name': 'Lin Two'}, me)[0], 200)
        self.assertEqual(souk.post('/v1/auth/password-resets', {'email': 'lin@example.org'})[0], 202)
        self.assertEqual(souk.post('/v1/auth/password-resets', {'email': 'nobody@example.org'})[0], 202)
        status, answer, _ = souk.post('/v1/invitations', {'email': 'bob@example.org', 'role': 'admin'}, **souk.staff())
        self.assertEqual(status, 201, answer)
        wait_for(lambda: [n['status'] for n in self.listed(souk)] == ['kept'] * 4)
        rows = {n['template']: n for n in self.listed(souk)}
        self.assertEqual(sorted(n['template'] for n in self.listed(souk)),
                         ['invitation', 'password_reset', 'profile_changed', 'welcome'])
        self.assertIn('Lin 林', rows['welcome']['content'])
        self.assertIn('name', rows['profile_changed']['content'])
        mails = {t: read(Path(souk.folder_of('notifications')) / 'mail' / f'{n["id"]}.eml') for t, n in rows.items()}
        self.assertEqual(mails['password_reset']['To'], 'lin@example.org')
        token = re.search(r'/password-resets#(\S+)', body(mails['password_reset']))[1]
        self.assertNotIn(token, str(rows))
        self.assertEqual(souk.post(f'/v1/auth/password-resets/{token}', {'password': 'quite another one'})[0], 204)
        self.assertEqual(souk.post('/v1/auth/login', {'email': 'lin@example.org', 'password': 'quite another one'})[0],
                         200)
        # A link that was used is not sent again.
        souk.post(f'/v1/notifications/{rows["password_reset"]["id"]}/resend', {}, **souk.staff())
        gone = wait_for(lambda: [n for n in self.listed(souk) if n['status'] == 'failed'])
        self.assertEqual([n['reason'] for n in gone], ['link_gone'])
        token = re.search(r'/invitations#(\S+)', body(mails['invitation']))[1]
        status, answer, _ = souk.post(f'/v1/invitations/{token}/accept',
                                      {'name': 'Bob', 'password': 'correct horse battery'})
        self.assertEqual(status, 201, answer)
        # Staff is not welcomed as a customer is.
        self.buy(souk, souk.product('tea'), email='last@example.org')
        wait_for(lambda: [n for n in self.listed(souk) if n['template'] == 'receipt'])
        self.assertEqual([n['recipient'] for n in self.listed(souk) if n['template'] == 'welcome'],
                         ['lin@example.org'])

    def test_who_is_erased_is_in_no_row_and_no_file(self):
        souk = self.souk()
        _, made, _ = souk.post('/v1/auth/signup', {'email': 'lin@example.org', 'name': 'Lin',
                                                   'password': 'correct horse battery'})
        me = {'Authorization': 'Bearer ' + made['access_token']}
        status, order, _ = souk.request('POST', '/v1/orders', order_body(souk.product('tea'), email='lin@example.org'), me)
        self.assertEqual(status, 201, order)
        wait_for(lambda: [n['status'] for n in self.listed(souk)] == ['kept', 'kept'])
        self.assertEqual(souk.post('/v1/users/me/erase', {}, **me)[0], 204)
        wait_for(lambda: {n.get('reason') for n in self.listed(souk)} == {'erased'})
        found = self.listed(souk)
        self.assertEqual([(n['recipient'], n['content'], n['reason']) for n in found], [('', '', 'erased')] * 2)
        self.assertEqual(list((Path(souk.folder_of('notifications')) / 'mail').iterdir()), [])
        status, answer, _ = souk.post(f'/v1/notifications/{found[0]["id"]}/resend', {}, **souk.staff())
        self.assertEqual((status, answer['code']), (409, 'erased'))

    def test_only_staff_sees_notifications(self):
        souk = self.souk()
        self.assertEqual(souk.get('/v1/notifications')[0], 401)
        self.assertEqual(souk.get('/v1/notifications/ntf_x', **souk.staff())[0], 404)
        _, made, _ = souk.post('/v1/auth/signup', {'email': 'lin@example.org', 'name': 'Lin',
                                                   'password': 'correct horse battery'})
        self.assertEqual(souk.get('/v1/notifications', Authorization='Bearer ' + made['access_token'])[0], 403)

    def test_a_list_goes_on_where_the_last_page_ended(self):
        souk = self.souk()
        sku = souk.product('tea', stock=100)
        for _ in range(5):
            self.buy(souk, sku)
        wait_for(lambda: len(self.listed(souk)) == 5)
        everything = [n['id'] for n in self.listed(souk)]
        first = souk.get('/v1/notifications?limit=3', **souk.staff())[1]
        self.assertTrue(first['has_more'])
        rest = souk.get(f'/v1/notifications?limit=3&starting_after={first["data"][-1]["id"]}', **souk.staff())[1]
        self.assertFalse(rest['has_more'])
        self.assertEqual([n['id'] for n in first['data'] + rest['data']], everything)
        self.assertEqual(len(everything), 5)

    def test_the_password_is_never_shown_and_bad_settings_are_told(self):
        souk = Souk(settings={'smtp_url': 'smtp://127.0.0.1:2', 'smtp_password': 'hush-hush'}, start=False)
        self.addCleanup(souk.close)
        code, out, error = souk.command('check-config')
        self.assertEqual(code, 0, error)
        self.assertNotIn('hush-hush', out + error)
        self.assertIn('smtp_password', out)
        for name, value in (('smtp_url', 'http://127.0.0.1'), ('smtp_url', 'smtp://me:hush@host'), ('mail_from', 'nobody')):
            with self.subTest(value=value):
                other = Souk(settings={name: value}, start=False)
                with self.assertRaisesRegex(AssertionError, name):
                    other.start()
                other.process = None
                other.close()


class ThroughServer(Case):
    def receipts(self, server):
        """Message-IDs by order."""
        found = {}
        for mail in server.mails():
            order = re.search(r'ord_\w+', mail['Subject'])[0]
            found.setdefault(order, []).append(mail['Message-ID'])
        return found

    def test_a_server_that_stops_during_100_sales_gets_each_receipt_once(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        sku = souk.product('tea', stock=1000)
        orders = []
        for i in range(100):
            if i == 30:
                self.assertTrue(wait_for(server.mails))
                server.stop()
            status, order, _ = self.buy(souk, sku, email=f'buyer{i}@example.org')
            self.assertEqual(status, 201, order)
            orders.append(order['id'])
        self.assertLess(len(server.mails()), 100)
        server.start()
        wait_for(lambda: len(server.mails()) >= 100, 120)
        self.becomes(souk, 'sent', order_id=orders[-1])
        wait_for(lambda: not [o for o in orders if self.listed(souk, order_id=o)[0]['status'] != 'sent'])
        received = self.receipts(server)
        self.assertEqual(sorted(received), sorted(orders))
        self.assertEqual([o for o, ids in received.items() if len(ids) != 1], [])
        self.assertEqual(len({ids[0] for ids in received.values()}), 100)
        self.assertEqual({mail['To'] for mail in server.mails()}, {f'buyer{i}@example.org' for i in range(100)})

    def test_a_refused_recipient_fails_and_a_greylisted_one_is_tried_again(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        sku = souk.product('tea')
        refused, later, fine = (self.buy(souk, sku, email=f'{who}@example.org')[1]['id']
                                for who in ('refused', 'later', 'fine'))
        row = self.becomes(souk, 'failed', order_id=refused)
        self.assertIn('550 5.1.1', row['reason'])
        self.becomes(souk, 'sent', order_id=fine)
        row = self.becomes(souk, 'sent', order_id=later)
        self.assertEqual(row['attempts'], 3)
        self.assertEqual(sorted(self.receipts(server)), sorted([later, fine]))
        failed = wait_for(lambda: self.events(souk, 'notifications.notification_failed'))
        self.assertEqual([(e['data']['order_id'], e['data']['reason']) for e in failed], [(refused, 'refused')])
        self.assertNotIn('example.org', str(failed[0]['data']))

    def test_a_resent_mail_is_the_same_mail(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        _, order, _ = self.buy(souk, souk.product('tea'))
        row = self.becomes(souk, 'sent', order_id=order['id'])
        status, answer, _ = souk.post(f'/v1/notifications/{row["id"]}/resend', {}, **souk.staff())
        self.assertEqual((status, answer['status']), (200, 'queued'), answer)
        wait_for(lambda: len(server.mails()) == 2)
        self.becomes(souk, 'sent', order_id=order['id'])
        received = self.receipts(server)[order['id']]
        self.assertEqual(len(received), 2)
        self.assertEqual(len(set(received)), 1)
        self.assertEqual(len({mail['Date'] for mail in server.mails()}), 1)

    def test_a_connection_that_breaks_behind_the_mail_makes_it_come_twice_as_one(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        _, order, _ = self.buy(souk, souk.product('tea'), email='broken@example.org')
        self.becomes(souk, 'sent', order_id=order['id'])
        received = self.receipts(server)[order['id']]
        self.assertEqual(len(received), 2)
        self.assertEqual(len(set(received)), 1)

    def test_a_souk_that_is_killed_while_it_sends_loses_no_mail(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        sku = souk.product('tea', stock=100)
        orders = [self.buy(souk, sku, email='slow@example.org')[1]['id'] for _ in range(12)]
        for received in (1, 5, 9):
            wait_for(lambda: len(self.receipts(server)) >= received)
            souk.kill()
            souk.start()
        wait_for(lambda: len(self.receipts(server)) == 12, 60)
        for order in orders:
            self.becomes(souk, 'sent', order_id=order)
        received = self.receipts(server)
        self.assertEqual(sorted(received), sorted(orders))
        self.assertEqual([o for o, ids in received.items() if len(set(ids)) != 1], [])

    def test_a_mail_server_that_is_killed_gets_every_mail(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url)
        sku = souk.product('tea', stock=100)
        orders = [self.buy(souk, sku, email='slow@example.org')[1]['id'] for _ in range(8)]
        wait_for(lambda: len(self.receipts(server)) >= 2)
        server.stop(signal.SIGKILL)
        server.start()
        wait_for(lambda: len(self.receipts(server)) == 8, 60)
        self.assertEqual(sorted(self.receipts(server)), sorted(orders))
        self.assertEqual([o for o, ids in self.receipts(server).items() if len(set(ids)) != 1], [])

    def certificate(self, folder, name):
        done = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                               '-keyout', f'{folder}/{name}.key', '-out', f'{folder}/{name}.pem', '-days', '2', '-subj',
                               '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'], capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return f'{folder}/{name}.pem', f'{folder}/{name}.key'

    def test_tls_and_login(self):
        folder = tempfile.mkdtemp(prefix='souk-mails-')
        self.addCleanup(shutil.rmtree, folder)
        mine, other = self.certificate(folder, 'mine'), self.certificate(folder, 'other')
        server = self.server('--tls', *mine, '--login', 'shop', 'hush-hush')
        souk = self.souk(smtp_url=server.url, smtp_user='shop', smtp_password='hush-hush', smtp_tls='on',
                         smtp_authorities=mine[0])
        _, order, _ = self.buy(souk, souk.product('tea'))
        self.becomes(souk, 'sent', order_id=order['id'])
        self.assertEqual([(m['X-Peer-Tls'], m['X-Login']) for m in server.mails()], [('1', 'shop')])

        for settings in ({'smtp_authorities': other[0]}, {'smtp_authorities': mine[0], 'smtp_password': 'wrong'}):
            with self.subTest(settings):
                stranger = self.souk(**{'smtp_url': server.url, 'smtp_user': 'shop', 'smtp_password': 'hush-hush',
                                        'smtp_tls': 'on', **settings})
                _, order, _ = self.buy(stranger, stranger.product('tea'))
                self.assertTrue(wait_for(lambda: FAILED_RUN.search(stranger.metrics())))
                self.assertEqual([n['status'] for n in self.listed(stranger, order_id=order['id'])], ['queued'])
        self.assertEqual(len(server.mails()), 1)

    def test_tls_that_is_required_and_not_offered_sends_nothing(self):
        server = self.server()
        souk = self.souk(smtp_url=server.url, smtp_tls='on')
        _, order, _ = self.buy(souk, souk.product('tea'))
        self.assertTrue(wait_for(lambda: FAILED_RUN.search(souk.metrics())))
        self.assertEqual([n['status'] for n in self.listed(souk, order_id=order['id'])], ['queued'])
        self.assertEqual(server.mails(), [])


if __name__ == '__main__':
    main()
