"""What is handed out for deployment works: settings, unit, proxy, and the script that installs it all."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from foveal.serving import setting_sources
from foveal.serving.settings import Settings, load_settings
from foveal.storage.keys import make_key
from serving.running import Running, picture, running
from small_classifiers import make_classifier

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = "foveal.hospital.example"


def test_the_example_settings_are_accepted(tmp_path):
    settings = load_settings(DEPLOY / "foveal.toml", {})
    assert (settings.behind_proxy, settings.guests, settings.host) == (True, False, "127.0.0.1")


def test_every_setting_that_the_example_offers_exists():
    known = setting_sources.fields(Settings)
    lines = (DEPLOY / "foveal.toml").read_text().splitlines()
    offered = [line.removeprefix("# ") for line in lines if re.match(r"# (\w+ = |\[\w+\]$)", line)]
    table = ""
    for line in offered:
        given = tomllib.loads(line)
        for name, value in given.items():
            if value == {}:
                table = f"{name}."
            else:
                assert name in known or f"{table}{name}" in known, line


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "foveal.service"
    unit.write_text((DEPLOY / "foveal.service").read_text().replace("/opt/foveal/bin/foveal", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_is_built_by_the_script_alone():
    text = (DEPLOY / "Dockerfile").read_text()
    (run,) = re.findall(r"^RUN .*$", text, re.MULTILINE)
    assert "/deploy/install.sh --system" in run
    assert re.search(r"^USER foveal$", text, re.MULTILINE)
    kept = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((DEPLOY.parent / name).exists() for name in kept)


@pytest.mark.slow
def test_the_script_installs_a_service(tmp_path):
    """Into a fresh environment; the packages it leans on are those of this one, so that nothing is downloaded."""
    prefix, root = tmp_path / "opt", tmp_path / "root"
    subprocess.run([sys.executable, "-m", "venv", prefix], check=True, timeout=120)
    site = next(prefix.glob("lib/python*/site-packages"))
    (site / "of-the-tests.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    environment = {**os.environ, "PREFIX": str(prefix), "DESTDIR": str(root), "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    for _ in range(2):  # a second time brings it up to date
        done = subprocess.run(
            [DEPLOY / "install.sh", "--system"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("foveal ")
    unit = (root / "etc/systemd/system/foveal.service").read_text()
    assert f"ExecStart={prefix}/bin/foveal serve --config /etc/foveal/foveal.toml" in unit
    assert (root / "var/lib/foveal").stat().st_mode & 0o777 == 0o700
    assert (root / "etc/foveal/foveal.toml").stat().st_mode & 0o777 == 0o640
    helped = subprocess.run(
        [prefix / "bin" / "foveal", "serve", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--config" in helped.stdout
    wrong = subprocess.run([DEPLOY / "install.sh", "--sistem"], capture_output=True, text=True, timeout=60, check=False)
    assert (wrong.returncode, "--system" in wrong.stderr) == (2, True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory) -> Iterator[tuple[Running, httpx.Client, str]]:
    """A service behind a real nginx with the configuration that is handed out; yields a client over TLS and a key."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).is_file():
        pytest.skip("nginx is not installed (apt-get install nginx)")
    folder = tmp_path_factory.mktemp("nginx")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    make_classifier().save(folder / "fruit")
    port, plain = free_port(), free_port()
    options = {"behind_proxy": True, "guests": False, "allowed_hosts": [NAME], "max_body_mib": 1}
    with running(folder / "fruit", folder / "data", **options) as service:
        text = (DEPLOY / "nginx.conf").read_text()
        for old, new in (
            ("127.0.0.1:8000", service.address.removeprefix("http://")),
            ("/etc/foveal/tls/", f"{folder}/"),
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "foveal.conf").write_text(text)
        main = folder / "nginx.conf"
        kinds = "".join(
            f"{one}_temp_path {folder}/{one};" for one in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
        )
        main.write_text(
            f"{'user root;' if os.geteuid() == 0 else ''} daemon off; events {{}}\n"
            f"pid {folder}/pid; error_log {folder}/error.log;\n"
            f"http {{ {kinds} include {folder}/foveal.conf; }}\n"
        )
        said = subprocess.run([program, "-t", "-p", folder, "-c", main], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        assert "warn" not in said.stderr
        proxy = subprocess.Popen([program, "-p", folder, "-c", main], stderr=subprocess.DEVNULL)
        trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        _, key = make_key(service.service.database, "test", {"predict", "read"}, actor="service")
        try:
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}", verify=trust, timeout=10,
                headers={"host": NAME},
            ) as client:  # fmt: skip
                for _ in range(100):
                    try:
                        socket.create_connection(("127.0.0.1", port), timeout=1).close()
                        break
                    except OSError:
                        time.sleep(0.05)
                yield service, client, key
        finally:
            proxy.terminate()
            proxy.wait(20)


