#!/usr/bin/python3
"""One service to a host, and trouble between hosts: partitions, a database that restarts, a broker that dies.

    hosts.py [--short] [--seconds N] [--pairs A-B …] [--only partitions|postgres|rabbitmq] [--together N]

Each process has a network namespace of its own, as have PostgreSQL, RabbitMQ and the sandbox provider; a bridge
joins them.  A partition makes one host send to the other at an address that nobody has, so that its packets are
lost without a word: both ways, or one way only.  Meanwhile buyers buy, and ask again until they are answered;
afterwards everything must add up.

All of it lives in namespaces of the test's own, which end with it.  They need root, or a kernel that gives network
namespaces to users; where there is neither, the test says so and fails.
"""
import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

INSIDE = 'SOUK_TEST_INSIDE'
SERVERS = ('postgres', 'rabbitmq', 'sandbox')
PORTS = {'grpc': 7400, 'http': 8080, 'monitor': 9400, 'postgres': 5432}
NOBODY = 254            # of addresses: no host has it
SHORT = ('gateway-orders', 'orders-payments', 'orders-inventory', 'inventory-postgres', 'orders-rabbitmq')
BUYERS, PAUSE_S = 8, 0.3
NORMAL_S = 10           # what is normal is measured so long
REQUESTS_MIN = 20       # of fewer, calls for each say nothing
TIMES_MAX = 2           # of the normal number of calls, all together and of each who asks another
LINK_MIN = 5            # a second, that one may ask another
CALM_S = 3
RECOVERY_S = 60         # by then a checkout is answered again


def enter():
    """Runs this program again in namespaces of its own."""
    words = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
    if os.getuid() != 0:
        words += ['--user', '--map-root-user']
    can = subprocess.run([*words, 'ip', 'link', 'add', 'try', 'type', 'bridge'], capture_output=True, text=True)
    if can.returncode:
        print('hosts.py cannot run here: it needs network namespaces with bridges (root, or unprivileged user '
              f'namespaces; packages util-linux and iproute2): {can.stderr.strip()}\n0 passed, 1 failed')
        sys.exit(1)
    os.execvpe(words[0], [*words, sys.executable, *sys.argv], {**os.environ, INSIDE: '1'})


def ip(*words):
    subprocess.run(['ip', *words], check=True, stdout=subprocess.DEVNULL)


