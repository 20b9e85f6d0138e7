#!/usr/bin/python3
"""Every process is replaced while buyers buy: the new one is started and ready before the old one is told to go.

    rolling.py [--rounds N] [--buyers N] [--only NAME…] [--old BINARY] [--broker outbox|rabbitmq]

Each process has two addresses.  In a round, of each service in turn, the instance that does not run is started at
its address, and once it is ready the other gets SIGTERM; both versions serve meanwhile.  The gateways stand behind a
balancer that looks at /readyz and knows nothing else.  Buyers never repeat anything: what is not answered as it
should be is a failed request, and one is too many.
"""
import argparse
import asyncio
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import shapes  # noqa: E402
from many import STOCK, Buyer, Crowd, Fleet, Place, Reckoning  # noqa: E402
from souk import BINARY, PASSWORD, order_body  # noqa: E402

LOOK_S = 0.1            # the balancer asks for /readyz so often
CALM_S = 1.0            # under load, between two replacements


class Balancer(threading.Thread):
    """TCP: each connection goes to one of those that say they are ready, in turns."""

    def __init__(self, listen, backends):
        super().__init__(daemon=True)
        self.listen, self.backends, self.ready, self.turn = listen, backends, [], 0
        self.loop = asyncio.new_event_loop()

    def run(self):
        host, port = self.listen.rsplit(':', 1)
        self.loop.create_task(asyncio.start_server(self.serve, host, int(port)))
        for backend in self.backends:
            self.loop.create_task(self.watch(backend))
        self.loop.run_forever()

    async def watch(self, backend):
        while True:
            well = await self.asks(backend)
            if well != (backend in self.ready):
                self.ready = [b for b in self.backends if b in self.ready and b != backend or b == backend and well]
            await asyncio.sleep(LOOK_S)

    async def asks(self, backend):
        host, port = backend.rsplit(':', 1)
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1)
            writer.write(b'GET /readyz HTTP/1.1\r\nHost: souk\r\nConnection: close\r\n\r\n')
            line = await asyncio.wait_for(reader.readline(), 1)
            writer.close()
            return b' 200 ' in line
        except (OSError, asyncio.TimeoutError):
            return False

    async def serve(self, reader, writer):
        try:
            there, answer = await self.connect()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self.pump(reader, answer), self.pump(there, writer))

    async def connect(self):
        for backend in self.ready[self.turn % (len(self.ready) or 1):] + self.ready:
            self.turn += 1
            host, port = backend.rsplit(':', 1)
            try:
                return await asyncio.open_connection(host, int(port))
            except OSError:
                continue
        raise OSError('no gateway is ready')

    @staticmethod
    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()


class Shopper(Buyer):
    """Does what shops are for, on a connection that it keeps, and never asks twice."""
    WHAT = ('order', 'checkout', 'browse', 'search', 'cart', 'account')

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.asked, self.failed = Counter(), []

    def buy(self):
        what = self.WHAT[(self.made + self.number) % len(self.WHAT)]
        self.made += 1
        try:
            getattr(self, what)()
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            self.failed.append((time.monotonic(), what, f'{type(error).__name__}: {error}'))
            self.leave()

    def want(self, wanted, method, path, body=None, **headers):
        """The answer, if its status is one of those wanted."""
        self.asked[f'{method} {path.split("?")[0].rsplit("_", 1)[0]}'] += 1
        status, answer, fields = self.ask(method, path, body, {k.replace('_', '-'): v for k, v in headers.items()})
        if (fields.get('connection') or '').lower() == 'close':
            self.leave()
        if status not in wanted:
            raise ValueError(f'{method} {path}: {status} {answer}')
        return status, answer

    def order(self):
        key, token = f'shopper-{self.number}-{self.made}', self.random.choice(('approve', 'approve', 'slow', 'decline'))
        body = order_body(self.random.choice(self.skus), token, self.random.randint(1, 3))
        status, made = self.want((201,) if token != 'decline' else (402,), 'POST', '/v1/orders', body,
                                 Idempotency_Key=key)
        self.log.append((key, token, False, status, made))
        if status == 201:
            self.want((200,), 'GET', f'/v1/orders/{made["id"]}', Authorization=f'Bearer {made["access_token"]}')

    def checkout(self):
        key = f'shopper-{self.number}-{self.made}'
        body = order_body(self.random.choice(self.skus), 'approve')
        status, told = self.want((202,), 'POST', '/v1/orders', body, Prefer='respond-async', Idempotency_Key=key)
        self.log.append((key, 'approve', True, status, told))
        ends = time.monotonic() + 30
        while told['status'] == 'pending' and time.monotonic() < ends:
            time.sleep(0.1)
            _, told = self.want((200,), 'GET', f'/v1/checkouts/{told["id"]}')
        if told['status'] != 'done':
            raise ValueError(f'checkout {told} has not ended well')

    def browse(self):
        _, page = self.want((200,), 'GET', '/v1/products')
        self.want((200,), 'GET', f'/v1/products/{self.random.choice(page["data"])["id"]}')
        self.want((200,), 'GET', '/v1/recommendations')

    def search(self):
        _, found = self.want((200,), 'GET', '/v1/search?q=rolling')
        if len(found['data']) < len(self.skus):
            raise ValueError(f'{len(found["data"])} products are found')

    def cart(self):
        _, cart = self.want((201,), 'POST', '/v1/carts', {})
        for sku in self.skus[:2]:
            _, cart = self.want((200,), 'POST', f'/v1/carts/{cart["id"]}/lines', {'sku': sku, 'quantity': 1})
        body = order_body('', 'approve')
        del body['lines']
        key = f'shopper-{self.number}-{self.made}'
        status, made = self.want((201,), 'POST', '/v1/orders', {**body, 'cart_id': cart['id']}, Idempotency_Key=key)
        self.log.append((key, 'approve', False, status, made))

    def account(self):
        email = f's{self.number}-{self.made}@example.org'
        self.want((201,), 'POST', '/v1/auth/signup', {'email': email, 'password': PASSWORD, 'name': 'Grace'})
        _, made = self.want((200,), 'POST', '/v1/auth/login', {'email': email, 'password': PASSWORD})
        bearer = f'Bearer {made["access_token"]}'
        self.want((200,), 'GET', '/v1/users/me', Authorization=bearer)
        self.want((200,), 'GET', '/v1/orders', Authorization=bearer)


