"""A service with people in it, whose pages the tests visit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from argon2 import PasswordHasher

from foveal.storage import accounts, passwords
from service_stand_in import PASSWORD
from serving.pages.browsers import chromium, opened  # noqa: F401  # fixtures
from serving.running import Running, picture, running
from small_classifiers import make_classifier

PEOPLE = {"Rosa": "admin", "Tomás": "reviewer", "Ines": "reviewer", "Una": "reader"}


def patient(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask again where the store was busy: the disk of a test machine is shared."""
    for _ in range(3):
        answer = ask()
        if answer.status_code != 503:
            break
    return answer


@dataclass
class Visitor:
    """A browser without scripts."""

    client: httpx.Client

    def get(self, path: str, **more: str) -> httpx.Response:
        return self.client.get(path, headers=more)

    def token(self, path: str = "/problems") -> str:
        found = re.search(r'name="csrf" content="([0-9a-f]+)"', self.client.get(path).text)
        assert found is not None
        return found[1]

    def post(self, path: str, /, *, headers: dict[str, str] | None = None, **fields: str | list[str]) -> httpx.Response:
        return patient(lambda: self.client.post(path, data={"csrf": self.token(), **fields}, headers=headers))

    def review(
        self, case_id: str, verdict: str = "accept", version: str = "0", headers: dict[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:  # fmt: skip
        return self.post(f"/cases/{case_id}/review", headers=headers, verdict=verdict, version=version, **fields)

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return patient(
            lambda: self.client.post("/login", data={"csrf": self.token("/login"), "name": name, "password": password})
        )


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "fruit"
    make_classifier().save(folder)
    return folder


@pytest.fixture(scope="module")
def service(classifier_folder, tmp_path_factory) -> Iterator[Running]:
    whole = passwords.hasher
    passwords.hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    with running(classifier_folder, tmp_path_factory.mktemp("store")) as one:
        for name, role in PEOPLE.items():
            accounts.add_user(one.service.database, name, PASSWORD, role, actor="service")
        yield one
    passwords.hasher = whole


@pytest.fixture
def visitor(service) -> Iterator[Callable[..., Visitor]]:
    clients = []

    def make(name: str | None = None) -> Visitor:
        client = httpx.Client(base_url=service.address, timeout=30)
        clients.append(client)
        made = Visitor(client)
        if name is not None:
            assert made.sign_in(name).status_code == 303
        return made

    yield make
    for client in clients:
        client.close()


_seeds = iter(range(1, 10_000))


@pytest.fixture
def new_case(service) -> Callable[..., str]:
    """Send an image, another one each time, and return its case's id."""

    def make(subject: str | None = None) -> str:
        query = {} if subject is None else {"subject": subject}
        image = {"content": picture(next(_seeds)), "headers": {"content-type": "image/png"}}
        answer = patient(lambda: service.client.post("/v1/predict", params=query, **image))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["answers"][0]["case"])

    return make
