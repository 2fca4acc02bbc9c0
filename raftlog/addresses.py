"""Whether two addresses are one place, as far as that can be known without asking anybody.

Letters of a host's name count alike, and an IP address is one however it is written. A name is
never resolved: what it stands for depends on who asks, and when.
"""

from __future__ import annotations

import ipaddress


def place_of(address: str) -> tuple[str, str]:
    """Return host and port of HOST:PORT in the one spelling that all spellings of it share."""
    host, _, port = address.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip = ipaddress.ip_address(bare)
    except ValueError:
        host = host.lower().rstrip(".")
    else:
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        host = str(mapped or ip)
    return host, port.lstrip("0") if port.isdigit() else port
