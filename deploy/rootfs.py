#!/usr/bin/python3
"""Makes the root file system that the last stage of deploy/Dockerfile describes, and runs it as a container does.

    rootfs.py [SOUK]        SOUK: the binary, build/souk unless another is given

There is no container engine: mmdebstrap makes the base, bubblewrap runs what RUN says in it and then the command, as
the user that USER names, on a read-only root, without capabilities and with a network of its own.  The health check
must say that the shop is ready, and SIGTERM must end it.  Every instruction that is not understood is an error.
Needs root, or sudo.  bubblewrap's mounts live in a namespace of its own, and /dev is one that it makes.
"""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTHING_TO_DO = {'LABEL', 'EXPOSE', 'STOPSIGNAL', 'VOLUME'}
READY_S = 60


def instructions(text):
    """(word, rest) of the last stage."""
    text = re.sub(r'^\s*#.*\n', '', text, flags=re.M).replace('\\\n', ' ')
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    last = max(i for i, (word, _) in enumerate(lines) if word == 'FROM')
    return lines[last:]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


class Image:
    def __init__(self, folder, souk):
        self.root, self.souk = Path(folder, 'root'), souk
        self.env = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}
        self.user, self.workdir, self.entrypoint, self.cmd, self.health = '0:0', '/', [], [], []

    def build(self, text):
        for word, rest in instructions(text):
            if word not in NOTHING_TO_DO:
                getattr(self, 'do_' + word.lower())(rest)

    def do_from(self, image):
        """debian:12-slim is a minbase without documentation."""
        assert image == 'debian:12-slim', image
        lists = [str(f) for f in sorted(Path('/etc/apt').glob('sources.list')) +
                 sorted(Path('/etc/apt/sources.list.d').glob('debian*')) if f.stat().st_size]
        slim = [f'--dpkgopt=path-exclude=/usr/share/{what}/*'
                for what in ('doc', 'man', 'info', 'locale', 'groff', 'lintian')]
        merged = '--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr'    # without it there would be a perl
        run('mmdebstrap', '--quiet', '--variant=minbase', merged, *slim, 'bookworm', self.root, *lists)

    def do_run(self, command):
        binds, targets = [], []
        while mount := re.match(r'--mount=type=bind,source=(\S+),target=(\S+)\s+', command):
            binds += ['--ro-bind', ROOT / mount[1], mount[2]]
            targets.append(self.root / mount[2].lstrip('/'))
            command = command[mount.end():]
        for name in ('resolv.conf', 'hosts'):
            binds += ['--ro-bind-try', f'/etc/{name}', f'/etc/{name}']
        run('bwrap', '--bind', self.root, '/', '--proc', '/proc', '--dev', '/dev', '--perms', '1777', '--tmpfs', '/tmp', *binds,
             '--cap-add', 'ALL', '--unshare-pid', '--unshare-ipc', '--clearenv', '--setenv', 'PATH', self.env['PATH'],
             '/bin/sh', '-ec', command, stdout=subprocess.DEVNULL)
        for target in targets:                  # what bubblewrap made to mount on
            target.unlink()

    def do_copy(self, rest):
        *files, target = rest.split()
        stage = files and files[0].startswith('--from=') and files.pop(0)
        for name in files:
            source = self.souk if stage and name == '/src/build/souk' else ROOT / name
            into = self.root / target.lstrip('/') / (Path(name).name if target.endswith('/') else '')
            run('install', '-m', '0755' if os.access(source, os.X_OK) else '0644', source, into)
            if stage:
                run('strip', into)

    def do_env(self, rest):
        self.env.update(word.split('=', 1) for word in shlex.split(rest))

    def do_user(self, rest):
        self.user = rest

    def do_workdir(self, rest):
        self.workdir = rest

    def do_entrypoint(self, rest):
        self.entrypoint = json.loads(rest)

    def do_cmd(self, rest):
        self.cmd = json.loads(rest)

    def do_healthcheck(self, rest):
        self.health = json.loads(rest[rest.index('CMD') + 3:])

    def running(self, data, info):
        """The command as an engine runs it with --read-only --cap-drop ALL --network none: process 1 of its own."""
        uid, gid = self.user.split(':')
        env = [word for k, v in self.env.items() for word in ('--setenv', k, v)]
        command = ['setpriv', '--reuid', uid, '--regid', gid, '--clear-groups', 'bwrap', '--ro-bind', self.root, '/',
                   '--proc', '/proc', '--dev', '/dev', '--perms', '1777', '--tmpfs', '/tmp', '--bind', data, '/data', '--unshare-all',
                   '--die-with-parent', '--as-pid-1', '--info-fd', str(info), '--clearenv', *env,
                   '--chdir', self.workdir, *self.entrypoint, *self.cmd]
        return subprocess.Popen([str(word) for word in command], pass_fds=[info], stdout=sys.stderr)

    def inside(self, pid, *command):
        """Runs a command in the container of process pid, as an engine's exec does."""
        uid, gid = self.user.split(':')
        env = [f'{k}={v}' for k, v in self.env.items()]
        return subprocess.run(['nsenter', '--target', str(pid), '--mount', '--net', '--pid', 'setpriv', '--reuid', uid, '--regid', gid,
                               '--clear-groups', 'env', '-i', *env, *command], capture_output=True, text=True)


