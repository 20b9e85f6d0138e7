#!/usr/bin/python3
"""A PostgreSQL server for a test: its own folder, a free port, gone with whoever started it.

    from postgres_server import Postgres
    with Postgres() as server:
        … server.url …

    postgres_server.py [--sync]     prints the URL, then obeys lines on its input, each answered with
                                    "done": stop (immediately), kill (-9), start.  Ends with its input.

PostgreSQL refuses to run as root: then it runs as the user postgres, or nobody.
"""
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from private_server import Shared, free_port  # noqa: E402

CONNECTIONS_MAX = 300
WAIT_S = 60


def programs():
    """The folder with initdb and postgres: Debian keeps them out of the path."""
    found = sorted(glob.glob('/usr/lib/postgresql/*/bin/postgres'))
    found = found or [p for p in [shutil.which('postgres')] if p]
    if not found:
        raise AssertionError('there is no PostgreSQL server here: tools/install test')
    return os.path.dirname(found[-1])


def other_user():
    for name in ('postgres', 'nobody'):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise AssertionError('PostgreSQL cannot run as root, and there is no user postgres or nobody')


def alone():
    """Root of a user namespace that has no other user."""
    with open('/proc/self/uid_map') as lines:
        return sum(int(line.split()[2]) for line in lines) == 1


class Postgres(Shared):
    """sync: commits wait for the disk, as they do where it matters; a test that only kills the server
    and not the machine loses nothing without.  folder: where it is kept, and found again.  host: where it
    listens, and inside what stands before its command, to run it elsewhere."""

    def __init__(self, sync=False, start=True, folder=None, host='127.0.0.1', port=None, inside=()):
        self.bin, self.process, self.host, self.inside = programs(), None, host, list(inside)
        self.kept = folder is not None
        self.folder = os.path.abspath(folder) if folder else tempfile.mkdtemp(prefix='souk-postgres-')
        self.data = f'{self.folder}/data'
        self.as_user = ['setpriv']
        os.makedirs(self.folder, exist_ok=True)
        if os.getuid() == 0 and alone():
            self.as_user = ['unshare', '--map-user=1000', '--map-group=1000', 'setpriv']
        elif os.getuid() == 0:
            user = other_user()
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user += [f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}', '--clear-groups']
        if not os.path.exists(f'{self.data}/PG_VERSION'):
            # English order by default, so that what relies on the order of bytes is seen to ask for it.
            self.run('initdb', '-D', self.data, '-U', 'souk', '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N',
                     '--locale-provider=icu', '--icu-locale=en')
        self.port = port or free_port()
        sockets = '' if self.kept else self.folder      # the name of a socket is short
        with open(f'{self.data}/postgresql.conf', 'w') as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = '{host}'\n"
                       f"unix_socket_directories = '{sockets}'\nmax_connections = {CONNECTIONS_MAX}\n"
                       f"fsync = {'on' if sync else 'off'}\nlog_min_messages = fatal\n")
        with open(f'{self.data}/pg_hba.conf', 'a') as rules:
            rules.write('host all all samenet trust\n')
        self.url = f'postgresql://souk@{host}:{self.port}/postgres'
        self.socket_url = f'postgresql:///postgres?host={self.folder}&port={self.port}&user=souk'
        if start:
            self.start()

    def run(self, program, *arguments):
        done = subprocess.run([*self.as_user, f'{self.bin}/{program}', *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/')
        if done.returncode:
            raise AssertionError(f'{program}: {done.stdout.decode(errors="replace")}')

    def start(self):
        """After a kill -9 it may have to wait until the last of the old server's processes has ended."""
        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            if not self.process or self.process.poll() is not None:
                self.log = open(f'{self.folder}/log', 'ab')
                self.process = subprocess.Popen(
                    [*self.inside, *self.as_user, '--pdeathsig=QUIT', f'{self.bin}/postgres', '-D', self.data],
                    stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd='/')
            if self.answers():
                return
            time.sleep(0.02)
        raise AssertionError('PostgreSQL does not start:\n' + open(f'{self.folder}/log').read()[-3000:])

    def answers(self):
        """Ready for a connection: it answers a startup packet with an authentication request."""
        message = b'\0\3\0\0user\0souk\0database\0postgres\0\0'
        try:
            with socket.create_connection((self.host, self.port), 1) as s:
                s.settimeout(5)
                s.sendall((len(message) + 4).to_bytes(4, 'big') + message)
                return s.recv(1) == b'R'
        except OSError:
            return False

    def database(self, name):
        """A new, empty database: its URL."""
        self.run('createdb', '-h', self.host, '-p', str(self.port), '-U', 'souk', name)
        return f'postgresql://souk@{self.host}:{self.port}/{name}'

    def drop(self, name):
        """With whoever is still connected."""
        self.run('dropdb', '-h', self.host, '-p', str(self.port), '-U', 'souk', '--force', '--if-exists', name)

    def stop(self, how=signal.SIGQUIT):
        """Immediately, unless told otherwise: as if it had crashed, with its files as they are."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        self.stop(signal.SIGINT if self.kept else signal.SIGQUIT)
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()


def obey(server):
    print(server.url, flush=True)
    for line in sys.stdin:
        {'stop': server.stop, 'kill': server.kill, 'start': server.start}[line.strip()]()
        print('done', flush=True)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *what: sys.exit(1))
    with Postgres(sync='--sync' in sys.argv) as one:
        obey(one)
