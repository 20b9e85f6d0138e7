#!/usr/bin/python3
"""Measures Souk on this machine and writes docs/BENCHMARKS.md.

    bench.py [--seconds N] [--dry]      --dry prints instead of writing

Server and load share the machine.  Each figure of a checkout stands beside a bare loop that writes the
same rows into SQLite, run in turns with it.
"""
import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import ROOT, Souk, order_body, wait_for  # noqa: E402

BUYERS = (1, 16, 64, 256)
BUILD = ROOT / 'build/test'
TICK = os.sysconf('SC_CLK_TCK')
UPDATED = {'orders_order': 2, 'inventory_item': 2}


def cpu_s(pid):
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mib(pid):
    for line in open(f'/proc/{pid}/status'):
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) / 1024


def load(souk, buyers, seconds, *what):
    before = cpu_s(souk.process.pid)
    done = subprocess.run([BUILD / 'load', str(souk.port), str(buyers), str(seconds), *what], check=True,
                          capture_output=True, text=True)
    figures = json.loads(done.stdout)
    figures['server_us'] = (cpu_s(souk.process.pid) - before) * 1e6 / figures['requests']
    return figures


def rows(path):
    db = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
    names = [n for n, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {n: db.execute(f'SELECT count(*) FROM {n}').fetchone()[0] for n in names}
    db.close()
    return counts


def quiet(souk):
    """Until the journal stands still."""
    last = -1
    while (now := rows(f'{souk.data}/souk.db')['bus_event']) != last:
        last = now
        time.sleep(0.4)


def caught_up(souk):
    """Until no subscriber is behind.  Mails may still wait: a job makes them, at its own pace."""
    while any(line.startswith('souk_bus_behind{') and not line.endswith(' 0')
              for line in souk.get('/metrics')[1].decode().splitlines()):
        time.sleep(0.2)


class Floor:
    """The bare loop, made from what one sale wrote."""

    def __init__(self, souk, sku):
        path = f'{souk.data}/souk.db'
        souk.post('/v1/orders', order_body(sku))
        quiet(souk)
        before = rows(path)
        status, made, _ = souk.post('/v1/orders', order_body(sku))
        assert status == 201, made
        quiet(souk)
        after = rows(path)
        self.words = [f'{t}:{after[t] - before[t]}' for t in after if after[t] > before[t]]
        self.words += [f'+{t}:{n}' for t, n in UPDATED.items()]
        self.rows = sum(after[t] - before[t] for t in after)
        self.copy = f'{souk.folder}/floor.db'
        db = sqlite3.connect(path)
        db.execute(f"VACUUM INTO '{self.copy}'")
        db.close()
        self.folder = souk.folder

    def run(self, sales, batch):
        path = f'{self.folder}/floor-run.db'
        for tail in ('', '-wal', '-shm'):
            Path(path + tail).unlink(missing_ok=True)
        shutil.copy(self.copy, path)
        done = subprocess.run([BUILD / 'store_floor', path, str(sales), str(batch), *self.words], check=True,
                              capture_output=True, text=True)
        return json.loads(done.stdout)


def start_ms():
    souk = Souk('--demo', start=False)
    times = []
    for _ in range(6):
        began = time.monotonic()
        souk.start()
        times.append((time.monotonic() - began) * 1000)
        time.sleep(1.0)
        idle = resident_mib(souk.process.pid)
        souk.stop()
    souk.close()
    return times[0], sorted(times[1:])[2], idle


def machine():
    model = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name')), '?')
    return f'{os.cpu_count()} cores ({model}), Linux {os.uname().release.split("-")[0]}'


def table(title, columns, lines):
    out = [f'## {title}', '', '| ' + ' | '.join(columns) + ' |', '|' + ' ---: |' * len(columns)]
    return out + ['| ' + ' | '.join(str(c) for c in line) + ' |' for line in lines] + ['']


def measure(seconds):
    first, again, idle = start_ms()
    souk = Souk('--demo')
    try:
        skus = [souk.product(f'bench-{i}', 1000 + i, 100_000_000) for i in range(20)]
        product = souk.get('/v1/products/bench-0')[1]['id']
        floor = Floor(souk, skus[0])
        detail, checkout = [], []
        for buyers in BUYERS:
            f = load(souk, buyers, seconds, 'get', f'/v1/products/{product}')
            assert set(f['statuses']) == {'200'}, f
            detail.append((buyers, f['per_second'], f['p50_us'], f['p99_us'], f'{f["server_us"]:.1f}'))
        for buyers in BUYERS:
            alone, many = floor.run(3000, 1), floor.run(20000, 64)
            f = load(souk, buyers, seconds, 'checkout', *skus)
            assert set(f['statuses']) == {'201'}, f
            checkout.append((buyers, f['per_second'], f['p50_us'], f['p99_us'], f'{f["server_us"]:.0f}',
                             alone['per_second'], f'{f["per_second"] / alone["per_second"]:.2f}',
                             many['per_second'], f'{f["per_second"] / many["per_second"]:.2f}'))
            caught_up(souk)
        busy = resident_mib(souk.process.pid)
    finally:
        souk.close()
    out = ['# Benchmarks', '', f'`make bench`, {time.strftime("%Y-%m-%d")}, on {machine()}; the load runs on the same '
           'machine, over loopback, HTTP/1.1 kept alive. Machines are noisy: the ratios are what to compare.', '']
    out += table('Product detail', ['buyers', 'per second', 'p50 µs', 'p99 µs', 'server CPU µs each'], detail)
    out += table('Synchronous checkout', ['buyers', 'per second', 'p50 µs', 'p99 µs', 'server CPU µs each',
                                          'bare loop, a commit a sale', 'ratio', 'bare loop, 64 sales a commit',
                                          'ratio'], checkout)
    out += [f'A checkout answers when order, reservation, payment and their events are on disk, and the sandbox has '
            f'captured. One sale adds {floor.rows} rows to souk.db; the bare loops write the same rows into a copy of it '
            'with no network, no JSON, no rules and no listeners, synced at each commit. The server\'s CPU holds all that a '
            'sale sets off: stock, completion, audit.', '',
            '## At rest', '', '| what | figure |', '| --- | ---: |',
            f'| from start to serving, a new folder with demo goods | {first:.0f} ms |',
            f'| from start to serving, again | {again:.0f} ms |',
            f'| resident when idle, demo goods | {idle:.1f} MiB |',
            f'| resident after this benchmark | {busy:.1f} MiB |', '']
    return '\n'.join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=5)
    parser.add_argument('--dry', action='store_true')
    options = parser.parse_args()
    text = measure(options.seconds)
    print(text)
    if not options.dry:
        page = ROOT / 'docs/BENCHMARKS.md'
        _, many, figures = page.read_text().partition('\n## Many processes')     # many_bench.py and grpc_bench.py
        page.write_text(text + many + figures)


main()
