"""Items go from thread to thread in order, a few at a time, and each side can end it."""

import threading

import pytest

from hiva_hf.inference.channel import Channel, ChannelStopped


def run(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_items_come_in_order_and_never_more_than_fit():
    channel, most = Channel(3), []

    def produce():
        for number in range(50):
            channel.put(number)
            most.append(len(channel._items))
        channel.complete()

    thread = run(produce)
    assert list(channel) == list(range(50))
    thread.join(5)
    assert max(most) <= 3


def test_each_side_tells_how_long_it_waited():
    channel = Channel(1)
    channel.put(1)
    items = iter(channel)
    consumer = threading.Timer(0.3, next, [items])
    consumer.start()
    channel.put(2)
    consumer.join(5)
    assert channel.producer_wait > 0.01
    assert next(items) == 2
    threading.Timer(0.3, channel.put, [3]).start()
    assert next(items) == 3
    assert channel.consumer_wait > 0.01


def test_an_error_comes_after_the_items_before_it():
    channel = Channel(3)
    channel.put(1)
    channel.complete(OSError("the disk is gone"))
    items = iter(channel)
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_a_stopped_channel_frees_a_producer_that_waits():
    channel, ended = Channel(1), threading.Event()
    channel.put(1)

    def produce():
        with pytest.raises(ChannelStopped):
            channel.put(2)
        ended.set()

    thread = run(produce)
    channel.stop()
    assert ended.wait(5)
    thread.join(5)
    assert list(channel) == []


def test_a_channel_without_room_is_refused():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        Channel(0)
