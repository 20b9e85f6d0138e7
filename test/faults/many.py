"""A Souk of many processes that is given trouble, who buys from it meanwhile, and the reckoning.

A Fleet runs a process for each service, any of them several times, on PostgreSQL and RabbitMQ, with the sandbox
provider as a server of its own.  Buyers write down what they were told; the reckoning holds that, the provider's
ledger and every service's tables against each other.
"""
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psycopg2
import psycopg2.extras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import souk as tests  # noqa: E402
from souk import BINARY, Souk, free_port, order_body  # noqa: E402

SECRET = 'a secret of this test'
STOCK = 1_000_000
HEAR_S = 10             # for what was published while the reckoning was made
TOKENS = ['approve'] * 14 + ['decline', 'insufficient_funds', 'slow', 'webhook_late']
SETTINGS = {'sandbox_timeout_ms': 2500, 'reservation_hold_s': 30, 'rate_limit_per_s': 0, 'drain_s': 15}
# What an answer means.  402: the order is there, and unpaid.
GOOD, ANOTHER_TIME = (200, 201, 202, 402), (429, 500, 502, 503, 504)
SENT = re.compile(r'^souk_channel_(?:calls|retries)_total\{to="([^"]+)"\} (\d+)$', re.M)


def services_of(binary=BINARY):
    """The wiring, as `souk map` tells it."""
    said = subprocess.run([binary, 'map', '--json'], check=True, capture_output=True, text=True).stdout
    return json.loads(said)['services']


class Place:
    """Where processes run: this machine, on free ports of its loopback."""

    def __init__(self):
        self.ports = {}

    def address(self, name, what, instance=1):
        key = name, what, instance
        if key not in self.ports:
            self.ports[key] = free_port()
        return f'127.0.0.1:{self.ports[key]}'

    def inside(self, name):
        """What stands before a command that is to run at name's."""
        return []


