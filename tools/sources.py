#!/usr/bin/python3
"""Lists what the build needs to know of the tree, so that adding a file names it nowhere.

    sources.py protos            every .proto that generates C
    sources.py sources FOLDER…   every .c that is neither a test, a bench nor a program
    sources.py tests             every test program: NAME PATH
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def protos():
    found = sorted(ROOT.glob('services/*/*.proto')) + sorted(ROOT.glob('gateway/*.proto'))
    return [p for p in found if p.name != 'options.proto']


def sources(folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob('*.c')):
            if not path.stem.endswith(('_test', '_bench')) and path.name != 'main.c':
                yield path


def tests():
    for folder in ('base', 'fiber', 'store', 'net', 'bus', 'kit', 'services', 'gateway', 'app', 'test'):
        for path in sorted((ROOT / folder).rglob('*_test.c')):
            yield path


def main(what, *rest):
    paths = {'protos': protos, 'sources': lambda: sources(rest), 'tests': tests}[what]()
    for path in paths:
        print(path.relative_to(ROOT))


main(*sys.argv[1:])
