"""What happens to the processes of a service: killed, stopped, exchanged, damaged, in a clock that steps.

Each function does one thing to a service at work, and returns what it counted and what it found wrong.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image

from serving.bad_images import encoded, png
from serving.ledger import Comparison, compare
from serving.running import picture
from serving.scenario import Home, Told, admin_token, all_gone, post, together, undisturbed
from serving.senders import SEED, Senders
from serving.service_process import ServiceProcess

IN_FLIGHT = 24  # requests with the service when it is asked to stop


def kills(home: Home) -> Told:
    """The main process is killed at random moments: under load, while it starts, and right after."""
    told, ledger, chance = Told(), home.ledger(), random.Random(8)
    watch = home.folder / "watched"
    watch.mkdir()
    with home.service(watch=watch) as service:
        senders = Senders(service, ledger, rate=home.rate, watch=watch).start()
        orphans = 0
        for number in range(home.kills):
            if number % 5 == 4:  # in its first moments
                time.sleep(chance.uniform(0.1, 1.5))
            else:
                service.wait_ready()
                time.sleep(chance.uniform(0.05, 1.5))
            family = service.processes()[1:]
            service.kill()
            orphans += not all_gone(family)
            service.launch()
        service.wait_ready()
        told.counts["kills"] = home.kills
        told.demand(not orphans, f"children lived on after {orphans} kills")
        return home.finish(told, service, ledger, senders)


def swap(home: Home) -> Told:
    """Two classifiers are exchanged again and again under load: no error, and every answer is that of its hash."""
    told, ledger, swaps = Told(), home.ledger(), 0
    with home.service() as service:
        headers = {"authorization": f"Bearer {admin_token(home.data)}"}
        senders = Senders(service, ledger, rate=home.rate, mix=("now", "now", "later")).start()
        ended = time.monotonic() + home.seconds
        while time.monotonic() < ended or swaps < 4:
            path = home.classifier if swaps % 2 else home.other
            status, _, body = service.call("POST", "/v1/models", {"path": str(path.resolve())}, headers)
            told.demand(status == 200, f"the swap was answered {status}: {body[:200]!r}")
            swaps += 1
            time.sleep(0.2)
        told.counts["swaps"] = swaps
        home.finish(told, service, ledger, senders)
    told.demand(set(senders.counts) <= {200, 202}, f"statuses {dict(senders.counts)}")
    told.demand(len({one["classifier"] for one in ledger.of("now")}) == 2, "only one of them answered")
    return told


def corrupt_weights(home: Home) -> Told:
    """A bit of the stored weights flips: it is not swapped in, nor is a service started with it."""
    told, ledger = Told(), home.ledger()
    broken = home.folder / "broken"
    shutil.copytree(home.other, broken)
    weights = next(broken.rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with home.service() as service:
        headers = {"authorization": f"Bearer {admin_token(home.data)}"}
        senders = Senders(service, ledger, rate=home.rate).start()
        for path in (broken, home.folder / "nothing"):
            status, _, body = service.call("POST", "/v1/models", {"path": str(path)}, headers)
            told.demand(status in (409, 422), f"the swap to {path.name} was answered {status}")
            told.demand(b"Traceback" not in body, "the refusal shows a traceback")
        time.sleep(min(home.seconds, 3))
        home.finish(told, service, ledger, senders)
    told.demand(len({one["classifier"] for one in ledger.of("now")}) == 1, "not one classifier alone answered")
    refused = ServiceProcess(broken, home.folder / "other-data", home.folder / "refused.log")
    refused.launch()
    assert refused.process
    code = refused.process.wait(60)
    told.demand(code == 5, f"a start with broken weights leaves with {code}")
    told.demand("SHA-256" in refused.tail() and "Traceback" not in refused.tail(), f"it says: {refused.tail()}")
    return told


def decoders(home: Home) -> Told:
    """Decoders are killed under load, and images of vast size come in: what is good is answered, memory stays."""
    told, ledger = Told(), home.ledger()
    vast = png(30_000, 30_000, rows=b"")
    large = png(9_000, 9_000)  # 81 megapixels of nothing in 80 KB: allowed, and 81 MB when it is decoded
    bomb = encoded(Image.new("RGB", (9_000, 9_000)), "PNG")  # the same in colour: more than a decoder may take
    cut = picture(next(SEED))[:-40]
    with home.service(decoder_memory_mib=256) as service:
        before, most, codes = service.memory_mib(), 0.0, set()
        senders = Senders(service, ledger, rate=home.rate / 2, mix=("later", "now"))
        senders.start()
        ended = time.monotonic() + home.seconds
        killing = threading.Thread(target=kill_children, args=(service, "decoder", ended, killed := []))
        killing.start()
        while time.monotonic() < ended:
            for bad in (vast, cut, b"", bomb):
                status, told_of = post(service, bad)
                codes.add(told_of["error"]["code"])
                told.demand(status == 422 or told_of["error"]["code"] == "decoder_crashed", f"a bad image: {status}")
            statuses = together(4, lambda: post(service, large))
            for status, answer in statuses:
                told.demand(status in (200, 422), f"a large image was answered {status}")
                case = answer["answers"][0]["case"] if status == 200 else answer["error"].get("case")
                if case:
                    ledger.acknowledged("kept", case, case=case, sha256=ledger.sent(large))
            most = max(most, service.memory_mib())
        killing.join()
        senders.settle()
        for one in list(senders.unexpected):  # whose decoder was shot: refused in words, and kept for people
            if one.startswith("422") and "decoder_crashed" in one:
                senders.unexpected.remove(one)
        told.counts |= {"decoders_killed": len(killed), "codes_of_bad": sorted(codes)}
        told.counts["memory_mib"] = [round(before), round(most)]
        told.demand(most < before + 1200, f"memory grew from {before:.0f} to {most:.0f} MiB")
        held = {one["id"] for one in quarantined(service)}
        told.counts["quarantined"] = len(held)
        for one in list(ledger.entries):  # acknowledged, and then given up in sight of people: not lost
            if one["way"] == "later" and one["case"] in held:
                one["way"] = "kept"
        for case in held - {one["case"] for one in ledger.entries}:
            ledger.acknowledged("kept", case, case=case, sha256="")
        told.add_senders(senders)
        return home.finish(told, service, ledger, None)


def answerers(home: Home) -> Told:
    """The processes of the network are killed under load, new ones at their start too: every image is answered as ever.

    Whose batch was killed twice is asked to come again, and is then answered.
    """
    told, ledger, killed = Told(), home.ledger(), []
    with home.service() as service:
        if not service.children("answerer"):
            return Told(skipped="no stored engine answers: pip install 'foveal[openvino]'")
        senders = Senders(service, ledger, rate=home.rate, mix=("now", "now", "later")).start()
        kill_children(service, "answerer", time.monotonic() + home.seconds, killed)
        home.finish(told, service, ledger, senders)
    told.counts["answerers_killed"] = len(killed)
    told.demand(len(killed) > 1, f"only {len(killed)} were there to be killed")
    told.demand(set(senders.counts) <= {200, 202, 503}, f"statuses {dict(senders.counts)}")
    told.demand(set(senders.codes) <= {"503 overloaded"}, f"codes {dict(senders.codes)}")
    return told


def kill_children(service: ServiceProcess, program: str, until: float, killed: list[int]) -> None:
    chance = random.Random(3)
    while time.monotonic() < until:
        for one in chance.sample(found := service.children(program), k=min(1, len(found))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
                killed.append(one)
        time.sleep(0.4)


def quarantined(service: ServiceProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        status, body = service.get(f"/v1/cases?state=quarantined&limit=100{before}")
        assert status == 200, body
        page = json.loads(body)
        found += [{**one, "id": one.get("id") or one["case"]} for one in page["cases"]]
        if not page.get("next"):
            return found
        before = f"&before={page['next']}"


def drain(home: Home) -> Told:
    """It is asked to stop, twice, under load: what was sent before is answered, it leaves with 0, and loses nothing."""
    told, ledger = Told(), home.ledger()
    stops = 0
    with home.service() as service:
        senders = Senders(service, ledger, threads=16, rate=4 * home.rate).start()
        for _ in range(max(2, home.kills // 3)):
            time.sleep(0.7)
            began, family = time.monotonic(), service.processes()
            os.kill(service.main_pid(), signal.SIGTERM)
            time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.kill(service.main_pid(), signal.SIGTERM)
            assert service.process
            code = service.process.wait(60)
            told.demand(code == 0, f"it left with {code}")
            told.demand(time.monotonic() - began < 25, f"it took {time.monotonic() - began:.0f} s to stop")
            told.demand(all_gone(family), "children lived on")
            stops += 1
            service.launch()
            service.wait_ready()
        told.counts["stops"] = stops
        home.finish(told, service, ledger, senders)
    for name, frozen in (("in-flight", False), ("unread", True)):
        at_hand = in_flight(home, name, frozen=frozen)
        told.faults += at_hand.faults()
        told.counts[name] = {"sent": IN_FLIGHT, "answered": at_hand.acknowledged, "lost": len(at_hand.lost)}
    return told


def in_flight(home: Home, name: str, *, frozen: bool) -> Comparison:
    """Requests that were with the service when it was asked to stop are answered or refused, each of them, whole.

    A `frozen` service has read none of them, nor accepted a connection, as on a machine that is busy otherwise.
    """
    home = Home(home.classifier, home.other, home.folder / name, home.seconds, home.kills, home.rate)
    home.folder.mkdir()
    ledger, answers = home.ledger(), []
    with home.service() as service:
        if frozen:
            os.kill(service.main_pid(), signal.SIGSTOP)
        sockets = []
        for _ in range(IN_FLIGHT):
            content = picture(next(SEED))
            one = socket.create_connection(("127.0.0.1", service.port))
            head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(content)}"
            one.sendall(head.replace("Host: x", f"Host: 127.0.0.1:{service.port}").encode() + b"\r\n\r\n" + content)
            sockets.append((one, content))
        time.sleep(0.2 if frozen else 0.05)  # uvicorn looks ten times a second whether it is to stop
        os.kill(service.main_pid(), signal.SIGTERM)
        os.kill(service.main_pid(), signal.SIGCONT)
        for one, content in sockets:
            one.settimeout(30)
            with one:
                answers.append((b"".join(iter(functools.partial(received, one), b"")), content))
        assert service.process
        code = service.process.wait(60)
    refused = 0
    for answer, content in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            told = json.loads(body)["answers"][0]
            ledger.acknowledged(
                "now", told["case"], sha256=ledger.sent(content), case=told["case"], prediction=told["prediction"],
                probabilities=told["probabilities"], classifier=told["classifier"]["hash"],
            )  # fmt: skip
        refused += head.startswith(b"HTTP/1.1 503")
    comparison = compare(ledger, home.data, expected=undisturbed(home.classifier))
    if code or len(ledger.entries) + refused != len(answers):
        comparison.lost.append(f"{len(answers) - len(ledger.entries) - refused} of {len(answers)} requests in flight")
    return comparison


def received(one: socket.socket) -> bytes:
    try:
        return one.recv(65_536)
    except ConnectionError:
        return b""


def clock_skew(home: Home) -> Told:
    """The clock steps three days back and forth under load: order is by number, nothing waits for the clock."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        return Told(skipped="libfaketime is not installed (apt-get install libfaketime)")
    told, ledger = Told(), home.ledger()
    clock = home.folder / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    service = ServiceProcess(home.classifier, home.data, home.folder / "log", environment=faked)
    try:
        service.start()
        senders = Senders(service, ledger, rate=home.rate).start()
        for step in ("-3d", "+3d", "+0", "+1h", "-1h"):
            clock.with_suffix(".new").write_text(step)
            clock.with_suffix(".new").rename(clock)
            time.sleep(max(home.seconds / 5, 1.5))  # the file is read once a second
        clock.write_text("-3d")
        service.kill()
        service.start()
        time.sleep(1)
        told.counts["steps"] = 6
        return home.finish(told, service, ledger, senders)
    finally:
        service.end()


FAULTS = (kills, swap, corrupt_weights, decoders, answerers, drain, clock_skew)
