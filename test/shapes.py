"""The shapes that a Souk of the tests may have: SHAPE=embedded, postgres, rabbitmq or nats.

In all but the first, every service is a process of its own, on PostgreSQL; they hear each other's events by
following the outboxes (postgres), or through the broker.  The servers are private, shared by the tests of
a program, and stopped at its end; each Souk has a database, and a virtual host or a server, of its own.
"""
import atexit
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPE = os.environ.get('SHAPE', 'embedded')
SHAPES = ('embedded', 'postgres', 'rabbitmq', 'nats')
if SHAPE not in SHAPES:
    sys.exit(f'SHAPE is one of {", ".join(SHAPES)}, not {SHAPE}')

sockets = False                   # processes and PostgreSQL speak by unix sockets, as they may on one machine
_servers = {}
_numbers = itertools.count(1)
_ours = secrets.token_hex(4)      # in the names of what this program makes


def server_class(kind):
    if kind == 'postgres':
        from postgres_server import Postgres
        return Postgres
    from rabbitmq_server import RabbitMQ
    return RabbitMQ


def variable(kind):
    """Of the environment: the server that programs which run one after the other share (tools/e2e.py)."""
    return f'SOUK_E2E_{kind.upper()}'


def shared(kind):
    """The one PostgreSQL or RabbitMQ of this program, or of those that it runs among."""
    if kind not in _servers:
        told = os.environ.get(variable(kind))
        server = server_class(kind)
        _servers[kind] = server.told(told) if told else server()
        if not told:
            atexit.register(_servers[kind].close)
    return _servers[kind]


def kinds(shape):
    return {'embedded': (), 'rabbitmq': ('postgres', 'rabbitmq')}.get(shape, ('postgres',))


def database():
    """A new, empty database: its URL."""
    server, name = shared('postgres'), f'souk_{_ours}_{next(_numbers)}'
    if variable('postgres') in os.environ:
        atexit.register(server.drop, name)
    url = server.database(name)
    return server.socket_url.replace('/postgres?', f'/{name}?') if sockets else url


class VirtualHosts:
    """Made several at a time: each call of rabbitmqctl starts an Erlang machine of its own."""
    CHUNK_MAX = 20

    def __init__(self):
        self.made = self.used = 0

    def take(self):
        server = shared('rabbitmq')
        if self.used == self.made:
            if self.made == 0 and variable('rabbitmq') in os.environ:
                atexit.register(self.delete)
            chunk = min(self.CHUNK_MAX, 3 * self.made or 2)
            self.each(f'rabbit_vhost:add(N, <<"test">>), rabbit_auth_backend_internal:set_permissions(<<"guest">>, N, '
                      f'<<".*">>, <<".*">>, <<".*">>, <<"test">>)', self.made, self.made + chunk)
            self.made += chunk
        self.used += 1
        return f'{server.url}/t{_ours}-{self.used - 1}'

    def delete(self):
        self.each('rabbit_vhost:delete(N, <<"test">>)', 0, self.made)

    def each(self, what, first, end):
        names = ', '.join(f'<<"t{_ours}-{i}">>' for i in range(first, end))
        shared('rabbitmq').control('eval', f'[begin {what} end || N <- [{names}]].')


_hosts = VirtualHosts()


class Broker:
    """What carries the events of one Souk."""

    def __init__(self, shape):
        self.server = None
        if shape == 'nats':
            from nats_server import Nats
            self.server = Nats()
            self.url = self.server.url
        else:
            self.url = _hosts.take() if shape == 'rabbitmq' else 'outbox'

    def close(self):
        if self.server:
            self.server.close()


