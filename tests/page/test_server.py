"""The server answers its own page alone, under its own address, within its limits."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efm_fast.errors import InputError
from efm_fast.page.frame import pack, unpack
from efm_fast.page.points import MOST_BYTES
from efm_fast.page.server import PageServer


def ask(
    server: PageServer,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, content and headers of what the server answers below its secret address."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def within(server: PageServer, path: str, **options: Any) -> tuple[int, bytes, http.client.HTTPMessage]:
    return ask(server, f"/{server.token}/{path}", **options)


def test_the_page_is_one_file_with_a_policy_that_lets_nothing_else_run(server: PageServer) -> None:
    status, content, headers = within(server, "")
    text = content.decode()
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not any(name.lower().startswith("access-control") for name in headers)
    # nothing is fetched from elsewhere
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text)
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    assert 'style="' not in text


def test_presets_lines_points_runs_and_reports_are_served(server: PageServer) -> None:
    status, scene, _ = within(server, "preset?name=dipole")
    facts, arrays = unpack(scene)
    assert (status, facts["L"], arrays["plus"].shape) == (200, 2.0, (1, 2))
    status, lines, _ = within(server, "lines", body=pack({"L": 2.0, "lines": 6, "draft": True}, **arrays))
    assert (status, len(unpack(lines)[0]["counts"])) == (200, 6)
    status, points, _ = within(server, "points?name=a.csv", body=b"1,2\n3,4\n")
    assert (status, unpack(points)[1]["points"].shape) == (200, (2, 2))
    status, report, _ = within(server, "report?name=tiny")
    assert (status, json.loads(report)["name"]) == (200, "tiny")
    status, run, _ = within(server, "run?name=tiny")
    assert status == 200
    assert unpack(run)[1]["learned"].shape[1] == 3


@pytest.mark.parametrize(
    "path",
    ["/", "/favicon.ico", "/wrong/", "/wrong/preset?name=dipole", "//", "/%2e%2e/", "/../../etc/passwd"],
)
def test_without_the_secret_there_is_nothing(server: PageServer, path: str) -> None:
    status, content, _ = ask(server, path)
    assert status == 404
    assert "lacks the secret" in json.loads(content)["error"]
    assert server.token.encode() not in content


def test_an_address_that_lacks_its_last_slash_is_not_the_page(server: PageServer) -> None:
    assert ask(server, f"/{server.token}")[0] == 404
    assert ask(server, f"/{server.token[:-1]}/")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_other_hosts_and_other_pages_are_refused(server: PageServer, headers: dict[str, str]) -> None:
    status, content, answered = within(server, "preset?name=dipole", headers=headers)
    assert status == 403
    assert "error" in json.loads(content)
    assert not any(name.lower().startswith("access-control") for name in answered)


def test_its_own_page_may_ask_by_both_names(server: PageServer) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert within(server, "preset?name=dipole", headers=headers)[0] == 200


def test_it_listens_on_this_machine_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 24
    assert server.token != PageServer(Path("runs")).token


@pytest.mark.parametrize("what", ["run", "report"])
@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../secret", "%2e%2e%2fsecret", "/etc", "tiny/../tiny", "link", "tiny%00", "nothing"],
)
def test_no_path_outside_the_runs_folder(server: PageServer, runs: Path, what: str, name: str) -> None:
    secret = runs.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "config.yaml").write_text("name: secret\n")
    link = runs / "link"
    if not link.is_symlink():
        link.symlink_to(secret)
    status, content, _ = within(server, f"{what}?name={name}")
    assert status == 400
    said = json.loads(content)["error"]
    assert said.startswith(("run: expected one of tiny, got", "name: expected it in the address"))
    assert b"link" not in within(server, "")[1].partition(b'id="data"')[2].partition(b"</script>")[0]


def test_bad_requests_get_a_sentence_and_the_server_goes_on(server: PageServer) -> None:
    cases: list[tuple[str, bytes | None, int, str]] = [
        ("nowhere", None, 404, "nothing at this address"),
        ("lines", None, 404, "nothing at this address"),
        ("lines", b"no frame", 400, "frame: expected"),
        ("points", b"1,2\n", 400, "name: expected it in the address"),
        ("points?name=a.exe", b"MZ", 400, "expected a name ending in .csv or .npz"),
        ("preset?name=%3Cscript%3E", None, 400, "preset: expected one of"),
    ]
    for path, body, expected, said in cases:
        status, content, headers = within(server, path, body=body)
        assert status == expected
        assert said in json.loads(content)["error"]
        assert headers["Content-Type"] == "application/json"
    assert within(server, "")[0] == 200
    assert within(server, "", method="DELETE")[0] == 501


def test_uploads_are_limited_and_what_is_too_large_hears_so(server: PageServer) -> None:
    status, content, _ = within(server, "points?name=a.csv", body=b"1,2\n" * (MOST_BYTES // 2))
    assert status == 413
    assert json.loads(content)["error"] == "expected at most 8,000,000 bytes, got 16,000,000"
    heads = [(f"Content-Length: {length}", b" 400 ") for length in ("-1", "ten", "1e3", "²")]
    for head, expected in [*heads, ("Transfer-Encoding: chunked", b" 411 ")]:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
            first = f"POST /{server.token}/lines HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}"
            connection.sendall(f"{first}\r\n{head}\r\n\r\n".encode("latin-1", "replace"))
            assert expected in connection.makefile("rb").readline()


def test_an_error_of_ours_is_a_sentence_too(
    server: PageServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(request: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setitem(server.routes, ("GET", "preset"), broken)
    status, content, _ = within(server, "preset?name=dipole")
    assert (status, b"inside" in content) == (500, False)
    assert "its terminal shows which" in json.loads(content)["error"]
    assert "ZeroDivisionError: inside" in capfd.readouterr().err


def test_requests_on_one_connection_are_answered_at_once(server: PageServer) -> None:
    """The two parts of an answer do not wait for each other's receipt, which takes 40 ms."""
    server.warm_up()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    body = pack({"L": 2.0, "lines": 6, "draft": True}, plus=np.zeros((1, 2)), minus=np.ones((1, 2)))
    spent = []
    for _ in range(12):
        started = time.perf_counter()
        connection.request("POST", f"/{server.token}/lines", body)
        answer = connection.getresponse()
        told = unpack(answer.read())[0]
        spent.append(time.perf_counter() - started - told["milliseconds"] / 1000)
        assert not answer.will_close
    connection.close()
    assert min(spent) < 0.03


def test_a_port_that_is_taken_is_an_error(server: PageServer) -> None:
    with pytest.raises(InputError, match=f"port: cannot listen on {server.server_port}: .*--port 0"):
        PageServer(Path("runs"), server.server_port)


def test_ctrl_c_ends_it_with_a_line_while_it_computes_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "efm_fast", "show", "--no-browser", "--runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert re.fullmatch(
        rf"http://127\.0\.0\.1:\d+/[\w-]{{24}}/ shows field lines and the runs of {tmp_path}; .*\n", line
    )
    time.sleep(0.1)  # it traces its first lines now
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (130, "")
    assert errors == "efm-fast: stopped\n"


def test_a_browser_that_hangs_up_is_not_told_as_a_fault(
    server: PageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET ")
        # lingering for no time sends a reset instead of an end
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert within(server, "")[0] == 200
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