class Fleet(Souk):
    """The processes, by name and instance.  `store` and `broker` are URLs of servers that are up;
    front is where requests go, if that is not the gateway itself."""

    def __init__(self, store, broker, place=None, instances=1, settings=None, binary=BINARY, front=None):
        self.folder = tempfile.mkdtemp(prefix='souk-test-')
        self.data, self.binary, self.store, self.token = f'{self.folder}/data', binary, store, None
        self.place, self.instances, self.running, self.sandbox = place or Place(), instances, {}, None
        self.topology = f'{self.folder}/topology.conf'
        self.services = services_of(binary)
        self.names = [s['name'] for s in self.services]
        address = self.place.address
        lines = [f'store {store}', f'broker {broker}']
        for name in self.names:
            places = ','.join(address(name, 'grpc', i + 1) for i in range(instances))
            lines.append(f'process {name} {name} {places}')
        Path(self.topology).write_text('\n'.join(lines) + '\n')
        settings = {**SETTINGS, 'log': 'off', 'topology': self.topology, 'sandbox_secret': SECRET,
                    'sandbox_url': f'http://{address("sandbox", "http")}', **(settings or {})}
        self.environment = {**tests.os.environ, **{f'SOUK_{k.upper()}': str(v) for k, v in settings.items()}}
        self.many = self
        self.notice_s = 0                       # of the gateway, so that its balancer hears in time
        self.front = front or address('gateway', 'http')
        self.host, port = self.front.rsplit(':', 1)
        self.port = int(port)

    def spawn(self, name, *words, **environment):
        log = open(f'{self.folder}/log', 'ab')
        with log:
            return subprocess.Popen([*self.place.inside(name), *words], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, env={**self.environment, **environment})

    def begin_sandbox(self):
        self.sandbox = self.spawn('sandbox', self.binary, 'sandbox', '--listen', self.place.address('sandbox', 'http'),
                                  '--data', f'{self.folder}/sandbox', '--secret', SECRET, '--callback',
                                  f'http://{self.front}/v1/webhooks/sandbox')

    def begin(self, name, instance=1, binary=None):
        self.running[name, instance] = self.spawn(
            name, binary or self.binary, 'run', '--data', self.data, '--process', name, '--instance', str(instance),
            '--listen', self.place.address('gateway', 'http', instance),
            SOUK_MONITOR=self.place.address(name, 'monitor', instance),
            SOUK_NOTICE_S=str(self.notice_s if name == 'gateway' else 0))

    def start(self, wait_s=90):
        self.begin_sandbox()
        for name in self.names:
            self.begin(name)
        for name in self.names:
            self.wait_ready(name, 1, wait_s)

    def wait_ready(self, name, instance, wait_s=90):
        ends = time.monotonic() + wait_s
        while not self.ready(name, instance):
            if self.running[name, instance].poll() is not None or time.monotonic() > ends:
                raise AssertionError(f'{name} {instance} does not get ready:\n' + self.said())
            time.sleep(0.02)

    def said(self):
        return Path(f'{self.folder}/log').read_text(errors='replace')[-3000:]

    def page(self, name, path, instance=1, timeout=5):
        what = 'http' if name == 'gateway' else 'monitor'
        host, port = self.place.address(name, what, instance).rsplit(':', 1)
        try:
            link = HTTPConnection(host, int(port), timeout=timeout)
            link.request('GET', path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ''

    def ready(self, name, instance=1):
        return self.page(name, '/readyz', instance)[0] == 200

    def end(self, name, instance=1, how=signal.SIGTERM):
        """Gives its exit code."""
        process = self.running.pop((name, instance))
        process.send_signal(how)
        return process.wait(90)

    def close(self):
        code = 0
        for name, instance in sorted(self.running, key=lambda key: key[0] != 'gateway'):
            self.running[name, instance].send_signal(signal.SIGTERM)
        for process in self.running.values():
            code = process.wait(90) or code
        if self.sandbox:
            self.sandbox.terminate()
            code = self.sandbox.wait(30) or code
        if code:
            sys.stderr.write(f'souk ended with {code}:\n{self.said()}\n')
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def request(self, method, path, body=None, headers=None, connection=None):
        link = connection or HTTPConnection(self.host, self.port, timeout=60)
        return super().request(method, path, body, headers, link)

    def rows(self, service, sql):
        link = psycopg2.connect(self.store)
        try:
            link.set_session(readonly=True)
            with link.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(f'SET search_path = {service}')
                cursor.execute(sql)
                return [dict(row) for row in cursor]
        finally:
            link.close()

    def sent(self):
        """How often processes have asked each other, tries that were lost and repeated ones too: a Counter."""
        counts = Counter()
        for name, instance in list(self.running):
            for to, n in SENT.findall(self.page(name, '/metrics', instance)[1]):
                counts[name, to] += int(n)
        return counts


class Buyer(threading.Thread):
    """Buys until told to stop, now and then without waiting for the provider.  Who is told to come another time, or
    nothing at all, asks again with the same Idempotency-Key; each answer that is final goes into the log."""

    def __init__(self, fleet, number, skus, patience_s=120, seed=0, pause_s=0.0):
        super().__init__(daemon=True)
        self.fleet, self.number, self.skus, self.patience_s, self.pause_s = fleet, number, skus, patience_s, pause_s
        self.random, self.stop, self.link = random.Random(seed * 1000 + number), threading.Event(), None
        self.made, self.tries, self.log, self.unanswered, self.troubles = 0, 0, [], [], Counter()

    def run(self):
        while not self.stop.is_set():
            self.buy()
            if self.pause_s:
                self.stop.wait(self.pause_s)

    def buy(self):
        self.made += 1
        key = f'buyer-{self.number}-{self.made}'
        token, later = self.random.choice(TOKENS), self.made % 4 == 0
        body = order_body(self.random.choice(self.skus), token, self.random.randint(1, 3))
        headers = {'Idempotency-Key': key, **({'Prefer': 'respond-async'} if later else {})}
        answer = self.insist('POST', '/v1/orders', body, headers)
        if answer is None:
            self.unanswered.append(key)
        else:
            self.log.append((key, token, later, *answer))

    def insist(self, method, path, body, headers):
        """(status, body), or None when patience has ended."""
        ends, wait_s = time.monotonic() + self.patience_s, 0.1
        while time.monotonic() < ends:
            self.tries += 1
            try:
                status, answer, _ = self.ask(method, path, body, headers)
                in_use = status == 409 and answer.get('code') == 'idempotency_key_in_use'
                if status not in ANOTHER_TIME and not in_use:
                    return status, answer
                self.troubles[answer.get('code') if in_use else status] += 1
            except (OSError, HTTPException, ValueError) as error:
                self.troubles[type(error).__name__] += 1
                self.leave()
            time.sleep(wait_s * self.random.uniform(0.5, 1.5))
            wait_s = min(2 * wait_s, 2.0)
        return None

    def ask(self, method, path, body=None, headers=None):
        if not self.link:
            self.link = HTTPConnection(self.fleet.host, self.fleet.port, timeout=20)
        return self.fleet.request(method, path, body, headers, self.link)

    def leave(self):
        if self.link:
            self.link.close()
        self.link = None


class Crowd:
    """Buyers side by side."""

    def __init__(self, fleet, skus, n, kind=Buyer, **more):
        self.fleet, self.skus, self.probes = fleet, skus, 0
        self.buyers = [kind(fleet, i, skus, **more) for i in range(n)]
        for b in self.buyers:
            b.start()


    def made(self):
        return sum(b.made for b in self.buyers)

    def troubles(self):
        return dict(sum((b.troubles for b in self.buyers), Counter()))

    def probe(self):
        """Is a checkout answered within seconds?"""
        self.probes += 1
        link = HTTPConnection(self.fleet.host, self.fleet.port, timeout=3)
        try:
            key = {'Idempotency-Key': f'probe-{self.probes}'}
            return self.fleet.request('POST', '/v1/orders', order_body(self.skus[0]), key, link)[0] == 201
        except (OSError, HTTPException):
            return False
        finally:
            link.close()

    def stop(self):
        for b in self.buyers:
            b.stop.set()
        for b in self.buyers:
            b.join()


class Reckoning:
    """What must be true once the trouble is over; complaints tell what is not."""

    def __init__(self, fleet, buyers, skus):
        self.fleet, self.buyers, self.skus, self.complaints = fleet, buyers, skus, []

    def claim(self, true, complaint):
        if not true:
            self.complaints.append(complaint)

    def reckon(self, wait_s=120):
        """Waits until nothing is under way any more; gives the complaints, and how long that took."""
        began = time.monotonic()
        for b in self.buyers:
            self.claim(not b.unanswered, f'never answered: {b.unanswered[:3]} ({dict(b.troubles)})')
        left = self.under_way()
        while left and time.monotonic() < began + wait_s:
            time.sleep(0.2)
            left = self.under_way()
        took_s = time.monotonic() - began
        for what, n in left.items():
            self.claim(False, f'{n} {what} after {took_s:.0f} s')
        rows = self.fleet.rows('orders', 'SELECT id, checkout_id, status, total_minor FROM orders_order')
        self.orders = {row['id']: row for row in rows}
        self.acknowledged()
        self.money()
        self.stock()
        self.once()
        self.journal()
        return self.complaints, took_s

    def under_way(self):
        """What has still to happen by itself: {what: how much}."""
        def count(service, sql):
            return self.fleet.rows(service, f'SELECT count(*) AS n FROM {sql}')[0]['n']
        heard = count('audit', 'audit_event')   # before what is published: it may grow meanwhile
        left = {
            'payments without an outcome': count('payments', "payments_attempt WHERE status = 'pending'"),
            'paid orders that are not completed': count('orders', "orders_order WHERE status = 'PAID'"),
            'orders past their time': count('orders', "orders_order WHERE status = 'AWAITING_PAYMENT'"),
            'checkouts in the air': count('orders', "orders_checkout WHERE state <> 'REFUSED'"),
            'mails that wait': count('notifications', "notifications_mail WHERE status = 'queued'"),
            'reservations that wait': count('inventory', "inventory_reservation WHERE state IN ('HELD', 'BOUND')"),
            'events that audit has not heard': self.published() - heard,
            'orders not shipped': count('orders', "orders_order WHERE status = 'COMPLETED'")
            - count('shipping', "shipping_shipment WHERE status = 'RELEASED'"),
            'paid orders without a receipt': count('orders', "orders_order WHERE status = 'COMPLETED'")
            - count('notifications', "notifications_mail WHERE template = 'receipt'"),
        }
        return {what: n for what, n in left.items() if n}

    def published(self):
        return sum(self.fleet.rows(s['name'], 'SELECT count(*) AS n FROM bus_event')[0]['n']
                   for s in self.fleet.services if s['publishes'])

    def acknowledged(self):
        """Every answer is kept: the order is there, once, and is what was said of it."""
        checkouts = {row['checkout_id']: row['id'] for row in self.orders.values()}
        refused = {row['id']: row for row in self.fleet.rows(
            'orders', "SELECT id, code FROM orders_checkout WHERE state = 'REFUSED'")}
        ids = Counter()
        for key, token, later, status, answer in (entry for b in self.buyers for entry in b.log):
            if status not in GOOD:
                self.claim(False, f'{key} ({token}): {status} {answer}')
                continue
            if later:
                self.claim(answer['id'] in checkouts or answer['id'] in refused,
                           f'{key}: acknowledged checkout {answer["id"]} is lost')
                self.claim(answer['id'] not in refused, f'{key}: {refused.get(answer["id"])}')
                order_id = checkouts.get(answer['id'])
            else:
                order_id = answer['order_id'] if status == 402 else answer['id']
            ids[order_id] += 1
            self.claim(order_id in self.orders, f'{key}: acknowledged order {order_id} ({status}) is lost')
            now = self.orders.get(order_id, {'status': 'lost'})['status']
            wanted = ('COMPLETED',) if status == 201 and not later else ('CANCELLED',) if status == 402 \
                else ('COMPLETED', 'CANCELLED')
            self.claim(now in wanted, f'{key} ({token}): was told {status}, order {order_id} is {now}')
        for order_id, n in ids.items():
            self.claim(n == 1, f'{n} keys were answered with the one order {order_id}')

    def money(self):
        """The provider's captures less its refunds, by order, against what orders says."""
        attempts = {row['id']: row['order_id']
                    for row in self.fleet.rows('payments', 'SELECT id, order_id FROM payments_attempt')}
        captured, amount = Counter(), Counter()
        for line in open(f'{self.fleet.folder}/sandbox/sandbox.ledger'):
            entry = json.loads(line)
            if entry['kind'] == 'charge' and entry['outcome'] == 'captured':
                order_id = attempts.get(entry['key'])
                self.claim(order_id in self.orders, f'money was taken by {entry["key"]}, for no order')
                captured[order_id] += 1
                amount[order_id] += entry['amount']
            self.claim(entry['kind'] != 'refund', f'a refund nobody asked for: {entry}')
        for order_id, order in self.orders.items():
            paid = order['status'] == 'COMPLETED'
            self.claim(captured[order_id] == int(paid),
                       f'{order_id} is {order["status"]}, and was charged {captured[order_id]} times')
            self.claim(not paid or amount[order_id] == order['total_minor'],
                       f'{order_id} paid {amount[order_id]} of {order["total_minor"]}')

    def stock(self):
        sold = Counter()
        for row in self.fleet.rows('orders', 'SELECT l.sku, l.quantity FROM orders_line l JOIN orders_order o '
                                   "ON o.id = l.order_id WHERE o.status = 'COMPLETED'"):
            sold[row['sku']] += row['quantity']
        for row in self.fleet.rows('inventory', 'SELECT sku, on_hand, reserved, owed, sold FROM inventory_item'):
            if row['sku'] in self.skus:
                self.claim(row['on_hand'] + row['sold'] == STOCK and not row['reserved'] and not row['owed'],
                           f'{row} does not add up to {STOCK}')
                self.claim(row['sold'] == sold[row['sku']], f'{row}: by the orders {sold[row["sku"]]} are sold')

    def once(self):
        """Each effect of an order, once: its events, its shipment, its mail."""
        events = {(row['topic'], row['subject']): row['n'] for row in self.fleet.rows(
            'orders', 'SELECT topic, subject, count(*) AS n FROM bus_event GROUP BY topic, subject')}
        released = {row['order_id'] for row in self.fleet.rows(
            'shipping', "SELECT order_id FROM shipping_shipment WHERE status = 'RELEASED'")}
        receipts = Counter(row['order_id'] for row in self.fleet.rows(
            'notifications', "SELECT order_id FROM notifications_mail WHERE template = 'receipt'"))
        for order_id, order in self.orders.items():
            paid, cancelled = order['status'] == 'COMPLETED', order['status'] == 'CANCELLED'
            for topic, wanted in (('order_created', 1), ('order_paid', paid), ('order_completed', paid),
                                  ('order_cancelled', cancelled)):
                n = events.get((f'orders.{topic}', order_id), 0)
                self.claim(n == int(wanted), f'{order_id} ({order["status"]}): {n} of {topic}')
            self.claim((order_id in released) == paid, f'{order_id} ({order["status"]}): its shipment is not so')
            self.claim(receipts[order_id] == int(paid),
                       f'{order_id} ({order["status"]}): {receipts[order_id]} receipts')
        for topic in ('stock_reserved', 'stock_committed', 'stock_released'):
            for row in self.fleet.rows('inventory', 'SELECT subject, count(*) AS n FROM bus_event WHERE topic = '
                                       f"'inventory.{topic}' GROUP BY subject HAVING count(*) > 1"):
                self.claim(False, f'{row["subject"]}: {row["n"]} of {topic}')

    def heard(self):
        """What audit has, what of the published it has not, and what nobody has published: {id: topic}.  Services
        publish by the clock, too: so the outboxes are read before audit, and after it."""
        def published():
            return {row['id']: row['topic'] for s in self.fleet.services if s['publishes']
                    for row in self.fleet.rows(s['name'], 'SELECT id, topic FROM bus_event')}
        before = published()
        heard = {row['id']: row['topic'] for row in self.fleet.rows('audit', 'SELECT id, topic FROM bus_event')}
        after = published()
        return (heard, {i: topic for i, topic in before.items() if i not in heard},
                {i: topic for i, topic in heard.items() if i not in after})

    def journal(self):
        """Audit has every event once, and nothing is parked anywhere."""
        heard, missing, made_up = self.heard()
        ends = time.monotonic() + HEAR_S
        while missing and time.monotonic() < ends:
            time.sleep(0.5)
            heard, missing, made_up = self.heard()
        for what, events in (('has not heard', missing), ('has made up', made_up)):
            self.claim(not events, f'audit {what} {len(events)} events: {list(events.items())[:3]}')
        for name in (s['name'] for s in self.fleet.services if s['name'] != 'search'):
            for row in self.fleet.rows(name, 'SELECT subscriber, event_id, state, error FROM bus_parked'):
                self.claim(False, f'{name} has parked {heard.get(row["event_id"])}: {row}')
        for words in (('journal', 'verify'), ('journal', 'replay')):
            code, out, error = self.fleet.command(*words)
            self.claim(code == 0, f'souk {" ".join(words)}: {out} {error}')
