#!/usr/bin/python3
"""The authorization matrix: every route × who calls × his own and another's object.

Which roles may call a route comes from the protos, by way of /openapi.json.  What a stranger gets who may call it,
the table below says, and how to make the object.  A route without a row fails, and so does a row without a route.
"""
import itertools
import re
import sys
import unittest
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import PASSWORD, Souk, main, order_body, wait_for  # noqa: E402

import json  # noqa: E402

number = itertools.count(1)


class World:
    """A Souk, those who call it, and how to make what they ask for."""

    def __init__(self):
        self.souk = Souk(settings={'rate_limit_per_s': 0})
        self.openapi = self.souk.get('/openapi.json')[1]
        self.sku = self.souk.product('lamp', 1000, 1000000)
        self.unsold = self.souk.product('unsold', 1000, 1000000)     # its version stays while orders are settled
        self.product_id = self.souk.get('/v1/products/lamp')[1]['id']
        status, root, _ = self.souk.post('/v1/auth/login', {'email': 'ada@example.org', 'password': PASSWORD})
        self.superadmin = self.caller('superadmin', 'superadmin', self.souk.staff(), root)
        self.anonymous = self.caller('anonymous', 'anonymous', {}, None)
        self.guest = self.caller('guest', 'anonymous', {}, None)
        self.a, self.b, self.admin = self.fresh('customer'), self.fresh('customer'), self.fresh('admin')
        self.a.name, self.b.name = 'customer A', 'customer B'
        self.callers = [self.anonymous, self.guest, self.a, self.b, self.admin, self.superadmin]

    @staticmethod
    def caller(name, role, headers, made):
        user = made['user'] if made else {'id': None, 'email': None}
        return SimpleNamespace(name=name, role=role, headers=headers, id=user['id'], email=user['email'])

    def fresh(self, role):
        """Somebody new with this role."""
        headers, made = self.souk.customer(f'p{next(number)}@example.org')
        if role != 'customer':
            self.good('PUT', f'/v1/users/{made["user"]["id"]}/roles', {'roles': [role]})
        return self.caller(role, role, headers, made)

    def good(self, method, path, body=None, headers=None, statuses=(200, 201, 202, 204)):
        status, told, _ = self.souk.request(method, path, body, {**(headers or self.souk.staff())})
        assert status in statuses, (method, path, status, told)
        return told

    def session(self, who):
        """Tokens of another session of somebody's."""
        return self.good('POST', '/v1/auth/login', {'email': who.email or 'ada@example.org', 'password': PASSWORD}, {'X': ''})

    def order(self, owner, token='approve'):
        body = order_body(self.sku, token)
        headers = {} if owner in (self.guest, self.anonymous) else owner.headers
        status, made, _ = self.souk.request('POST', '/v1/orders', body, headers)
        assert status in (201, 402), made
        if owner is self.guest:
            owner.headers = {'Authorization': 'Bearer ' + made['access_token']}
        return made

    def declined(self, owner):
        return self.order(owner, 'decline')['order_id']

    def cart(self, owner, lines=0):
        headers = {} if owner in (self.guest, self.anonymous) else owner.headers
        cart = self.good('POST', '/v1/carts', {}, {'X': '', **headers})
        for _ in range(lines):
            self.good('POST', f'/v1/carts/{cart["id"]}/lines', {'sku': self.sku, 'quantity': 2}, {'X': '', **headers})
        return cart['id']

    def product(self):
        handle = f'thing-{next(number)}'
        self.souk.product(handle, 100, 5)
        return self.souk.get(f'/v1/products/{handle}')[1]['id']

    def listed(self, path):
        """The first thing of a list that comes to be by events."""
        return wait_for(lambda: self.good('GET', path)['data'])[0]

    def shipment(self, status='released'):
        return self.listed(f'/v1/shipments?order_id={self.order(self.a)["id"]}&status={status}')['id']

    def notification(self):
        return self.listed(f'/v1/notifications?order_id={self.order(self.a)["id"]}')['id']

    def reset(self):
        someone = self.fresh('customer')
        self.good('POST', '/v1/auth/password-resets', {'email': someone.email})
        told = self.listed(f'/v1/audit/events?topic=auth.password_reset_requested&subject={someone.id}')
        return self.souk.link_token('password-reset', told['data']['reset_id'])

    def invitation(self):
        made = self.good('POST', '/v1/invitations', {'email': f'i{next(number)}@example.org', 'role': 'admin'})
        return self.souk.link_token('invitation', made['id'])


