"""Every flow of the shop, as clients drive it from outside: what brings each event about."""
import email
import email.policy
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from souk import PASSWORD, ROOT, free_port, order_body, wait_for

ASYNC = {'Prefer': 'respond-async'}
# What the shop of these flows is set to, beside its mail server.
SETTINGS = {'cart_abandoned_s': 2, 'cart_expired_s': 4, 'sandbox_slow_ms': 1500}


def topics():
    """{topic: fields} of every event that a proto declares."""
    found = {}
    for path in sorted([*ROOT.glob('services/*/*.proto'), *ROOT.glob('gateway/*.proto')]):
        for name, body in re.findall(r'^message (\w+) \{\n(.*?)^\}', path.read_text(), re.M | re.S):
            if 'option (souk.event) = true' in body:
                snake = re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()
                found[f'{path.stem}.{snake}'] = re.findall(r'^  (?:repeated )?[\w.]+ (\w+) = \d+', body, re.M)
    return found


class Mailbox:
    """test/mail_server.py, and what it took."""

    def __init__(self):
        self.read = []      # whom each mail is to, and its text
        self.folder, self.port = tempfile.mkdtemp(prefix='souk-test-'), free_port()
        self.process = subprocess.Popen(['/usr/bin/python3', '-W', 'ignore', ROOT / 'test/mail_server.py',
                                         str(self.port), self.folder])
        self.settings = {'smtp_url': f'smtp://127.0.0.1:{self.port}'}

    def to(self, address):
        """The plain texts of the mails to address, oldest first."""
        for path in sorted(Path(self.folder).glob('*.eml'))[len(self.read):]:
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            self.read.append((str(mail['to']), mail.get_body(('plain',)).get_content()))
        return [text for to, text in self.read if address in to]

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Flows:
    """What a TestCase with a souk and its mailbox does; drive() does all of it."""

    def drive(self):
        self.accounts()
        self.goods()
        self.idle_carts()
        self.sold_out_while_it_was_paid()
        self.synchronous()
        self.asynchronous()

    # ---- what a client does -----------------------------------------------------------------------

    def ask(self, method, path, body=None, wanted=(200, 201, 202, 204), **headers):
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        if method != 'GET' and body is None:
            body = {}
        status, told, fields = self.souk.request(method, path, body, headers)
        self.assertIn(status, wanted if isinstance(wanted, tuple) else (wanted,), (method, path, told))
        self.location = fields.get('location')
        return told

    def sign_up(self, email):
        made = self.ask('POST', '/v1/auth/signup', {'email': email, 'password': PASSWORD, 'name': 'Grace'})
        return made['user']['id'], {'Authorization': 'Bearer ' + made['access_token']}

    def log_in(self, email, password=PASSWORD):
        made = self.ask('POST', '/v1/auth/login', {'email': email, 'password': password}, User_Agent='a browser')
        return {'Authorization': 'Bearer ' + made['access_token']}

    def cart(self, sku, quantity=1, **headers):
        cart = self.ask('POST', '/v1/carts', {}, **headers)
        self.ask('POST', f'/v1/carts/{cart["id"]}/lines', {'sku': sku, 'quantity': quantity},
                 If_Match='"%d"' % cart['version'], **headers)
        return cart['id']

    def buy(self, sku, token='approve', wanted=201, email='grace@example.org', **headers):
        body = order_body(sku, token, email=email)
        body['customer']['name'] = 'Grace Hopper'
        body['shipping_address'].update(line2='2nd floor', region='BE')
        return self.ask('POST', '/v1/orders', body, wanted=wanted, **headers)

    def token_of(self, address, path):
        """The secret in the newest mail's link."""
        def found():
            return [t for text in self.mailbox.to(address) for t in re.findall(path + r'#([\w.~-]+)', text)]
        tokens = wait_for(found)
        self.assertTrue(tokens, self.mailbox.to(address))
        return tokens[-1]

    # ---- the flows ----------------------------------------------------------------------------------

    def accounts(self):
        staff = self.souk.staff()
        self.ask('POST', '/v1/auth/login', {'email': 'ada@example.org', 'password': 'wrong password'}, wanted=401)
        user_id, customer = self.sign_up('grace@example.org')
        self.ask('PATCH', '/v1/users/me', {'name': 'Grace Hopper', 'phone': '+49 30 1234567'}, **customer)
        self.ask('POST', '/v1/products', {'title': 'Mine', 'variants': [{'price': {'amount': 1, 'currency': 'EUR'}}]},
                 wanted=403, **customer)
        self.ask('POST', '/v1/auth/password-resets', {'email': 'grace@example.org'})
        token = self.token_of('grace@example.org', 'password-resets')
        self.ask('POST', f'/v1/auth/password-resets/{token}', {'password': PASSWORD + ' 2'})
        self.customer = self.log_in('grace@example.org', PASSWORD + ' 2')
        self.ask('POST', '/v1/auth/logout', **self.log_in('grace@example.org', PASSWORD + ' 2'))
        self.ask('POST', '/v1/invitations', {'email': 'lin@example.org', 'role': 'admin'}, **staff)
        token = self.token_of('lin@example.org', 'invitations')
        made = self.ask('POST', f'/v1/invitations/{token}/accept', {'name': 'Lin', 'password': PASSWORD})
        self.ask('PUT', f'/v1/users/{made["user"]["id"]}/roles', {'roles': ['admin', 'customer']}, **staff)
        self.ask('POST', f'/v1/users/{made["user"]["id"]}/disable', **staff)
        _, gone = self.sign_up('gone@example.org')
        self.ask('POST', '/v1/users/me/erase', **gone)

    def goods(self):
        staff = self.souk.staff()
        self.sku = self.souk.product('lamp', 4299, 50, images=[{'url': 'https://images.example.org/lamp.jpg'}],
                                     description='A lamp.', category='Lamps', vendor='Potter', tags=['light'])
        self.ask('GET', '/v1/products/lamp', **self.customer)
        self.ask('PATCH', '/v1/products/lamp', {'title': 'Great Lamp', 'variants': [{'sku': self.sku, 'stock': 40}]},
                 **staff)
        # The stock in a PATCH is a request: inventory takes it by its event, and the version moves once more.
        self.assertTrue(wait_for(lambda: self.souk.stock(self.sku)['on_hand'] == 40))
        self.ask('POST', f'/v1/inventory/{self.sku}/restock', {'quantity': 5}, **staff)
        stock = self.ask('GET', f'/v1/inventory/{self.sku}', **staff)
        self.ask('PUT', f'/v1/inventory/{self.sku}', {'on_hand': 41, 'expected_version': stock['version']}, **staff)

    def synchronous(self):
        staff = self.souk.staff()
        cart = self.cart(self.sku, **self.customer)
        body = order_body(self.sku)
        del body['lines']
        order = self.ask('POST', '/v1/orders', {**body, 'cart_id': cart}, **self.customer)
        path = f'/v1/shipments?order_id={order["id"]}&status=released'
        shipment = wait_for(lambda: self.ask('GET', path, **staff)['data'])[0]
        self.ask('POST', f'/v1/shipments/{shipment["id"]}/dispatch', {'carrier': 'DHL', 'tracking': '00340'}, **staff)
        returned = self.buy(self.sku, **self.customer)
        self.assertTrue(wait_for(lambda: self.ask('GET', f'/v1/orders/{returned["id"]}', **self.customer)['status']
                                 == 'completed'))
        self.ask('POST', f'/v1/payments/{returned["payment"]["id"]}/refund', {'restock': True}, **staff)
        declined = self.buy(self.sku, 'decline', 402)
        bearer = {'Authorization': 'Bearer ' + declined['access_token']}
        self.ask('POST', f'/v1/orders/{declined["order_id"]}/cancel', **bearer)
        self.buy(self.sku, email='refused@example.org')
        forgotten = self.buy(self.sku, email='forgotten@example.org')
        self.ask('POST', f'/v1/orders/{forgotten["id"]}/cancel', **staff)
        self.ask('POST', '/v1/users/erase', {'email': 'forgotten@example.org'}, **staff)

    def sold_out_while_it_was_paid(self):
        staff, sku = self.souk.staff(), self.souk.product('last', 100, 1)
        self.ask('POST', '/v1/orders', order_body(sku, 'slow'), **ASYNC)
        self.assertTrue(wait_for(lambda: self.ask('GET', f'/v1/inventory/{sku}', **staff)['reserved'] == 1))
        self.ask('PUT', f'/v1/inventory/{sku}', {'on_hand': 0}, **staff)

    def asynchronous(self):
        cart = self.cart(self.sku, 2, **self.customer)
        body = order_body(self.sku)
        del body['lines']
        self.ask('POST', '/v1/orders', {**body, 'cart_id': cart}, **ASYNC, **self.customer)
        done = [self.location]
        guest = self.cart(self.sku)
        self.ask('POST', f'/v1/carts/{guest}/lines', {'sku': self.sku, 'quantity': 1}, **ASYNC)
        for token, quantity in (('approve', 1), ('decline', 1), ('approve', 1000)):
            self.ask('POST', '/v1/orders', order_body(self.sku, token, quantity), **ASYNC)
            done.append(self.location)
        ends = [wait_for(lambda path=path: (c := self.ask('GET', path, **self.customer))['status'] != 'pending' and c)
                for path in done]
        self.assertEqual([e['status'] for e in ends], ['done', 'done', 'failed', 'failed'], ends)

    def idle_carts(self):
        self.cart(self.sku, **self.customer)
