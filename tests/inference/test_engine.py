"""Frames become records in their order, with bounded memory, and every way of ending it ends the threads."""

import gc
import threading
import weakref

import numpy as np
import pytest

from hiva_hf.face_detection import CenterFaceDetector, DetectedFace
from hiva_hf.inference.engine import DetectionEngine
from hiva_hf.inference.sources import Frame, read_frames


@pytest.fixture(scope="module")
def heads(scene):
    """Frames with 1, 2, 0, 1, ... heads."""
    places = [(80, 110, 120), (230, 120, 110)]
    return [scene(places[: (number + 1) % 3], seed=0) for number in range(7)]


def video_frames(images, source="a.mp4"):
    return [Frame(source, number, number / 25, True, image) for number, image in enumerate(images)]


def engine_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hiva-")]


def quick_detector(image) -> list[DetectedFace]:
    """A face whose place says nothing: for tests of what happens around it."""
    from hiva_hf.face_alignment import TEMPLATE

    return [DetectedFace((10.0, 10.0, 50.0, 50.0), 0.9, 40 * TEMPLATE + 10)]


@pytest.fixture(scope="module")
def small():
    return [np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8) + np.uint8(n) for n in range(100)]


def test_frames_of_a_video_give_what_the_pipeline_gives_for_each(detector, heads):
    engine = DetectionEngine(detector, batch_size=3, detect_every=1)
    results = list(engine.run(video_frames(heads)))
    assert [result.frame.number for result in results] == list(range(7))
    for result, faces in zip(results, detector(heads), strict=True):
        assert len(result.records) == max(1, len(faces))
        for record, face in zip(result.records, faces, strict=False):
            assert record.box == tuple(face["box"].values())
            assert record.probabilities == pytest.approx({au["label"]: au["score"] for au in face["aus"]}, abs=1e-5)
            assert record.active == {au["label"]: au["active"] for au in face["aus"]}
            np.testing.assert_allclose(record.landmarks, face["landmarks"])
        if not faces:
            assert not result.records[0].has_face
    assert [record.timestamp for result in results for record in result.records][:2] == [0.0, 0.04]
    report = engine.report
    assert (report.num_frames, report.num_faces, report.num_errors) == (7, 7, 0)
    assert report.num_searches == report.num_tracked_frames == 7
    assert set(report.work) == {"decode", "faces", "model"}
    assert all(0 <= share <= 1 for share in report.waits.values())


@pytest.mark.parametrize("batch_size", [1, 4])
def test_photos_and_videos_keep_their_order_whatever_the_batch(detector, tmp_path, astronaut, batch_size, heads):
    astronaut.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no photo")
    photos = list(read_frames([str(tmp_path / "a.png"), str(tmp_path / "b.png")]))
    frames = [photos[0], *video_frames(heads[:3]), photos[1], *video_frames(heads[:2], "b.mp4")]
    results = list(DetectionEngine(detector, batch_size=batch_size, detect_every=1).run(frames))
    assert [(result.frame.source, result.frame.number) for result in results] == [
        (frame.source, frame.number) for frame in frames
    ]
    assert [len(result.records) for result in results] == [1, 1, 2, 1, 1, 1, 2]
    assert "b.png" in results[4].records[0].error
    (face,) = results[0].records
    assert (face.timestamp, face.face_id, face.has_face) == (None, 0, True)
    # Each video counts its faces from 0.
    assert [record.face_id for record in results[-1].records] == [0, 1]


def test_memory_does_not_grow_with_the_length_of_a_video(detector, small):
    """Counts the frames that are alive, with a consumer that is slower than all other stages."""
    alive, most = set(), 0

    def frames():
        for number in range(150):
            frame = Frame("a.mp4", number, number / 25, True, small[number % len(small)].copy())
            alive.add(number)
            weakref.finalize(frame.image, alive.discard, number)
            yield frame
            # As the decoder does, this generator lets go of a frame before it makes the next one.
            del frame

    engine = DetectionEngine(detector, batch_size=4, face_detector=quick_detector, detect_every=1, keep_images=True)
    for _ in engine.run(frames()):
        most = max(most, len(alive))
    gc.collect()
    # Both queues (4 and 6), two frames held by threads beside each, and what the network has in its batches of 4.
    assert 2 <= most <= 4 + 2 + 6 + 2 + 4 * 4
    assert engine.report.num_frames == 150


def test_closing_the_iterator_ends_all_threads(detector, small):
    results = DetectionEngine(detector, batch_size=2, face_detector=quick_detector).run(video_frames(small))
    next(results)
    assert engine_threads()
    results.close()
    assert engine_threads() == []


