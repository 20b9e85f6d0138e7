#!/usr/bin/python3
"""Nobody who is erased is found anywhere: in no table, in no blob of the journal, in no mail.

A customer and a guest leave all that the shop takes from people; then they are erased, and every column of every
table is searched.  And from the protos: a column that is read into a personal field needs a statement that erases it.
"""
import re
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))
from gen_common import Problems, Protos  # noqa: E402
from gen_sql import parse  # noqa: E402
from shapes import SHAPE  # noqa: E402
from souk import PASSWORD, ROOT, Souk, main, order_body, wait_for  # noqa: E402

CUSTOMER, GUEST, GIFT, INVITED = 'Vera.Gone@example.org', 'Guest.Gone@Example.org', 'gift.gone@example.org', \
    'invited.gone@example.org'
WORDS = {'name': 'Vera Unforgotten', 'phone': '+49 30 76543210', 'line1': '77 Vanishing Lane', 'line2': 'Door Lethe',
         'city': 'Oblivia', 'postal_code': '98765', 'browser': 'Unforgettable/7', 'note': 'ask for Mr Lethe',
         'city of a guest': 'Nowhereville', 'name of a guest': 'Gus Guestly'}
ADDRESS = {'name': WORDS['name'], 'line1': WORDS['line1'], 'line2': WORDS['line2'], 'city': WORDS['city'],
           'postal_code': WORDS['postal_code'], 'country': 'DE'}
# What keeps an order that is still to be sent, until it is.
UNSENT = {'orders_order', 'shipping_shipment'}
# Answers under an Idempotency-Key go by the clock, within 25 hours.
BY_THE_CLOCK = {'gateway_answer'}

# Each column that is read into a personal field, and what erases it.
ERASED_BY = {
    'auth_credential': ('delete_credential', 'email name'),
    'auth_session': ('forget_origins', 'ip user_agent'),
    'notifications_contact': ('erase_contacts', 'email name'),
    'notifications_mail': ('erase_mails', 'recipient facts content'),
    'orders_checkout': ('refuse_checkout', 'email phone_number contact_name ship_name ship_line1 ship_line2 ship_city '
                                           'ship_region ship_postal_code ship_country'),
    'orders_erasure': ('end_erasure', 'email'),
    'orders_order': ('erase_order', 'email phone_number contact_name ship_name ship_line1 ship_line2 ship_city '
                                    'ship_region ship_postal_code ship_country cancel_note'),
    'shipping_shipment': ('erase_marked', 'ship_name ship_line1 ship_line2 ship_city ship_region ship_postal_code '
                                          'ship_country'),
    'users_address': ('delete_addresses', 'name line1 line2 city region postal_code country'),
    'users_invitation': ('erase_invitations_of', 'email'),
    'users_user': ('erase_user', 'email name phone'),
}


def bearer(made):
    return {'Authorization': 'Bearer ' + made['access_token']}


