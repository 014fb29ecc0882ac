"""What clients do to a service: drip, come all at once, send twice, review together, lose their answers."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from typing import Any

from serving.running import picture
from serving.scenario import Home, Told, post, together, waiting_images
from serving.senders import SEED, Senders
from serving.service_process import ServiceProcess
from serving.tcp_proxy import TcpProxy


def slow_loris(home: Home) -> Told:
    """Two hundred sockets of one address drip headers and bodies; others are served all the same."""
    told, ledger = Told(), home.ledger()
    heads = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with home.service() as service:
        sockets, closed = [], 0
        for number in range(200):
            one = socket.socket()
            one.bind(("127.0.0.2", 0))
            one.settimeout(2)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", service.port))
                one.sendall(heads[: 20 + number % 50] if number % 2 else heads + b"Content-Length: 100000\r\n\r\n")
                one.setblocking(False)
            sockets.append(one)
        before = service.memory_mib()
        senders = Senders(service, ledger, rate=home.rate).start()
        ended = time.monotonic() + home.seconds
        while time.monotonic() < ended:
            for one in sockets:
                with contextlib.suppress(BlockingIOError):
                    try:
                        one.send(b"x")
                        if one.recv(1000) == b"":
                            raise OSError("closed")
                    except BlockingIOError:
                        pass
                    except OSError:
                        closed += 1
                        one.close()
                        sockets.remove(one)
            time.sleep(0.5)
        told.counts |= {"sockets": 200, "closed_by_the_service": closed}
        told.counts["memory_mib"] = [round(before), round(service.memory_mib())]
        told.demand(senders.longest_s < 5, f"a good request took {senders.longest_s:.1f} s")
        told.demand(senders.counts[0] == 0, f"{senders.counts[0]} good requests were lost")
        for one in sockets:
            one.close()
        return home.finish(told, service, ledger, senders)


def burst(home: Home) -> Told:
    """As many clients at once as there may be connections, who do not wait: refused in words, within bounds."""
    told, ledger = Told(), home.ledger()
    with home.service(max_waiting=32) as service:
        senders = Senders(service, ledger, threads=150, rate=1e9, mix=("now",))
        before, most, deepest = service.memory_mib(), 0.0, 0.0
        senders.start()
        ended = time.monotonic() + home.seconds
        while time.monotonic() < ended:
            most = max(most, service.memory_mib())
            with contextlib.suppress(OSError):
                deepest = max(deepest, waiting_images(service))
            time.sleep(0.3)
        told.counts |= {"memory_mib": [round(before), round(most)], "deepest_queue": deepest}
        told.demand(deepest <= 32, f"{deepest} images waited, of at most 32")
        told.demand(most < 1.3 * before + 100, f"memory grew from {before:.0f} to {most:.0f} MiB")
        bad = {one for one in senders.counts if one not in (200, 429, 503)}
        told.demand(not bad, f"it answered {bad}")
        told.demand(senders.counts[503] + senders.counts[429] > 0, "nothing was refused: this was no burst")
        return home.finish(told, service, ledger, senders)


def same_image(home: Home) -> Told:
    """One image three times, without a key, with one, and with one at the same moment."""
    told, ledger = Told(), home.ledger()
    with home.service() as service:
        for _ in range(10):
            content = picture(next(SEED))
            plain = [post(service, content)[1]["answers"][0]["case"] for _ in range(3)]
            told.demand(len(set(plain)) == 3, "an image sent three times without a key is not three cases")
            keyed = [post(service, content, key=plain[0])[1]["answers"][0] for _ in range(3)]
            told.demand(len({one["case"] for one in keyed}) == 1, "one key made several cases")
            told.demand([one["repeated"] for one in keyed] == [False, True, True], "repeats are not marked")
            other = post(service, picture(next(SEED)), key=plain[0])
            told.demand(other[0] == 409, f"another image under the same key: {other[0]}")
            at_once = together(8, lambda: post(service, content, key=f"{plain[0]}-at-once"))  # noqa: B023
            made = {one["answers"][0]["case"] for status, one in at_once if status == 200}
            told.demand(len(made) == 1, f"one key at the same moment made {len(made)} cases")
            told.demand({status for status, _ in at_once} <= {200, 409}, "neither an answer nor a conflict")
            for case in {*plain, keyed[0]["case"], *made}:
                ledger.acknowledged("kept", case, case=case, sha256=ledger.sent(content))
        files = [one for one in (home.data / "blobs").rglob("*") if one.is_file()]
        told.counts["files"] = len(files)
        told.demand(len(files) == 10, f"{len(files)} files of 10 different images")
        return home.finish(told, service, ledger, None)


def reviewers(home: Home) -> Told:
    """Eight reviewers of one version at the same moment: one is first, seven are shown what it said."""
    told, ledger = Told(), home.ledger()
    with home.service() as service:
        for _ in range(20):
            content = picture(next(SEED))
            case = post(service, content)[1]["answers"][0]["case"]
            ledger.acknowledged("kept", case, case=case, sha256=ledger.sent(content))
            said = {"verdict": "reject", "reason": "blurred", "version": 0}

            def review(case: str = case, said: dict[str, Any] = said) -> tuple[int, dict[str, Any]]:
                status, _, body = service.call("POST", f"/v1/cases/{case}/reviews", said)
                return status, json.loads(body)

            answers = together(8, review)
            first = [one for status, one in answers if status == 201]
            late = [one for status, one in answers if status == 409]
            told.demand(len(first) == 1 and len(late) == 7, f"statuses {sorted(status for status, _ in answers)}")
            told.demand(all(one["difference"]["newer"] for one in late), "a conflict without its difference")
            for one in first:
                ledger.acknowledged("review", case, case=case, review=one["id"])
        return home.finish(told, service, ledger, None)


def lost_answers(home: Home) -> Told:
    """A proxy is slow and cuts answers short: the same key gives the same case, and nothing is doubled."""
    told, ledger, chance = Told(), home.ledger(), random.Random(5)
    with home.service() as service, TcpProxy(("127.0.0.1", service.port), latency_s=0.01) as proxy:
        through = ServiceProcess(home.classifier, home.data, service.log, port=proxy.port)
        senders = Senders(through, ledger, rate=home.rate).start()
        ended = time.monotonic() + home.seconds
        while time.monotonic() < ended:
            proxy.cut_after = chance.choice((0, 10, 100, 400))
            time.sleep(0.1)
            proxy.cut_after = None
            time.sleep(0.2)
        proxy.cut_after = None
        return home.finish(told, service, ledger, senders)


def deadline(home: Home) -> Told:
    """Hardly a request is answered within its time: what is asked again under the same key is there once."""
    told, ledger = Told(), home.ledger()
    with home.service(deadline_s=0.004) as service:
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(home.seconds)
        told.counts["too_late"] = senders.codes["503 deadline"]
        told.demand(senders.codes["503 deadline"] > 0, "no request was too late")
        told.demand(service.stop() == 0, "it did not stop")
        service.options["deadline_s"] = 30
        service.start()
        return home.finish(told, service, ledger, senders)


def leavers(home: Home) -> Told:
    """Clients leave before they are answered, at any moment, and come again later: they find one case each."""
    told, ledger, chance = Told(), home.ledger(), random.Random(6)
    sent: list[tuple[str, bytes]] = []
    with home.service() as service:
        senders = Senders(service, ledger, rate=home.rate / 2).start()
        ended = time.monotonic() + home.seconds
        while time.monotonic() < ended:
            key, content = f"leaver-{len(sent)}", picture(next(SEED))
            sent.append((key, content))
            head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nIdempotency-Key: {key}\r\n"
            head += f"Content-Type: image/png\r\nContent-Length: {len(content)}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", service.port)) as one:
                one.sendall((head.encode() + content)[: chance.choice((100, len(head) + 50, None))])
                time.sleep(chance.uniform(0, 0.04))
        senders.settle()
        came_back_to = 0
        for key, content in sent:
            status, answer = post(service, content, key=key)
            told.demand(status == 200, f"who came back was told {status}")
            one = answer["answers"][0]
            came_back_to += one["repeated"]
            ledger.acknowledged(
                "now", key, sha256=ledger.sent(content), case=one["case"], prediction=one["prediction"],
                probabilities=one["probabilities"], classifier=one["classifier"]["hash"],
            )  # fmt: skip
        told.counts |= {"left": len(sent), "found_their_answer": came_back_to}
        return home.finish(told, service, ledger, senders)


FAULTS = (slow_loris, burst, same_image, reviewers, lost_answers, deadline, leavers)
