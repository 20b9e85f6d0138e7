"""Servers that tests have for themselves: their ports, and how a test that is not in Python drives them."""
import json
import random
import signal
import socket
import subprocess
import sys

PORTS = range(10000, 32768)     # below those that the system gives to whoever connects
_held = []


def free_port():
    """A port of loopback that is free, and given to no other test while this program runs.

    The mark is a name among the abstract Unix sockets, which ends with the program."""
    while True:
        port, mark = random.choice(PORTS), socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f'\0souk-test-port-{port}')
            with socket.socket() as s:
                s.bind(('127.0.0.1', port))
            _held.append(mark)
            return port
        except OSError:
            mark.close()


class Shared:
    """What a server's class has so that other programs may use the one that this program runs."""

    def tell(self):
        return json.dumps({k: v for k, v in vars(self).items() if isinstance(v, (str, int, list, dict))})

    @classmethod
    def told(cls, text):
        """The server of the program that told; it is not ours to stop."""
        server = cls.__new__(cls)
        server.process = server.epmd = None
        vars(server).update(json.loads(text))
        return server


def make_certificate(folder):
    """A certificate of localhost that is its own authority: folder/server.pem and folder/server.key."""
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                    '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                    '-out', f'{folder}/server.pem', '-keyout', f'{folder}/server.key'],
                   check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def obey(server):
    """Runs server() for whoever holds our input: says its URL, then does what each line names, and says so.

    With --tls it is one that speaks TLS."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))   # so that the server ends with us
    with server(tls='--tls' in sys.argv) as running:
        print(running.url, flush=True)
        for line in sys.stdin:
            word, *arguments = line.split()
            said = getattr(running, word)(*arguments)
            print('ok' if said is None else repr(said), flush=True)