def get(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    return client.get(path, headers=headers, extensions={"sni_hostname": NAME})


def test_through_the_proxy_an_image_is_answered(behind_nginx):
    _, client, key = behind_nginx
    sent = {"content-type": "image/png", "x-api-key": key}
    answer = client.post("/v1/predict", content=picture(), headers=sent, extensions={"sni_hostname": NAME})
    assert answer.status_code == 200, answer.text
    assert "strict-transport-security" in answer.headers
    refused = client.post("/v1/predict", content=picture(), headers={"content-type": "image/png"},
                          extensions={"sni_hostname": NAME})  # fmt: skip
    assert refused.status_code == 401


def test_a_page_is_signed_in_to_on_whatever_port_the_proxy_listens(behind_nginx):
    """The browser names the port in Host and Origin; where one of them comes without it, they seem to differ."""
    _, client, _ = behind_nginx
    own = f"{NAME}:{client.base_url.port}"
    form = get(client, "/login", host=own)
    token = re.search(r'name="csrf" content="([0-9a-f]+)"', form.text)
    assert token is not None
    fields = {"csrf": token[1], "name": "Nobody", "password": "no such person"}
    sent = {"host": own, "origin": f"https://{own}"}
    answer = client.post("/login", data=fields, headers=sent, extensions={"sni_hostname": NAME})
    assert (answer.status_code, "wrong" in answer.text) == (401, True), answer.text


def test_who_must_sign_in_first_comes_back_to_the_same_list(behind_nginx):
    _, client, _ = behind_nginx
    asked = get(client, "/worklist?view=reviewed&leading=%25x", accept="text/html")
    assert asked.headers["location"] == "/login?next=/worklist%3Fview%3Dreviewed%26leading%3D%2525x"
    form = get(client, asked.headers["location"]).text
    assert 'name="next" value="/worklist?view=reviewed&amp;leading=%25x"' in form


def test_the_proxy_hides_the_figures_and_believes_no_address(behind_nginx):
    service, client, _ = behind_nginx
    assert get(client, "/metrics").status_code == 404
    assert get(client, "/health/live", **{"x-forwarded-for": "127.0.0.1"}).status_code == 200
    direct = httpx.get(f"{service.address}/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    assert direct.status_code == 403  # the address of the client, as the proxy says it


def test_what_is_too_large_is_said_in_the_services_words(behind_nginx):
    _, client, key = behind_nginx
    sent = {"x-api-key": key, "content-type": "image/png"}
    answer = client.post("/v1/predict", content=b"x" * (2 << 20), headers=sent, extensions={"sni_hostname": NAME})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_name_that_is_not_the_services_is_refused(behind_nginx):
    _, client, _ = behind_nginx
    assert get(client, "/health/live", host="evil.example").status_code == 400


@pytest.mark.slow
def test_the_demonstration_trains_serves_and_answers(tmp_path):
    words = [sys.executable, DEPLOY / "demo.py", "--exit", "--port", "0"]
    for run in ("first", "again"):
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        answered = re.findall(r"^sent (\w+) +answered (.+?)  +\d", done.stdout, re.MULTILINE)
        assert len(answered) == 14, f"{run}: {done.stdout}"
        assert sum(truth == said for truth, said in answered) >= 10
        assert dict(answered)["nothing"] == "I don't know"
        assert re.search(r"^Now look at http://127.0.0.1:\d+/", done.stdout, re.MULTILINE)
