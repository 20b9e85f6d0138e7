#!/usr/bin/python3
"""Every event is seen: each flow of the shop is driven on one Souk, from outside, and audit then has to
have every event that the protos know, with every field of it filled at least once.

An event that is added without a flow here fails; so does a field that nothing ever fills.  What cannot be
seen from outside stands below, with its reason.
"""
import json
import os
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from flows import SETTINGS, Flows, Mailbox, topics  # noqa: E402
from souk import PASSWORD, ROOT, Souk, main, wait_for  # noqa: E402

CATALOGUE = Path(os.environ.get('SOUK_SHARED', ROOT.parent / 'shared')) / 'requirements/events.md'

# Topics that no client can bring about, and why.
UNSEEN = {
    'auth.checkout_failed': 'the gateway refuses such a session before auth hears of it, save within a few '
                            'milliseconds: services/auth, services/orders/async_test.c and many_test.py',
}
# Fields that stay empty, and why.
EMPTY = {
    'catalog.product_stock_updated': {'expected_version': 'PATCH of a product asks for no version of its stock'},
    'users.person_erased': {'email': 'the journal forgets it with the person, soon after it was told'},
    'notifications.notification_sent': {'kept': 'there is a mail server here: services/notifications keeps them'},
}
# Events of the catalogue that other services will publish.
ELSEWHERE = re.compile(r'Event(Published|Updated|Cancelled|Viewed)$|Ticket')


def is_there(value):
    return value not in (None, '', 0, False) and value != [] and value != {}


class Events(Flows, unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.mailbox = Mailbox()
        cls.souk = Souk(settings={**SETTINGS, **cls.mailbox.settings})

    @classmethod
    def tearDownClass(cls):
        code = cls.souk.close()
        cls.mailbox.close()
        assert code == 0

    # ---- what was seen --------------------------------------------------------------------------------

    def seen(self):
        """{topic: [event]}, all of the journal."""
        found, after, more = {}, 0, True
        while more:
            page = self.ask('GET', f'/v1/audit/events?limit=100&after={after}', **self.souk.staff())
            for event in page['data']:
                found.setdefault(event['type'], []).append(event)
                after = event['position']
            more = page['has_more']
        return found

    def missing(self):
        seen = self.seen()
        gaps = {}
        for topic, fields in topics().items():
            if topic in UNSEEN:
                continue
            filled = {name for event in seen.get(topic, []) for name, value in event['data'].items() if is_there(value)}
            # Times are told as times: pay_by_us is pay_by.
            never = [f for f in fields if not {f, re.sub('_us$', '', f)} & filled and f not in EMPTY.get(topic, {})]
            if topic not in seen:
                gaps[topic] = 'never seen'
            elif never:
                gaps[topic] = never
        return gaps

    def test_every_event_is_seen_with_its_payload(self):
        self.drive()
        wait_for(lambda: not self.missing(), 60)
        self.assertEqual(self.missing(), {})
        self.envelopes()
        self.assertEqual(self.souk.command('deadletters', 'list'), (0, '', ''))

    def envelopes(self):
        """CloudEvents 1.0, counted from 1 without gaps for each publisher and subject, without a secret."""
        sequences = {}
        for topic, events in self.seen().items():
            service, name = topic.split('.')
            for event in events:
                self.assertEqual(event['specversion'], '1.0')
                self.assertTrue(event['id'] and event['time'] and event['source'], event)
                # A guest has no id, nor has he whom an access was denied to.
                nobody = topic in ('auth.user_authenticated', 'users.person_erased', 'authz.access_denied',
                                   'authz.access_granted')
                self.assertTrue(event.get('subject') or nobody, event)
                self.assertIn(f'souk.{service}.v1.', event['dataschema'])
                self.assertTrue(event['correlationid'] and event['traceparent'], event)
                key = (service, event.get('subject', ''))
                sequences.setdefault(key, []).append((event['position'], int(event['sequence'])))
                text = json.dumps(event)
                for secret in (PASSWORD, 'eyJ', 'access_token', 'refresh_token', '"approve"', '"decline"'):
                    self.assertNotIn(secret, text)
        for key, told in sequences.items():
            self.assertEqual([n for _, n in sorted(told)], list(range(1, len(told) + 1)), key)

    def test_what_is_not_seen_is_what_the_protos_know(self):
        known = topics()
        self.assertEqual({t for t in [*UNSEEN, *EMPTY] if t not in known}, set())
        for topic, fields in EMPTY.items():
            self.assertLessEqual(set(fields), set(known[topic]))

    @unittest.skipUnless(CATALOGUE.exists(), 'the catalogue of events is not here')
    def test_the_catalogue_of_events_is_in_the_protos(self):
        named = set()
        for line in CATALOGUE.read_text().split('\n## Events')[1].split('\n## ')[0].splitlines():
            cells = line.split('|')
            if len(cells) > 4 and re.match(r'\s*(⊕ )?[A-Z][a-z]+[A-Z]', cells[1]):
                named |= set(re.findall(r'[A-Z]\w+', cells[1]))
        self.assertGreater(len(named), 40)
        have = {''.join(part.capitalize() for part in topic.split('.')[1].split('_')) for topic in topics()}
        self.assertEqual({n for n in named - have if not ELSEWHERE.match(n)}, set())


if __name__ == '__main__':
    main()
