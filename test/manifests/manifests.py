#!/usr/bin/python3
"""Holds deploy/ against the schemas of Kubernetes and of compose.  Takes node and npm: part of make test-all alone."""
import copy
import json
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent.parent / 'deploy'


def faults(everything):
    done = subprocess.run(['node', HERE / 'check.js'], input=json.dumps(everything), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], cwd=HERE, check=True)
        files = [p for p in sorted((DEPLOY / 'kubernetes').glob('*.yaml')) if p.name != 'kustomization.yaml']
        cls.all = {'manifests': [d for p in files for d in yaml.safe_load_all(p.read_text())],
                   'compose': yaml.safe_load((DEPLOY / 'compose.yaml').read_text())}

    def test_they_keep_to_their_schemas(self):
        self.assertEqual(faults(self.all), '')

    def test_what_does_not_is_noticed(self):
        def of(everything, kind):
            return next(m for m in everything['manifests'] if m['kind'] == kind)

        def container(everything):
            return of(everything, 'Deployment')['spec']['template']['spec']['containers'][0]
        for name, spoil in {
            'a misspelt field': lambda e: container(e).update(imag='souk'),
            'one deep inside': lambda e: container(e)['lifecycle']['preStop']['sleep'].update(second=3),
            'a wrong type': lambda e: of(e, 'Deployment')['spec'].update(replicas='two'),
            'a missing field': lambda e: of(e, 'Deployment')['spec'].pop('selector'),
            'a kind that is none': lambda e: of(e, 'Ingress').update(apiVersion='networking.k8s.io/v9'),
            'in compose': lambda e: e['compose']['services']['orders'].update(read_onyl=True),
        }.items():
            with self.subTest(name):
                spoilt = copy.deepcopy(self.all)
                spoil(spoilt)
                self.assertNotEqual(faults(spoilt), '')


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=1).result
    bad = len(result.failures) + len(result.errors)
    print(f'{result.testsRun - bad} passed, {bad} failed')
    sys.exit(bool(bad))
