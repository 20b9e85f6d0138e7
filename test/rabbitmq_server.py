#!/usr/bin/python3
"""A RabbitMQ of a test's own: free ports, its folders and its cookie in a temporary one, an epmd of its own.

    with RabbitMQ() as broker: … broker.url …

As a program it says its URL on a line and obeys lines: kill (-9), start, stop; it ends with its input.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from private_server import Shared, free_port, make_certificate, obey  # noqa: E402

NODE = 'souk@localhost'      # its data are this node's: only its epmd, which is its own, knows the name
LIBRARY = '/usr/lib/rabbitmq/bin'
CONFIG = '''listeners.tcp.1 = {host}:{port}
{tls}loopback_users = none
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 1MB
log.file.level = info
'''
TLS = '''listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
'''


class RabbitMQ(Shared):
    """With tls, url is of amqps, beside the port without.  folder: where it is kept, and found again.
    host: where it listens, and inside what stands before its commands, to run it elsewhere."""

    def __init__(self, tls=False, start=True, folder=None, host='127.0.0.1', inside=()):
        self.host, self.inside = host, list(inside)
        self.kept = folder is not None
        self.folder = os.path.abspath(folder) if folder else tempfile.mkdtemp(prefix='souk-rabbitmq-')
        os.makedirs(self.folder, exist_ok=True)
        self.port, self.dist_port, self.epmd_port, tls_port = (free_port() for _ in range(4))
        self.url, listens = f'amqp://guest:guest@{host}:{self.port}', ''
        self.process = self.epmd = None
        if tls:
            make_certificate(self.folder)
            self.url = f'amqps://guest:guest@localhost:{tls_port}?cacertfile={self.folder}/server.pem'
            listens = TLS.format(port=tls_port, folder=self.folder)
        Path(f'{self.folder}/rabbitmq.conf').write_text(CONFIG.format(host=host, port=self.port, tls=listens))
        Path(f'{self.folder}/plugins').write_text('[].\n')
        self.environment = {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'HOME': self.folder,
            'ERL_EPMD_PORT': str(self.epmd_port), 'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODENAME': NODE, 'RABBITMQ_DIST_PORT': str(self.dist_port),
            'RABBITMQ_MNESIA_BASE': f'{self.folder}/mnesia', 'RABBITMQ_LOG_BASE': f'{self.folder}/log',
            'RABBITMQ_CONF_ENV_FILE': '/dev/null', 'RABBITMQ_CONFIG_FILE': f'{self.folder}/rabbitmq.conf',
            'RABBITMQ_ENABLED_PLUGINS_FILE': f'{self.folder}/plugins',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '+S 2:2 +A 8 -kernel inet_dist_use_interface {127,0,0,1}',
        }
        if start:
            self.start()

    def start(self, wait_s=120):
        if not self.epmd:
            self.epmd = subprocess.Popen([*self.inside, 'epmd', '-port', str(self.epmd_port), '-address', '127.0.0.1'],
                                         env=self.environment, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(f'{self.folder}/out', 'ab') as out:
            # The script stops its node at SIGTERM: so it ends with whoever started it.
            self.process = subprocess.Popen([*self.inside, 'setpriv', '--pdeathsig=TERM',
                                             f'{LIBRARY}/rabbitmq-server'],
                                            env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, start_new_session=True)
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.05)
        self.kill()
        raise AssertionError('rabbitmq does not get ready:\n' + Path(f'{self.folder}/out').read_text()[-3000:])

    def answers(self):
        """Does it speak AMQP yet?  It does as soon as it listens."""
        try:
            with socket.create_connection((self.host, self.port), 5) as s:
                s.sendall(b'AMQP\0\0\x09\x01')
                return s.recv(1) == b'\1'
        except OSError:
            return False

    def control(self, *arguments):
        """rabbitmqctl, as the node's own user and with its cookie; gives what it says."""
        done = subprocess.run([*self.inside, f'{LIBRARY}/rabbitmqctl', '-q', *arguments], env=self.environment,
                              check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return done.stdout

    def kill(self):
        """kill -9, the node and all its helpers: a session of their own."""
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
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
        if self.kept:
            self.stop()
        self.kill()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait()
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == '__main__':
    obey(RabbitMQ)
