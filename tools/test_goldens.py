#!/usr/bin/python3
"""The golden documents say what the program says; folders include only downwards."""
import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOUK = os.environ.get('SOUK_BINARY', str(ROOT / 'build/souk'))


class Goldens(unittest.TestCase):
    maxDiff = 2000

    def test_the_map_is_what_souk_map_prints(self):
        printed = subprocess.run([SOUK, 'map'], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed, (ROOT / 'docs/MAP.md').read_text(), 'run: make docs')

    def made(self, what):
        protos = subprocess.run([ROOT / 'tools/sources.py', 'protos'], check=True, capture_output=True,
                                text=True, cwd=ROOT).stdout.split()
        return subprocess.run([ROOT / 'tools/gen.py', what, '/dev/stdout', *protos], check=True,
                              capture_output=True, text=True, cwd=ROOT).stdout

    def test_the_openapi_document_is_what_the_protos_say(self):
        self.assertEqual(self.made('openapi'), (ROOT / 'docs/openapi.json').read_text(), 'run: make docs')

    def test_the_asyncapi_document_is_what_the_protos_say(self):
        self.assertEqual(self.made('asyncapi'), (ROOT / 'docs/asyncapi.json').read_text(), 'run: make docs')

    def test_folders_include_downwards_and_calls_have_no_cycle(self):
        done = subprocess.run([ROOT / 'tools/check_ladder.py'], capture_output=True, text=True, cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=0).result
    bad = len(result.failures) + len(result.errors)
    print(f'{result.testsRun - bad} passed, {bad} failed')
    sys.exit(bool(bad))
