"""deploy/kubernetes/: one Deployment a process, and networks that let through what the services' tables say."""
import hashlib

from deploy_model import topology_text, yaml_text

DATA = '/data'
TOPOLOGY = '/etc/souk/kube.conf'
TLS, IDENTITY = '/run/souk/tls', '/run/souk/identity'
NAME = 'app.kubernetes.io/name'
COMPONENT = 'app.kubernetes.io/component'


def labels(name=None):
    return {NAME: 'souk', **({COMPONENT: name} if name else {})}


def meta(shape, name, component=None, **more):
    return {'name': name, 'namespace': shape.facts['namespace'], 'labels': labels(component), **more}


def conf(shape):
    facts = shape.facts
    port, domain = facts['ports']['grpc'], f'{facts["namespace"]}.svc.cluster.local'
    return topology_text(shape, {'store': '${SOUK_STORE}', 'broker': '${SOUK_BROKER}', 'tls': TLS,
                                 'identity': IDENTITY},
                         lambda p: (f'{p.name}.{domain}:{port}', f'0.0.0.0:{port}'))


def settings(shape):
    return {**shape.facts['settings'], 'SOUK_PUBLIC_URL': f'https://{shape.facts["host"]}'}


# ---- the pod


def from_secret(secret, name):
    return {'name': name, 'valueFrom': {'secretKeyRef': {'name': secret, 'key': name}}}


def environment(shape, p):
    ports = shape.facts['ports']
    plain = {'SOUK_DATA': DATA, **shape.fact(p, 'settings', {})}
    if shape.is_front(p):
        plain['SOUK_LISTEN'] = f'0.0.0.0:{ports["http"]}'
    else:
        plain['SOUK_MONITOR'] = f'0.0.0.0:{ports["monitor"]}'
    if 'sandbox' in shape.fact(p, 'reaches', []):
        plain |= {'SOUK_SANDBOX': 'on', 'SOUK_SANDBOX_URL': f'http://sandbox:{ports["sandbox"]}'}
    return ([{'name': k, 'value': v} for k, v in sorted(plain.items())] +
            [from_secret('souk', name) for name in shape.facts['secrets']] +
            [from_secret('souk-' + s, name) for s in p.services
             for name in shape.facts['services'].get(s, {}).get('secrets', [])])


def probe(port, path, period_s, failures):
    return {'httpGet': {'path': path, 'port': port}, 'periodSeconds': period_s, 'timeoutSeconds': 3,
            'failureThreshold': failures}


CONFINED = {'allowPrivilegeEscalation': False, 'readOnlyRootFilesystem': True, 'capabilities': {'drop': ['ALL']}}


def souk_container(shape, name, **what):
    return {'name': name, 'image': shape.image(), **what, 'securityContext': CONFINED,
            'resources': shape.facts['resources']}


def container(shape, p):
    web = 'http' if shape.is_front(p) else 'monitor'
    ports = ['grpc', web]
    made = souk_container(shape, 'souk', args=['run', '--topology', TOPOLOGY, '--process', p.name])
    return {**made, 'envFrom': [{'configMapRef': {'name': 'souk-settings'}}], 'env': environment(shape, p),
            'ports': [{'name': n, 'containerPort': shape.facts['ports'][n]} for n in ports],
            'startupProbe': probe(web, '/readyz', 2, 90),     # migrations may take their time
            'readinessProbe': probe(web, '/readyz', 5, 2),
            'livenessProbe': probe(web, '/livez', 10, 6),
            'lifecycle': {'preStop': {'sleep': {'seconds': shape.facts['endpoints_lag_s']}}},
            'volumeMounts': [{'name': 'data', 'mountPath': DATA},
                             {'name': 'topology', 'mountPath': '/etc/souk', 'readOnly': True},
                             {'name': 'tls', 'mountPath': TLS, 'readOnly': True},
                             {'name': 'identity', 'mountPath': IDENTITY, 'readOnly': True}]}


def volumes(shape, p):
    return [{'name': 'data', 'emptyDir': {'sizeLimit': shape.facts['scratch']}},
            {'name': 'topology', 'configMap': {'name': 'souk-topology'}},
            {'name': 'tls', 'secret': {'secretName': f'souk-tls-{p.name}', 'defaultMode': 0o440}},
            *identity(shape, p)]


