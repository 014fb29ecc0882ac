"""One service that most tests of the API share, as guests on this machine."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from serving.running import Running, running
from small_classifiers import make_classifier


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "fruit"
    make_classifier().save(folder)
    return folder


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """Another classifier of the same classes."""
    folder = tmp_path_factory.mktemp("other") / "orchard"
    make_classifier(seed=1).save(folder)
    return folder


@pytest.fixture(scope="module")
def service(classifier_folder, tmp_path_factory) -> Running:
    with running(classifier_folder, tmp_path_factory.mktemp("store")) as one:
        yield one
