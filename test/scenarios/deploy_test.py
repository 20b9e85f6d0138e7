"""deploy/ says what the program and the services' tables say: files, networks, packages, metrics, certificates."""
import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / 'tools'))
import gen_deploy                                           # noqa: E402
from deploy_model import read_shape                         # noqa: E402
from souk import BINARY, ROOT, Souk, main, order_body, wait_for     # noqa: E402

DEPLOY = ROOT / 'deploy'
NAME, COMPONENT = 'app.kubernetes.io/name', 'app.kubernetes.io/component'


def run(*words, **options):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, **options)


def documents(folder=DEPLOY / 'kubernetes'):
    return [d for path in sorted(folder.glob('*.yaml')) for d in yaml.safe_load_all(path.read_text())]


def of_kind(everything, kind):
    return {d['metadata']['name']: d for d in everything if d['kind'] == kind}


def calls_of_the_map(souk_map, home):
    """(caller, called, why) of processes, read from the map once more and by hand: not as the generator does."""
    services = souk_map['services']
    wanted = set()
    for s in services:
        wanted |= {(s['name'], c) for c in s['calls']}
        if any(rpc['permission'] for rpc in s['serves']):
            wanted.add((s['name'], souk_map['permissions_asked_of']))
        for other in services:
            heard = {x['topic'] for x in s['subscribes']}
            if s['hears_all'] or heard & set(other['publishes']):
                wanted.add((s['name'], other['name']))
            if s['name'] == 'gateway' and any(rpc['path'] for rpc in other['serves']):
                wanted.add((s['name'], other['name']))
    return {(home[a], home[b]) for a, b in wanted if home[a] != home[b]}


def selected(selector, names):
    """Which of the names a podSelector of ours picks."""
    labels = {**selector.get('matchLabels', {})}
    assert labels.pop(NAME, 'souk') == 'souk', selector
    exact = labels.pop(COMPONENT, None)
    assert not labels, selector
    picked = {n for n in names if exact in (None, n)}
    for e in selector.get('matchExpressions', []):
        assert (e['key'], e['operator']) == (COMPONENT, 'In'), selector
        picked &= set(e['values'])
    return picked


def allowed(policies, names, direction, port):
    """{(caller, called)} that the policies of one direction let through at a port."""
    pairs = set()
    into = direction == 'ingress'
    for policy in policies.values():
        spec = policy['spec']
        for rule in spec.get(direction, []):
            if port not in [p['port'] for p in rule.get('ports', [{'port': port}])]:
                continue
            peers = rule.get('from' if into else 'to')
            ours = [p['podSelector'] for p in peers or [] if set(p) == {'podSelector'}]
            others = {n for selector in ours for n in selected(selector, names)}
            if not peers or len(ours) < len(peers):
                others |= {*names, 'elsewhere'}
            for own in selected(spec['podSelector'], names):
                pairs |= {(o, own) if into else (own, o) for o in others if o != own}
    return pairs


