"""What is deployed: the processes of a topology, and who of them may reach whom, after the services' tables."""
import json
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FRONT = 'gateway'               # the service whose process serves HTTP to the world


class Process:
    def __init__(self, name, services):
        self.name, self.services = name, services


class Shape:
    """The map, the topology and deploy/deployment.yaml, held against each other."""

    def __init__(self, souk_map, topology, facts, version):
        self.map, self.facts, self.version = souk_map, facts, version
        self.services = {s['name']: s for s in souk_map['services']}
        self.processes = topology
        self.home = {s: p for p in topology for s in p.services}
        for named in list(self.home) + list(facts['services']):
            if named not in self.services:
                raise SystemExit(f'there is no service "{named}"')
        for name in self.services:
            if name not in self.home:
                raise SystemExit(f'{name} runs in no process')
        self.publisher = {topic: s['name'] for s in souk_map['services'] for topic in s['publishes']}

    def image(self):
        return f'{self.facts["image"]}:{self.version}'

    def is_front(self, process):
        return FRONT in process.services

    def front(self):
        return self.home[FRONT]

    def keeps_file(self, process):
        """Its store is a file in its data folder, rebuilt when it is lost; so it has one replica."""
        return any(self.services[s]['full_text'] for s in process.services)

    def tests_payments(self):
        return any('sandbox' in self.fact(p, 'reaches', []) for p in self.processes)

    def fact(self, process, name, empty):
        """What the services of a process need of one kind, together."""
        found = [self.facts['services'].get(s, {}).get(name, empty) for s in process.services]
        if isinstance(empty, list):
            return sorted({x for one in found for x in one})
        return {k: v for one in found for k, v in one.items()}

    def asks(self, service):
        """Which services this one sends rpcs to, and why."""
        s, to = self.services[service], {}
        for called in s['calls']:
            to.setdefault(called, set()).add('calls')
        for heard in s['subscribes']:
            to.setdefault(self.publisher[heard['topic']], set()).add('hears')
        if s['hears_all']:                      # its events, and what its subscribers have parked
            for other in self.services:
                to.setdefault(other, set()).add('hears all, redrives')
        if service == FRONT:                    # whatever has a route is called there
            for other in self.services.values():
                if any(rpc['path'] for rpc in other['serves']):
                    to.setdefault(other['name'], set()).add('routes')
        if any(rpc['permission'] for rpc in s['serves']):
            to.setdefault(self.map['permissions_asked_of'], set()).add('permissions')
        return to

    def edges(self):
        """{(caller's process, called process): reasons}: what the network lets through, and nothing else."""
        edges = {}
        for service in self.services:
            for called, why in self.asks(service).items():
                pair = self.home[service].name, self.home[called].name
                if pair[0] != pair[1]:
                    edges.setdefault(pair, set()).update(why)
        return edges

    def public_paths(self):
        """The first segments of the routes that are for the world; /metrics is not among them."""
        paths = {rpc['path'].split('/')[1] for s in self.services.values() for rpc in s['serves'] if rpc['path']}
        return sorted(paths)


def read_topology(path):
    """The processes of a topology file."""
    found = []
    for line in Path(path).read_text().splitlines():
        words = line.split('#')[0].split()
        if words and words[0] == 'process':
            found.append(Process(words[1], words[2].split(',')))
    return found


def read_shape(binary):
    def printed(*words):
        return subprocess.run([binary, *words], check=True, capture_output=True, text=True).stdout
    return Shape(json.loads(printed('map', '--json')), read_topology(ROOT / 'deploy/many.conf'),
                 yaml.safe_load((ROOT / 'deploy/deployment.yaml').read_text()), printed('--version').split()[1])


def topology_text(shape, settings, address):
    """deploy/many.conf with other addresses."""
    lines = ['# deploy/many.conf with addresses of its own.  Written by tools/gen_deploy.py; make deploy writes it anew.']
    lines += [f'{name:<9} {value}' for name, value in settings.items()] + ['']
    rows = [(p.name, ','.join(p.services), *address(p)) for p in shape.processes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        lines.append('process   ' + '  '.join(word.ljust(w) for word, w in zip(row, widths)).rstrip())
    return '\n'.join(lines) + '\n'


class Dumper(yaml.SafeDumper):
    """YAML as people write it: block texts, lists indented, nothing aliased."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True


def represent_text(dumper, text):
    return dumper.represent_scalar('tag:yaml.org,2002:str', text, style='|' if '\n' in text else None)


Dumper.add_representer(str, represent_text)


def yaml_text(why, *documents):
    head = f'# {why}\n# Written by tools/gen_deploy.py; make deploy writes it anew.\n'
    body = '---\n'.join(yaml.dump(d, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)
                        for d in documents)
    return head + body
