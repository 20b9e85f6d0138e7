"""Servers that tests have for themselves, driven by lines from a test that is not in Python."""
import signal
import sys


def obey(server):
    """Runs server() for whoever holds our input: says its URL, then does what each line names, and says so."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))   # so that the server ends with us
    with server() as running:
        print(running.url, flush=True)
        for line in sys.stdin:
            word, *arguments = line.split()
            said = getattr(running, word)(*arguments)
            print('ok' if said is None else repr(said), flush=True)
