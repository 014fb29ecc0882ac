"""Heat maps and pictures over HTTP."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from foveal.classifier import Classifier
from foveal.storage.faults import ConflictError
from foveal.storage.retention import erase_case
from foveal.storage.tables import classifiers, explanations
from serving.running import picture


@pytest.fixture(scope="module")
def case(service):
    return service.predict(picture(30, size=(60, 40))).json()["answers"][0]


def opened(response):
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_a_map_is_made_once_kept_and_told_in_the_trail(service, case):
    first = service.client.get(f"/v1/explain/{case['case']}", timeout=60)
    again = service.client.get(case["explanation"])
    assert first.content == again.content
    assert opened(first).shape == (40, 60)
    assert service.trail(case["case"]).count("explained") == 1
    facts = service.client.get(case["explanation"], headers={"accept": "application/json"}).json()
    assert (facts["method"], facts["target"], facts["measured"]) == ("gradcam", case["leading"], False)


def test_the_map_is_the_classifiers_own_laid_over_the_picture(service, case, classifier_folder, tmp_path):
    from foveal import explain

    file = tmp_path / "one.png"
    file.write_bytes(picture(30, size=(60, 40)))
    (own,) = explain(Classifier.load(classifier_folder), file, target="lime", judged=False, progress=False)
    served = opened(service.client.get(case["explanation"], params={"target": "lime"}, timeout=60))
    done = case["preprocessing"]
    left, top, right, bottom = done["framed"]
    assert not own.is_empty
    values = np.clip(own.map / np.abs(own.map).max(), 0, 1)[top:bottom, left:right]
    expected = np.asarray(Image.fromarray(values).resize((60, 40), Image.Resampling.BILINEAR)) * 255
    assert np.abs(served.astype(int) - expected.round().astype(int)).max() <= 3


@pytest.mark.parametrize(
    ("query", "status"), [({"method": "magic"}, 422), ({"target": "cat"}, 422), ({"method": "<script>"}, 400)]
)
def test_what_cannot_be_explained_is_said(service, case, query, status):
    response = service.client.get(case["explanation"], params=query, timeout=60)
    assert response.status_code == status, response.text
    assert "error" in response.json()


def test_the_picture_is_a_png_of_ours_and_smaller_where_that_is_asked(service, case):
    assert opened(service.client.get(f"/v1/cases/{case['case']}/image")).shape == (40, 60)
    assert opened(service.client.get(f"/v1/cases/{case['case']}/image", params={"longest": 30})).shape == (20, 30)
    assert service.client.get(f"/v1/cases/{'0' * 26}/image").status_code == 404


def test_a_map_that_is_finished_after_its_case_was_erased_is_not_kept(service, monkeypatch):
    case_id = service.predict(picture(31)).json()["answers"][0]["case"]
    store, maps = service.service, service.service.maps
    made = maps._made

    async def erased_meanwhile(*given):
        found = await made(*given)
        await asyncio.to_thread(erase_case, store.database, store.blobs, case_id, "user:x")
        return found

    monkeypatch.setattr(maps, "_made", erased_meanwhile)
    response = service.client.get(f"/v1/explain/{case_id}", timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "erased")
    with store.database.read() as connection:
        kept = connection.execute(select(explanations.c.id).where(explanations.c.case_id == case_id)).all()
    assert kept == []
    assert service.trail(case_id)[-1] == "erased"


def test_more_pictures_than_may_wait_are_refused(service, case, monkeypatch):
    path = f"/v1/cases/{case['case']}/image"
    monkeypatch.setattr(service.service.maps, "_pictures", 32)
    response = service.client.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    monkeypatch.undo()
    assert service.client.get(path).status_code == 200
    assert service.service.maps._pictures == 0


def test_a_map_is_made_with_the_classifier_where_it_lies_here(service, classifier_folder):
    """Another machine on the same database may have it elsewhere."""
    with service.service.database.write() as connection:
        connection.execute(classifiers.update().values(path="/elsewhere/fruit"))
    path, _ = service.service.maps._classifier(service.service.served.hash)
    assert path == str(classifier_folder.resolve())


def test_two_services_that_begin_at_once_note_their_classifier_once(service, monkeypatch):
    store, write = service.service, service.service.writer.write
    changes = []

    async def first_in_conflict(change):
        changes.append(change)
        if len(changes) == 1:
            raise ConflictError("The database holds such a row already.")
        await write(change)

    monkeypatch.setattr(store.writer, "write", first_in_conflict)
    before = service.trail(store.served.hash)
    asyncio.run(store._note_served(store.served, "service-started"))
    assert len(changes) == 2
    assert service.trail(store.served.hash) == [*before, "service-started"]
