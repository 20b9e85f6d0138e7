#!/usr/bin/python3
"""Checkouts in the many-process shape: one service a process, PostgreSQL and a broker, all on this machine.

    many_bench.py [--seconds N] [--shape rabbitmq|nats|postgres] [--buyers N]

Each line is the load on a spread of skus, and on one sku alone; the CPU is that of everything that works at
a sale, the servers' too, while the load runs.  "Of the events" tells how much of what the sales have published
audit had heard when the load ended: what is left is work that is not in the line.  "With all" is how many a second
it is when the time counts until audit has heard everything: what could be kept up.  PostgreSQL syncs at each commit,
as it would in a shop; processes on one machine speak by unix sockets, to it and to each other.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import shapes  # noqa: E402
from souk import ROOT, Souk  # noqa: E402

LOAD = ROOT / 'build/test/load'
TICK = os.sysconf('SC_CLK_TCK')
SKUS = 50


def family(pid):
    """A process and all below it."""
    out, left = [], [pid]
    children = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    while left:
        out.append(left.pop())
        left += children.get(out[-1], [])
    return out


def cpu_s(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))       # with what has ended below it
    return total / TICK


def groups(souk):
    """Who works at a sale: name → pids."""
    out = {name: family(p.pid) for name, p in souk.many.running.items()}
    out['PostgreSQL'] = family(shapes.shared('postgres').process.pid)
    if 'rabbitmq' in shapes._servers:
        out['RabbitMQ'] = family(shapes.shared('rabbitmq').process.pid)
    elif souk.many.broker.server:
        out['NATS'] = family(souk.many.broker.server.process.pid)
    return out


def round_trips(souk):
    return sum(int(n) for n in re.findall(r'^souk_store_round_trips_total\{[^}]*\} (\d+)', souk.metrics(), re.M))


def events(souk):
    """Published by all, and heard by audit."""
    published = ' + '.join(f'(SELECT count(*) FROM {s["name"]}.bus_event)' for s in souk.many.services if s['publishes'])
    return souk.rows('audit', f'SELECT {published} AS published, (SELECT count(*) FROM audit_event) AS heard')[0]


def run(souk, buyers, seconds, skus):
    earlier, began = events(souk), time.monotonic()
    before, trips = {n: cpu_s(p) for n, p in groups(souk).items()}, round_trips(souk)
    done = subprocess.run([LOAD, str(souk.port), str(buyers), str(seconds), 'checkout', *skus], check=True,
                          capture_output=True, text=True)
    f = json.loads(done.stdout)
    f['trips'] = (round_trips(souk) - trips) / f['requests']
    f['cpu'] = {n: (cpu_s(p) - before.get(n, 0)) * 1e6 / f['requests'] for n, p in groups(souk).items()}
    now = events(souk)
    f['heard'] = (now['heard'] - earlier['heard']) / (now['published'] - earlier['published'])
    while now['heard'] < now['published']:
        time.sleep(0.1)
        now = events(souk)
    f['with_all'] = f['requests'] / (time.monotonic() - began)
    souk.level()
    return f


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=5)
    parser.add_argument('--shape', default='rabbitmq')
    parser.add_argument('--buyers', type=int, nargs='*', default=[1, 16, 64, 256])
    o = parser.parse_args()
    from postgres_server import Postgres
    shapes._servers['postgres'] = Postgres(sync=True)
    shapes.sockets = True
    souk = Souk(shape=o.shape, settings={'rate_limit_per_s': 0})
    try:
        skus = [souk.product(f'bench-{i}', 1000 + i, 100_000_000) for i in range(SKUS)]
        run(souk, 8, 2, skus)
        print('| buyers | skus | per second | p50 µs | p99 µs | CPU µs each, of all | PostgreSQL round trips each '
              '| of the events | with all, per second |')
        print('| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
        for buyers in o.buyers:
            for some in (skus, skus[:1]):
                f = run(souk, buyers, o.seconds, some)
                if set(f['statuses']) != {'201'}:
                    print(f'  answers: {f["statuses"]}')
                print(f'| {buyers} | {len(some)} | {f["per_second"]} | {f["p50_us"]} | {f["p99_us"]} | '
                      f'{sum(f["cpu"].values()):.0f} | {f["trips"]:.1f} | {f["heard"]:.0%} | {f["with_all"]:.0f} |',
                      flush=True)
        print('\nCPU µs a checkout, of the last line: '
              + ', '.join(f'{n} {c:.0f}' for n, c in sorted(f['cpu'].items(), key=lambda x: -x[1])))
    finally:
        code = souk.close()
        shapes._servers.pop('postgres').close()
    sys.exit(code)


main()