def test_an_interrupt_of_the_consumer_keeps_what_came_and_ends_all_threads(detector, small):
    got = []
    with pytest.raises(KeyboardInterrupt):
        for result in DetectionEngine(detector, batch_size=2, face_detector=quick_detector).run(video_frames(small)):
            got.append(result)
            if len(got) == 5:
                raise KeyboardInterrupt
    assert [result.frame.number for result in got] == list(range(5))
    gc.collect()
    assert engine_threads() == []


def test_a_detector_that_fails_costs_one_frame_and_names_it(detector, small):
    def fails_at_brightness(image):
        if image[0, 0, 0] == small[3][0, 0, 0]:
            raise RuntimeError("out of order")
        return quick_detector(image)

    engine = DetectionEngine(detector, face_detector=fails_at_brightness, detect_every=1)
    results = list(engine.run(video_frames(small[:6])))
    assert [result.records[0].error for result in results] == [
        None if number != 3 else "a.mp4, frame 3: RuntimeError: out of order" for number in range(6)
    ]
    engine = DetectionEngine(detector, face_detector=fails_at_brightness, detect_every=1, on_error="raise")
    with pytest.raises(RuntimeError, match="a.mp4, frame 3: RuntimeError: out of order"):
        list(engine.run(video_frames(small[:6])))
    assert engine_threads() == []


def test_an_error_of_the_reader_comes_after_the_frames_before_it(detector, small):
    def frames():
        yield from video_frames(small[:3])
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        for result in DetectionEngine(detector, batch_size=1, face_detector=quick_detector).run(frames()):
            got.append(result.frame.number)
    assert got == [0, 1, 2]
    assert engine_threads() == []


def test_an_error_of_the_network_names_the_frames_before_it(detector, small, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(detector, "_forward", fail)
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        list(DetectionEngine(detector, batch_size=2, face_detector=quick_detector).run(video_frames(small[:5])))
    assert caught.value.__notes__ == ["It happened between a.mp4, frame 0 and a.mp4, frame 1."]
    assert engine_threads() == []


def test_missing_packages_end_the_run(detector, small):
    def missing(image):
        raise ImportError("Finding faces needs more packages")

    with pytest.raises(ImportError, match="needs more packages"):
        list(DetectionEngine(detector, face_detector=missing).run(video_frames(small[:2])))


def test_frames_that_are_done_are_followed_but_give_nothing(detector, scene):
    images = [scene([(80 + 3 * number, 110, 120)]) for number in range(6)]
    frames = [
        Frame(frame.source, frame.number, frame.timestamp, True, frame.image, is_done=frame.number < 4)
        for frame in video_frames(images)
    ]
    engine = DetectionEngine(detector)
    results = list(engine.run(frames))
    assert [result.frame.number for result in results] == [4, 5]
    assert engine.report.num_tracked_frames == 6
    whole = list(DetectionEngine(detector).run(video_frames(images)))
    for resumed, result in zip(results, whole[4:], strict=True):
        assert resumed.records[0].box == result.records[0].box
        assert resumed.records[0].probabilities == pytest.approx(result.records[0].probabilities, abs=1e-5)


def test_cropped_faces_need_no_detector(detector, small):
    def never(image):
        raise AssertionError("no face detector is needed")

    engine = DetectionEngine(detector, face_detector=never, detect_faces=False)
    results = list(engine.run(video_frames(small[:3])))
    assert [result.records[0].box for result in results] == [(0.0, 0.0, 80.0, 60.0)] * 3


def test_parameters_of_the_pipeline_are_passed_on(detector, small):
    engine = DetectionEngine(detector, face_detector=quick_detector, threshold={"AU1": 0.0, "AU12": 1.0})
    (result,) = engine.run(video_frames(small[:1]))
    assert result.records[0].active | {"AU4": None, "AU25": None} == {
        "AU1": True,
        "AU4": None,
        "AU12": False,
        "AU25": None,
    }
    assert result.image is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"num_workers": 0}, ValueError, "num_workers must be at least 1"),
        ({"on_error": "ignore"}, ValueError, 'must be "return" or "raise"'),
        ({"threshold": 2}, ValueError, "between 0 and 1"),
        ({"top_k": 3}, TypeError, "top_k"),
    ],
)
def test_wrong_settings_are_refused(detector, options, error, message):
    with pytest.raises(error, match=message):
        DetectionEngine(detector, **options)


def test_the_detector_of_the_pipeline_is_used(tiny_model_dir, heads):
    from transformers import pipeline

    strict = pipeline(
        "au-detection", model=str(tiny_model_dir), face_detector=CenterFaceDetector(score_threshold=0.999)
    )
    (result,) = DetectionEngine(strict).run(video_frames(heads[:1]))
    assert not result.records[0].has_face
