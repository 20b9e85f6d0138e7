#!/usr/bin/python3
"""A mail server that is not ours (aiosmtpd), for tests: keeps what it takes, and ends at SIGTERM.

    mail_server.py PORT FOLDER [--tls CERTIFICATE KEY] [--login USER PASSWORD]

Each mail becomes FOLDER/<number>.eml, whole or not at all.  How it behaves follows from the recipient: to
refused@… it says 550, to later@… 451 the first two times, at slow@… it takes a second, to broken@… it closes
the connection once after it has the mail and before it says so.
"""
import argparse
import asyncio
import os
import signal
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Keeper:
    def __init__(self, folder):
        self.folder, self.tries = folder, {}
        self.count = sum(name.endswith('.eml') for name in os.listdir(folder))

    def tried(self, address):
        self.tries[address] = self.tries.get(address, 0) + 1
        return self.tries[address]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('refused@'):
            return '550 5.1.1 no such user here'
        if address.startswith('later@') and self.tried(address) <= 2:
            return '451 4.7.1 greylisted, come again'
        envelope.rcpt_tos.append(address)
        return '250 OK'

    async def handle_DATA(self, server, session, envelope):
        to = envelope.rcpt_tos[0]
        if to.startswith('slow@'):
            await asyncio.sleep(1)
        self.count += 1
        path = f'{self.folder}/{self.count:05}.eml'
        with open(path + '.part', 'wb') as file:
            file.write(f'X-Peer-Tls: {int(session.ssl is not None)}\r\nX-Login: {getattr(session, "shop_login", None)}\r\n'.encode())
            file.write(envelope.original_content)
        os.rename(path + '.part', path)
        if to.startswith('broken@') and self.tried(to) == 1:
            server.transport.abort()
        return '250 OK'


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument('port', type=int)
    asked.add_argument('folder')
    asked.add_argument('--tls', nargs=2)
    asked.add_argument('--login', nargs=2)
    args = asked.parse_args()
    keeper = Keeper(args.folder)
    context = None
    if args.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*args.tls)

    def check(server, session, envelope, mechanism, data):
        right = [data.login.decode(), data.password.decode()] == args.login
        session.shop_login = data.login.decode()
        return AuthResult(success=right, handled=False)

    def serve():
        return SMTP(keeper, tls_context=context, require_starttls=bool(context), auth_require_tls=bool(context),
                    authenticator=check if args.login else None, auth_required=bool(args.login))

    async def run():
        server = await asyncio.get_running_loop().create_server(serve, '127.0.0.1', args.port)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
        async with server:
            await server.serve_forever()

    asyncio.run(run())


if __name__ == '__main__':
    main()