def replace(fleet, name, old, new, binary):
    began = time.monotonic()
    fleet.begin(name, new, binary)
    fleet.wait_ready(name, new)
    ready_s = time.monotonic() - began
    time.sleep(CALM_S / 2)                      # side by side
    code = fleet.end(name, old)
    took_s = time.monotonic() - began - ready_s - CALM_S / 2
    time.sleep(CALM_S / 2)
    return code, ready_s, took_s


def roll(fleet, crowd, names, rounds, binaries):
    """Gives the failed requests."""
    current, bad = dict.fromkeys(fleet.names, 1), 0
    for n in range(rounds):
        for name in names:
            old, new = current[name], 3 - current[name]
            before = sum(len(b.failed) for b in crowd.buyers)
            code, ready_s, gone_s = replace(fleet, name, old, new, binaries[(n + 1) % 2])
            current[name] = new
            failed = sum(len(b.failed) for b in crowd.buyers) - before
            bad += code != 0
            print(f'{name}: ready after {ready_s:.1f} s, the old one gone after {gone_s:.1f} s with {code}, '
                  f'{failed} failed', flush=True)
    return bad


def trial(options):
    place = Place()
    front = place.address('front', 'http')
    url = shapes.Broker(options.broker).url
    fleet = Fleet(shapes.database(), url, place, 2, {}, options.old, front)
    fleet.notice_s = 1                          # more than a balancer's look
    balancer = Balancer(front, [place.address('gateway', 'http', i) for i in (1, 2)])
    try:
        balancer.start()
        fleet.start()
        while not balancer.ready:
            time.sleep(0.01)
        skus = [fleet.product(f'rolling-{i}', 1000 + i, STOCK) for i in range(4)]
        time.sleep(2)                           # search and the others have heard of them
        crowd = Crowd(fleet, skus, options.buyers, Shopper, pause_s=0.02)
        time.sleep(3)
        calm = sum(len(b.failed) for b in crowd.buyers)
        began = time.monotonic()
        bad = roll(fleet, crowd, options.only or fleet.names, options.rounds, (options.old, BINARY))
        took_s = time.monotonic() - began
        crowd.stop()
        asked, failed = sum((b.asked for b in crowd.buyers), Counter()), sum((b.failed for b in crowd.buyers), [])
        for at, what, why in sorted(failed)[:30]:
            print(f'  {at - began:.1f} s, {what}: {why}')
        complaints, settled_s = Reckoning(fleet, crowd.buyers, skus).reckon()
        print('\n'.join(complaints[:30]))
        print(f'{sum(asked.values())} requests in {took_s:.0f} s, {len(failed)} failed ({calm} before anything was '
              f'replaced), {bad} ended badly; settled after {settled_s:.0f} s, {len(complaints)} complaints')
        return [not failed, not bad, not complaints]
    finally:
        fleet.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=2, help='2 bring each instance back to its first address')
    parser.add_argument('--buyers', type=int, default=6)
    parser.add_argument('--only', nargs='*')
    parser.add_argument('--old', default=BINARY, help='the version that is there first')
    parser.add_argument('--broker', choices=('outbox', 'rabbitmq'), default='rabbitmq')
    results = trial(parser.parse_args())
    print(f'{sum(results)} passed, {len(results) - sum(results)} failed')
    sys.exit(not all(results))


if __name__ == '__main__':
    main()