def identity(shape, p):
    """What the gateway signs callers with, for it alone; what the others know its signature by."""
    if not shape.is_front(p):
        return [{'name': 'identity', 'secret': {'secretName': 'souk-identity-public', 'defaultMode': 0o440}}]
    return [{'name': 'identity', 'emptyDir': {'medium': 'Memory', 'sizeLimit': '1Mi'}},
            {'name': 'identity-secret', 'secret': {'secretName': 'souk-identity', 'defaultMode': 0o440}}]


def owns_identity(shape):
    """A Secret's files are root's and readable by the group; the key must be ours, and for nobody else to read."""
    command = ['install', '-m', '0600', '-t', IDENTITY, '/run/souk/secret/gateway.key', '/run/souk/secret/gateway.pub']
    return {**souk_container(shape, 'identity', command=command),
            'volumeMounts': [{'name': 'identity', 'mountPath': IDENTITY},
                             {'name': 'identity-secret', 'mountPath': '/run/souk/secret', 'readOnly': True}]}


def spread(key, name):
    return {'maxSkew': 1, 'topologyKey': key, 'whenUnsatisfiable': 'ScheduleAnyway',
            'labelSelector': {'matchLabels': labels(name)}}


def pod_base(shape, name):
    user = shape.facts['user']
    return {'serviceAccountName': 'souk', 'automountServiceAccountToken': False, 'enableServiceLinks': False,
            'securityContext': {'runAsNonRoot': True, 'runAsUser': user, 'runAsGroup': user, 'fsGroup': user,
                                'fsGroupChangePolicy': 'OnRootMismatch',
                                'seccompProfile': {'type': 'RuntimeDefault'}},
            'topologySpreadConstraints': [spread(key, name) for key in
                                          ('topology.kubernetes.io/zone', 'kubernetes.io/hostname')]}


def grace_s(shape):
    return (shape.facts['endpoints_lag_s'] + int(shape.facts['settings']['SOUK_DRAIN_S']) +
            shape.facts['drain_margin_s'])


def scraped(shape, p):
    port = shape.facts['ports']['http' if shape.is_front(p) else 'monitor']
    digest = hashlib.sha256((conf(shape) + repr(sorted(settings(shape).items()))).encode()).hexdigest()
    return {'prometheus.io/scrape': 'true', 'prometheus.io/port': str(port), 'prometheus.io/path': '/metrics',
            'souk/configuration': digest[:16]}  # another one: the pods are replaced


def deployment(shape, p):
    single = shape.keeps_file(p)
    pod = {**pod_base(shape, p.name), 'terminationGracePeriodSeconds': grace_s(shape),
           **({'initContainers': [owns_identity(shape)]} if shape.is_front(p) else {}),
           'containers': [container(shape, p)], 'volumes': volumes(shape, p)}
    rolling = {'type': 'RollingUpdate', 'rollingUpdate': {'maxUnavailable': 0, 'maxSurge': 1}}
    return {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': meta(shape, p.name, p.name),
            'spec': {**({'replicas': 1} if single else {}),     # else the autoscaler's to say
                     'strategy': {'type': 'Recreate'} if single else rolling,
                     'revisionHistoryLimit': 3, 'selector': {'matchLabels': labels(p.name)},
                     'template': {'metadata': {'labels': labels(p.name), 'annotations': scraped(shape, p)},
                                  'spec': pod}}}


# ---- around it


def service(shape, p):
    """Without an address of its own: a name for all pods, among whom the caller's channel balances."""
    return {'apiVersion': 'v1', 'kind': 'Service', 'metadata': meta(shape, p.name, p.name),
            'spec': {'clusterIP': 'None', 'selector': labels(p.name),
                     'ports': [{'name': 'grpc', 'port': shape.facts['ports']['grpc'], 'targetPort': 'grpc'}]}}


