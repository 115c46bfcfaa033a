"""What a run tells about itself."""

from hiva_hf.inference.job import DetectionJob


def test_the_summary_tells_who_waited_for_whom(media, detector):
    job = DetectionJob([str(media / "2.mp4")], [], detector)
    rows = list(job.run(progress=False))
    text = job.report.describe()
    assert f"14 frames, {len(rows)} faces, 0 errors" in text
    assert "video frames were searched as a whole" in text
    assert "network: worked" in text and "for finding faces" in text
