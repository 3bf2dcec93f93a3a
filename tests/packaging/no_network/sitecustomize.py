"""Disables the network in Python: with this folder on PYTHONPATH, sockets connect only to this machine, and raise an error for other
addresses."""

import socket
from ipaddress import ip_address

REFUSED = "no network here"


def _checked(method):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ip_address(address[0].split("%")[0]).is_loopback:
            raise OSError(f"{REFUSED}: {address}")
        return method(self, address)

    return connect


def _resolved(method):
    def getaddrinfo(host, *args, **options):
        if (host.decode() if isinstance(host, bytes) else host) not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
            raise OSError(f"{REFUSED}: {host}")
        return method(host, *args, **options)

    return getaddrinfo


socket.socket.connect = _checked(socket.socket.connect)
socket.socket.connect_ex = _checked(socket.socket.connect_ex)
socket.getaddrinfo = _resolved(socket.getaddrinfo)
