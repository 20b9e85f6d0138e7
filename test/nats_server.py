#!/usr/bin/python3
"""A NATS with JetStream of a test's own: free port, its store in a temporary folder.

    with Nats() as broker: … broker.url …

As a program it says its URL on a line and obeys lines: kill (-9), start, stop; it ends with its input.
"""
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from private_server import free_port, make_certificate, obey  # noqa: E402

SERVER = '/usr/sbin/nats-server'


class Nats:
    """With tls it speaks nothing else."""

    def __init__(self, tls=False, start=True):
        self.folder = tempfile.mkdtemp(prefix='souk-nats-')
        self.port = free_port()
        self.url, self.flags = f'nats://127.0.0.1:{self.port}', []
        self.process = None
        if tls:
            make_certificate(self.folder)
            self.url = f'tls://localhost:{self.port}?cacertfile={self.folder}/server.pem'
            self.flags = ['--tls', '--tlscert', f'{self.folder}/server.pem', '--tlskey', f'{self.folder}/server.key']
        if start:
            self.start()

    def start(self, wait_s=60):
        with open(f'{self.folder}/out', 'ab') as out:
            self.process = subprocess.Popen([SERVER, '--addr', '127.0.0.1', '--port', str(self.port), '--jetstream',
                                             '--store_dir', f'{self.folder}/store', *self.flags], cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends and self.process.poll() is None:
            try:
                with socket.create_connection(('127.0.0.1', self.port), 5) as s:
                    if s.recv(4) == b'INFO':
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError('nats does not get ready:\n' + Path(f'{self.folder}/out').read_text()[-3000:])

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """As a machine that goes down asks: SIGTERM, and what does not go is killed."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == '__main__':
    obey(Nats)
