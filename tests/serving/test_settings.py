"""What a service is told: where it comes from, and what it refuses to start with, in one sentence each."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from foveal.errors import UsageError
from foveal.serving import setting_sources
from foveal.serving.settings import HIDDEN, Settings, load_settings

GOOD_SECRET = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """A function that writes a settings file beside some folders; the test runs in that folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "foveal-data" / "in").mkdir(parents=True)

    def write(text: str, mode: int = 0o640) -> Path:
        path = tmp_path / "foveal.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return write


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """A folder with a certificate and its key, and the key of another."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("own", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        (folder / f"{name}.key").chmod(0o600)
    (folder / "open.key").write_bytes((folder / "own.key").read_bytes())
    (folder / "open.key").chmod(0o644)
    return folder


def test_nothing_said_is_a_service_for_this_machine_alone():
    settings = load_settings(None, {})
    assert (settings.host, settings.port, settings.guests, settings.is_loopback) == ("127.0.0.1", 8000, True, True)
    assert settings.database_url == f"sqlite:///{Path('foveal-data').absolute()}/foveal.db"


def test_options_come_before_the_environment_and_that_before_the_file(toml):
    file = toml("port = 1001\nbatch = 1\nmax_images = 1\n[tls]\n")
    environment = {"FOVEAL_SERVE_PORT": "1002", "FOVEAL_SERVE_BATCH": "2", "HOME": "/root"}
    settings = load_settings(file, environment, {"port": 1003, "host": None})
    assert (settings.port, settings.batch, settings.max_images, settings.host) == (1003, 2, 1, "127.0.0.1")


def test_the_environment_speaks_of_every_type():
    settings = load_settings(
        None,
        {
            "FOVEAL_SERVE_GUESTS": "no",
            "FOVEAL_SERVE_DEADLINE_S": "2.5",
            "FOVEAL_SERVE_ALLOWED_HOSTS": "a.example, b.example",
            "FOVEAL_SERVE_METRICS": "key",
            "FOVEAL_SERVE_SECRET": GOOD_SECRET,
        },
    )
    assert settings.guests is False
    assert settings.deadline_s == 2.5
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.secret.get_secret_value() == GOOD_SECRET


def test_settings_print_without_their_secrets(toml):
    file = toml(f'secret = "{GOOD_SECRET}"\ndatabase = "postgresql://app:hunter2@db/foveal?password=hunter3"\n')
    settings = load_settings(file, {})
    for text in (repr(settings), str(settings), str(settings.shown())):
        assert HIDDEN in text
        for secret in (GOOD_SECRET, "hunter2", "hunter3"):
            assert secret not in text
    assert settings.database_url == "postgresql://app:hunter2@db/foveal?password=hunter3"


@pytest.mark.parametrize(
    ("text", "key", "line", "says"),
    [
        ("\nprot = 1", "prot", 2, 'Did you mean "port"?'),
        ("[tls]\ncertficate = 'x'", "tls.certficate", 2, 'Did you mean "tls.certificate"?'),
        ("[server]\nport = 1", "server", 1, "There is no setting"),
        ("tls = 'x.pem'", "tls", 1, "table of settings"),
        ("batch = 8\nport = '8000'", "port", 2, "a whole number, without quotes"),
        ("port = 80.5", "port", 1, "a whole number"),
        ("port = true", "port", 1, "a whole number"),
        ("port = 99999", "port", 1, "less than or equal to 65535"),
        ("port = 0", "port", 1, "from 1 to 65535"),
        ("guests = 'yes'", "guests", 1, "true or false, without quotes"),
        ("host = 127", "host", 1, "a text"),
        ("host = '256.1.1.1'", "host", 1, "no address"),
        ("host = 'http://a/'", "host", 1, "no address"),
        ("allowed_hosts = 'a'", "allowed_hosts", 1, "a list of texts"),
        ("allowed_hosts = ['a b']", "allowed_hosts", 1, "no name of a machine"),
        ("batch_wait_ms = nan", "batch_wait_ms", 1, "finite"),
        ("max_images = -1", "max_images", 1, "greater than or equal to 1"),
        ("decoder_timeout_s = 0", "decoder_timeout_s", 1, "greater than 0"),
        ("metrics = 'opne'", "metrics", 1, 'loopback, open, key, off. Did you mean "open"?'),
        ("engine = 'tensorrt'", "engine", 1, "openvino"),
        ("secret = 'changeme'", "secret", 1, "8 characters"),
        ("secret = 'change-me-change-me-change-me-change-me'", "secret", 1, "openssl rand"),
        ("secret = 'ababababababababababababababababababab'", "secret", 1, "easily guessed"),
        ("secret = 5", "secret", 1, "a text"),
        ("host = '0.0.0.0'", "guests", None, "set guests = false"),
        ("guests = false\nhost = '0.0.0.0'", "host", 2, "tls.certificate"),
        ("guests = false\nhost = '::'", "host", 2, "behind_proxy"),
        ("host = '0.0.0.0'\nguests = true\nbehind_proxy = true", "guests", 2, "guests = false"),
        ("behind_proxy = true", "guests", None, "the proxy lets through"),
        ("proxies = ['10.0.0.7']", "proxies", 1, "set behind_proxy = true"),
        ("guests = false\nbehind_proxy = true\nproxies = []", "proxies", 3, "name its address"),
        ("guests = false\nbehind_proxy = true\nproxies = ['*']", "proxies", 3, "no address and no network"),
        ("guests = false\nbehind_proxy = true\nproxies = ['0.0.0.0/0']", "proxies", 3, "every address"),
        ("guests = false\nbehind_proxy = true\nproxies = ['10.0.0.7/24']", "proxies", 3, "10.0.0.0/24"),
        ("[tls]\ncertificate = 'x'", "tls.certificate", 2, "key is missing"),
        ("tls.key = 'x'", "tls.key", 1, "certificate is missing"),
        ("tls = {certificate = 'x', key = 'y'}", "tls.certificate", 1, "there is no file x"),
        ("watch = 'nowhere'", "watch", 1, "make it"),
        ("watch = 'foveal-data'", "watch", 1, "its own files"),
        ("watch = 'foveal-data/in'", "watch", 1, "its own files"),
        ("watch = '.'", "watch", 1, "its own files"),
        ("data = 'foveal.toml'", "data", 1, "is a file"),
        ("data = ''", "data", 1, "at least 1"),
        ("database = 'mysql://a'", "database", 1, "postgresql://"),
        ("database = 'sqlite:///a.db'", "database", 1, "absolute path"),
        ("session_hours = 1\nsession_idle_minutes = 61", "session_idle_minutes", 2, "longer than session_hours"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(toml, text, key, line, says):
    with pytest.raises(UsageError) as refused:
        load_settings(toml(text), {})
    sentence = str(refused.value)
    assert re.search(rf'(^|"){re.escape(key)}\b', sentence), sentence
    assert (f"foveal.toml, line {line})" if line else "which is the default") in sentence
    assert says in sentence
    assert "\n" not in sentence and "pydantic" not in sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port: 8000\nhost: 127.0.0.1", "not YAML"),
        ("secret: !!python/object/apply:os.system ['id']", "not YAML"),
        ("port = 1\nport = 2\nbatch = 1", "line 2"),
        ("port = ", "is no TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_said_to_be_none(toml, text, says):
    with pytest.raises(UsageError, match=r"foveal\.toml is no TOML") as refused:
        load_settings(toml(text), {})
    assert says in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_said_to_be_so(tmp_path):
    with pytest.raises(UsageError, match="There is no settings file"):
        load_settings(tmp_path / "none.toml", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8"):
        load_settings(tmp_path / "bytes.toml", {})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FOVEAL_SERVE_PROT", "1", '"prot" (in the variable FOVEAL_SERVE_PROT).'),
        ("FOVEAL_SERVE_PORT", "eighty", "a whole number"),
        ("FOVEAL_SERVE_PORT", "0", "from 1 to 65535"),
        ("FOVEAL_SERVE_GUESTS", "perhaps", "true or false"),
        ("FOVEAL_SERVE_TLS", "x", "a table of settings"),
        ("FOVEAL_SERVE_TLS__KEY", "x", "tls.key (in the variable FOVEAL_SERVE_TLS__KEY)"),
        ("FOVEAL_SERVE_DEADLINE_S", "inf", "finite"),
    ],
)
def test_a_wrong_variable_is_named(name, value, says):
    with pytest.raises(UsageError) as refused:
        load_settings(None, {name: value})
    assert says in str(refused.value)


def test_a_wrong_option_is_named():
    with pytest.raises(UsageError, match=r"tls\.key \(in the option --tls-key\)"):
        load_settings(None, {}, {"tls.key": Path("x.key")})
    assert load_settings(None, {}, {"port": 0}).port == 0  # the system chooses one: for tests


def test_a_secret_that_others_may_read_is_refused(toml, pair):
    for text, key in ((f"secret = '{GOOD_SECRET}'", "secret"), ("database = 'postgresql://a:b@c/d'", "database")):
        with pytest.raises(UsageError, match=f"^{key} .*chmod 640"):
            load_settings(toml(text, 0o644), {})
    load_settings(toml("database = 'postgresql://a@c/d'", 0o644), {})
    with pytest.raises(UsageError, match=r"^tls\.key .*chmod 640 .*open\.key"):
        load_settings(None, {}, {"tls.certificate": pair / "own.pem", "tls.key": pair / "open.key"})


def test_a_certificate_goes_with_its_own_key(pair):
    options = {"host": "0.0.0.0", "guests": False, "tls.certificate": pair / "own.pem"}
    assert load_settings(None, {}, {**options, "tls.key": pair / "own.key"}).tls.key.endswith("own.key")
    with pytest.raises(UsageError, match="it is not the key of"):
        load_settings(None, {}, {**options, "tls.key": pair / "other.key"})
    with pytest.raises(UsageError, match="no PEM pair"):
        load_settings(None, {}, {**options, "tls.certificate": pair / "own.key", "tls.key": pair / "own.key"})


def test_a_service_behind_a_proxy_may_listen_to_others():
    settings = load_settings(None, {}, {"host": "0.0.0.0", "guests": False, "behind_proxy": True})
    assert not settings.is_loopback


def test_a_clock_before_2020_is_refused(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    with pytest.raises(UsageError, match="clock says 02 January 1970"):
        load_settings(None, {})


def test_no_refusal_repeats_a_secret(toml):
    for text in ("secret = 'hunter2'", "secret = 'hunter2hunter2hunter2hunter2hunter2'", "database = 'hunter2'"):
        with pytest.raises(UsageError) as refused:
            load_settings(toml(text), {})
        assert "hunter2" not in str(refused.value)


def test_every_setting_says_what_it_is_and_its_defaults_are_allowed(toml):
    known = setting_sources.fields(Settings)
    assert all(field.description for field in known.values())
    assert load_settings(None, {}).model_dump() == Settings().model_dump()
    assert all(not isinstance(field.default, BaseModel) for field in known.values())


def test_an_urgent_class_that_the_classifier_does_not_tell_is_refused(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from foveal.serving import run

    monkeypatch.setattr(run, "open_served", lambda *_, **__: SimpleNamespace(classes=("a", "b")))
    settings = load_settings(None, {}, {"classifier": "any", "data": str(tmp_path / "data"), "urgent": ["c"]})
    with pytest.raises(UsageError, match='no class "c", but a, b'):
        run.serve(settings)
