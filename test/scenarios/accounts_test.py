#!/usr/bin/python3
"""Accounts from outside: sign-up, sessions, resets, invitations, roles, an end; and what takes effect at once."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import PASSWORD, Souk, main, wait_for  # noqa: E402

ADDRESS = {'name': 'Grace Hopper', 'line1': '1 Main Street', 'city': 'Berlin', 'postal_code': '10115', 'country': 'DE'}


def bearer(told):
    return {'Authorization': 'Bearer ' + told['access_token']}


class Accounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.souk = Souk()
        cls.souk.staff()

    @classmethod
    def tearDownClass(cls):
        assert cls.souk.close() == 0

    def expect(self, status, method, path, body=None, headers=None, code=None):
        got, told, fields = self.souk.request(method, path, body, headers or {})
        self.assertEqual(got, status, (method, path, told))
        if code:
            self.assertEqual(told['code'], code)
        self.fields = fields
        return told

    def login(self, email, password=PASSWORD, status=200):
        return self.expect(status, 'POST', '/v1/auth/login', {'email': email, 'password': password})

    def events(self, topic, subject, n=1):
        """At least n events of this topic, once audit has heard them."""
        path = f'/v1/audit/events?topic={topic}&subject={subject}'
        found = wait_for(lambda: (page := self.souk.get(path, **self.souk.staff())[1]['data'])[n - 1:] and page)
        self.assertTrue(found, (topic, subject))
        return [e['data'] for e in found]

    # ---- sign-up ----------------------------------------------------------------------------------

    def test_whoever_signs_up_is_a_customer_and_logged_in(self):
        told = self.expect(201, 'POST', '/v1/auth/signup',
                           {'email': 'Grace@Example.org', 'password': PASSWORD, 'name': 'Grace'})
        self.assertEqual(set(told), {'user', 'access_token', 'refresh_token', 'expires_in'})
        self.assertEqual((told['user']['email'], told['user']['name'], told['user']['roles'], told['expires_in']),
                         ('grace@example.org', 'Grace', ['customer'], 900))
        me = self.expect(200, 'GET', '/v1/users/me', headers=bearer(told))
        self.assertEqual((me['id'], me['disabled']), (told['user']['id'], False))
        self.assertEqual(self.login('GRACE@example.org')['user'], told['user'])
        self.expect(409, 'POST', '/v1/auth/signup', {'email': 'grace@EXAMPLE.org', 'password': PASSWORD}, code='email_taken')
        created, = self.events('users.user_created', me['id'])
        self.assertEqual((created['email'], created['origin']), ('grace@example.org', 'signup'))
        self.assertEqual(len(self.events('users.user_registered', me['id'])), 1)
        self.assertEqual(self.events('authz.user_roles_updated', me['id'])[0]['roles'], ['customer'])
        self.assertEqual([e['method'] for e in self.events('auth.user_logged_in', me['id'], 2)], ['signup', 'password'])

    def test_bad_sign_ups_are_refused_with_their_place(self):
        for body, status, place in (({'email': 'x', 'password': PASSWORD}, 400, '/email'),
                                    ({'email': 'a@example.org', 'password': 'short'}, 422, '/password'),
                                    ({'email': 'a@example.org'}, 400, '/password'),
                                    ({'email': 'a@example.org', 'password': PASSWORD, 'role': 'admin'}, 400, '/role')):
            told = self.expect(status, 'POST', '/v1/auth/signup', body)
            self.assertIn(place, [e['pointer'] for e in told['errors']], told)
        self.souk.customer('a@example.org')     # none of them took the address

    def test_sign_up_can_be_closed(self):
        closed = Souk(settings={'signup': 'off'})
        try:
            status, told, _ = closed.post('/v1/auth/signup', {'email': 'a@example.org', 'password': PASSWORD})
            self.assertEqual((status, told['code']), (403, 'signup_closed'))
        finally:
            self.assertEqual(closed.close(), 0)

    # ---- log in, sessions -------------------------------------------------------------------------

    def test_failures_are_told_alike_and_lock_for_known_and_unknown_alike(self):
        self.souk.customer('locked@example.org')
        for email in ('locked@example.org', 'nobody@example.org'):
            for _ in range(10):
                told = self.expect(401, 'POST', '/v1/auth/login', {'email': email, 'password': 'wrong password'})
                self.assertEqual((told['code'], told['detail']), ('bad_credentials', 'e-mail or password is wrong'))
            self.expect(429, 'POST', '/v1/auth/login', {'email': email, 'password': PASSWORD}, code='too_many_logins')
            self.assertIn('retry-after', self.fields)

    def test_a_spent_refresh_token_ends_its_family(self):
        _, first = self.souk.customer('family@example.org')
        second = self.expect(200, 'POST', '/v1/auth/refresh', {'refresh_token': first['refresh_token']})
        self.expect(200, 'GET', '/v1/users/me', headers=bearer(second))
        self.expect(401, 'POST', '/v1/auth/refresh', {'refresh_token': first['refresh_token']})
        for told in (first, second):
            self.expect(401, 'GET', '/v1/users/me', headers=bearer(told))
            self.expect(401, 'POST', '/v1/auth/refresh', {'refresh_token': told['refresh_token']})

    def test_a_session_that_is_ended_ends_at_once(self):
        mine, first = self.souk.customer('two@example.org')
        second = self.login('two@example.org')
        other, _ = self.souk.customer('stranger@example.org')
        listed = self.expect(200, 'GET', '/v1/auth/sessions', headers=mine)['data']
        self.assertEqual([s['current'] for s in listed], [False, True])
        self.assertTrue(all(s['ip'] == '127.0.0.1' for s in listed), listed)
        self.expect(200, 'GET', '/v1/users/me', headers=bearer(second))
        path = f'/v1/auth/sessions/{listed[0]["id"]}'
        self.expect(404, 'DELETE', path, headers=other, code='no_such_session')
        self.expect(200, 'GET', '/v1/users/me', headers=bearer(second))
        self.expect(204, 'DELETE', path, headers=mine)
        self.expect(401, 'GET', '/v1/users/me', headers=bearer(second))         # at once
        self.expect(401, 'POST', '/v1/auth/refresh', {'refresh_token': second['refresh_token']})
        self.expect(404, 'DELETE', path, headers=mine)
        self.expect(200, 'GET', '/v1/users/me', headers=mine)
        self.expect(204, 'POST', '/v1/auth/logout', headers=mine)
        self.expect(401, 'GET', '/v1/users/me', headers=mine)

    # ---- a forgotten password ---------------------------------------------------------------------

    def test_a_reset_is_asked_for_alike_and_good_once(self):
        mine, made = self.souk.customer('forgot@example.org')
        answers = [self.souk.post('/v1/auth/password-resets', {'email': e})[:2]
                   for e in ('Forgot@example.org', 'never-heard-of@example.org')]
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0][0], 202)
        asked, = self.events('auth.password_reset_requested', made['user']['id'])
        token = self.souk.link_token('password-reset', asked['reset_id'])
        self.assertNotIn(token, str(asked))
        path = '/v1/auth/password-resets/' + token
        self.expect(422, 'POST', path, {'password': 'short'})
        self.expect(404, 'POST', path[:-1] + ('E' if path[-1] == 'A' else 'A'), {'password': 'a new password'}, code='bad_link')
        self.expect(204, 'POST', path, {'password': 'a new password'})
        self.expect(404, 'POST', path, {'password': 'another password'}, code='bad_link')
        self.expect(401, 'GET', '/v1/users/me', headers=mine)
        self.expect(401, 'POST', '/v1/auth/refresh', {'refresh_token': made['refresh_token']})
        self.login('forgot@example.org', status=401)
        self.login('forgot@example.org', 'a new password')

    def test_a_reset_unlocks(self):
        _, made = self.souk.customer('unlock@example.org')
        for _ in range(10):
            self.login('unlock@example.org', 'wrong password', 401)
        self.login('unlock@example.org', status=429)
        self.expect(202, 'POST', '/v1/auth/password-resets', {'email': 'unlock@example.org'})
        asked, = self.events('auth.password_reset_requested', made['user']['id'])
        self.expect(204, 'POST', '/v1/auth/password-resets/' + self.souk.link_token('password-reset', asked['reset_id']),
                    {'password': 'a new password'})
        self.login('unlock@example.org', 'a new password')

    # ---- staff ------------------------------------------------------------------------------------

    def invite(self, email, role='admin'):
        made = self.expect(201, 'POST', '/v1/invitations', {'email': email, 'role': role}, self.souk.staff())
        return '/v1/invitations/' + self.souk.link_token('invitation', made['id']) + '/accept'

    def test_invited_staff_joins_by_its_link_once(self):
        void, path = self.invite('new@example.org'), self.invite('New@example.org')
        body = {'name': 'New', 'password': PASSWORD}
        self.expect(404, 'POST', void, body, code='bad_link')                   # the newest counts
        self.expect(422, 'POST', path, {**body, 'password': 'short'})
        told = self.expect(201, 'POST', path, body)
        self.assertEqual((told['user']['email'], told['user']['roles']), ('new@example.org', ['admin']))
        self.expect(404, 'POST', path, body, code='bad_link')
        self.expect(200, 'GET', '/v1/shipments', headers=bearer(told))
        self.expect(403, 'GET', '/v1/users', headers=bearer(told))
        created, = self.events('users.user_created', told['user']['id'])
        self.assertEqual(created['origin'], 'invitation')
        self.expect(403, 'POST', '/v1/invitations', {'email': 'x@example.org', 'role': 'admin'}, bearer(told))

    def test_roles_are_listed_and_users_found(self):
        _, made = self.souk.customer('findme_1@example.org')
        self.souk.customer('findmex1@example.org')
        roles = {r['role']: r['permissions'] for r in self.expect(200, 'GET', '/v1/roles', headers=self.souk.staff())['data']}
        self.assertEqual(set(roles), {'anonymous', 'customer', 'admin', 'superadmin'})
        self.assertIn('users.manage', roles['superadmin'])
        self.assertNotIn('users.manage', roles['admin'])
        found = self.expect(200, 'GET', '/v1/users?q=FindMe_1', headers=self.souk.staff())
        self.assertEqual([(u['id'], u['roles']) for u in found['data']], [(made['user']['id'], ['customer'])])
        page = self.expect(200, 'GET', '/v1/users?limit=1&q=findme', headers=self.souk.staff())
        self.assertTrue(page['has_more'])
        rest = self.expect(200, 'GET', f'/v1/users?q=findme&starting_after={page["data"][0]["id"]}', headers=self.souk.staff())
        self.assertEqual([u['id'] for u in rest['data']], [made['user']['id']])

    def test_a_change_of_roles_takes_effect_at_once(self):
        mine, made = self.souk.customer('riser@example.org')
        path = f'/v1/users/{made["user"]["id"]}/roles'
        for _ in range(3):
            self.expect(403, 'GET', '/v1/shipments', headers=mine)
            self.expect(200, 'GET', '/v1/users/me', headers=mine)               # remembered as a customer's
            told = self.expect(200, 'PUT', path, {'roles': ['admin']}, self.souk.staff())
            self.assertEqual(told['roles'], ['admin'])
            self.expect(200, 'GET', '/v1/shipments', headers=mine)
            self.expect(403, 'GET', '/v1/users', headers=mine)
            self.expect(200, 'PUT', path, {'roles': ['admin', 'superadmin']}, self.souk.staff())
            self.expect(200, 'GET', '/v1/users', headers=mine)
            self.expect(200, 'PUT', path, {'roles': ['customer']}, self.souk.staff())
        self.expect(400, 'PUT', path, {'roles': ['emperor']}, self.souk.staff())
        self.expect(400, 'PUT', path, {'roles': []}, self.souk.staff())
        self.expect(404, 'PUT', '/v1/users/usr_x/roles', {'roles': ['admin']}, self.souk.staff())

    def test_the_last_superadmin_stays(self):
        root = self.expect(200, 'GET', '/v1/users/me', headers=self.souk.staff())
        path = f'/v1/users/{root["id"]}'
        for method, rest, body in (('PUT', '/roles', {'roles': ['admin']}), ('POST', '/disable', None)):
            self.expect(409, method, path + rest, body, self.souk.staff(), code='last_superadmin')
        self.expect(409, 'POST', '/v1/users/me/erase', None, self.souk.staff(), code='last_superadmin')
        self.assertEqual(self.expect(200, 'GET', '/v1/users/me', headers=self.souk.staff())['roles'], ['superadmin'])

    def test_a_disabled_account_is_out_at_once(self):
        mine, made = self.souk.customer('out@example.org')
        offered = self.invite('friend@example.org')
        self.expect(200, 'PUT', f'/v1/users/{made["user"]["id"]}/roles', {'roles': ['superadmin']}, self.souk.staff())
        invited = self.expect(201, 'POST', '/v1/invitations', {'email': 'crony@example.org', 'role': 'admin'}, mine)
        self.expect(202, 'POST', '/v1/auth/password-resets', {'email': 'out@example.org'})
        asked, = self.events('auth.password_reset_requested', made['user']['id'])
        for _ in range(2):
            told = self.expect(200, 'POST', f'/v1/users/{made["user"]["id"]}/disable', None, self.souk.staff())
            self.assertTrue(told['disabled'])
        self.expect(401, 'GET', '/v1/users/me', headers=mine)
        self.expect(401, 'POST', '/v1/auth/refresh', {'refresh_token': made['refresh_token']})
        self.login('out@example.org', status=401)
        self.expect(404, 'POST', '/v1/auth/password-resets/' + self.souk.link_token('password-reset', asked['reset_id']),
                    {'password': 'a new password'})
        self.expect(404, 'POST', f'/v1/invitations/{self.souk.link_token("invitation", invited["id"])}/accept',
                    {'password': PASSWORD})                                     # his invitations are void
        self.expect(201, 'POST', offered, {'password': PASSWORD})               # and nobody else's
        self.assertEqual(len(self.events('users.user_disabled', made['user']['id'])), 1)
        self.login('out@example.org', status=401)
        again = self.expect(201, 'POST', self.invite('out@example.org'), {'password': 'a new password'})
        self.assertEqual((again['user']['id'], again['user']['roles']), (made['user']['id'], ['admin']))
        self.login('out@example.org', 'a new password')

    # ---- a profile --------------------------------------------------------------------------------

    def test_a_profile_changes_by_field_and_version(self):
        mine, made = self.souk.customer('profile@example.org')
        self.expect(200, 'GET', '/v1/users/me', headers=mine)
        tag = {'If-Match': self.fields['etag']}
        told = self.expect(200, 'PATCH', '/v1/users/me', {'phone': '+49 30 1234567', 'addresses': [ADDRESS]}, {**mine, **tag})
        self.assertEqual((told['name'], told['phone'], told['version']), ('profile', '+49 30 1234567', 2))
        self.assertEqual(told['addresses'], [ADDRESS])
        self.expect(412, 'PATCH', '/v1/users/me', {'name': 'Late'}, {**mine, **tag}, code='version_mismatch')
        same = self.expect(200, 'PATCH', '/v1/users/me', {'addresses': [ADDRESS]}, mine)
        self.assertEqual(same, told)
        told = self.expect(200, 'PATCH', '/v1/users/me', {'name': 'Ren\u00e9', 'addresses': []}, mine)
        self.assertEqual((told['name'], told['addresses'], told['version']), ('Ren\u00e9', [], 3))
        self.assertEqual([e['fields'] for e in self.events('users.profile_updated', made['user']['id'], 2)],
                         [['phone', 'addresses'], ['name', 'addresses']])
        self.assertTrue(wait_for(lambda: self.login('profile@example.org')['user']['name'] == 'Ren\u00e9'))
        for body, place in (({'phone': 'x'}, '/phone'), ({'email': 'x@example.org'}, '/email'), ({'roles': ['admin']}, '/roles'),
                            ({'addresses': [{**ADDRESS, 'country': 'Germany'}]}, '/addresses/0/country')):
            told = self.expect(400, 'PATCH', '/v1/users/me', body, mine)
            self.assertIn(place, [e['pointer'] for e in told['errors']], told)

    def test_the_activity_log_tells_what_happened_newest_first(self):
        mine, made = self.souk.customer('active@example.org')
        self.expect(200, 'PATCH', '/v1/users/me', {'name': 'Act', 'phone': '+49 30 1234567'}, mine)
        kinds = wait_for(lambda: (k := [a['kind'] for a in self.activity(mine)])[:1] == ['profile_updated'] and k)
        self.assertEqual(kinds[0], 'profile_updated')
        self.assertEqual(set(kinds), {'profile_updated', 'logged_in', 'registered', 'roles_updated'})
        newest = self.activity(mine)[0]
        self.assertEqual(newest['detail'], 'name, phone')
        page = self.expect(200, 'GET', '/v1/users/me/activity?limit=1', headers=mine)
        self.assertTrue(page['has_more'])
        rest = self.expect(200, 'GET', f'/v1/users/me/activity?starting_after={newest["id"]}', headers=mine)
        self.assertEqual([a['kind'] for a in rest['data']], kinds[1:])

    def activity(self, headers):
        return self.expect(200, 'GET', '/v1/users/me/activity', headers=headers)['data']

    def test_somebody_takes_his_data_along_and_is_forgotten(self):
        mine, made = self.souk.customer('gone@example.org')
        self.expect(200, 'PATCH', '/v1/users/me', {'addresses': [ADDRESS]}, mine)
        told = self.expect(200, 'GET', '/v1/users/me/export', headers=mine)
        self.assertEqual((told['user']['email'], told['user']['addresses'], len(told['sessions'])),
                         ('gone@example.org', [ADDRESS], 1))
        self.expect(204, 'POST', '/v1/users/me/erase', None, mine)
        self.expect(401, 'GET', '/v1/users/me', headers=mine)
        self.login('gone@example.org', status=401)
        self.assertEqual(len(self.events('users.person_erased', made['user']['id'])), 1)
        self.assertTrue(wait_for(lambda: not any(e.get('email') for e in self.events('users.user_created', made['user']['id']))),
                        'audit still knows the e-mail')
        found = self.expect(200, 'GET', '/v1/users?q=gone', headers=self.souk.staff())
        self.assertEqual(found['data'], [])
        _, again = self.souk.customer('gone@example.org')
        self.assertNotEqual(again['user']['id'], made['user']['id'])

    def test_the_log_is_rebuilt_by_replay(self):
        self.souk.customer('replayed@example.org')
        code, out, error = self.souk.command('journal', 'replay')
        self.assertEqual((code, error), (0, ''))
        self.assertIn('users: ', out)


if __name__ == '__main__':
    main()