def ask(path=None, body=None, query='', headers=None, caller=None, raw=None, kind=None):
    return SimpleNamespace(path=path or {}, body=body, query=query, headers=headers or {}, caller=caller, raw=raw, kind=kind)


class Row:
    """make(world, owner, caller) asks for an object of owner's; ok is what whoever may have it gets (the route's own
    success if left out), other what a customer or visitor gets for what is another's, staff_other what staff does."""

    def __init__(self, make=None, ok=None, other=None, staff_other=None, visitors_own=None):
        self.make = make or (lambda w, owner, caller: ask())
        self.ok, self.other, self.staff_other = ok, other, staff_other
        self.visitors_own = visitors_own            # of one who does not hold the order's token


def order_row(make, **more):
    """For an order: its buyer, whoever holds its token, and staff."""
    return Row(make, other=404, visitors_own=404, **more)


def as_someone_new(w, caller, **more):
    return ask(caller=w.fresh(caller.role) if caller.role != 'anonymous' else None, **more)


def cart_row(make):
    """For a cart: its user alone, or whoever knows the id of a guest's."""
    return Row(make, other=404, staff_other=404)


CSV = b'Handle,Title,Variant SKU,Variant Price\nmug,Mug,mug-1,5.00\n'
WOO_CSV = b'Type,SKU,Name,Published,Regular price\nsimple,mug-2,Mug,1,5.00\n'
ADDRESS = {'name': 'A', 'line1': '1 Main Street', 'city': 'Berlin', 'postal_code': '10115', 'country': 'DE'}

