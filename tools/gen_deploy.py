#!/usr/bin/python3
"""Writes deploy/compose.yaml, deploy/compose.conf and deploy/kubernetes/ from `souk map --json`, deploy/many.conf and
deploy/deployment.yaml.

    gen_deploy.py SOUK [FOLDER]      FOLDER is deploy/ unless another is given; files of no process are removed
"""
import sys
from pathlib import Path

import gen_compose
import gen_kubernetes
from deploy_model import ROOT, read_shape


def made(shape):
    """{path below deploy/: text}"""
    return {**gen_compose.files(shape), **gen_kubernetes.files(shape)}


def main(binary, folder=str(ROOT / 'deploy')):
    files = made(read_shape(binary))
    for path in Path(folder, 'kubernetes').glob('*.yaml'):
        if f'kubernetes/{path.name}' not in files:
            path.unlink()
    for name, text in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == '__main__':
    main(*sys.argv[1:])
