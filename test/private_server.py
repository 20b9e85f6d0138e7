"""Servers that tests have for themselves, driven by lines from a test that is not in Python."""
import signal
import subprocess
import sys


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
