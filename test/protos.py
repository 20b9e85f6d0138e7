"""Souk's messages in Python, as any client in another language has them: from the .proto files alone."""
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, message_factory

from souk import ROOT


def messages():
    """{full name: class} of every message of the services and of the gateway."""
    protos = sorted([*ROOT.glob('services/*/*.proto'), ROOT / 'gateway/gateway.proto', ROOT / 'kit/wire.proto'])
    folders = sorted({p.parent for p in protos})
    with tempfile.NamedTemporaryFile(prefix='souk-protos-') as out:
        subprocess.run(['protoc', *(f'-I{folder}' for folder in folders), '-I/usr/include', '--include_imports',
                        f'--descriptor_set_out={out.name}', *protos], check=True,
                       capture_output=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    return message_factory.GetMessages(files.file)