class Hosts:
    """A Place: hosts on a bridge, and what is wrong between them."""

    def __init__(self, names):
        self.numbers = {name: i + 11 for i, name in enumerate(names)}
        subprocess.run(['mount', '-t', 'tmpfs', 'none', '/run'], check=True)
        os.mkdir('/run/netns')
        ip('link', 'set', 'lo', 'up')
        ip('link', 'add', 'bridge', 'type', 'bridge')
        ip('address', 'add', '10.77.0.1/24', 'dev', 'bridge')
        ip('link', 'set', 'bridge', 'up')
        for name, n in self.numbers.items():
            ip('netns', 'add', name)
            ip('link', 'add', f'to{n}', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
            ip('link', 'set', f'to{n}', 'master', 'bridge', 'up')
            ip('-n', name, 'link', 'set', 'eth0', 'address', self.mac(n))
            ip('-n', name, 'address', 'add', f'10.77.0.{n}/24', 'dev', 'eth0')
            ip('-n', name, 'link', 'set', 'eth0', 'up')
            ip('-n', name, 'link', 'set', 'lo', 'up')

    @staticmethod
    def mac(n):
        return f'02:77:00:00:00:{n:02x}'

    def host(self, name):
        return f'10.77.0.{self.numbers[name]}'

    def address(self, name, what, instance=1):
        return f'{self.host(name)}:{PORTS[what]}'

    def inside(self, name):
        return ['ip', 'netns', 'exec', name]

    def lose(self, a, b):
        """What a sends to b is lost."""
        self.point(a, b, NOBODY, 'permanent')

    def heal(self, a, b):
        self.point(a, b, self.numbers[b], 'reachable')

    def point(self, a, b, n, state):
        ip('-n', a, 'neighbour', 'replace', self.host(b), 'lladdr', self.mac(n), 'nud', state, 'dev', 'eth0')


def pairs_of(services):
    """Each two hosts that talk: who calls, who hears (and compares), and who stores and publishes."""
    names = [s['name'] for s in services]
    pairs = {('payments', 'sandbox'), ('gateway', 'sandbox')}
    for s in services:
        name = s['name']
        heard = {other['name'] for other in services if other['publishes'] and s['hears_all']}
        heard |= {t['topic'].split('.')[0] for t in s['subscribes']}
        routed = {other['name'] for other in services if any(r['path'] for r in other['serves'])}
        for other in set(s['calls']) | heard | (routed if name == 'gateway' else set()):
            pairs.add((name, other))
        pairs.add((name, 'rabbitmq'))
        if name != 'search':
            pairs.add((name, 'postgres'))
    return sorted({tuple(sorted(p)) for p in pairs if p[0] != p[1] and p[0] in (*names, *SERVERS)})


def rounds_of(pairs, together):
    """Lists of pairs that have no host in common."""
    left, rounds = list(pairs), []
    while left:
        chosen, used = [], set()
        for pair in left:
            if not used & set(pair) and len(chosen) < together:
                chosen.append(pair)
                used |= set(pair)
        left = [p for p in left if p not in chosen]
        rounds.append(chosen)
    return rounds


class Trouble:
    """What happened while something was wrong: calls beside normal ones, and how long until all was well."""

    def __init__(self, fleet):
        self.fleet, self.crowd, self.complaints = fleet, None, []
        self.idle = 0                           # calls a second that nobody's request makes
        self.normal(None)
        self.idle = sum(self.usual.values())

    def look(self):
        return time.monotonic(), self.fleet.sent(), sum(b.tries for b in self.crowd.buyers) if self.crowd else 0

    def normal(self, crowd):
        self.crowd = crowd
        before = self.look()
        time.sleep(NORMAL_S)
        self.usual, self.usual_by_try, _ = self.rates(before)

    def rates(self, before):
        """Calls a second: {(who, to whom): …}; calls for each request of a buyer; requests."""
        (began, sent, tried), (now, sent_now, tried_now) = before, self.look()
        rates = {link: (n - sent[link]) / (now - began) for link, n in sent_now.items()}
        tries = tried_now - tried
        return rates, (sum(rates.values()) - self.idle) * (now - began) / max(tries, 1), tries

    def during(self, what, seconds, begin, end):
        before = self.look()
        begin()
        time.sleep(seconds)
        end()
        rates, by_try, tries = self.rates(before)
        recovered_s = self.recover()
        time.sleep(CALM_S)                      # whoever still asks is answered
        total = sum(rates.values()) / sum(self.usual.values())
        times = {link: rate / max(self.usual.get(link, 0), LINK_MIN) for link, rate in rates.items()}
        worst = max(times, key=times.get)
        by_try /= self.usual_by_try
        print(f'{what}: {tries} requests, calls {total:.2f} times the normal number ({by_try:.2f} by request; '
              f'most: {worst[0]} to {worst[1]} {times[worst]:.2f}), well again after {recovered_s:.1f} s', flush=True)
        if max(total, times[worst], by_try if tries >= REQUESTS_MIN else 0) > TIMES_MAX:
            self.complaints.append(f'{what}: calls {total:.2f} times the normal number, {by_try:.2f} by request, '
                                   f'{worst[0]} to {worst[1]} {rates[worst]:.0f} a second, normally '
                                   f'{self.usual.get(worst, 0):.0f}')
        if recovered_s > RECOVERY_S:
            self.complaints.append(f'{what}: no checkout was answered for {recovered_s:.0f} s afterwards')

    def recover(self):
        """Until a checkout is answered at once."""
        began = time.monotonic()
        while time.monotonic() < began + 2 * RECOVERY_S and not self.crowd.probe():
            time.sleep(0.1)
        return time.monotonic() - began


def partitions(trouble, place, rounds, seconds):
    for pairs in rounds:
        name = ', '.join('-'.join(p) for p in pairs)
        for what, ways in (('both ways', (False, True)), ('one way', (False,)), ('the other way', (True,))):
            links = [(b, a) if turned else (a, b) for a, b in pairs for turned in ways]
            trouble.during(f'{name}, {what}', seconds, lambda: [place.lose(*at) for at in links],
                           lambda: [place.heal(*at) for at in links])


def postgres_restarts(trouble, server, times):
    def restart():
        for _ in range(times):
            server.restart()
            time.sleep(2)
    trouble.during(f'PostgreSQL restarted immediately {times} times', 0, restart, lambda: None)


def rabbitmq_dies(trouble, server, seconds):
    trouble.during(f'RabbitMQ killed for {seconds} s', seconds, server.kill, server.start)


def trial(options):
    from many import STOCK, Crowd, Fleet, Reckoning, services_of
    from postgres_server import Postgres
    from rabbitmq_server import RabbitMQ
    services = services_of()
    place = Hosts([s['name'] for s in services] + list(SERVERS))
    pairs = [tuple(p.split('-')) for p in options.pairs or []] or pairs_of(services)
    with Postgres(host=place.host('postgres'), port=PORTS['postgres'], inside=place.inside('postgres')) as postgres, \
            RabbitMQ(host=place.host('rabbitmq'), inside=place.inside('rabbitmq')) as rabbitmq:
        # Stock waits longer for its order than any trouble lasts.
        fleet = Fleet(postgres.database('souk'), rabbitmq.url, place, settings={'reservation_hold_s': options.hold_s})
        try:
            fleet.start()
            skus = [fleet.product(f'thing-{i}', 1000 + i, STOCK) for i in range(4)]
            trouble = Trouble(fleet)
            crowd = Crowd(fleet, skus, BUYERS, pause_s=PAUSE_S, patience_s=10 * options.seconds + 60)
            time.sleep(3)
            trouble.normal(crowd)
            rounds = rounds_of(pairs, options.together)
            print(f'{len(pairs)} pairs in {len(rounds)} rounds; normally {sum(trouble.usual.values()):.0f} calls a second, '
                  f'{trouble.idle:.0f} of them unasked, {trouble.usual_by_try:.1f} for each request', flush=True)
            if options.only in (None, 'partitions'):
                partitions(trouble, place, rounds, options.seconds)
            if options.only in (None, 'postgres'):
                postgres_restarts(trouble, postgres, options.restarts)
            if options.only in (None, 'rabbitmq'):
                rabbitmq_dies(trouble, rabbitmq, options.dead_s)
            crowd.stop()
            complaints, settled_s = Reckoning(fleet, crowd.buyers, skus).reckon(options.hold_s + 90)
            print('\n'.join((complaints + trouble.complaints)[:40]))
            print(f'{crowd.made()} checkouts, {sum(b.tries for b in crowd.buyers)} requests, {crowd.troubles()}; '
                  f'settled after {settled_s:.0f} s, {len(complaints)} complaints', flush=True)
            return [not complaints, not trouble.complaints]
        finally:
            fleet.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--short', action='store_true', help='few pairs, 8 s each way')
    parser.add_argument('--pairs', nargs='*', help='orders-payments …; each that talks, unless given')
    parser.add_argument('--seconds', type=float, help='of each partition; 30, or 8 when short')
    parser.add_argument('--together', type=int, default=1, help='so many pairs of different hosts at the same time')
    parser.add_argument('--only', choices=('partitions', 'postgres', 'rabbitmq'))
    options = parser.parse_args()
    if INSIDE not in os.environ:
        enter()
    options.pairs = options.pairs or (SHORT if options.short else None)
    options.seconds = options.seconds or (8 if options.short else 30)
    options.restarts, options.dead_s = (3, 15) if options.short else (10, 60)
    options.hold_s = int(4 * options.seconds + 30)
    results = trial(options)
    print(f'{sum(results)} passed, {len(results) - sum(results)} failed')
    sys.exit(not all(results))


if __name__ == '__main__':
    main()
