#!/usr/bin/python3
"""docs/NEW_SERVICE.md at its word: its blocks, and nothing else, make a service that works.

The source tree is copied and built anew, as a reader's would be; ccache makes that quick where it is.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from souk import ROOT, Souk, main, order_body, wait_for  # noqa: E402

PAGE = ROOT / 'docs/NEW_SERVICE.md'
BLOCK = re.compile(r'^### `([^`\n]+)`\n\n```(\w+)\n(.*?)^```$', re.M | re.S)
FOLDER, LINE = 'services/loyalty/', 'services/services.c'
JOBS = str(os.cpu_count() or 2)


def blocks(page):
    """(path, language, text) of every block that is headed by a path."""
    return BLOCK.findall(page)


def insert(text, diff):
    """The text with the diff's added lines behind its context, which must be there once."""
    lines = diff.splitlines()
    context = '\n'.join(x[1:] for x in lines if x.startswith(' ')) + '\n'
    added = [x[1:] for x in lines if x.startswith('+')]
    assert len(added) == 1 and len(lines) == 2, f'the line is not one line: {diff}'
    assert text.count(context) == 1, f'not once there: {context}'
    return text.replace(context, context + added[0] + '\n')


def copy_of_the_tree(to):
    """What git knows of, as it is in the working tree; a tarball without git has nothing else."""
    listed = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                            capture_output=True)
    if listed.returncode:
        shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns('build*', 'souk-data'))
        return
    for name in listed.stdout.decode().split('\0'):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


class Tree:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='souk-new-service-')
        self.root = Path(self.folder) / 'souk'
        copy_of_the_tree(self.root)
        self.binary = str(self.root / 'build/souk')
        self.environment = {**os.environ, 'CCACHE_BASEDIR': str(self.root), 'CCACHE_NOHASHDIR': '1',
                            'CCACHE_SLOPPINESS': 'time_macros'}

    def apply(self, page):
        for path, language, text in blocks(page):
            target = self.root / path
            if language == 'diff':
                target.write_text(insert(target.read_text(), text))
                continue
            assert not target.exists(), f'{path} is there already'
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def run(self, *words):
        return subprocess.run(words, cwd=self.root, env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    def build(self):
        """Souk and the service's own test, without what costs time to compile."""
        done = self.run('tools/configure', 'build', '--buildtype=debug', '-Doptimization=0', '-Ddebug=false',
                        '-Db_sanitize=undefined', '-Db_lundef=false')
        if done.returncode == 0:
            done = self.run('ninja', '-C', 'build', '-j', JOBS, 'souk', 'loyalty_test')
        return done

    def own_test(self):
        done = self.run('build/loyalty_test')
        return done.returncode, done.stdout

    def close(self):
        shutil.rmtree(self.folder)


class NewService(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tree = Tree()
        cls.before = {p.relative_to(cls.tree.root) for p in cls.tree.root.rglob('*') if p.is_file()}
        cls.tree.apply(PAGE.read_text())
        cls.after = {p.relative_to(cls.tree.root) for p in cls.tree.root.rglob('*') if p.is_file()}
        done = cls.tree.build()
        assert done.returncode == 0, done.stdout[-5000:]

    @classmethod
    def tearDownClass(cls):
        cls.tree.close()

    def test_it_is_one_folder_and_one_line(self):
        self.assertTrue(all(str(p).startswith(FOLDER) for p in self.after - self.before), self.after - self.before)
        self.assertEqual([p for p, language, _ in blocks(PAGE.read_text()) if language == 'diff'], [LINE])
        checked = self.tree.run('tools/check_ladder.py')
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_its_own_test_passes(self):
        code, told = self.tree.own_test()
        self.assertEqual(code, 0, told)
        self.assertRegex(told, r'(?m)^[1-9]\d* passed, 0 failed$')

    def test_the_map_shows_it(self):
        told = self.tree.run('build/souk', 'map').stdout
        self.assertIn('\n## loyalty\n', told)
        self.assertIn('| loyalty.GetMyPoints | GET /v1/loyalty/me | loyalty.read | customer, admin, superadmin |', told)
        heard = dict(re.findall(r'^\| ([a-z_.]+) \| ([a-z, ]+) \|$', told, re.M))
        self.assertIn('loyalty', heard['orders.order_paid'].split(', '))
        self.assertIn('loyalty', heard['payments.payment_refunded'].split(', '))
        self.assertIn('loyalty.points_earned', heard)

    def test_a_customer_buys_and_has_points(self):
        souk = Souk(binary=self.tree.binary)
        try:
            self.assertIn('/v1/loyalty/me', souk.get('/openapi.json')[1]['paths'])
            sku = souk.product('lamp', 4299, 5)
            bearer, _ = souk.customer('grace@example.org')
            self.assertEqual(souk.get('/v1/loyalty/me', **bearer)[:2], (200, {'points': 0}))
            self.assertEqual(souk.get('/v1/loyalty/me')[0], 401)
            status, made, _ = souk.post('/v1/orders', order_body(sku, quantity=2), **bearer)
            self.assertEqual(status, 201, made)
            self.points_become(souk, bearer, 85)
            found = wait_for(lambda: souk.get('/v1/audit/events?topic=loyalty.points_earned',
                                              **souk.staff())[1]['data'])
            self.assertEqual([(e['data']['order_id'], e['data']['points']) for e in found], [(made['id'], 85)])
            status, refund, _ = souk.post(f'/v1/payments/{made["payment"]["id"]}/refund', {}, **souk.staff())
            self.assertLess(status, 300, refund)
            self.points_become(souk, bearer, 0)
        finally:
            self.assertEqual(souk.close(), 0)

    def test_a_page_with_a_block_less_does_not_do(self):
        for path in FOLDER + 'loyalty.sql', FOLDER + 'loyalty.c', LINE:
            with self.subTest(path):
                target = self.tree.root / path
                whole = target.read_text()
                block, = [text for of, _, text in blocks(PAGE.read_text()) if of == path]
                target.write_text(whole.replace(block.split('+')[1] if path == LINE else block, ''))
                self.assertNotEqual(target.read_text(), whole)
                try:
                    built = self.tree.build().returncode == 0
                    self.assertEqual(built, path == LINE)   # nobody else names the service
                    self.assertTrue(not built or self.tree.own_test()[0] != 0)
                finally:
                    target.write_text(whole)
                    self.assertEqual(self.tree.build().returncode, 0)

    def points_become(self, souk, bearer, points):
        self.assertTrue(wait_for(lambda: souk.get('/v1/loyalty/me', **bearer)[1] == {'points': points}),
                        souk.get('/v1/loyalty/me', **bearer))


if __name__ == '__main__':
    main()