def autoscaler(shape, p):
    scale = shape.facts['scale']
    return {'apiVersion': 'autoscaling/v2', 'kind': 'HorizontalPodAutoscaler',
            'metadata': meta(shape, p.name, p.name),
            'spec': {'scaleTargetRef': {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': p.name},
                     'minReplicas': scale['min'], 'maxReplicas': scale['max'],
                     'metrics': [{'type': 'Resource', 'resource': {
                         'name': 'cpu', 'target': {'type': 'Utilization',
                                                   'averageUtilization': scale['cpu_percent']}}}]}}


def disruption_budget(shape, p):
    return {'apiVersion': 'policy/v1', 'kind': 'PodDisruptionBudget', 'metadata': meta(shape, p.name, p.name),
            'spec': {'maxUnavailable': 1, 'selector': {'matchLabels': labels(p.name)}}}


def web_service(shape, p):
    port = shape.facts['ports']['http']
    return {'apiVersion': 'v1', 'kind': 'Service', 'metadata': meta(shape, f'{p.name}-web', p.name),
            'spec': {'selector': labels(p.name), 'ports': [{'name': 'http', 'port': port, 'targetPort': 'http'}]}}


def ingress(shape, p):
    to = {'service': {'name': f'{p.name}-web', 'port': {'name': 'http'}}}
    paths = [{'path': f'/{first}', 'pathType': 'Prefix', 'backend': to} for first in shape.public_paths()]
    paths.append({'path': '/openapi.json', 'pathType': 'Exact', 'backend': to})
    host = shape.facts['host']
    notes = {'proxy-read-timeout': '3600', 'proxy-send-timeout': '3600',     # live streams
             'proxy-buffering': 'off', 'proxy-body-size': '33m'}
    return {'apiVersion': 'networking.k8s.io/v1', 'kind': 'Ingress',
            'metadata': meta(shape, p.name, p.name, annotations={f'nginx.ingress.kubernetes.io/{k}': v
                                                                 for k, v in notes.items()}),
            'spec': {'ingressClassName': 'nginx', 'tls': [{'hosts': [host], 'secretName': 'souk-web-tls'}],
                     'rules': [{'host': host, 'http': {'paths': paths}}]}}


# ---- who may reach whom


def ports_of(*numbers, protocol='TCP'):
    return [{'protocol': protocol, 'port': n} for n in numbers]


def pods(names):
    return [{'podSelector': {'matchLabels': labels(), 'matchExpressions': [
        {'key': COMPONENT, 'operator': 'In', 'values': sorted(names)}]}}]


def rule(direction, peers, *numbers):
    return {direction: peers, 'ports': ports_of(*numbers)}


def reasons(shape, edges):
    return '\n'.join(f'{name}: {", ".join(sorted(why))}' for name, why in sorted(edges.items()))


def network_policy(shape, p):
    facts, ports, edges = shape.facts, shape.facts['ports'], shape.edges()
    callers = {a: why for (a, b), why in edges.items() if b == p.name}
    called = {b: why for (a, b), why in edges.items() if a == p.name}
    front, reaches = shape.is_front(p), shape.fact(p, 'reaches', [])
    into = [rule('from', pods(callers), ports['grpc'])] if callers else []
    into.append(rule('from', facts['prometheus'], ports['http' if front else 'monitor']))
    if front:
        testers = pods(['sandbox']) if shape.tests_payments() else []
        into.append(rule('from', facts['ingress_controller'] + testers, ports['http']))
    out = [rule('to', pods(called), ports['grpc'])] if called else []
    for name in facts['everywhere'] + reaches:
        if name == 'sandbox':
            out.append(rule('to', pods([name]), ports[name]))
        else:
            out.append(rule('to', facts['outside'][name]['peers'], *facts['outside'][name]['ports']))
    notes = {'souk/called-by': reasons(shape, callers), 'souk/calls': reasons(shape, called)}
    return {'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy',
            'metadata': meta(shape, p.name, p.name, annotations={k: v for k, v in notes.items() if v}),
            'spec': {'podSelector': {'matchLabels': labels(p.name)}, 'policyTypes': ['Ingress', 'Egress'],
                     'ingress': into, 'egress': out}}


def base_policies(shape):
    def policy(name, **spec):
        return {'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy', 'metadata': meta(shape, name),
                'spec': {'podSelector': {}, **spec}}
    dns = {'to': [{'namespaceSelector': {'matchLabels': {'kubernetes.io/metadata.name': 'kube-system'}},
                   'podSelector': {'matchLabels': {'k8s-app': 'kube-dns'}}}],
           'ports': ports_of(53, protocol='UDP') + ports_of(53)}
    return [policy('nothing-else', policyTypes=['Ingress', 'Egress']),
            policy('dns', policyTypes=['Egress'], egress=[dns])]


# ---- the sandbox payment provider: a command of the binary, no service


def sandbox(shape):
    ports, front = shape.facts['ports'], shape.front().name
    payers = [p.name for p in shape.processes if 'sandbox' in shape.fact(p, 'reaches', [])]
    secret = next(f'souk-{s}' for s, f in shape.facts['services'].items() if 'sandbox' in f.get('reaches', []))
    container = souk_container(shape, 'sandbox', args=[
        'sandbox', '--listen', f'0.0.0.0:{ports["sandbox"]}', '--data', DATA, '--callback',
        f'http://{front}-web:{ports["http"]}/v1/webhooks/sandbox'])
    container |= {'env': [from_secret(secret, 'SOUK_SANDBOX_SECRET')],
                  'ports': [{'name': 'http', 'containerPort': ports['sandbox']}],
                  'readinessProbe': {'tcpSocket': {'port': 'http'}, 'periodSeconds': 5},
                  'volumeMounts': [{'name': 'data', 'mountPath': DATA}]}
    pod = {**pod_base(shape, 'sandbox'), 'containers': [container],
           'volumes': [{'name': 'data', 'persistentVolumeClaim': {'claimName': 'sandbox'}}]}
    of = {'metadata': meta(shape, 'sandbox', 'sandbox')}
    selector = labels('sandbox')
    yield {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', **of,
           'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '1Gi'}}}}
    yield {'apiVersion': 'apps/v1', 'kind': 'Deployment', **of,
           'spec': {'replicas': 1, 'strategy': {'type': 'Recreate'}, 'selector': {'matchLabels': selector},
                    'template': {'metadata': {'labels': selector}, 'spec': pod}}}
    yield {'apiVersion': 'v1', 'kind': 'Service', **of,
           'spec': {'selector': selector,
                    'ports': [{'name': 'http', 'port': ports['sandbox'], 'targetPort': 'http'}]}}
    yield {'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy', **of,
           'spec': {'podSelector': {'matchLabels': selector}, 'policyTypes': ['Ingress', 'Egress'],
                    'ingress': [rule('from', pods(payers), ports['sandbox'])],
                    'egress': [rule('to', pods([front]), ports['http'])]}}


# ---- the files


def namespace(shape):
    name = shape.facts['namespace']
    enforced = {f'pod-security.kubernetes.io/{mode}': 'restricted' for mode in ('enforce', 'warn', 'audit')}
    yield {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name, 'labels': {**labels(), **enforced}}}
    yield {'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': meta(shape, 'souk'),
           'automountServiceAccountToken': False}
    yield from base_policies(shape)


def configuration(shape):
    yield {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': meta(shape, 'souk-topology'),
           'data': {'kube.conf': conf(shape)}}
    yield {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': meta(shape, 'souk-settings'),
           'data': settings(shape)}


def secrets(shape):
    def secret(name, **data):
        return {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': meta(shape, name), 'type': 'Opaque',
                'stringData': data}
    yield secret('souk', SOUK_STORE='postgresql://souk:PASSWORD@postgresql.postgresql:5432/souk?sslmode=verify-full',
                 SOUK_BROKER='amqps://souk:PASSWORD@rabbitmq.rabbitmq:5671')
    for name, needs in shape.facts['services'].items():
        if needs.get('secrets'):
            yield secret(f'souk-{name}', **{one: 'PASSWORD' for one in needs['secrets']})


def of_process(shape, p):
    yield deployment(shape, p)
    yield service(shape, p)
    if not shape.keeps_file(p):
        yield autoscaler(shape, p)
        yield disruption_budget(shape, p)
    if shape.is_front(p):
        yield web_service(shape, p)
        yield ingress(shape, p)
    yield network_policy(shape, p)


def files(shape):
    made = {'namespace.yaml': yaml_text('The namespace: restricted pods, and a network that lets nothing through '
                                        'but what the other files allow.', *namespace(shape)),
            'configuration.yaml': yaml_text('The topology, and the settings of every process.', *configuration(shape))}
    for p in shape.processes:
        made[f'{p.name}.yaml'] = yaml_text(f'{p.name}: {", ".join(p.services)}.', *of_process(shape, p))
    if shape.tests_payments():
        made['sandbox.yaml'] = yaml_text('The sandbox payment provider; a shop that takes money leaves it out.',
                                         *sandbox(shape))
    resources = list(made)
    made['kube.conf'] = conf(shape)
    made['kustomization.yaml'] = yaml_text(
        'kubectl apply -k deploy/kubernetes; the Secrets first (deploy/README.md).',
        {'apiVersion': 'kustomize.config.k8s.io/v1beta1', 'kind': 'Kustomization', 'resources': resources,
         'images': [dict(zip(('name', 'newTag'), shape.image().split(':')))]})
    made['secrets.example.yaml'] = yaml_text('A form to be filled in, and no part of kustomization.yaml.',
                                             *secrets(shape))
    return {f'kubernetes/{name}': text for name, text in made.items()}
