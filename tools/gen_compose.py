"""deploy/compose.yaml: every process of deploy/many.conf on one machine, with PostgreSQL and RabbitMQ."""
from deploy_model import topology_text, yaml_text

DATA = '/data'
TOPOLOGY = '/etc/souk/compose.conf'
IDENTITY = '/run/souk/identity'
HARDENED = {'read_only': True, 'cap_drop': ['ALL'], 'security_opt': ['no-new-privileges:true'],
            'restart': 'unless-stopped', 'pids_limit': 256}
SECRETS = {'SOUK_STORE': 'postgresql://souk:${POSTGRES_PASSWORD:?}@postgres:5432/souk',
           'SOUK_BROKER': 'amqp://souk:${RABBITMQ_PASSWORD:?}@rabbitmq:5672',
           'SOUK_SANDBOX_SECRET': '${SANDBOX_SECRET:?}',
           'SOUK_SMTP_PASSWORD': '${SMTP_PASSWORD:-}'}
# What deployment.yaml says for a cluster is the env file's to say here.
ASKED = {'SOUK_CURRENCY': '${CURRENCY:-EUR}', 'SOUK_SMTP_URL': '${SMTP_URL:-}', 'SOUK_SMTP_USER': '${SMTP_USER:-}',
         'SOUK_TRUSTED_PROXIES': '${TRUSTED_PROXIES:-}', 'SOUK_SMTP_TLS': '${SMTP_TLS:-on}', 'SOUK_MAIL_FROM': '${MAIL_FROM:-Souk <souk@localhost>}'}


def conf(shape):
    port = shape.facts['ports']['grpc']
    return topology_text(shape, {'store': '${SOUK_STORE}', 'broker': '${SOUK_BROKER}', 'tls': '-',
                                 'identity': IDENTITY},
                         lambda p: (f'{p.name}:{port}', f'0.0.0.0:{port}'))


def stop_after_s(shape):
    return int(shape.facts['settings']['SOUK_DRAIN_S']) + shape.facts['drain_margin_s']


def health(command):
    return {'test': ['CMD', *command], 'interval': '5s', 'timeout': '5s', 'retries': 12, 'start_period': '60s'}


def souk(shape, command, port):
    user, facts = shape.facts['user'], shape.facts
    return {'image': shape.image(), **HARDENED, 'user': f'{user}:{user}', 'command': command,
            'stop_grace_period': f'{stop_after_s(shape)}s',
            'mem_limit': facts['resources']['limits']['memory'].replace('Mi', 'm'),
            'tmpfs': ['/tmp'], 'healthcheck': health(['souk', 'health', f'127.0.0.1:{port}'])}


def process(shape, p):
    facts, ports = shape.facts, shape.facts['ports']
    front = shape.is_front(p)
    kept = shape.keeps_file(p)
    made = souk(shape, ['run', '--topology', TOPOLOGY, '--process', p.name, '--data', DATA],
                ports['http'] if front else ports['monitor'])
    environment = {**facts['settings'], **shape.fact(p, 'settings', {})}
    environment |= {name: ASKED[name] for name in environment if name in ASKED}
    environment |= {name: SECRETS[name] for name in facts['secrets'] + shape.fact(p, 'secrets', [])}
    environment['SOUK_PUBLIC_URL'] = '${PUBLIC_URL:-http://127.0.0.1:8080}'
    if front:
        environment['SOUK_LISTEN'] = f'0.0.0.0:{ports["http"]}'
        environment['SOUK_RATE_LIMIT_PER_S'] = '${RATE_LIMIT_PER_S:-50}'
        made['ports'] = ['${LISTEN:-127.0.0.1:8080}:' + str(ports['http'])]
    else:
        environment['SOUK_MONITOR'] = f'0.0.0.0:{ports["monitor"]}'
    if 'sandbox' in shape.fact(p, 'reaches', []):
        environment |= {'SOUK_SANDBOX': 'on', 'SOUK_SANDBOX_URL': f'http://sandbox:{ports["sandbox"]}'}
    made['environment'] = environment
    made['volumes'] = [f'./compose.conf:{TOPOLOGY}:ro', f'identity:{IDENTITY}' + ('' if front else ':ro')]
    if kept:
        made['volumes'].append(f'{p.name}:{DATA}')
    else:
        made['tmpfs'].append(f'{DATA}:uid={facts["user"]},gid={facts["user"]},mode=0700')
    made['networks'] = ['inside'] + (['outside'] if front or shape.fact(p, 'reaches', []) else [])
    made['depends_on'] = {name: {'condition': 'service_healthy'} for name in ('postgres', 'rabbitmq')}
    return made, kept


def sandbox(shape):
    port = shape.facts['ports']['sandbox']
    made = souk(shape, ['sandbox', '--listen', f'0.0.0.0:{port}', '--data', DATA, '--callback',
                        f'http://{shape.front().name}:{shape.facts["ports"]["http"]}/v1/webhooks/sandbox'], port)
    del made['healthcheck']                     # it has no /readyz: payments asks again until it answers
    return {**made, 'environment': {'SOUK_SANDBOX_SECRET': SECRETS['SOUK_SANDBOX_SECRET']},
            'volumes': [f'sandbox:{DATA}'], 'networks': ['inside']}


def postgres():
    return {'image': 'postgres:15', **HARDENED, 'user': '999:999', 'shm_size': '256m',
            'environment': {'POSTGRES_USER': 'souk', 'POSTGRES_DB': 'souk',
                            'POSTGRES_PASSWORD': '${POSTGRES_PASSWORD:?}'},
            'tmpfs': ['/tmp', '/var/run/postgresql:uid=999,gid=999'],
            'volumes': ['postgres:/var/lib/postgresql/data'], 'networks': ['inside'],
            'stop_grace_period': '60s',
            'healthcheck': health(['pg_isready', '--quiet', '--username', 'souk', '--dbname', 'souk',
                                   '--host', '127.0.0.1'])}


def rabbitmq():
    return {'image': 'rabbitmq:3', **HARDENED, 'user': '999:999', 'hostname': 'rabbitmq', 'pids_limit': 1024,
            'environment': {'RABBITMQ_DEFAULT_USER': 'souk', 'RABBITMQ_DEFAULT_PASS': '${RABBITMQ_PASSWORD:?}'},
            'tmpfs': ['/tmp'], 'volumes': ['rabbitmq:/var/lib/rabbitmq'], 'networks': ['inside'],
            'stop_grace_period': '60s',
            'healthcheck': health(['rabbitmq-diagnostics', '-q', 'check_port_connectivity'])}


def compose(shape):
    services, volumes = {'postgres': postgres(), 'rabbitmq': rabbitmq()}, ['postgres', 'rabbitmq', 'identity']
    for p in shape.processes:
        services[p.name], kept = process(shape, p)
        volumes += [p.name] if kept else []
    if shape.tests_payments():
        services['sandbox'] = sandbox(shape)
        volumes.append('sandbox')
    services[shape.front().name]['build'] = {'context': '..', 'dockerfile': 'deploy/Dockerfile'}
    return {'name': 'souk', 'services': services, 'networks': {'inside': {'internal': True}, 'outside': None},
            'volumes': {name: None for name in volumes}}


def files(shape):
    why = 'Every process of deploy/many.conf on one machine; deploy/README.md tells how to start it.'
    return {'compose.conf': conf(shape), 'compose.yaml': yaml_text(why, compose(shape))}
