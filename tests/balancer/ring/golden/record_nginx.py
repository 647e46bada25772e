"""Records which server a real nginx picks for a list of keys: the witness of `ketama`, crc32.

    python tests/balancer/ring/golden/record_nginx.py > tests/balancer/ring/golden/nginx.json

Needs Debian's nginx (`apt-get install nginx-light`) and the ports 19081 to 19085 of 127.0.0.1.
One nginx process answers as all upstreams, each with its own port, and asks itself.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

KEYS = 2_000
CASES = {
    "three alike": {"127.0.0.1:19081": 1, "127.0.0.1:19082": 1, "127.0.0.1:19083": 1},
    "weights 1, 2, 3": {"127.0.0.1:19081": 1, "127.0.0.1:19082": 2, "127.0.0.1:19083": 3},
    "five alike": {f"127.0.0.1:{port}": 1 for port in range(19_081, 19_086)},
}


def main() -> None:
    """Start nginx with all cases, ask, print JSON, stop nginx."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        path = pathlib.Path(folder, "nginx.conf")
        path.write_text(config(folder, port))
        process = subprocess.Popen(["nginx", "-p", folder, "-c", path])
        try:
            wait_for(port)
            cases = [
                {"name": name, "servers": servers, "picked": ask(port, number, list(servers))}
                for number, (name, servers) in enumerate(CASES.items())
            ]
        finally:
            process.terminate()
            process.wait()
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/\S+", version)
    document = {"recorded_with": found[0] if found else version, "keys": KEYS, "cases": cases}
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def config(folder: str, port: int) -> str:
    """nginx's configuration: `/N?k=key` asks the upstream of case N."""
    upstreams = "".join(
        f"upstream case{number} {{ hash $arg_k consistent; "
        + "".join(f"server {server} weight={weight};" for server, weight in servers.items())
        + " }\n"
        for number, servers in enumerate(CASES.values())
    )
    answering = "".join(
        f"server {{ listen 127.0.0.1:{number}; return 200 {number}; }}\n"
        for number in range(19_081, 19_086)
    )
    locations = "".join(
        f"location /{number} {{ proxy_pass http://case{number}; }}\n"
        for number in range(len(CASES))
    )
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; master_process off; pid {folder}/pid; error_log stderr error;
events {{ }}
http {{
{paths}
access_log off; keepalive_requests 1000000;
{upstreams}{answering}
server {{ listen 127.0.0.1:{port}; {locations} }}
}}
"""


def ask(port: int, case: int, servers: list[str]) -> str:
    """For each key the index of the server that answered, as one digit."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    digits = []
    for number in range(KEYS):
        connection.request("GET", f"/{case}?k=user-{number}")
        answered = connection.getresponse().read().decode()
        digits.append(str(servers.index(f"127.0.0.1:{answered}")))
    connection.close()
    return "".join(digits)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Until nginx listens."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("nginx does not listen")


if __name__ == "__main__":
    main()
