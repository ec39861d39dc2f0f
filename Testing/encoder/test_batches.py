"""Batches made ahead by a thread."""

import threading

import pytest
import torch
from DiffPoseRegistrationLib.encoder.batches import BatchStream


def _never():
    return False


def test_batches_come_in_order_and_only_some_are_made_ahead():
    made, enough = [], threading.Event()

    def make(number):
        made.append(number)
        if number == 6:  # one waits to be queued behind two
            enough.set()
        return number**2

    stream = BatchStream(make, 4, threads=1, ahead=2)
    try:
        assert enough.wait(60)
        assert made == [4, 5, 6]
        assert [stream.get(number, _never) for number in range(4, 10)] == [16, 25, 36, 49, 64, 81]
        with pytest.raises(ValueError, match="batch 4 was asked for"):
            stream.get(4, _never)
    finally:
        stream.close()
    count = len(made)
    assert count <= 10 and stream.making_seconds >= 0 and not stream._thread.is_alive()


def test_what_making_raises_comes_out():
    def make(number):
        if number == 1:
            raise RuntimeError("no more")
        return number

    stream = BatchStream(make, 0, threads=1)
    try:
        assert stream.get(0, _never) == 0
        with pytest.raises(RuntimeError, match="no more"):
            stream.get(1, _never)
    finally:
        stream.close()


def test_waiting_can_be_cancelled():
    held = threading.Event()
    stream = BatchStream(lambda _: held.wait(60), 0, threads=1)
    asked = iter([False, False, True])
    try:
        assert stream.get(0, lambda: next(asked)) is None
    finally:
        held.set()
        stream.close()


def test_the_thread_computes_alone_and_leaves_the_others_threads():
    before, inside = torch.get_num_threads(), []
    stream = BatchStream(lambda _: inside.append(torch.get_num_threads()), 0, threads=1)
    stream.get(0, _never)
    stream.close()
    assert inside[0] == 1 and torch.get_num_threads() == before