ROWS = {
    # auth
    'auth_get_keys': Row(),
    'auth_login': Row(lambda w, o, c: ask(body={'email': o.email or 'ada@example.org', 'password': PASSWORD})),
    'auth_refresh': Row(lambda w, o, c: ask(body={'refresh_token': w.session(o)['refresh_token']})),
    'auth_logout': Row(lambda w, o, c: as_someone_new(w, c)),
    'auth_list_sessions': Row(),
    'auth_end_session': Row(lambda w, o, c: ask({'id': next(
        s['id'] for s in w.good('GET', '/v1/auth/sessions',
                                headers={'Authorization': 'Bearer ' + w.session(o)['access_token']})['data']
        if s['current'])}), other=404, staff_other=404),
    'auth_request_password_reset': Row(lambda w, o, c: ask(body={'email': o.email or 'nobody@example.org'})),
    'auth_reset_password': Row(lambda w, o, c: ask({'token': w.reset()}, {'password': 'another long one'})),
    # users
    'users_sign_up': Row(lambda w, o, c: ask(body={'email': f'n{next(number)}@example.org', 'password': PASSWORD})),
    'users_get_me': Row(),
    'users_update_me': Row(lambda w, o, c: ask(body={'name': f'Name {next(number)}', 'addresses': [ADDRESS]})),
    'users_list_activity': Row(),
    'users_export_me': Row(),
    'users_erase_me': Row(lambda w, o, c: as_someone_new(w, c)),
    'users_erase_person': Row(lambda w, o, c: ask(body={'email': f'g{next(number)}@example.org'})),
    'users_list_users': Row(),
    'users_put_user_roles': Row(lambda w, o, c: ask({'id': w.fresh('customer').id}, {'roles': ['customer']})),
    'users_disable_user': Row(lambda w, o, c: ask({'id': w.fresh('customer').id})),
    'users_invite_staff': Row(lambda w, o, c: ask(body={'email': f'i{next(number)}@example.org', 'role': 'admin'})),
    'users_accept_invitation': Row(lambda w, o, c: ask({'token': w.invitation()}, {'name': 'N', 'password': PASSWORD})),
    'authz_list_roles': Row(),
    # catalog and inventory
    'catalog_list_products': Row(),
    'catalog_get_product': Row(lambda w, o, c: ask({'id': w.product_id})),
    'catalog_create_product': Row(lambda w, o, c: ask(body={
        'title': 'T', 'handle': f'made-{next(number)}', 'variants': [{'price': {'amount': 1, 'currency': 'EUR'}}]})),
    'catalog_update_product': Row(lambda w, o, c: ask({'id': w.product()}, {'title': 'New'})),
    'catalog_delete_product': Row(lambda w, o, c: ask({'id': w.product()})),
    'catalog_add_image': Row(lambda w, o, c: ask({'id': w.product()}, {'url': 'https://example.org/i.png'})),
    'catalog_import_shopify': Row(lambda w, o, c: ask(raw=CSV, kind='text/csv')),
    'catalog_import_woocommerce': Row(lambda w, o, c: ask(raw=WOO_CSV, kind='text/csv')),
    'catalog_export_shopify': Row(),
    'catalog_export_woocommerce': Row(),
    'inventory_get_stock': Row(lambda w, o, c: ask({'sku': w.sku})),
    'inventory_set_stock': Row(lambda w, o, c: ask({'sku': w.unsold}, {
        'on_hand': 1000000, 'expected_version': w.souk.stock(w.unsold)['version']})),
    'inventory_restock': Row(lambda w, o, c: ask({'sku': w.sku}, {'quantity': 1})),
    # cart
    'cart_create_cart': Row(lambda w, o, c: ask(body={})),
    'cart_get_cart': cart_row(lambda w, o, c: ask({'id': w.cart(o)})),
    'cart_get_my_cart': Row(lambda w, o, c: ask() if w.cart(c, 1) else None),
    'cart_change_line': cart_row(lambda w, o, c: ask({'id': w.cart(o, 1), 'sku': w.sku}, {'quantity': 1})),
    'cart_remove_line': cart_row(lambda w, o, c: ask({'id': w.cart(o, 1), 'sku': w.sku})),
    'gateway_add_cart_line': cart_row(lambda w, o, c: ask({'id': w.cart(o)}, {'sku': w.sku, 'quantity': 1})),
    'cart_merge_cart': cart_row(lambda w, o, c: ask({'id': w.cart(w.anonymous if o is c else o, 1)})),
    # orders, payments, shipping
    'gateway_place_order': Row(lambda w, o, c: ask(body=order_body(w.sku))),
    'gateway_pay_order': order_row(lambda w, o, c: ask({'id': declined_for(w, o)}, {
        'provider': 'sandbox', 'token': 'approve'})),
    'gateway_get_checkout': Row(lambda w, o, c: ask({'id': w.order(o)['checkout_id']})),
    'gateway_stream_checkout': Row(lambda w, o, c: ask({'id': w.order(o)['checkout_id']})),
    'gateway_stream_order': order_row(lambda w, o, c: ask({'id': w.order(o)['id']})),
    'orders_get_order': order_row(lambda w, o, c: ask({'id': w.order(o)['id']})),
    'orders_list_orders': Row(),
    'orders_cancel_order': order_row(lambda w, o, c: ask({'id': w.order(o)['id']}, {})),
    'orders_list_order_payments': order_row(lambda w, o, c: ask({'id': w.order(o)['id']})),
    'payments_get_payment': Row(lambda w, o, c: ask({'id': w.order(o)['payment']['id']})),
    'payments_refund': Row(lambda w, o, c: ask({'id': w.order(o)['payment']['id']}, {})),
    'payments_reconcile': Row(),
    'payments_list_reconciliations': Row(),
    'payments_report': Row(),
    'payments_take_callback': Row(lambda w, o, c: ask({'provider': 'sandbox'}, {'id': 'x'}), ok=401),   # its signature is not good
    'shipping_list_shipments': Row(),
    'shipping_get_shipment': Row(lambda w, o, c: ask({'id': w.shipment('')})),
    'shipping_dispatch_shipment': Row(lambda w, o, c: ask({'id': w.shipment()}, {'carrier': 'DHL'})),
    'shipping_list_shipping_methods': Row(),
    # what only listens
    'analytics_get_insights': Row(),
    'recommendations_recommend': Row(lambda w, o, c: ask(query=f'product_id={w.product_id}')),
    'search_search_products': Row(lambda w, o, c: ask(query='q=lamp')),
    'notifications_list_notifications': Row(),
    'notifications_get_notification': Row(lambda w, o, c: ask({'id': w.notification()})),
    'notifications_resend_notification': Row(lambda w, o, c: ask({'id': w.notification()})),
    'audit_list_events': Row(),
    'audit_list_dead_letters': Row(),
    'audit_get_dead_letter': Row(lambda w, o, c: ask({'id': 'inventory:evn_1'}), ok=404),               # there is none
    'audit_redrive_dead_letter': Row(lambda w, o, c: ask({'id': 'inventory:evn_1'}), ok=404),
}