class Erasure(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.souk = Souk(settings={'rate_limit_per_s': 0, 'erase_after_s': 1})
        cls.staff = cls.souk.staff()
        cls.sku = cls.souk.product('lamp', 4299, 50)

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def ask(self, method, path, body=None, wanted=(200, 201, 202, 204), **headers):
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        status, told, fields = self.souk.request(method, path, {} if body is None and method != 'GET' else body, headers)
        self.assertIn(status, wanted if isinstance(wanted, tuple) else (wanted,), (method, path, told))
        self.location = fields.get('location')
        return told

    # ---- what they leave ------------------------------------------------------------------------------

    def buy(self, email, name, city, token='approve', wanted=201, **headers):
        body = order_body(self.sku, token, email=email)
        body['customer'].update(name=name, phone_number=WORDS['phone'])
        body['shipping_address'] = {**ADDRESS, 'name': name, 'city': city}
        told = self.ask('POST', '/v1/orders', body, wanted, **headers)
        return told.get('id') or told.get('order_id')

    def order(self, order_id):
        return self.ask('GET', f'/v1/orders/{order_id}', **self.staff)

    def dispatch(self, order_id):
        path = f'/v1/shipments?order_id={order_id}&status=released'
        shipment = wait_for(lambda: self.ask('GET', path, **self.staff)['data'])[0]
        self.ask('POST', f'/v1/shipments/{shipment["id"]}/dispatch', {'carrier': 'DHL', 'tracking': '00340'}, **self.staff)
        self.assertTrue(wait_for(lambda: self.order(order_id)['status'] == 'shipped'))

    def person(self, email, name, city, **headers):
        """Orders of every kind: {kind: id}."""
        orders = {kind: self.buy(email, name, city, **headers) for kind in ('sent', 'unsent', 'cancelled')}
        orders['unpaid'] = self.buy(email, name, city, 'decline', 402, **headers)
        self.dispatch(orders['sent'])
        self.ask('POST', f'/v1/orders/{orders["cancelled"]}/cancel', {'reason': WORDS['note']}, **self.staff)
        body = order_body(self.sku, email=email)
        body['customer']['name'] = name
        self.ask('POST', '/v1/orders', body, Prefer='respond-async', **headers)
        path = self.location
        done = wait_for(lambda: (c := self.ask('GET', path, **headers))['status'] != 'pending' and c)
        orders['by events'] = done['order_id']
        self.assertTrue(wait_for(lambda: self.order(done['order_id'])['status'] == 'completed'))
        return orders

    def customer(self):
        made = self.ask('POST', '/v1/auth/signup', {'email': CUSTOMER, 'password': PASSWORD, 'name': WORDS['name']})
        made = self.ask('POST', '/v1/auth/login', {'email': CUSTOMER, 'password': PASSWORD},
                        User_Agent=WORDS['browser'])
        me = bearer(made)
        self.ask('PATCH', '/v1/users/me', {'phone': WORDS['phone'], 'addresses': [ADDRESS]}, **me)
        self.ask('POST', '/v1/auth/password-resets', {'email': CUSTOMER})
        cart = self.ask('POST', '/v1/carts', {}, **me)['id']
        self.ask('POST', f'/v1/carts/{cart}/lines', {'sku': self.sku, 'quantity': 1}, **me)
        orders = self.person(CUSTOMER, WORDS['name'], WORDS['city'], **me)
        orders['gift'] = self.buy(GIFT, 'Gina Giftly', 'Nowhereville', **me)
        self.dispatch(orders['gift'])
        return me, cart, orders, made['user']['id']

    # ---- where they are found ----------------------------------------------------------------------------

    def found(self, words):
        """{table.column: the words in it}, of all tables; and the mails."""
        out, words = {}, {w.lower().encode() for w in words}
        for table, name, value in self.souk.values():
            raw = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b''
            hit = {w.decode() for w in words if w in raw.lower()}
            if hit:
                out.setdefault(f'{table}.{name}', set()).update(hit)
        for path in Path(self.souk.folder_of('notifications'), 'mail').glob('*'):
            try:
                raw = path.read_bytes().lower()
            except FileNotFoundError:           # erased while we looked
                continue
            hit = {w.decode() for w in words if w in raw}
            if hit:
                out['mail'] = out.get('mail', set()) | hit
        return out

    def gone(self, words, besides=()):
        left = {}

        def is_gone():
            nonlocal left
            left = {c: w for c, w in self.found(words).items() if c.split('.')[0] not in besides}
            return not left
        wait_for(is_gone, 60)
        self.assertEqual(left, {})

    def books(self):
        """What must stay: each order's lines, total and payment."""
        rows, after = [], ''
        while True:
            page = self.ask('GET', f'/v1/orders?limit=100{after}', **self.staff)
            rows += [(o['id'], o['total'], [(x['title'], x['quantity'], x['total']) for x in o['lines']],
                      o['payment']['ref']) for o in page['data']]
            if not page['has_more']:
                return rows
            after = '&starting_after=' + rows[-1][0]

    def whole(self):
        """The chain and the projections, as the commands tell."""
        code, told, error = self.souk.command('journal', 'verify')
        self.assertEqual((code, error), (0, ''))
        self.assertIn('the chain is whole', told)
        code, told, error = self.souk.command('journal', 'replay')
        self.assertEqual((code, error), (0, ''), told)
        return told

    # ---- the tests ------------------------------------------------------------------------------------------

    def test_who_is_erased_is_found_nowhere_and_the_books_stay(self):
        me, cart, mine, user_id = self.customer()
        guests = self.person(GUEST, WORDS['name of a guest'], WORDS['city of a guest'])
        self.buy(GUEST, WORDS['name of a guest'], WORDS['city of a guest'], Idempotency_Key='once')
        stays = self.ask('POST', '/v1/orders', order_body(self.sku, email='stays@example.org'))['id']
        self.ask('POST', '/v1/invitations', {'email': INVITED, 'role': 'admin'}, **self.staff)
        words = {CUSTOMER, GUEST, GIFT, INVITED, *WORDS.values()}
        wanted = {'bus_event.data', 'audit_event.personal', 'orders_order.email', 'shipping_shipment.ship_city',
                  'users_user.name', 'users_address.line1', 'auth_credential.email', 'auth_session.user_agent', 'mail',
                  'users_invitation.email', 'notifications_mail.recipient', 'notifications_contact.email'}
        self.assertTrue(wait_for(lambda: wanted <= set(self.found(words))), wanted - set(self.found(words)))
        self.assertEqual({w.lower() for w in words} - set().union(*self.found(words).values()), set())
        books = self.books()

        self.ask('POST', '/v1/users/me/erase', **me)
        for email in (GUEST, GIFT, INVITED, GUEST.lower()):
            self.ask('POST', '/v1/users/erase', {'email': email}, **self.staff)
        self.gone(words, UNSENT | BY_THE_CLOCK)
        self.ask('GET', '/v1/users/me', wanted=401, **me)
        self.ask('GET', f'/v1/carts/{cart}', wanted=404)
        for orders in (mine, guests):
            self.assertTrue(wait_for(lambda orders=orders: self.order(orders['sent'])['customer']['email'] == ''))
            self.assertEqual(self.order(orders['unsent'])['shipping_address']['line1'], WORDS['line1'])

        for orders in (mine, guests):   # now nothing is to be sent any more
            for kind in ('unsent', 'by events'):
                self.dispatch(orders[kind])
            self.ask('POST', f'/v1/orders/{orders["unpaid"]}/cancel', {'reason': WORDS['note']}, **self.staff)
        with_key = next(o['id'] for o in self.ask('GET', '/v1/orders?limit=100', **self.staff)['data']
                        if o['customer']['email'] == GUEST)
        self.dispatch(with_key)
        self.gone(words, BY_THE_CLOCK)
        self.assertEqual(set(self.found(words)), {'gateway_answer.body'})
        erased = self.order(mine['unsent'])
        self.assertEqual((erased['status'], erased['customer'], 'shipping_address' in erased, erased['user_id']),
                         ('shipped', {'email': ''}, False, user_id))
        self.assertEqual(self.order(stays)['shipping_address']['city'], 'Berlin')
        self.assertLessEqual({'orders_order.email', 'bus_event.data', 'audit_event.personal', 'mail',
                              'notifications_contact.email'}, set(self.found({'stays@example.org'})))
        self.assertEqual(self.books(), books)

        self.assertRegex(self.whole(), 'users: .* equal')
        head = self.souk.command('journal', 'verify')[1]
        page = self.ask('GET', f'/v1/audit/events?subject={mine["sent"]}', **self.staff)['data']
        created = next(e['data'] for e in page if e['type'] == 'orders.order_created')
        self.assertEqual((created.get('customer', {}).get('email', ''), created['total']['amount']), ('', 4299))
        self.assertIn('orders.order_erased', [e['type'] for e in page])

        self.ask('POST', '/v1/users/erase', {'email': CUSTOMER}, **self.staff)      # again
        self.ask('POST', '/v1/users/erase', {'email': GUEST}, **self.staff)
        self.gone(words, BY_THE_CLOCK)
        self.assertEqual(self.books(), books)
        self.assertNotEqual(self.souk.command('journal', 'verify')[1], head)
        self.whole()
        self.assertEqual(self.souk.command('deadletters', 'list'), (0, '', ''))
        self.souk.restart()
        self.gone(words, BY_THE_CLOCK)
        self.whole()

    def test_staff_erases_an_account_by_its_email(self):
        me, made = self.souk.customer('late@example.org')
        _, admin = self.souk.customer('admin@example.org')
        self.ask('PUT', f'/v1/users/{admin["user"]["id"]}/roles', {'roles': ['admin']}, **self.staff)
        admin = bearer(self.ask('POST', '/v1/auth/login', {'email': 'admin@example.org', 'password': PASSWORD}))
        self.ask('POST', '/v1/users/erase', {'email': 'late@example.org'}, 403, **admin)
        self.ask('POST', '/v1/users/erase', {'email': 'nobody'}, 400, **self.staff)
        self.assertEqual(self.ask('POST', '/v1/users/erase', {'email': 'ada@example.org'}, 409, **self.staff)['code'],
                         'last_superadmin')
        self.ask('GET', '/v1/users/me', **me)
        self.ask('POST', '/v1/users/erase', {'email': 'Late@Example.org'}, **self.staff)
        self.ask('GET', '/v1/users/me', wanted=401, **me)
        self.ask('POST', '/v1/auth/login', {'email': 'late@example.org', 'password': PASSWORD}, 401)
        self.gone({'late@example.org'})

    def test_a_checkout_under_way_ends_with_its_buyer(self):
        me, _ = self.souk.customer('slow@example.org')
        self.ask('POST', '/v1/orders', order_body(self.sku, 'slow', email='slow@example.org'), Prefer='respond-async', **me)
        self.ask('POST', '/v1/users/me/erase', **me)
        unsent = {o['id'] for o in self.ask('GET', '/v1/orders?limit=100', **self.staff)['data']
                  if o['customer']['email'] == 'slow@example.org'}
        self.gone({'slow@example.org'}, UNSENT | {'bus_event', 'audit_event', 'notifications_mail', 'mail',
                                                  'notifications_contact'})
        for order_id in unsent:
            self.ask('POST', f'/v1/orders/{order_id}/cancel', **self.staff)
        self.gone({'slow@example.org'})


@unittest.skipIf(SHAPE == 'embedded', 'there is one journal')
class Late(unittest.TestCase):
    """In many processes audit may hear of an order after it heard that its buyer is erased."""

    def test_what_audit_hears_late_is_erased_too(self):
        souk = Souk(settings={'erase_after_s': 5})
        self.addCleanup(lambda: self.assertEqual(souk.close(), 0))
        sku, staff, email = souk.product('lamp', 4299, 50), souk.staff(), 'late.gone@example.org'
        audit, orders = (souk.many.running[name] for name in ('audit', 'orders'))
        for process in (audit, orders):
            self.addCleanup(process.send_signal, signal.SIGCONT)
        audit.send_signal(signal.SIGSTOP)
        status, order, _ = souk.post('/v1/orders', order_body(sku, email=email))
        self.assertEqual(status, 201, order)
        self.assertEqual(souk.post('/v1/users/erase', {'email': email}, **staff)[0], 204)
        orders.send_signal(signal.SIGSTOP)
        audit.send_signal(signal.SIGCONT)
        self.assertTrue(wait_for(lambda: souk.rows('audit', 'SELECT * FROM audit_erasing')))
        orders.send_signal(signal.SIGCONT)

        def in_audit(table='audit_event'):
            return [r for r in souk.rows('audit', f'SELECT * FROM {table}')
                    if any(isinstance(v, memoryview) and email.encode() in bytes(v) for v in r.values())]
        self.assertTrue(wait_for(lambda: [r for r in in_audit() if r['topic'] == 'orders.order_created']))
        self.assertTrue(wait_for(lambda: not in_audit() and not in_audit('bus_event'), 60))


class Columns(unittest.TestCase):
    """From the protos: what is read into a personal field is erased by something."""

    def setUp(self):
        paths = [*ROOT.glob('services/*/*.proto'), *ROOT.glob('gateway/*.proto')]
        self.protos = Protos([p for p in paths if p.parent.name != 'common'])
        self.statements = {}
        for path in [*ROOT.glob('services/*/*.sql'), ROOT / 'gateway/gateway.sql']:
            self.statements[path.stem] = {s.name: s for s in parse(Problems(), path, path.read_text())}

    def is_personal(self, file, message, path):
        """path: "customer.email", in a message that file sees by this name."""
        visible = {m.name: m for f in self.protos.visible(file) for m in f.messages}
        m, personal = visible.get(message), False
        for name in path.split('.'):
            f = m.field(name) if m else None
            if not f:
                return False
            personal = personal or bool(f.options.get('personal'))
            m = self.protos.messages.get(f.type)
        return personal

    def columns(self):
        """{table: columns} that statements read into personal fields."""
        out = {}
        for file in self.protos.asked:
            for s in self.statements.get(file.name, {}).values():
                select = re.match(r'\s*SELECT (.*?)\sFROM (\w+)', s.sql, re.S)
                for item in select[1].split(',') if select and s.result else []:
                    m = re.fullmatch(r'\s*(?:\w\.)?(\w+)(?: AS "?([\w.]+)"?)?\s*', item)
                    if m and self.is_personal(file, s.result, m[2] or m[1]):
                        out.setdefault(select[2], set()).add(m[1])
        return out

    def test_each_personal_column_is_known_here(self):
        self.assertEqual(self.columns(), {t: set(columns.split()) for t, (_, columns) in ERASED_BY.items()})

    def test_and_the_statement_that_is_named_erases_it(self):
        for table, (name, columns) in ERASED_BY.items():
            sql = self.statements[table.split('_')[0]][name].sql
            if re.match(rf'\s*DELETE FROM {table}\b', sql):
                continue
            self.assertRegex(sql, rf'^\s*UPDATE {table}\b')
            changed = set(re.findall(r'(\w+) =', sql[:sql.index('WHERE')]))
            self.assertEqual(set(columns.split()) - changed, set(), (table, name))


if __name__ == '__main__':
    main()
