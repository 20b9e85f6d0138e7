#!/usr/bin/python3
"""What a unary gRPC call costs: our server beside grpcio's (its C core, a Python handler) and nghttp2 alone,
each under the same h2load on one connection; and our client against our server.

    grpc_bench.py [--seconds N]

Server and load share the machine; each server is measured in turn, a few seconds each.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH = ROOT / 'build/test/grpc_bench'
STREAMS = (1, 16, 100)
CALLS_A_SECOND = {'ours': 60000, 'nghttp2 alone': 80000, 'grpcio': 2000}     # a guess, for how many to send
TICK = os.sysconf('SC_CLK_TCK')
STOCK = '''
import sys
import grpc
from concurrent import futures
answer = bytes(100)
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('souk.orders.v1.Orders', {'PlaceOrder': handler}),))
print(server.add_insecure_port('127.0.0.1:0'), flush=True)
server.start()
sys.stdin.read()
'''


def cpu_s(pid):
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def load(port, streams, calls, body):
    done = subprocess.run(['h2load', '-n', str(calls), '-c', '1', '-m', str(streams), '-d', body, '-H',
                           'content-type: application/grpc', '-H', 'te: trailers',
                           f'http://127.0.0.1:{port}/souk.orders.v1.Orders/PlaceOrder'],
                          check=True, capture_output=True, text=True).stdout
    if f'{calls} succeeded' not in done:
        sys.exit(done)
    rate = float(re.search(r'([\d.]+) req/s', done)[1])
    mean = re.search(r'time for request:\s+\S+\s+\S+\s+(\S+)', done)[1]
    return rate, mean


def measure(name, command, seconds, body):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    for streams in STREAMS:
        calls = int(CALLS_A_SECOND[name] * seconds * (0.3 if streams == 1 else 1))
        load(port, streams, max(calls // 10, streams), body)
        before = cpu_s(process.pid)
        rate, mean = load(port, streams, calls, body)
        print(f'{name:14} {streams:7} {rate:12.0f} {(cpu_s(process.pid) - before) * 1e6 / calls:15.2f} {mean:>14}',
              flush=True)
    process.stdin.close()
    process.wait(timeout=30)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument('--seconds', type=float, default=3)
    seconds = arguments.parse_args().seconds
    subprocess.run([ROOT / 'tools/configure', 'build'], cwd=ROOT, check=True)
    subprocess.run(['ninja', '-C', 'build', '--quiet', 'test/grpc_bench'], cwd=ROOT, check=True)
    with tempfile.NamedTemporaryFile() as body:
        body.write(b'\0\0\0\0\x64' + bytes(100))
        body.flush()
        print('server         streams  calls/second  server us/call   mean latency')
        measure('nghttp2 alone', [BENCH, 'bare'], seconds, body.name)
        measure('ours', [BENCH, 'serve'], seconds, body.name)
        measure('grpcio', ['/usr/bin/python3', '-c', STOCK], seconds, body.name)
    print('\nour client and our server')
    for streams in STREAMS:
        subprocess.run([BENCH, str(streams), str(int(20000 * seconds))], check=True)


main()