def size_mib(*paths):
    out = run('du', '-sx', '--block-size=1K', *paths, stdout=subprocess.PIPE, text=True).stdout
    return sum(int(line.split()[0]) for line in out.splitlines()) / 1024


def try_out(image, folder):
    """Gives what is wrong, a line each."""
    data = Path(folder, 'data')
    data.mkdir(mode=0o700)
    os.chown(data, *map(int, image.user.split(':')))
    readable, writable = os.pipe()
    process = image.running(data, writable)
    os.close(writable)
    with open(readable) as info:
        pid = json.load(info)['child-pid']
    try:
        ends, health = time.monotonic() + READY_S, None
        while process.poll() is None and time.monotonic() < ends:
            health = image.inside(pid, *image.health)
            if health.returncode == 0:
                break
            time.sleep(0.2)
        if not health or health.returncode:
            return ['it does not get ready: ' + (health.stderr if health else '')]
        print(health.stdout.strip())
        wrong = []
        for command, why in ((['touch', '/usr/x'], 'the root can be written'),
                             (['sh', '-c', 'test "$(id -u)" = 0'], 'it runs as root'),
                             (['sh', '-c', 'grep -q "CapEff:.*[1-9a-f]" /proc/1/status'], 'it has capabilities'),
                             (['test', '!', '-f', '/data/souk.db'], 'it keeps nothing in /data')):
            if image.inside(pid, *command).returncode == 0:
                wrong.append(why)
        process_ended = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        if process.wait(60) != 0:
            wrong.append(f'SIGTERM ends it with {process.returncode}')
        print(f'SIGTERM ended it after {time.monotonic() - process_ended:.1f} s')
        return wrong
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main(souk=str(ROOT / 'build/souk')):
    if os.geteuid():
        os.execvp('sudo', ['sudo', sys.executable, __file__, souk])
    folder = tempfile.mkdtemp(prefix='souk-image-', dir='/var/tmp')
    os.chmod(folder, 0o755)
    try:
        image = Image(folder, Path(souk).resolve())
        image.build((ROOT / 'deploy/Dockerfile').read_text())
        print(f'the root has {size_mib(image.root):.0f} MiB, of them {size_mib(image.root / "usr/local/bin/souk"):.1f} souk')
        wrong = try_out(image, folder)
    finally:
        assert not any(folder in line for line in open('/proc/mounts')), f'{folder} has a mount in it and stays'
        shutil.rmtree(folder)
    print('\n'.join(wrong))
    print(f'{int(not wrong)} passed, {len(wrong)} failed')
    sys.exit(bool(wrong))


main(*sys.argv[1:])