def declined_for(w, owner):
    """An order that waits to be paid; a guest's token comes with the 402 too."""
    status, told, _ = w.souk.request('POST', '/v1/orders', order_body(w.sku, 'decline'),
                                     {} if owner.role == 'anonymous' else owner.headers)
    assert status == 402, told
    if owner is w.guest:
        owner.headers = {'Authorization': 'Bearer ' + told['access_token']}
    return told['order_id']


def permitted(operation, role):
    """As the protos say: whatever a visitor may do, everybody may."""
    return any(not way or role in way['bearerAuth'] for way in operation['security'])


def success(operation):
    return min(int(code) for code in operation['responses'] if code.startswith('2'))


class Authorization(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World()
        cls.operations = {o['operationId']: (method.upper(), path, o) for path, methods in cls.world.openapi['paths'].items()
                          for method, o in methods.items()}

    @classmethod
    def tearDownClass(cls):
        assert cls.world.souk.close() == 0

    def test_every_route_has_a_row_and_every_row_a_route(self):
        self.assertEqual(sorted(set(self.operations) - set(ROWS)), [], 'routes without a row')
        self.assertEqual(sorted(set(ROWS) - set(self.operations)), [], 'rows without a route')

    def test_everybody_gets_what_is_his_and_nothing_else(self):
        wrong, asked = [], 0
        for name in sorted(set(self.operations) & set(ROWS)):
            for caller in self.world.callers:
                for own in (True, False):
                    expected = self.expected(name, caller, own)
                    got = self.status(name, caller, self.owner(caller, own))
                    asked += 1
                    if got != expected:
                        whose = 'his own' if own else "another's"
                        wrong.append(f'{name}: {caller.name}, {whose}: {got}, not {expected}')
        self.assertEqual(wrong, [], '\n' + '\n'.join(wrong))
        self.assertGreaterEqual(asked, 12 * len(ROWS))

    def owner(self, caller, own):
        if own:
            return caller
        return self.world.b if caller is self.world.a else self.world.a

    def expected(self, name, caller, own):
        operation, row = self.operations[name][2], ROWS[name]
        if not permitted(operation, caller.role):
            return 401 if caller.role == 'anonymous' else 403
        ok = row.ok or success(operation)
        if caller.role in ('admin', 'superadmin'):
            return ok if own else row.staff_other or ok
        if own:
            return row.visitors_own or ok if caller is self.world.anonymous else ok
        return row.other or ok

    def status(self, name, caller, owner):
        method, path, _ = self.operations[name]
        if caller is self.world.guest and not caller.headers:
            self.world.order(caller)
        made = ROWS[name].make(self.world, owner, caller)
        headers = dict((made.caller or caller).headers)
        url = re.sub(r'\{(\w+)\}', lambda m: made.path.get(m[1], 'x'), path) + ('?' + made.query if made.query else '')
        body = made.raw if made.raw is not None else json.dumps(made.body).encode() if made.body is not None else None
        if body is not None:
            headers['Content-Type'] = made.kind or 'application/json'
        link = HTTPConnection('127.0.0.1', self.world.souk.port, timeout=60)
        link.request(method, url, body, headers)
        got = link.getresponse().status             # a stream's answer has no end
        link.close()
        return got


if __name__ == '__main__':
    main()
