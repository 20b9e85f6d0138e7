#!/usr/bin/python3
"""The scenarios, from outside, in the shape that SHAPE says (test/shapes.py); closes with "N passed, N failed".
They share the servers of this run.

    SHAPE=rabbitmq tools/e2e.py [NAME…]      NAME: only programs whose name has it
"""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'test'))
import shapes  # noqa: E402

CLOSING = re.compile(r'^(\d+) passed, (\d+) failed$', re.M)
TIMEOUT_S = 1800
# Not about a Souk in a shape: these bring their own.
OTHERS = {'deploy', 'broker_client', 'grpc_interop', 'new_service'}


def main(names):
    environment = {**os.environ, 'SHAPE': shapes.SHAPE,
                   'SOUK_BINARY': os.environ.get('SOUK_BINARY', str(ROOT / 'build/souk'))}
    for kind in shapes.kinds(shapes.SHAPE):
        environment[shapes.variable(kind)] = shapes.shared(kind).tell()
    passed = failed = 0
    for path in sorted((ROOT / 'test/scenarios').glob('*_test.py')):
        name = path.stem.removesuffix('_test')
        if name in OTHERS or (names and not any(n in name for n in names)):
            continue
        began = time.monotonic()
        done = subprocess.run(['/usr/bin/python3', str(path)], env=environment, cwd=ROOT, timeout=TIMEOUT_S,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = done.stdout.decode(errors='replace')
        closing = CLOSING.findall(output)
        ok, bad = map(int, closing[-1]) if closing else (0, 1)
        passed, failed = passed + ok, failed + max(bad, int(done.returncode != 0))
        print(f'{"FAILED" if bad or done.returncode else "ok    "} {shapes.SHAPE}/{name}: {ok} passed, {bad} failed, '
              f'{time.monotonic() - began:.1f} s', flush=True)
        if bad or done.returncode:
            print('    ' + '\n    '.join(output.splitlines()[-120:]), flush=True)
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or not passed else 0)


main(sys.argv[1:])
