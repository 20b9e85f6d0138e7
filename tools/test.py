#!/usr/bin/python3
"""Builds and runs every test, and closes with "N passed, N failed".

    test.py [--all] [NAME…]      NAME: only programs whose name has it

Every test program, whether in C (`*_test.c`) or in Python (`test/scenarios/*_test.py`), ends with a line
"N passed, N failed"; what it says beyond that is shown when something failed.  C tests run under the
address and undefined-behaviour sanitizers; those of the layers that know threads also under the thread
sanitizer.  What tests a store runs on SQLite and on a PostgreSQL server of ours, which is told to all C
tests as SOUK_TEST_POSTGRES.
"""
import atexit
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLOSING = re.compile(r'^(\d+) passed, (\d+) failed$', re.M)
sys.path.insert(0, str(ROOT / 'test'))
from postgres_server import Postgres  # noqa: E402

ON_BOTH = {'store_test', 'rows_test', 'batch_test', 'migrate_test'}
THREADED = {'fiber', 'store', 'net', 'bus', 'kit'}
TIMEOUT_S = 900


def build(folder, targets):
    done = subprocess.run(['ninja', '-C', folder, '--quiet', *targets], cwd=ROOT)
    if done.returncode:
        print(f'{folder} does not build\n0 passed, 1 failed')
        sys.exit(1)


def c_tests(folder, suites):
    listed = subprocess.run(['meson', 'introspect', '--tests', folder], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout
    for test in json.loads(listed):
        if suites is None or {s.split(':')[-1] for s in test['suite']} & suites:
            yield f'{folder}/{test["name"]}', test['cmd'], test['env']
            if test['name'] in ON_BOTH:
                yield f'{folder}/{test["name"]} on PostgreSQL', test['cmd'], \
                    {**test['env'], 'SOUK_TEST_STORE': 'postgres'}


def jobs(everything):
    """Name, command and environment of each test program; what it needs is built."""
    asan, tsan = list(c_tests('build-asan', None)), list(c_tests('build-tsan', THREADED))
    for folder, tests in (('build-asan', asan), ('build-tsan', tsan)):
        targets = [os.path.relpath(cmd[0], ROOT / folder) for _, cmd, _ in tests]
        build(folder, targets + (['souk'] if folder == 'build-asan' else []))
    env = {'SOUK_BINARY': str(ROOT / 'build-asan/souk')}
    yield 'generators', [str(ROOT / 'tools/test_generators.py')], {}
    yield 'goldens', [str(ROOT / 'tools/test_goldens.py')], {}
    for path in sorted((ROOT / 'test/scenarios').glob('*_test.py')):
        yield f'scenarios/{path.stem}', ['/usr/bin/python3', str(path)], env
    yield from asan
    yield from tsan
    if everything:
        yield 'payments-2000', ['/usr/bin/python3', str(ROOT / 'test/scenarios/payments_test.py'), 'Faulty'], \
            {**env, 'SOUK_PAYMENTS': '2000'}
        yield 'faults', [str(ROOT / 'test/faults/faults.py'), '--kills', '50'], {}


def run(job):
    name, command, env = job
    began = time.monotonic()
    options = {'ASAN_OPTIONS': 'detect_stack_use_after_return=0:abort_on_error=0',
               'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
               'TSAN_OPTIONS': 'halt_on_error=1'}
    try:
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **options, **env}, timeout=TIMEOUT_S,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, code = done.stdout.decode(errors='replace'), done.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = (expired.stdout or b'').decode(errors='replace') + '\ntimed out', -1
    closings = CLOSING.findall(output)
    passed, failed = (int(closings[-1][0]), int(closings[-1][1])) if closings else (0, 0)
    if failed == 0 and (code != 0 or not closings):
        failed = 1                              # it died before it could say so
    return name, passed, failed, output, time.monotonic() - began


def main(arguments):
    names = [a for a in arguments if not a.startswith('-')]
    wanted = [j for j in jobs('--all' in arguments) if not names or any(n in j[0] for n in names)]
    server = Postgres() if any(j[0].startswith('build-') for j in wanted) else None
    if server:
        os.environ['SOUK_TEST_POSTGRES'] = server.url
        atexit.register(server.close)
    passed = failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, ok, bad, output, took in pool.map(run, wanted):
            passed, failed = passed + ok, failed + bad
            print(f'{"FAILED" if bad else "ok    "} {name}: {ok} passed, {bad} failed, {took:.1f} s', flush=True)
            if bad:
                print('    ' + '\n    '.join(output.splitlines()[-80:]), flush=True)
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or not passed else 0)


main(sys.argv[1:])
