#!/usr/bin/python3
"""Checks what the tree's shape promises:

    a folder includes only what stands before it on the ladder;
    a service's private headers (its own .h, X.impl.h, X.sql.h) are included in its folder alone;
    no thread primitive stands outside fiber, store, net, kit and test;
    a service calls and publishes only what its table lists, and the call graph has no cycle.

    check_ladder.py [ROOT]
"""
import re
import sys
from pathlib import Path

LADDER = ['base', 'fiber', 'store', 'net', 'bus', 'services/common', 'kit', 'services', 'gateway',
          'app', 'test']
THREADED = {'fiber', 'store', 'net', 'kit', 'test'}
THREAD = re.compile(r'\b(pthread_\w+|thrd_\w+|mtx_\w+|cnd_\w+|sem_(?:init|wait|post)|<threads\.h>'
                    r'|uv_(?:mutex|thread|rwlock|sem|cond|barrier|once|key|queue_work)\w*)')
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
GENERATED = re.compile(r'(\w+)\.(api|impl|sql|pb-c)\.h')
EVENT = re.compile(r'^message\s+(\w+)\s*\{\s*option\s+\(souk\.event\)\s*=\s*true', re.M)
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)
TABLE = re.compile(r'\bconst\s+struct\s+service\s+(\w+)_service\s*=\s*\{(.*?)^\};', re.S | re.M)


class Source:
    def __init__(self, root, path):
        self.path = path.relative_to(root)
        self.text = path.read_text()
        self.code = TOKEN.sub(blank, self.text)     # same length, without comments and strings
        self.parts = self.path.parts
        self.top = self.parts[0]
        self.service = self.parts[1] if self.top == 'services' and len(self.parts) > 2 else None
        self.is_test = self.top == 'test' or self.path.stem.endswith(('_test', '_bench'))

    @property
    def layer(self):
        return 'services/common' if self.service == 'common' else self.top

    def line(self, at):
        return self.text.count('\n', 0, at) + 1


def blank(match):
    return re.sub(r'[^\n]', ' ', match[0])


def sources(root):
    folders = sorted({name.split('/')[0] for name in LADDER})
    for folder in folders:
        for path in sorted((root / folder).rglob('*.[ch]')):
            yield Source(root, path)


# ---- includes ---------------------------------------------------------------------------------------

def target(root, source, header):
    """Where an included header stands: its layer, and the service whose private one it is."""
    made = GENERATED.fullmatch(header)
    if made:
        name, kind = made.groups()
        if name == 'types':
            return 'services/common', None
        owner = owner_of_proto(root, name)
        layer = owner if owner in ('gateway', 'bus', 'kit') and (owner, kind) != ('gateway', 'api') else 'services'
        return layer, owner if kind in ('impl', 'sql') else None
    if (root / source.path.parent / header).exists() and '/' not in header:
        return source.layer, None
    first, _, rest = header.partition('/')
    if rest and (root / 'services' / header).exists():
        return ('services/common', None) if first == 'common' else ('services', first)
    if header.startswith('services/'):
        return 'services', rest.partition('/')[0] if '/' in rest else None
    return (first, None) if first in LADDER else (None, None)


def owner_of_proto(root, name):
    """The folder of name.proto: a service's name, "gateway", "kit" or "bus"."""
    for path in sorted(root.glob(f'services/*/{name}.proto')) + sorted(root.glob(f'*/{name}.proto')):
        return path.parent.name
    return name


def check_includes(root, source, say):
    for m in INCLUDE.finditer(source.text):
        layer, private_of = target(root, source, m[1])
        here = source.service or source.top
        if private_of and private_of != here:
            say(source, m.start(1), f'"{m[1]}" is private to {private_of}')
        elif layer and not source.is_test and LADDER.index(layer) > LADDER.index(source.layer):
            say(source, m.start(1), f'"{m[1]}" of {layer} stands above {source.layer}')


def check_threads(source, say):
    if source.top in THREADED or source.is_test:
        return
    for m in THREAD.finditer(source.code):
        say(source, m.start(), f'{m[0]}: threads are for {", ".join(sorted(THREADED))}')


# ---- the call graph ---------------------------------------------------------------------------------

def tables(found):
    """Every service's table: name → (source, where, services called, topics published)."""
    out = {}
    for source in found:
        for m in TABLE.finditer(source.code) if not source.is_test else ():
            calls = re.search(r'\.calls\s*=\s*\{([^}]*)\}', m[2])
            publishes = re.search(r'\.publishes\s*=\s*\{([^}]*)\}', m[2])
            out[m[1]] = (source, m.start(1),
                         re.findall(r'&(\w+)_rpcs\b', calls[1] if calls else ''),
                         re.findall(r'&(\w+)', publishes[1] if publishes else ''))
    return out


def events(root):
    """The names of all events, as publish_…() has them."""
    out = set()
    for path in [*root.glob('services/*/*.proto'), *root.glob('gateway/*.proto')]:
        for name in EVENT.findall(path.read_text()):
            out.add(re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name).lower())
    return out


def check_tables(found, graph, published, say):
    services = sorted(graph, key=len, reverse=True)
    for source in found:
        here = source.service or source.top
        if here not in graph or source.is_test:
            continue
        _, _, calls, publishes = graph[here]
        for m in re.finditer(r'\bcall_(\w+)\s*\(', source.code):
            callee = next((s for s in services if m[1].startswith(s + '_')), None)
            if callee and callee not in calls:
                say(source, m.start(),
                    f'{m[0]}…): {callee}_rpcs is not in the .calls of {here}_service')
        for m in re.finditer(r'\bpublish_(\w+)\s*\(', source.code):
            if m[1] in published and m[1] not in publishes:
                say(source, m.start(),
                    f'{m[0]}…): {m[1]} is not in the .publishes of {here}_service')


def check_cycles(graph, say):
    done, told = set(), set()

    def visit(name, way):
        if name in way:
            circle = way[way.index(name):]
            if frozenset(circle) not in told:
                told.add(frozenset(circle))
                source, at = graph[name][:2]
                say(source, at, f'calls go in a circle: {" → ".join(circle + [name])}')
            return
        if name in done or name not in graph:
            return
        for callee in graph[name][2]:
            visit(callee, way + [name])
        done.add(name)
    for name in sorted(graph):
        visit(name, [])


def check(root):
    """What is wrong, as lines "file:line: text", and how many files were looked at."""
    found, out = list(sources(root)), []

    def say(source, at, text):
        out.append((str(source.path), source.line(at), text))
    for source in found:
        check_includes(root, source, say)
        check_threads(source, say)
    graph = tables(found)
    check_tables(found, graph, events(root), say)
    check_cycles(graph, say)
    return [f'{path}:{line}: {text}' for path, line, text in sorted(out)], len(found)


if __name__ == '__main__':
    lines, n = check(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve())
    for line in lines:
        print(line)
    print(f'{n} files, {len(lines)} problems')
    sys.exit(bool(lines))
