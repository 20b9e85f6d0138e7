#!/usr/bin/python3
"""Builds and runs every test, and closes with "N passed, N failed".

    test.py [--all] [NAME…]      NAME: only programs whose name has it

Every test program, whether in C (`*_test.c`) or in Python (`test/scenarios/*_test.py`), ends with a line
"N passed, N failed"; what it says beyond that is shown when something failed.  C tests run under the
address and undefined-behaviour sanitizers; those of the layers that know threads also under the thread
sanitizer.  The store's own tests run on SQLite and once more on PostgreSQL.
"""
import atexit
import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLOSING = re.compile(r'^(\d+) passed, (\d+) failed$', re.M)
THREADED = {'fiber', 'store', 'net', 'bus', 'kit'}
PROGRAMS = ['souk', 'test/interop_server', 'test/interop_client']     # what the scenarios run
TIMEOUT_S = 900
# Servers that tests share: the variable with its URL, and what starts one, in test/.
SERVERS = {'SOUK_TEST_RABBITMQ': ('rabbitmq_server', 'RabbitMQ'),
           'SOUK_TEST_NATS': ('nats_server', 'Nats'),
           'SOUK_TEST_POSTGRES': ('postgres_server', 'Postgres')}
ON_BOTH = {'store_test', 'rows_test', 'batch_test', 'migrate_test'}
urls, urls_lock = {v: os.environ[v] for v in SERVERS if v in os.environ}, threading.Lock()


def url_of(variable):
    """Of a server that was started when the first test that names the variable ran, and ends with us."""
    with urls_lock:
        if variable not in urls:
            module, name = SERVERS[variable]
            sys.path.insert(0, str(ROOT / 'test'))
            server = getattr(importlib.import_module(module), name)()
            atexit.register(server.close)
            urls[variable] = server.url
        return urls[variable]


def servers_of(name, env):
    """The variables that the test program's source or its environment names, with their URLs."""
    file = name.split('/')[-1].split(' ')[0]
    sources = [p for p in ROOT.glob(f'*/**/{file}.*') if p.suffix in ('.c', '.h', '.py')]
    text = ''.join(p.read_text() for p in sources)
    if env.get('SOUK_TEST_STORE') == 'postgres':
        text += 'SOUK_TEST_POSTGRES'
    return {variable: url_of(variable) for variable in SERVERS if variable in text}


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
        build(folder, targets + (PROGRAMS if folder == 'build-asan' else []))
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
        yield 'manifests', [str(ROOT / 'test/manifests/manifests.py')], {}
        yield 'image', [str(ROOT / 'deploy/rootfs.py'), str(ROOT / 'build/souk')], {}
        yield 'faults', [str(ROOT / 'test/faults/faults.py'), '--kills', '50'], {}
        yield 'rolling', [str(ROOT / 'test/faults/rolling.py')], {}
        yield 'hosts', [str(ROOT / 'test/faults/hosts.py'), '--short'], {}


def run(job):
    name, command, env = job
    began = time.monotonic()
    options = {'ASAN_OPTIONS': 'detect_stack_use_after_return=0:abort_on_error=0',
               'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
               'TSAN_OPTIONS': 'halt_on_error=1'}
    try:
        env = {**os.environ, **options, **env, **servers_of(name, env)}
        done = subprocess.run(command, cwd=ROOT, env=env, timeout=TIMEOUT_S,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, code = done.stdout.decode(errors='replace'), done.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = (expired.stdout or b'').decode(errors='replace') + '\ntimed out', -1
    except AssertionError as said:              # a server does not start
        output, code = str(said), -1
    closings = CLOSING.findall(output)
    passed, failed = (int(closings[-1][0]), int(closings[-1][1])) if closings else (0, 0)
    if failed == 0 and (code != 0 or not closings):
        failed = 1                              # it died before it could say so
    return name, passed, failed, output, time.monotonic() - began


def main(arguments):
    names = [a for a in arguments if not a.startswith('-')]
    wanted = [j for j in jobs('--all' in arguments) if not names or any(n in j[0] for n in names)]
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
