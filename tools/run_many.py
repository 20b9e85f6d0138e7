#!/usr/bin/python3
"""A shop with demo goods, a process for each service, on a PostgreSQL and a RabbitMQ of its own.

    run_many.py [--data DIR] [--listen ADDR:PORT] [--topology FILE]

Everything is kept in DIR, and found there again.  With SOUK_STORE or SOUK_BROKER in the environment it uses
that server and starts none.  Ctrl-C or SIGTERM ends all of it, in order; so does the end of any process.
"""
import argparse
import fcntl
import http.client
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'test'))
from postgres_server import Postgres  # noqa: E402
from private_server import free_port  # noqa: E402
from rabbitmq_server import RabbitMQ  # noqa: E402

BINARY = os.environ.get('SOUK_BINARY', str(ROOT / 'build/souk'))
READY_S, STOP_S = 120, 60


class Ended(Exception):
    """Why it is over: the exit code is 0 without a message."""


def say(who, line):
    sys.stdout.write(f'{who:<15} | {line}\n')
    sys.stdout.flush()


def processes_of(topology):
    """{name: its services}, by the file's lines."""
    lines = re.findall(r'^process\s+(\S+)\s+(\S+)', Path(topology).read_text(), re.M)
    return {name: services.split(',') for name, services in lines}


class Shop:
    def __init__(self, options):
        self.options, self.running, self.servers = options, {}, {}
        self.ends = queue.Queue()       # of why
        self.services = processes_of(options.topology)
        self.monitors = {name: f'127.0.0.1:{free_port()}' for name in self.services}
        self.environment = {**os.environ, 'SOUK_TOPOLOGY': options.topology}
        self.gateway, self.catalog, self.authz = (
            next(n for n, of in self.services.items() if service in of or '*' in of)
            for service in ('gateway', 'catalog', 'authz'))

    def start(self):
        data = Path(self.options.data)
        data.mkdir(parents=True, exist_ok=True)
        self.lock = open(data / 'lock', 'w')
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Ended(f'{data} is in use by another run_many.py')
        self.begin_server('SOUK_STORE', 'PostgreSQL', lambda: Postgres(sync=True, folder=data / 'postgres'))
        self.begin_server('SOUK_BROKER', 'RabbitMQ', lambda: RabbitMQ(folder=data / 'rabbitmq'))
        for name in self.services:
            self.begin(name)
        for name in self.services:
            self.wait_for(name)

    def begin_server(self, variable, name, make):
        if variable in self.environment:
            return
        say('run_many', f'starts {name}')
        try:
            self.servers[name] = server = make()
        except AssertionError as e:
            raise Ended(str(e))
        self.environment[variable] = server.url

    def begin(self, name):
        command = [BINARY, 'run', '--data', f'{self.options.data}/souk', '--listen', self.options.listen]
        if name == self.catalog:
            command.append('--demo')
        # Sessions of their own: Ctrl-C is for us, and we end them in order; they end with us in any case.
        process = subprocess.Popen(['setpriv', '--pdeathsig=TERM', *command], start_new_session=True, text=True,
                                   env={**self.environment, 'SOUK_PROCESS': name, 'SOUK_MONITOR': self.monitors[name]},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.running[name] = process
        threading.Thread(target=self.follow, args=(name, process), daemon=True).start()

    def follow(self, name, process):
        for line in process.stdout:
            say(name, line.rstrip('\n'))
        self.ends.put(f'{name} has ended with {process.wait()}')

    def wait_for(self, name):
        address = self.options.listen if name == self.gateway else self.monitors[name]
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            self.check()
            try:
                link = http.client.HTTPConnection(address, timeout=5)
                link.request('GET', '/readyz')
                if link.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise Ended(f'{name} is not ready after {READY_S} s')

    def check(self, wait_s=0):
        """Raises Ended once there is a reason to."""
        try:
            raise Ended(self.ends.get(timeout=wait_s) if wait_s else self.ends.get_nowait())
        except queue.Empty:
            pass
        for name, server in self.servers.items():
            if server.process.poll() is not None:
                raise Ended(f'{name} has ended with {server.process.returncode}')

    def stop(self):
        """The gateway first; authz, to whom the others report as they end, last; then the servers."""
        others = [name for name in self.running if name not in (self.gateway, self.authz)]
        for wave in [self.gateway], others, [self.authz]:
            processes = [self.running[name] for name in dict.fromkeys(wave) if name in self.running]
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        for server in reversed(self.servers.values()):
            server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='souk-data-many', metavar='DIR')
    parser.add_argument('--listen', default='127.0.0.1:8080', metavar='ADDR:PORT')
    parser.add_argument('--topology', default=str(ROOT / 'deploy/many.conf'), metavar='FILE')
    shop = Shop(parser.parse_args())
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: shop.ends.put(''))
    why = ''
    try:
        shop.start()
        say('run_many', f'{len(shop.services)} processes serve http://{shop.options.listen}; Ctrl-C ends them')
        while True:
            shop.check(wait_s=0.5)
    except Ended as e:
        why = str(e)
        say('run_many', (why + ': the rest is stopped' if why and shop.running else why) or 'stops')
    finally:
        shop.stop()
    sys.exit(1 if why else 0)


if __name__ == '__main__':
    main()
