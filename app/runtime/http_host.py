"""The header `Host` of HTTP requests, against DNS rebinding: web pages whose name starts to lead to this machine."""

import re
from contextlib import suppress
from ipaddress import ip_address


def is_misdirected(host: str, address: str) -> bool:
    """Return whether a request arrived at a loopback address under a name that is not this machine's.

    `host`: the header `Host`. `address`: the IP address at which the request arrived. A request that arrives at another
    address may have any name: Prometheus and the probes of Kubernetes know pods and containers by several.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    return _is_loopback(address.removeprefix("::ffff:")) and not _is_loopback(name)


def _is_loopback(name: str) -> bool:
    with suppress(ValueError):  # another name
        return name == "localhost" or ip_address(name).is_loopback
    return False
