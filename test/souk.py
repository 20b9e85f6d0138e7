"""What the tests in Python share: a Souk of their own, its HTTP, and the closing line."""
import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import shapes  # noqa: E402
from private_server import free_port  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BINARY = os.environ.get('SOUK_BINARY', str(ROOT / 'build/souk'))
PASSWORD = 'correct horse battery'


class Souk:
    """A Souk that runs on a folder of its own, removed by close(); in the shape that SHAPE says."""

    def __init__(self, *flags, binary=BINARY, settings=None, start=True, shape=shapes.SHAPE, instances=1):
        self.folder = tempfile.mkdtemp(prefix='souk-test-')
        self.data = f'{self.folder}/data'
        self.binary, self.flags, self.port = binary, flags, free_port()
        self.environment = {**os.environ, 'SOUK_LOG': 'off',
                            **{f'SOUK_{k.upper()}': str(v) for k, v in (settings or {}).items()}}
        self.process = self.token = None
        self.many = shapes.Processes(self, shape, free_port, instances) if shape != 'embedded' else None
        if start:
            self.start()

    def start(self, wait_s=60):
        if self.many:
            self.many.start(wait_s)
            return
        self.log = open(f'{self.folder}/log', 'ab')
        self.process = subprocess.Popen([self.binary, 'run', '--data', self.data, '--listen',
                                         f'127.0.0.1:{self.port}', *self.flags], env=self.environment,
                                        stdout=self.log, stderr=self.log)
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends:
            try:
                if self.get('/readyz')[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError('souk does not get ready:\n' + open(f'{self.folder}/log').read()[-3000:])

    def kill(self):
        if self.many:
            self.many.kill()
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; gives the exit code."""
        if self.many:
            return self.many.stop()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self):
        code = self.many.close() if self.many else self.stop() if self.process else 0
        if code:
            sys.stderr.write(f'souk ended with {code}:\n' + open(f'{self.folder}/log').read()[-5000:] + '\n')
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def restart(self):
        self.stop()
        self.start()

    def command(self, *words, stdin=None):
        """Runs `souk WORDS --data …`; gives (exit code, standard output, standard error)."""
        environment = self.many.environment if self.many else self.environment
        done = subprocess.run([self.binary, *words, '--data', self.data], env=environment, input=stdin,
                              capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def folder_of(self, service):
        """The data folder of the process that runs it."""
        return f'{self.data}/{service}' if self.many else self.data

    def rows(self, service, sql):
        """What a query gives on the service's tables, as dictionaries."""
        if self.many:
            return self.many.rows(service, sql)
        found = []
        for name in ('souk.db', 'listeners.db'):
            db = sqlite3.connect(f'file:{self.data}/{name}?mode=ro', uri=True)
            db.row_factory = sqlite3.Row
            if db.execute('SELECT 1 FROM sqlite_master WHERE substr(name, 1, ?) = ?',
                          (len(service) + 1, service + '_')).fetchone():
                found = [dict(row) for row in db.execute(sql)]
            db.close()
        return found

    def values(self):
        """(table, column, value) of all there is, in all its stores; blobs as bytes."""
        if self.many:
            yield from self.many.values()
        for path in sorted(Path(self.data).rglob('*.db')):
            db = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
            tables = [t for t, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            for table in tables:
                rows = db.execute(f'SELECT * FROM "{table}"')
                names = [d[0] for d in rows.description]
                yield from ((table, name, value) for row in rows for name, value in zip(names, row))
            db.close()

    def metrics(self):
        """Of all its processes."""
        if self.many:
            return ''.join(self.many.page(name, '/metrics')[1] for name in self.many.names)
        return self.get('/metrics')[1].decode()

    def level(self):
        """Waits until no subscriber is behind.  Of another process's outbox each knows only what it was told, so
        that in many processes the tables are asked, where there are any."""
        def behind():
            if self.many and self.many.behind():
                return True
            whose = 'souk_bus_behind{subscriber="search"' if self.many else 'souk_bus_behind{'
            return any(line.startswith(whose) and not line.endswith(' 0') for line in self.metrics().splitlines())
        for _ in range(2):
            time.sleep(0.3 if self.many else 0.03)
            assert wait_for(lambda: not behind(), 60), 'a subscriber stays behind'

    def request(self, method, path, body=None, headers=None, connection=None):
        """Gives (status, decoded JSON or text, headers)."""
        link = connection or HTTPConnection('127.0.0.1', self.port, timeout=60)
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        fields = {'Content-Type': 'application/json'} if raw is not None else {}
        fields.update(headers or {})
        link.request(method, path, raw, fields)
        answer = link.getresponse()
        text = answer.read()
        if not connection:
            link.close()
        if 'json' in (answer.headers.get('content-type') or ''):
            text = json.loads(text)
        return answer.status, text, answer.headers

    def get(self, path, **headers):
        return self.request('GET', path, headers={k.replace('_', '-'): v for k, v in headers.items()})

    def post(self, path, body, **headers):
        return self.request('POST', path, body, {k.replace('_', '-'): v for k, v in headers.items()})

    def staff(self):
        """Headers of a superadmin, made on first use."""
        if not self.token:
            code, out, error = self.command('admin', 'create', 'ada@example.org', stdin=PASSWORD + '\n')
            assert code == 0, error
            status, body, _ = self.post('/v1/auth/login', {'email': 'ada@example.org', 'password': PASSWORD})
            assert status == 200, body
            self.token = body['access_token']
        return {'Authorization': 'Bearer ' + self.token}

    def customer(self, email):
        """Headers of a customer who signs up, and what sign-up answered."""
        status, made, _ = self.post('/v1/auth/signup', {'email': email, 'password': PASSWORD, 'name': email.split('@')[0]})
        assert status == 201, made
        return {'Authorization': 'Bearer ' + made['access_token']}, made

    def link_token(self, purpose, made_for):
        """The secret of a mail's link, from the key in the data folder as services/auth/credentials.c makes it."""
        if self.many:
            found = self.rows('auth', "SELECT content FROM auth_secret WHERE name = 'auth-identifiers.key'")
            text = found[0]['content'].encode()
        else:
            text = Path(self.data, 'keys/auth-identifiers.key').read_bytes()
        key = hashlib.sha256(text).digest()
        secret = hmac.digest(key, f'link\n{purpose}\n{made_for}'.encode(), 'sha256')
        return base64.urlsafe_b64encode(secret).decode().rstrip('=')

    def product(self, handle, amount=1000, stock=10, **more):
        """A product of one variant, on sale: its sku."""
        body = {'title': handle, 'handle': handle,
                'variants': [{'price': {'amount': amount, 'currency': 'EUR'}, 'stock': stock}], **more}
        status, made, _ = self.post('/v1/products', body, **self.staff())
        assert status == 201, made
        return made['variants'][0]['sku']

    def stock(self, sku):
        status, body, _ = self.get(f'/v1/inventory/{sku}', **self.staff())
        assert status == 200, body
        return body


def order_body(sku, token='approve', quantity=1, email='grace@example.org'):
    return {'lines': [{'sku': sku, 'quantity': quantity}],
            'customer': {'email': email, 'phone_number': '+49 30 1234567'},
            'shipping_address': {'name': 'Grace Hopper', 'line1': '1 Main Street', 'city': 'Berlin',
                                 'postal_code': '10115', 'country': 'DE'},
            'payment': {'provider': 'sandbox', 'token': token}}


def wait_for(claim, wait_s=30):
    """Until claim() is true; gives its value, or the last one."""
    ends = time.monotonic() + wait_s
    while not (value := claim()) and time.monotonic() < ends:
        time.sleep(0.02)
    return value


def main():
    """Runs the calling module's tests; closes with "N passed, N failed"."""
    result = unittest.main(module='__main__', exit=False, verbosity=1, warnings='ignore').result
    bad = len({getattr(test, 'test_case', test).id() for test, _ in result.failures + result.errors})
    print(f'{max(0, result.testsRun - bad - len(result.skipped))} passed, {bad} failed', flush=True)
    sys.exit(bool(bad))