class Processes:
    """The processes of one Souk, by name; each a Popen, or None while it is stopped."""

    def __init__(self, souk, shape, free_port, instances=1):
        self.souk, self.running, self.monitors = souk, {}, {}
        self.broker = Broker(shape)
        self.store = database()
        names = subprocess.run([souk.binary, 'map', '--json'], check=True, capture_output=True, text=True).stdout
        import json
        self.services = json.loads(names)['services']
        self.names = [s['name'] for s in self.services]
        self.topology = f'{souk.folder}/topology.conf'
        lines = [f'store {self.store}', f'broker {self.broker.url}']
        for name in self.names:
            many = 1 if name == 'payments' and 'SOUK_SANDBOX_URL' not in souk.environment else instances
            addresses = ','.join(f'unix:{souk.folder}/{name}.{i}' if sockets else f'127.0.0.1:{free_port()}'
                                 for i in range(many))
            lines.append(f'process {name} {name} {addresses}')
            self.monitors[name] = free_port()
        Path(self.topology).write_text('\n'.join(lines) + '\n')

    @property
    def environment(self):
        return {'SOUK_ERASE_AFTER_S': '1', **self.souk.environment, 'SOUK_TOPOLOGY': self.topology}

    def begin(self, name, instance=1, flags=()):
        log = open(f'{self.souk.folder}/log', 'ab')
        environment = {**self.environment, 'SOUK_PROCESS': name,
                       'SOUK_MONITOR': f'127.0.0.1:{self.monitors[name]}'}
        self.running[name] = subprocess.Popen(
            [self.souk.binary, 'run', '--data', self.souk.data, '--listen', f'127.0.0.1:{self.souk.port}',
             '--instance', str(instance), *flags], env=environment, stdout=log, stderr=log)
        log.close()

    def start(self, wait_s):
        for name in self.names:
            if not self.running.get(name):
                self.begin(name, flags=self.souk.flags if name == 'catalog' else ())
        ends = time.monotonic() + wait_s
        for name in self.names:
            while not self.ready(name):
                if self.running[name].poll() is not None or time.monotonic() > ends:
                    raise AssertionError(f'{name} does not get ready:\n'
                                         + open(f'{self.souk.folder}/log').read()[-3000:])
                time.sleep(0.01)

    def ready(self, name):
        return self.page(name, '/readyz')[0] == 200

    def page(self, name, path):
        from http.client import HTTPConnection, HTTPException
        port = self.souk.port if name == 'gateway' else self.monitors[name]
        try:
            link = HTTPConnection('127.0.0.1', port, timeout=20)
            link.request('GET', path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ''

    def kill(self, *names):
        for name in names or self.names:
            process = self.running.pop(name, None)
            if process:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def stop(self, *names):
        """SIGTERM: the gateway ends before the others are asked to, and authz, to whom they report as they end,
        after them.  Gives the worst exit code."""
        if not names:
            others = [name for name in self.running if name not in ('gateway', 'authz')]
            codes = [self.stop(*wave) for wave in (['gateway'], others, ['authz']) if wave]
            return next((code for code in codes if code), 0)
        for name in names:
            process = self.running.get(name)
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = [self.running.pop(name).wait(60) for name in names if name in self.running]
        return next((code for code in codes if code), 0)

    def close(self):
        code = self.stop()
        self.broker.close()
        return code

    def values(self):
        """(table, column, value) of the whole database; bytea as bytes."""
        import psycopg2
        link = psycopg2.connect(self.store)
        link.set_session(readonly=True)
        with link, link.cursor() as cursor:
            cursor.execute("SELECT schemaname, tablename FROM pg_tables "
                           "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
            for schema, table in cursor.fetchall():
                cursor.execute(f'SELECT * FROM "{schema}"."{table}"')
                names = [d[0] for d in cursor.description]
                for row in cursor:
                    yield from ((table, name, bytes(value) if isinstance(value, memoryview) else value)
                                for name, value in zip(names, row))
        link.close()

    def behind(self):
        """Is anything published that a subscriber has not taken?  By the tables: its cursors and its inbox."""
        published = [s['name'] for s in self.services if s['publishes']]
        asked = []
        for s in self.services:
            name, topics = s['name'], [t['topic'] for t in s['subscribes'] if not t['broadcast']]
            if s['full_text'] or not (topics or s['hears_all']):    # it keeps its cursors in a file
                continue
            for p in published:
                mine = [t for t in topics if t.startswith(f'{p}.')]
                if mine or s['hears_all']:
                    of_topics = '' if s['hears_all'] else f" AND topic IN ({', '.join(repr(t) for t in mine)})"
                    asked.append(
                        f"SELECT 1 FROM {p}.bus_event AS e WHERE position > coalesce((SELECT position FROM "
                        f"{name}.bus_cursor WHERE subscriber = '{name}<{p}'), 0){of_topics} AND NOT EXISTS (SELECT 1 "
                        f"FROM {name}.bus_inbox AS i WHERE subscriber = '{name}' AND publisher = '{p}' "
                        f"AND i.position = e.position)")
        return bool(self.rows('audit', f'SELECT 1 AS one WHERE EXISTS ({" UNION ALL ".join(asked)})'))

    def rows(self, service, sql):
        """What a query gives on the service's tables, as dictionaries."""
        import psycopg2
        import psycopg2.extras
        link = psycopg2.connect(self.store)
        link.set_session(readonly=True)
        with link, link.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(f'SET search_path = {service}')
            cursor.execute(sql)
            found = [dict(row) for row in cursor]
        link.close()
        return found