class Deploy(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.shape = read_shape(BINARY)
        cls.names = [p.name for p in cls.shape.processes]
        cls.all = documents()

    # ---- what is generated

    def test_the_files_are_what_the_tables_say(self):
        for name, text in gen_deploy.made(self.shape).items():
            self.assertEqual((DEPLOY / name).read_text(), text, f'deploy/{name}; run: make deploy')
        known = {Path(n).name for n in gen_deploy.made(self.shape) if n.startswith('kubernetes/')}
        self.assertEqual({p.name for p in (DEPLOY / 'kubernetes').iterdir()}, known, 'run: make deploy')

    def test_the_map_as_json_says_what_the_map_for_people_says(self):
        rows = re.findall(r'^\| (\w+\.\w+) \| .*? \| (\S*) \| .* \|$', (ROOT / 'docs/MAP.md').read_text(), re.M)
        told = [(rpc['rpc'], rpc['permission'] or '') for s in self.shape.map['services'] for rpc in s['serves']]
        self.assertEqual(rows, told)
        topics = re.findall(r'^\| (\w+\.\w+) \| [\w, ]+ \|$', (ROOT / 'docs/MAP.md').read_text(), re.M)
        self.assertEqual(topics, [t for s in self.shape.map['services'] for t in s['publishes']])

    def test_every_process_has_its_manifests_and_no_one_else_has(self):
        deployments = of_kind(self.all, 'Deployment')
        self.assertEqual(set(deployments), {*self.names, 'sandbox'})
        for name in self.names:
            words = deployments[name]['spec']['template']['spec']['containers'][0]['args']
            self.assertEqual(words, ['run', '--topology', '/etc/souk/kube.conf', '--process', name])
        self.assertLessEqual(set(self.names), set(of_kind(self.all, 'Service')))
        self.assertLessEqual(set(self.names), set(yaml.safe_load((DEPLOY / 'compose.yaml').read_text())['services']))

    # ---- networks

    def differs(self, policies):
        port = self.shape.facts['ports']['grpc']
        wanted = calls_of_the_map(self.shape.map, {s: p.name for s, p in self.shape.home.items()})
        return [(d, sorted(got ^ wanted)) for d in ('ingress', 'egress')
                if (got := allowed(policies, self.names, d, port)) != wanted]

    def test_networks_let_through_what_the_map_says_and_nothing_else(self):
        policies = of_kind(self.all, 'NetworkPolicy')
        self.assertEqual(self.differs(policies), [])
        for name in self.names:
            for direction, peers in (('ingress', 'from'), ('egress', 'to')):
                for i, rule in enumerate(policies[name]['spec'][direction]):
                    for mutate in (lambda r: r.pop(peers), lambda r: r.__setitem__(peers, [])):
                        if self.shape.facts['ports']['grpc'] not in [p['port'] for p in rule['ports']]:
                            continue
                        broken = copy.deepcopy(policies)
                        mutate(broken[name]['spec'][direction][i])
                        self.assertTrue(self.differs(broken), f'nobody notices that {name} has everybody {peers}')

    def test_a_policy_with_one_caller_too_many_or_too_few_is_noticed(self):
        policies = of_kind(self.all, 'NetworkPolicy')
        for name in self.names:
            rules = [r for r in policies[name]['spec']['ingress'] if r['ports'][0]['port'] ==
                     self.shape.facts['ports']['grpc']]
            for rule in rules:
                values = rule['from'][0]['podSelector']['matchExpressions'][0]['values']
                spare = [n for n in self.names if n not in values and n != name]
                for change in [values[1:], *([[*values, spare[0]]] if spare else [])]:
                    kept, values[:] = list(values), change
                    self.assertTrue(self.differs(policies), f'{name}: {change}')
                    values[:] = kept

    def test_only_those_reach_outside_who_need_to(self):
        policies = of_kind(self.all, 'NetworkPolicy')
        for port, service in ((587, 'notifications'), (443, 'payments')):
            home = self.shape.home[service].name
            reaching = {n for n, p in policies.items() for r in p['spec'].get('egress', [])
                        if port in [x['port'] for x in r['ports']]}
            self.assertEqual(reaching, {home}, port)
        everything = policies['nothing-else']['spec']
        self.assertEqual(everything, {'podSelector': {}, 'policyTypes': ['Ingress', 'Egress']})
        web = {n for n, p in policies.items() for r in p['spec'].get('ingress', [])
               for peer in r['from'] if 'ingress-nginx' in str(peer)}
        self.assertEqual(web, {self.shape.front().name})

    def test_the_world_sees_the_routes_and_no_metrics(self):
        ingress = of_kind(self.all, 'Ingress')['gateway']
        paths = [p['path'] for rule in ingress['spec']['rules'] for p in rule['http']['paths']]
        routes = json.loads((ROOT / 'docs/openapi.json').read_text())['paths']
        for route in routes:
            self.assertTrue(any(route == p or route.startswith(p + '/') for p in paths), route)
        self.assertFalse([p for p in paths if '/metrics'.startswith(p) or '/readyz'.startswith(p)])

    # ---- pods

    def pods(self):
        for d in of_kind(self.all, 'Deployment').values():
            yield d['metadata']['name'], d, d['spec']['template']['spec']

    def test_pods_keep_to_the_restricted_profile(self):
        for name, _, pod in self.pods():
            with self.subTest(name):
                whole = pod['securityContext']
                self.assertIs(whole['runAsNonRoot'], True)
                self.assertEqual(whole['seccompProfile'], {'type': 'RuntimeDefault'})
                self.assertIs(pod['automountServiceAccountToken'], False)
                self.assertFalse({'hostNetwork', 'hostPID', 'hostIPC'} & set(pod))
                for v in pod.get('volumes', []):
                    self.assertTrue(set(v) - {'name'} <= {'emptyDir', 'configMap', 'secret', 'persistentVolumeClaim'}, v)
                for c in pod['containers'] + pod.get('initContainers', []):
                    self.assertEqual(c['securityContext'], {'allowPrivilegeEscalation': False,
                                                            'readOnlyRootFilesystem': True,
                                                            'capabilities': {'drop': ['ALL']}})
                    self.assertIn('memory', c['resources']['limits'])

    def test_what_pods_name_is_there(self):
        ours = {kind: set(of_kind(self.all, kind)) for kind in ('ConfigMap', 'PersistentVolumeClaim', 'Service')}
        example = list(yaml.safe_load_all((DEPLOY / 'kubernetes/secrets.example.yaml').read_text()))
        secrets = {d['metadata']['name']: set(d['stringData']) for d in example}
        readme = (DEPLOY / 'README.md').read_text()
        for name, deployment, pod in self.pods():
            labels = deployment['spec']['template']['metadata']['labels']
            self.assertEqual(deployment['spec']['selector']['matchLabels'], labels)
            mounts = {m['name'] for c in pod['containers'] + pod.get('initContainers', []) for m in c['volumeMounts']}
            self.assertEqual(mounts, {v['name'] for v in pod['volumes']}, name)
            for v in pod['volumes']:
                if 'configMap' in v:
                    self.assertIn(v['configMap']['name'], ours['ConfigMap'])
                if 'persistentVolumeClaim' in v:
                    self.assertIn(v['persistentVolumeClaim']['claimName'], ours['PersistentVolumeClaim'])
                if 'secret' in v:
                    secret = v['secret']['secretName']
                    self.assertIn(re.sub(f'-{name}$', '-', secret), readme)
            for e in pod['containers'][0].get('env', []):
                if 'valueFrom' in e:
                    ref = e['valueFrom']['secretKeyRef']
                    self.assertIn(ref['key'], secrets[ref['name']])
            ports = {p['name'] for p in pod['containers'][0]['ports']}
            for probe in ('startupProbe', 'readinessProbe', 'livenessProbe'):
                if probe in pod['containers'][0] and 'httpGet' in pod['containers'][0][probe]:
                    self.assertIn(pod['containers'][0][probe]['httpGet']['port'], ports)

    def test_no_two_pods_share_files(self):
        claims = of_kind(self.all, 'PersistentVolumeClaim')
        self.assertEqual({n: c['spec']['accessModes'] for n, c in claims.items()}, {'sandbox': ['ReadWriteOnce']})
        self.assertEqual(of_kind(self.all, 'Deployment')['sandbox']['spec']['replicas'], 1)

    def test_the_gateway_believes_its_ingress_controller_and_limits_by_itself(self):
        deployment = of_kind(self.all, 'Deployment')[self.shape.front().name]
        told = {e['name']: e.get('value') for e in deployment['spec']['template']['spec']['containers'][0]['env']}
        done = run(BINARY, 'check-config', '--data', '/nonexistent', env={**os.environ, 'SOUK_TRUSTED_PROXIES':
                                                                          told['SOUK_TRUSTED_PROXIES']})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn('SOUK_RATE_LIMIT_PER_S', told)
        self.assertNotIn('limit-rps', str(of_kind(self.all, 'Ingress')))

    def test_there_is_one_sandbox_or_none(self):
        without = copy.deepcopy(self.shape)
        without.facts['services']['payments']['reaches'].remove('sandbox')
        for shape, switch, url in ((self.shape, 'on', 'http://sandbox:8090'), (without, 'off', None)):
            made = gen_deploy.made(shape)
            pod = of_kind(yaml.safe_load_all(made['kubernetes/payments.yaml']), 'Deployment')['payments']['spec']
            told = {e['name']: e.get('value') for e in pod['template']['spec']['containers'][0]['env']}
            services = yaml.safe_load(made['compose.yaml'])['services']
            for environment in (told, services['payments']['environment']):
                self.assertEqual((environment['SOUK_SANDBOX'], environment.get('SOUK_SANDBOX_URL')), (switch, url))
            self.assertEqual(('kubernetes/sandbox.yaml' in made, 'sandbox' in services), (bool(url), bool(url)))

    def test_a_pod_ends_after_the_last_request(self):
        drain_s = int(of_kind(self.all, 'ConfigMap')['souk-settings']['data']['SOUK_DRAIN_S'])
        for name, d, pod in self.pods():
            if name in self.names:
                lag_s = pod['containers'][0]['lifecycle']['preStop']['sleep']['seconds']
                self.assertGreater(pod['terminationGracePeriodSeconds'], drain_s + lag_s)
        for service in yaml.safe_load((DEPLOY / 'compose.yaml').read_text())['services'].values():
            self.assertGreater(int(service['stop_grace_period'].rstrip('s')), drain_s)

    def test_who_keeps_a_file_has_one_replica_and_the_others_scale(self):
        deployments, scalers = of_kind(self.all, 'Deployment'), of_kind(self.all, 'HorizontalPodAutoscaler')
        budgets = of_kind(self.all, 'PodDisruptionBudget')
        files = {self.shape.home[s['name']].name for s in self.shape.map['services'] if s['full_text']}
        self.assertTrue(files)
        for p in self.shape.processes:
            spec = deployments[p.name]['spec']
            if p.name in files:
                self.assertEqual((spec['replicas'], spec['strategy']['type']), (1, 'Recreate'))
                self.assertNotIn(p.name, scalers)
            else:
                self.assertNotIn('replicas', spec)              # it would fight with the autoscaler
                self.assertEqual(spec['strategy']['rollingUpdate'], {'maxUnavailable': 0, 'maxSurge': 1})
                self.assertGreater(scalers[p.name]['spec']['minReplicas'], 1)
                self.assertEqual(budgets[p.name]['spec']['maxUnavailable'], 1)

    def test_settings_are_settings(self):
        printed = run(BINARY, 'check-config', '--data', '/nonexistent').stdout
        known = {'SOUK_' + line.split(' = ')[0].upper() for line in printed.splitlines()}
        known |= {'SOUK_DATA', 'SOUK_STORE', 'SOUK_BROKER', 'SOUK_MONITOR'}
        used = set(of_kind(self.all, 'ConfigMap')['souk-settings']['data'])
        used |= {e['name'] for _, _, pod in self.pods() for e in pod['containers'][0]['env']}
        for service in yaml.safe_load((DEPLOY / 'compose.yaml').read_text())['services'].values():
            used |= {n for n in service['environment'] if n.startswith('SOUK_')}
        self.assertEqual(used - known, set())

    # ---- compose

    def test_compose_is_whole_and_confined(self):
        compose = yaml.safe_load((DEPLOY / 'compose.yaml').read_text())
        asked = set(re.findall(r'^(\w+)=', (DEPLOY / 'env.example').read_text(), re.M))
        self.assertEqual(set(re.findall(r'\$\{(\w+)', (DEPLOY / 'compose.yaml').read_text())), asked)
        for name, s in compose['services'].items():
            with self.subTest(name):
                self.assertIs(s['read_only'], True)
                self.assertEqual((s['cap_drop'], s['security_opt']), (['ALL'], ['no-new-privileges:true']))
                self.assertNotIn(s['user'].split(':')[0], ('0', 'root'))
                self.assertLessEqual(set(s['networks']), set(compose['networks']))
                self.assertLessEqual(set(s.get('depends_on', {})), set(compose['services']))
                for needed in s.get('depends_on', {}):
                    self.assertIn('healthcheck', compose['services'][needed])
                for volume in s.get('volumes', []):
                    source = volume.split(':')[0]
                    self.assertTrue(source in compose['volumes'] or (DEPLOY / source).exists(), volume)
        published = {n for n, s in compose['services'].items() if 'ports' in s}
        self.assertEqual(published, {self.shape.front().name})

    # ---- the image

    def test_the_image_has_the_packages_that_the_binary_is_linked_with(self):
        linked = re.findall(r'\(NEEDED\).*\[(.+)\]', run('readelf', '-d', self.plain_binary()).stdout)
        packages = set()
        for line in run('ldd', self.plain_binary()).stdout.splitlines():
            words = line.split()
            if words[0].split('/')[-1] in linked:
                path = words[2] if '=>' in words else words[0]
                found = run('dpkg', '-S', Path(path).resolve()).stdout or run('dpkg', '-S', path).stdout
                packages.add(found.split(':')[0])
        listed = re.search(r'^runtime="([^"]*)"', (ROOT / 'tools/install').read_text(), re.M)[1].split()
        self.assertEqual(packages | {'ca-certificates'}, set(listed), 'tools/install, runtime')
        self.assertEqual(len(listed), len(set(listed)))

    def plain_binary(self):
        """The sanitizers bring libraries of their own, which the released binary has not."""
        plain = ROOT / 'build/souk'
        if not plain.exists():
            self.skipTest('build/souk is not built')
        return plain

    def test_the_dockerfile_keeps_to_the_rules(self):
        self.assertEqual(self.faults_of((DEPLOY / 'Dockerfile').read_text()), [])

    def test_a_dockerfile_that_breaks_a_rule_is_noticed(self):
        text = (DEPLOY / 'Dockerfile').read_text()
        for old, new in (('USER 10001:10001', ''), ('debian:12-slim AS', 'debian:latest AS'), ('&& rm -rf /var/lib/apt/lists/*', ''),
                         ('STOPSIGNAL SIGTERM', ''), ('ENTRYPOINT ["souk"]', 'ENTRYPOINT souk'),
                         ('USER 10001', 'RUN apt-get install curl\nUSER 10001'), ('WORKDIR /data', 'WORKDIR data'),
                         ('COPY --from=build', 'ADD --from=build')):
            self.assertIn(old, text)
            self.assertTrue(self.faults_of(text.replace(old, new)), f'{old} -> {new}')

    def faults_of(self, text):
        lines = re.sub(r'^\s*#.*\n', '', text, flags=re.M).replace('\\\n', ' ').splitlines()
        steps = [line.split(None, 1) for line in lines if line.strip()]
        last = steps[max(i for i, s in enumerate(steps) if s[0] == 'FROM'):]
        words = [w for w, _ in last]
        faults = [f'{w}: unknown' for w, _ in steps if w not in
                  {'FROM', 'RUN', 'COPY', 'LABEL', 'ENV', 'USER', 'WORKDIR', 'VOLUME', 'EXPOSE', 'STOPSIGNAL',
                   'HEALTHCHECK', 'ENTRYPOINT', 'CMD'}]         # ADD and SHELL do more than one sees
        faults += [f'{r}: no fixed tag' for w, r in steps if w == 'FROM' and not re.match(r'\S+:\d', r)]
        faults += [f'{r}: not absolute' for w, r in steps if w == 'WORKDIR' and not r.startswith('/')]
        faults += [f'{w}: not once' for w in ('USER', 'STOPSIGNAL', 'ENTRYPOINT', 'CMD', 'HEALTHCHECK', 'VOLUME')
                   if words.count(w) != 1]
        faults += [f'{r}: no list' for w, r in last if w in ('ENTRYPOINT', 'CMD') and not r.startswith('[')]
        users = [r for w, r in last if w == 'USER']
        faults += [f'{u}: not a number, or root' for u in users if not re.match(r'[1-9]\d*:[1-9]\d*$', u)]
        faults += [f'{r}: its caches stay' for w, r in last if w == 'RUN' and 'install runtime' in r
                   and 'rm -rf /var/lib/apt/lists/*' not in r]
        faults += [f'{r}: a package past tools/install' for w, r in steps if w == 'RUN' and 'apt-get install' in r]
        if users and users[0].split(':')[0] != str(self.shape.facts['user']):
            faults.append('another user than deploy/deployment.yaml')
        return faults

    # ---- figures

    def test_dashboard_and_alerts_use_figures_that_there_are(self):
        souk = Souk(shape='rabbitmq')           # tells all that one process tells, and of peers and broker
        try:
            sku = souk.product('a-jug')
            self.assertEqual(souk.post('/v1/orders', order_body(sku), Idempotency_Key='one')[0], 201)
            self.assertTrue(wait_for(lambda: souk.metrics().count('\nsouk_broker_connected 1\n') == len(self.names)))
            pages = {name: souk.many.page(name, '/metrics')[1] for name in souk.many.names}
        finally:
            souk.close()
        for name, page in pages.items():
            self.assertEqual(self.faults_of_format(page), [], name)
        live = ''.join(pages.values())
        there = set(re.findall(r'^(\w+)(?=[ {])', live, re.M)) | {'up'}
        for source in [p for d in ('kit', 'services', 'gateway', 'app') for p in (ROOT / d).rglob('*.c')]:
            there |= set(re.findall(r'\bmetric_add\("(\w+)"', source.read_text()))
        used = {name: p.name for p in self.figures() for name in self.names_of(p)}
        self.assertIn('souk_request_seconds_bucket', used)
        self.assertEqual({n: where for n, where in used.items() if n not in there}, {})
        self.assertIn('route="POST /v1/orders"', live)

    def faults_of_format(self, page):
        """Prometheus' text format: a figure's type comes first, once, and its lines stand together."""
        faults, typed, family = [], [], None
        for line in page.splitlines():
            if line.startswith('# TYPE '):
                family = line.split()[2]
                faults += [f'{family} stands in two places'] if family in typed else []
                typed.append(family)
            elif not re.match(rf'{family}(_bucket|_sum|_count)?(\{{[^}}]*\}})? [-+.\deE]+$', line):
                faults.append(f'{line} after {family}')
        return faults

    def figures(self):
        return DEPLOY / 'grafana/souk.json', DEPLOY / 'prometheus/alerts.yaml'

    def names_of(self, path):
        if path.suffix == '.json':
            board = json.loads(path.read_text())
            ids = [p['id'] for p in board['panels']]
            self.assertEqual(len(ids), len(set(ids)))
            queries = [t['expr'] for p in board['panels'] for t in p.get('targets', [])]
        else:
            queries = [r['expr'] for g in yaml.safe_load(path.read_text())['groups'] for r in g['rules']]
        for q in queries:
            bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on) ?\([^)]*\)', '', q)
            yield from re.findall(r'\b(?:souk|process)_\w+|\bup\b', bare)

    @unittest.skipUnless(shutil.which('promtool'), 'promtool comes with tools/install all')
    def test_prometheus_takes_its_rules(self):
        done = run('promtool', 'check', 'rules', DEPLOY / 'prometheus/alerts.yaml')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with tempfile.TemporaryDirectory() as folder:       # Debian's promtool is built without Kubernetes
            conf = yaml.safe_load((DEPLOY / 'prometheus/prometheus.yaml').read_text())
            conf['scrape_configs'][0].pop('kubernetes_sd_configs')
            Path(folder, 'prometheus.yaml').write_text(yaml.dump(conf))
            shutil.copy(DEPLOY / 'prometheus/alerts.yaml', folder)
            done = run('promtool', 'check', 'config', Path(folder, 'prometheus.yaml'))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipUnless(shutil.which('promtool'), 'promtool comes with tools/install all')
    def test_what_is_wrong_between_processes_raises_an_alarm_and_what_is_not_does_not(self):
        series = {'souk_broker_connected{process="%s"}': ('0x30', '1x30'),
                  'souk_channel_calls_total{process="%s", to="orders"}': ('0+600x30', '0+600x30'),
                  'souk_channel_failures_total{process="%s", to="orders"}': ('0+60x30', '0+6x30'),
                  'souk_channel_retries_total{process="%s", to="orders"}': ('0+60x30', '0+6x30')}
        alarms = {'SoukBrokerAway': {}, 'SoukCallsFail': {'to': 'orders'}, 'SoukCallsRepeated': {'to': 'orders'}}
        rules = {r['alert']: r for g in yaml.safe_load((DEPLOY / 'prometheus/alerts.yaml').read_text())['groups']
                 for r in g['rules']}

        def told(name, labels):
            text = rules[name]['annotations']['summary']
            for label, value in labels.items():
                text = text.replace('{{ $labels.%s }}' % label, value)
            return {'exp_labels': {**rules[name]['labels'], **labels}, 'exp_annotations': {'summary': text}}
        test = {'interval': '1m', 'input_series': [{'series': s % p, 'values': v[i]} for s, v in series.items()
                                                   for i, p in enumerate(('bad', 'good'))],
                'alert_rule_test': [{'eval_time': '25m', 'alertname': name, 'exp_alerts': [
                    told(name, {'process': 'bad', **labels})]} for name, labels in alarms.items()]}
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, 'test.yaml').write_text(yaml.dump({'rule_files': [str(DEPLOY / 'prometheus/alerts.yaml')],
                                                            'tests': [test]}))
            done = run('promtool', 'test', 'rules', Path(folder, 'test.yaml'))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    # ---- certificates, health

    def test_certificates_prove_who_a_process_is(self):
        with tempfile.TemporaryDirectory() as folder:
            made = run(DEPLOY / 'certificates.sh', folder, DEPLOY / 'kubernetes/kube.conf', check=True).stdout
            self.assertEqual(len(made.splitlines()), len(self.names))
            for name in self.names:
                for purpose in ('sslserver', 'sslclient'):
                    for host in (name, f'{name}.souk.svc.cluster.local'):
                        done = run('openssl', 'verify', '-CAfile', f'{folder}/authorities.pem', '-purpose', purpose,
                                   '-x509_strict', '-verify_hostname', host, f'{folder}/{name}.pem')
                        self.assertEqual(done.returncode, 0, done.stderr)
                other = run('openssl', 'verify', '-CAfile', f'{folder}/authorities.pem', '-verify_hostname',
                            'another', f'{folder}/{name}.pem')
                self.assertNotEqual(other.returncode, 0)
                self.assertEqual(run('openssl', 'pkey', '-in', f'{folder}/{name}.key', '-pubout').stdout,
                                 run('openssl', 'x509', '-in', f'{folder}/{name}.pem', '-noout', '-pubkey').stdout)
                self.assertEqual(Path(folder, f'{name}.key').stat().st_mode & 0o77, 0)
            before = Path(folder, 'orders.pem').read_bytes()
            again = run(DEPLOY / 'certificates.sh', folder, DEPLOY / 'kubernetes/kube.conf', check=True).stdout
            self.assertEqual((again, Path(folder, 'orders.pem').read_bytes()), ('', before))

    def test_the_gateways_key_and_its_public_half_belong_together(self):
        with tempfile.TemporaryDirectory() as folder:
            run(DEPLOY / 'certificates.sh', folder, check=True)
            seed, public = ((Path(folder, 'identity', n)).read_text() for n in ('gateway.key', 'gateway.pub'))

            def raw(text):
                return base64.urlsafe_b64decode(text.strip() + '=')
            self.assertEqual((len(raw(seed)), len(raw(public))), (32, 32))
            der = bytes.fromhex('302e020100300506032b657004220420') + raw(seed)    # RFC 8410, section 7
            made = subprocess.run(['openssl', 'pkey', '-inform', 'DER', '-pubout', '-outform', 'DER'], input=der,
                                  check=True, capture_output=True).stdout
            self.assertEqual(made[-32:], raw(public))
            Path(folder, 'identity/gateway.key').unlink()
            run(DEPLOY / 'certificates.sh', folder, check=True)
            self.assertEqual(Path(folder, 'identity/gateway.pub').read_text().splitlines()[0], public.strip())
            self.assertEqual(len(Path(folder, 'identity/gateway.pub').read_text().splitlines()), 2)

    def test_health_asks_whether_it_is_ready(self):
        souk = Souk(start=False)
        try:
            address = f'127.0.0.1:{souk.port}'
            code, _, why = souk.command('health', address)
            self.assertEqual(code, 1)
            self.assertIn('does not answer', why)
            souk.start()
            self.assertEqual(souk.command('health', address)[:2], (0, f'{address} is ready\n'))
            souk.environment['SOUK_LISTEN'] = f'0.0.0.0:{souk.port}'
            self.assertEqual(souk.command('health')[:2], (0, f'{address} is ready\n'))
        finally:
            souk.close()


if __name__ == '__main__':
    main()
